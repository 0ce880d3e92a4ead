//! TLS around the stream (RFC 9329 Appendix A).
//!
//! It is there to get through what lets only TLS pass, and proves nothing about the gateway that IKE does not prove
//! itself: IKE authenticates inside it as it does everywhere. It is verified all the same, so that a middlebox that
//! breaks TLS open is noticed before it sees the IKE messages.

use std::sync::Arc;

use evenkeel_profile::{Profile, Trust};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::TlsSetupError;

/// How to speak TLS with a gateway.
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// Versions, cipher suites, and whom to trust.
    pub config: Arc<ClientConfig>,
    /// The name, or address, that the gateway's certificate must be for.
    pub name: ServerName<'static>,
}

impl TlsClient {
    /// What the profile trusts, and the gateway's host. A profile with a pre-shared key trusts no authority by itself:
    /// then the system's do, as with `system = true`.
    ///
    /// # Errors
    /// As [`TlsClient::new`].
    pub fn of_profile(
        profile: &Profile,
        system_roots: impl FnOnce() -> Vec<Vec<u8>>,
    ) -> Result<Self, TlsSetupError> {
        let trust = profile.auth.trust();
        let own = trust.map_or(&[][..], Trust::ca);
        let mut roots: Vec<Vec<u8>> = own.iter().map(|ca| ca.as_der().to_vec()).collect();
        if trust.is_none_or(Trust::system) {
            roots.extend(system_roots());
        }
        Self::new(roots, profile.gateway.as_str())
    }

    /// For the gateway at `host`, a name or an address, vouched for by one of `roots`, in DER. Roots that are no
    /// certificates are left out.
    ///
    /// # Errors
    /// When no root is left, or no certificate can be for `host`.
    pub fn new(
        roots: impl IntoIterator<Item = impl Into<Vec<u8>>>,
        host: &str,
    ) -> Result<Self, TlsSetupError> {
        let mut store = RootCertStore::empty();
        let (trusted, _) =
            store.add_parsable_certificates(roots.into_iter().map(|der| CertificateDer::from(der.into())));
        if trusted == 0 {
            return Err(TlsSetupError::NoRoots);
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsSetupError::Name(host.to_owned()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        // A ticket would tell one network after another that it is the same client.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self { config: Arc::new(config), name })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn root() -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        CertificateParams::new(["root".to_owned()]).unwrap().self_signed(&key).unwrap().der().to_vec()
    }

    fn profile(auth: &str) -> Profile {
        let text = format!("name = 'P'\ngateway = 'vpn.example.com'\n{auth}");
        let read = &mut |name: &str| (name.into(), Ok(root()));
        evenkeel_profile::parse_toml(Path::new("p.toml"), text.as_bytes(), None, read).unwrap().profile
    }

    #[test]
    fn who_trusts_nobody_speaks_no_tls() {
        let nobody: [Vec<u8>; 0] = [];
        assert!(matches!(TlsClient::new(nobody, "gateway.practice"), Err(TlsSetupError::NoRoots)));
        assert!(matches!(TlsClient::new([vec![1]], "gateway.practice"), Err(TlsSetupError::NoRoots)));
        assert!(matches!(TlsClient::new([root()], "-"), Err(TlsSetupError::Name(_))));
    }

    #[test]
    fn a_profile_says_whom_to_trust_and_the_system_only_where_that_is_wanted() {
        let eap = "[auth]\nmethod = 'eap-mschapv2'\nidentity = 'alice'\n[trust]\n";
        let own = profile(&format!("{eap}ca = ['ca.crt']\n"));
        let client = TlsClient::of_profile(&own, || panic!("the system is not asked")).unwrap();
        assert_eq!(client.name.to_str(), "vpn.example.com");
        for auth in [&format!("{eap}system = true\n")[..], "[auth]\nmethod = 'psk'\n"] {
            assert!(TlsClient::of_profile(&profile(auth), || vec![root()]).is_ok());
            let none = TlsClient::of_profile(&profile(auth), Vec::new);
            assert!(matches!(none, Err(TlsSetupError::NoRoots)));
        }
    }
}
