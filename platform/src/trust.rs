//! The certification authorities that this machine trusts.

/// Their certificates as DER. Those that can't be read are left out, and logged.
pub fn system_roots() -> Vec<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "some of the system's certificates can't be read");
    }
    found.certs.into_iter().map(|certificate| certificate.as_ref().to_vec()).collect()
}
