//! X.509 certificates as profiles carry them: parsed once, kept as DER, serialised as PEM.
use std::fmt;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{Decode, Reader, SliceReader};

/// One certificate. Its DER has been parsed, so its structure is sound; nothing is said about trust.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Certificate(Vec<u8>);

/// Why bytes are no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Not one certificate in there.
    #[error("holds no certificate; allowed: PEM with CERTIFICATE blocks, or one DER certificate")]
    None,
    /// Damaged PEM.
    #[error("has a damaged PEM block")]
    Pem,
    /// The DER inside is no certificate.
    #[error("holds a damaged certificate (number {number} in the file)")]
    Malformed {
        /// Which of the file's certificates, from 1.
        number: usize,
    },
    /// More than a profile may carry.
    #[error("holds too many certificates; allowed: at most {MAX_PER_FILE}")]
    TooMany,
}

/// Certificates that one file may hold. The system's whole store has about 150.
const MAX_PER_FILE: usize = 256;

impl Certificate {
    /// Checks and takes over DER.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self, CertificateError> {
        let der = der.into();
        x509_cert::Certificate::from_der(&der).map_err(|_| CertificateError::Malformed { number: 1 })?;
        Ok(Self(der))
    }

    /// Every certificate of a file, PEM or DER; at least one.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<Self>, CertificateError> {
        if is_der(bytes) {
            return Ok(vec![Self::from_der(bytes)?]);
        }
        let mut all = Vec::new();
        for der in CertificateDer::pem_slice_iter(bytes) {
            let der = der.map_err(|_| CertificateError::Pem)?;
            if all.len() == MAX_PER_FILE {
                return Err(CertificateError::TooMany);
            }
            let number = all.len() + 1;
            all.push(Self::from_der(der.as_ref()).map_err(|_| CertificateError::Malformed { number })?);
        }
        if all.is_empty() { Err(CertificateError::None) } else { Ok(all) }
    }

    /// The certificate as DER.
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// The subject, for people: `CN=gw,O=Example`.
    pub fn subject(&self) -> String {
        x509_cert::Certificate::from_der(&self.0)
            .map(|c| c.tbs_certificate().subject().to_string())
            .unwrap_or_default()
    }

    /// Whether it names itself as its issuer, as roots do.
    pub(crate) fn is_self_issued(&self) -> bool {
        x509_cert::Certificate::from_der(&self.0)
            .is_ok_and(|c| c.tbs_certificate().subject() == c.tbs_certificate().issuer())
    }

    /// When it stops being valid, in seconds since 1970.
    pub fn not_after(&self) -> u64 {
        x509_cert::Certificate::from_der(&self.0)
            .map(|c| c.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
            .unwrap_or_default()
    }
}

/// Whether this is one complete DER SEQUENCE rather than text.
fn is_der(bytes: &[u8]) -> bool {
    let whole = || {
        let mut reader = SliceReader::new(bytes).ok()?;
        reader.tlv_bytes().ok()?;
        Some(reader.is_finished())
    };
    bytes.first() == Some(&0x30) && whole() == Some(true)
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?}, {} bytes)", self.subject(), self.0.len())
    }
}

impl From<Certificate> for String {
    fn from(certificate: Certificate) -> Self {
        // Encoding fails only beyond a length that no parsed certificate has.
        encode_string("CERTIFICATE", LineEnding::LF, &certificate.0).unwrap_or_default()
    }
}

impl TryFrom<String> for Certificate {
    type Error = CertificateError;

    fn try_from(pem: String) -> Result<Self, CertificateError> {
        let mut all = Self::read_all(pem.as_bytes())?;
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(CertificateError::TooMany),
        }
    }
}

/// A certificate of ours with its intermediates, the leaf first; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Certificate>", into = "Vec<Certificate>")]
pub struct CertificateChain(Vec<Certificate>);

impl CertificateChain {
    /// Longest chain that is sent; longer ones are a mistake (a whole CA bundle, say).
    const MAX: usize = 16;

    /// The leaf and what follows.
    pub fn as_slice(&self) -> &[Certificate] {
        &self.0
    }
}

impl TryFrom<Vec<Certificate>> for CertificateChain {
    type Error = CertificateError;

    fn try_from(chain: Vec<Certificate>) -> Result<Self, CertificateError> {
        match chain.len() {
            0 => Err(CertificateError::None),
            n if n > Self::MAX => Err(CertificateError::TooMany),
            _ => Ok(Self(chain)),
        }
    }
}

impl From<CertificateChain> for Vec<Certificate> {
    fn from(chain: CertificateChain) -> Self {
        chain.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().expect("key");
        rcgen::CertificateParams::new(vec!["gw.example".to_owned()])
            .expect("parameters")
            .self_signed(&key)
            .expect("certificate")
    }

    #[test]
    fn pem_and_der_files_are_read_and_serialise_as_pem() {
        let made = certificate();
        let from_der = Certificate::read_all(made.der()).expect("DER");
        let from_pem = Certificate::read_all(format!("junk\n{}", made.pem()).as_bytes()).expect("PEM");
        assert_eq!(from_der, from_pem);
        let json = serde_json::to_string(&from_pem).expect("serialises");
        assert!(json.contains("BEGIN CERTIFICATE"));
        assert_eq!(serde_json::from_str::<Vec<Certificate>>(&json).expect("parses"), from_pem);
    }

    #[test]
    fn damaged_files_are_refused_with_what_is_wrong() {
        assert_eq!(Certificate::read_all(b"hello").expect_err("text"), CertificateError::None);
        assert_eq!(
            Certificate::read_all(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")
                .expect_err("base64"),
            CertificateError::Pem
        );
        assert_eq!(
            Certificate::read_all(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
                .expect_err("DER"),
            CertificateError::Malformed { number: 1 }
        );
        let mut der = certificate().der().to_vec();
        der.truncate(40);
        assert_eq!(Certificate::read_all(&der).expect_err("cut"), CertificateError::None);
    }

    #[test]
    fn a_chain_is_never_empty() {
        assert!(serde_json::from_str::<CertificateChain>("[]").is_err());
    }
}
