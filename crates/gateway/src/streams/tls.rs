//! TLS around streams, with the certificate that the gateway has for IKE.

use std::sync::Arc;

use evenkeel_ipsec::crypto::Secret;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

/// Why the gateway can't speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `identity.key`.
    #[error("identity.key: {0}")]
    Key(pem::Error),
    /// The certificate and the key, as TLS sees them.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

/// Accepts TLS as the one whom the certificate names.
pub(super) fn acceptor(chain: &[Vec<u8>], key_pem: &Secret) -> Result<TlsAcceptor, TlsError> {
    let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(TlsError::Key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
