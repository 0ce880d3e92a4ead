//! Certificates, good ones and each kind of bad one.

use std::net::IpAddr;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber, date_time_ymd,
};

/// Kinds of keys that IKEv2 authenticates with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// RSA, 2048 bits.
    Rsa,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

impl Key {
    fn generate(self) -> anyhow::Result<KeyPair> {
        let made = match self {
            Self::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::P521 => KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512),
            Self::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
        };
        made.with_context(|| format!("making a {self:?} key"))
    }
}

/// What a certificate is for, by its extended key usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// serverAuth and ipsecIKE (RFC 4945 §5.1.3.12).
    Gateway,
    /// clientAuth.
    Client,
    /// codeSigning only: no use for IKE.
    CodeSigning,
    /// No extended key usage at all, which allows any.
    Unlimited,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From 2020 to 2049.
    Current,
    /// Until 2021.
    Expired,
    /// From 2048.
    Future,
}

/// An end entity's certificate to be issued.
#[derive(Debug, Clone)]
pub struct Leaf {
    subject: String,
    names: Vec<SanType>,
    key: Key,
    usage: Usage,
    validity: Validity,
}

impl Leaf {
    /// A gateway's, for this DNS name.
    pub fn gateway(name: &str) -> anyhow::Result<Self> {
        let dns = SanType::DnsName(name.try_into().context("a DNS name")?);
        Ok(Self {
            subject: name.to_owned(),
            names: vec![dns],
            key: Key::P256,
            usage: Usage::Gateway,
            validity: Validity::Current,
        })
    }

    /// A person's, for this e-mail address.
    pub fn client(address: &str) -> anyhow::Result<Self> {
        let email = SanType::Rfc822Name(address.try_into().context("an e-mail address")?);
        Ok(Self { names: vec![email], usage: Usage::Client, ..Self::gateway("client.lab.example")? })
    }

    /// With a key of another kind than P-256.
    pub fn key(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    /// For another purpose.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Valid at another time.
    pub fn validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// Also for this address.
    pub fn and_address(mut self, address: IpAddr) -> Self {
        self.names.push(SanType::IpAddress(address));
        self
    }

    /// Also for so many other names, which makes the certificate large.
    pub fn and_other_names(mut self, count: u16) -> anyhow::Result<Self> {
        for number in 0..count {
            let name = format!("name-{number:04}.of-a-gateway-with-very-many-names.lab.example");
            self.names.push(SanType::DnsName(name.try_into().context("a DNS name")?));
        }
        Ok(self)
    }
}

/// A certificate with its key and the intermediates above it, all in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key, PKCS #8.
    pub key: String,
    /// The kind of the key.
    pub kind: Key,
    /// Issuers below the root, nearest first.
    pub intermediates: Vec<String>,
}

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Ourselves and the issuers above us, without the root; nearest first.
    path: Vec<String>,
}

impl Authority {
    /// One that people trust.
    pub fn root(name: &str, key: Key) -> anyhow::Result<Self> {
        let issuer = CertifiedIssuer::self_signed(authority_params(name)?, key.generate()?)
            .context("signing a root certificate")?;
        Ok(Self { issuer, path: Vec::new() })
    }

    /// One that this one vouches for.
    pub fn intermediate(&self, name: &str, key: Key) -> anyhow::Result<Self> {
        let issuer = CertifiedIssuer::signed_by(authority_params(name)?, key.generate()?, &self.issuer)
            .context("signing an intermediate certificate")?;
        let path = std::iter::once(issuer.pem()).chain(self.path.iter().cloned()).collect();
        Ok(Self { issuer, path })
    }

    /// Its certificate.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate.
    pub fn issue(&self, leaf: &Leaf) -> anyhow::Result<Identity> {
        let key = leaf.key.generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "Evenkeel Lab");
        params.distinguished_name.push(DnType::CommonName, leaf.subject.as_str());
        params.subject_alt_names = leaf.names.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match leaf.usage {
            // id-kp-ipsecIKE, RFC 4945 §5.1.3.12
            Usage::Gateway => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]),
            ],
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::CodeSigning => vec![ExtendedKeyUsagePurpose::CodeSigning],
            Usage::Unlimited => Vec::new(),
        };
        (params.not_before, params.not_after) = match leaf.validity {
            Validity::Current => (date_time_ymd(2020, 1, 1), date_time_ymd(2049, 1, 1)),
            Validity::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Validity::Future => (date_time_ymd(2048, 1, 1), date_time_ymd(2049, 1, 1)),
        };
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).context("signing a certificate")?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            kind: leaf.key,
            intermediates: self.path.clone(),
        })
    }
}

fn authority_params(name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).context("certificate parameters")?;
    params.distinguished_name.push(DnType::OrganizationName, "Evenkeel Lab");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    params.serial_number = Some(SerialNumber::from(u64::from_be_bytes(*b"lab root") >> 1));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
