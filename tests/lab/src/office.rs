//! The people and keys of the lab's office: certificates by kind, and gateways that ask for each kind of proof.

use std::sync::Arc;

use anyhow::Context;
use evenkeel_ipsec::{
    crypto::{Secret, SigningKey, TrustAnchors},
    ike::{ClientConfig, LocalAuth, PeerAuth},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::{
    engine,
    pki::{Authority, Identity, Key, Leaf},
    strongswan::{Auth, Config, Connection, Pool},
};

/// The gateway's name.
pub const GATEWAY: &str = "vpn.lab.example";
/// A user of the gateway.
pub const ALICE: &str = "alice";
/// Her password.
pub const PASSWORD: &str = "correct horse battery staple";
/// Her address, by which her certificate names her.
pub const ALICE_MAIL: &str = "alice@lab.example";
/// The office's pre-shared key.
pub const PSK: &str = "a secret of the lab";

/// The office's certificate authority.
pub struct Office {
    /// The authority that everybody trusts.
    pub root: Authority,
}

impl Office {
    /// A new office with a root of this kind.
    pub fn new(root: Key) -> anyhow::Result<Self> {
        Ok(Self { root: Authority::root("Evenkeel Lab Root", root)? })
    }

    /// A certificate for the gateway.
    pub fn gateway(&self, key: Key) -> anyhow::Result<Identity> {
        self.root.issue(&Leaf::gateway(GATEWAY)?.key(key))
    }

    /// A certificate for Alice.
    pub fn alice(&self, key: Key) -> anyhow::Result<Identity> {
        self.root.issue(&Leaf::client(ALICE_MAIL)?.key(key))
    }

    /// A gateway that shows `identity` and asks for a user name and a password.
    pub fn eap_gateway(&self, identity: Identity) -> Config {
        Config {
            users: vec![(ALICE.to_owned(), PASSWORD.to_owned())],
            ..self.showing(identity, Auth::EapMschapv2)
        }
    }

    /// A gateway that shows `identity` and asks for a certificate of the office's.
    pub fn certificate_gateway(&self, identity: Identity) -> Config {
        self.showing(identity, Auth::Certificate(None, "pubkey"))
    }

    fn showing(&self, identity: Identity, remote: Auth) -> Config {
        Config {
            connections: vec![Connection::gateway(Auth::Certificate(Some(0), "pubkey"), remote)],
            pools: vec![Pool::v4()],
            authorities: vec![self.root.certificate()],
            identities: vec![identity],
            ..Config::default()
        }
    }

    /// What trusts the office.
    pub fn trust(&self) -> anyhow::Result<PeerAuth> {
        trust(&self.root)
    }

    /// Alice's configuration with user name and password.
    pub fn eap_client(&self, password: &str) -> anyhow::Result<ClientConfig> {
        let auth = LocalAuth::EapMschapv2 { identity: ALICE.to_owned(), password: Secret::new(password) };
        engine::config(ALICE, auth, self.trust()?)
    }

    /// Alice's configuration with a certificate, and the key that signs for it.
    pub fn certificate_client(&self, identity: &Identity) -> anyhow::Result<(ClientConfig, SigningKey)> {
        let key = SigningKey::from_pem(identity.key.as_bytes())?;
        let chain = std::iter::once(&identity.certificate)
            .chain(&identity.intermediates)
            .map(|pem| der(pem))
            .collect::<anyhow::Result<_>>()?;
        let auth = LocalAuth::Certificate { chain, key: key.kind() };
        Ok((engine::config(ALICE_MAIL, auth, self.trust()?)?, key))
    }
}

/// A gateway with a pre-shared key.
pub fn psk_gateway() -> Config {
    Config {
        connections: vec![Connection::gateway(Auth::Psk, Auth::Psk)],
        pools: vec![Pool::v4()],
        psks: vec![(Vec::new(), PSK.to_owned())],
        ..Config::default()
    }
}

/// Trust in one authority.
pub fn trust(authority: &Authority) -> anyhow::Result<PeerAuth> {
    let anchors = TrustAnchors::from_der([der(&authority.certificate())?])?;
    Ok(PeerAuth::Certificate { anchors: Arc::new(anchors) })
}

fn der(pem: &str) -> anyhow::Result<Vec<u8>> {
    Ok(CertificateDer::from_pem_slice(pem.as_bytes()).context("a certificate in PEM")?.to_vec())
}
