//! Certificates for tests, made afresh.

use std::path::Path;

use evenkeel_gateway::config::GatewayConfig;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SignatureAlgorithm,
};

/// A certification authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Credential {
    pub certificate_pem: String,
    pub certificate_der: Vec<u8>,
    pub key_pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for a DNS name, or for an e-mail address if it has an `@`.
    pub fn issue(&self, name: &str, algorithm: &'static SignatureAlgorithm) -> Credential {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let (alternative, usage) = if name.contains('@') {
            (SanType::Rfc822Name(name.try_into().unwrap()), ExtendedKeyUsagePurpose::ClientAuth)
        } else {
            (SanType::DnsName(name.try_into().unwrap()), ExtendedKeyUsagePurpose::ServerAuth)
        };
        params.subject_alt_names = vec![alternative];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Credential {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// A gateway with this certificate, which lets in alice by password and whomever the authority certifies.
pub fn gateway_config(gateway: &Credential, clients: &Authority) -> GatewayConfig {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("gateway.crt"), &gateway.certificate_pem).unwrap();
    std::fs::write(path("gateway.key"), &gateway.key_pem).unwrap();
    std::fs::write(path("clients.crt"), clients.pem()).unwrap();
    let text = r#"
        [identity]
        id = "gateway.practice"
        certificate = "gateway.crt"
        key = "gateway.key"
        [clients]
        eap = [{ name = "alice", password = "open sesame" }]
        ca = ["clients.crt"]
        [assign]
        v4 = "10.77.1.0/24"
        v6 = "fd77::1:0/112"
        [inner]
        addresses = ["10.77.0.1", "fd77::1"]
    "#;
    load(text, &path("gateway.toml"))
}

fn load(text: &str, path: &Path) -> GatewayConfig {
    match GatewayConfig::from_toml(text, path) {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    }
}
