//! PKCS#12 files: a certificate, its chain and its key under one passphrase.
use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use thiserror::Error;

use crate::key::pkcs8_to_pem;
use crate::{Certificate, CertificateChain, Secret};

/// Why a PKCS#12 file gives no certificate and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Pkcs12Error {
    /// It does not open without a passphrase.
    #[error("needs its passphrase")]
    PassphraseNeeded,
    /// Damaged, of another format, or another passphrase: the format can't tell these apart.
    #[error("can't be opened: wrong passphrase, a damaged file, or no PKCS#12")]
    NotOpened,
    /// Opened, but without a certificate that a key in it belongs to.
    #[error("holds no private key together with its certificate")]
    NoKey,
    /// A key or certificate in it is damaged.
    #[error("holds a damaged key or certificate")]
    Malformed,
}

/// The key and chain of a PKCS#12 file.
pub(crate) fn open(
    bytes: &[u8],
    passphrase: Option<&Secret>,
) -> Result<(CertificateChain, Secret), Pkcs12Error> {
    // Many are made with an empty passphrase, so that is tried before anybody is asked.
    let store =
        KeyStore::from_pkcs12(bytes, passphrase.map_or("", Secret::expose), Pkcs12ImportPolicy::Strict)
            .map_err(|_| {
                if passphrase.is_none() { Pkcs12Error::PassphraseNeeded } else { Pkcs12Error::NotOpened }
            })?;
    let (_, entry) = store.private_key_chain().ok_or(Pkcs12Error::NoKey)?;
    let certificates: Result<Vec<_>, _> =
        entry.certs().iter().map(|c| Certificate::from_der(c.as_der())).collect();
    let chain = certificates.and_then(CertificateChain::try_from).map_err(|_| Pkcs12Error::Malformed)?;
    let key = pkcs8_to_pem(entry.key().as_der()).map_err(|_| Pkcs12Error::Malformed)?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with: openssl pkcs12 -export -inkey k -in leaf.crt -certfile ca.crt -passout pass:sesame
    const SEALED: &[u8] = include_bytes!("../tests/data/alice-sesame.p12");

    #[test]
    fn a_file_of_openssl_opens_with_its_passphrase_only() {
        assert_eq!(open(SEALED, None).err(), Some(Pkcs12Error::PassphraseNeeded));
        assert_eq!(open(SEALED, Some(&Secret::new("open"))).err(), Some(Pkcs12Error::NotOpened));
        let (chain, key) = open(SEALED, Some(&Secret::new("sesame"))).expect("opens");
        assert_eq!(chain.as_slice().first().map(Certificate::subject).as_deref(), Some("CN=alice"));
        assert!(key.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn bytes_that_are_no_pkcs12_do_not_panic() {
        for bytes in [&b""[..], b"0", b"hello", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(open(bytes, Some(&Secret::new("x"))).err(), Some(Pkcs12Error::NotOpened));
        }
        for cut in (0..SEALED.len()).step_by(97) {
            let bytes = SEALED.get(..cut).expect("in range");
            assert!(open(bytes, Some(&Secret::new("sesame"))).is_err());
        }
    }
}
