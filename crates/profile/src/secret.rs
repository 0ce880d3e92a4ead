//! Secrets: wiped when dropped, never printed, apart from the profile they belong to.
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A password, a pre-shared key, a passphrase or a private key as text.
///
/// It has no `Debug` and no `Display` on purpose. It serialises, for the way to the daemon and for sealing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. Keep what is made of it as short-lived as it is.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// What a profile needs beside itself to connect. Which of them are set depends on the method.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// The EAP password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The pre-shared key, its text taken literally.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psk: Option<Secret>,
    /// The private key, unencrypted, as PEM: `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<Secret>,
    /// Our private key for [`Profile::wireguard`](crate::Profile::wireguard), in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard_private_key: Option<Secret>,
    /// The pre-shared key for it, in base64; without one, the keys of both sides stand alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard_preshared_key: Option<Secret>,
}

impl Secrets {
    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        let Self { password, psk, private_key, wireguard_private_key, wireguard_preshared_key } = self;
        [password, psk, private_key, wireguard_private_key, wireguard_preshared_key]
            .into_iter()
            .all(Option::is_none)
    }

    /// The one of this kind, if set.
    pub fn of(&self, kind: SecretKind) -> Option<&Secret> {
        match kind {
            SecretKind::Password => self.password.as_ref(),
            SecretKind::Psk => self.psk.as_ref(),
            SecretKind::PrivateKey => self.private_key.as_ref(),
            SecretKind::WireguardPrivateKey => self.wireguard_private_key.as_ref(),
            SecretKind::WireguardPresharedKey => self.wireguard_preshared_key.as_ref(),
        }
    }

    /// Sets the one of this kind.
    pub fn set(&mut self, kind: SecretKind, secret: Secret) {
        match kind {
            SecretKind::Password => self.password = Some(secret),
            SecretKind::Psk => self.psk = Some(secret),
            SecretKind::PrivateKey => self.private_key = Some(secret),
            SecretKind::WireguardPrivateKey => self.wireguard_private_key = Some(secret),
            SecretKind::WireguardPresharedKey => self.wireguard_preshared_key = Some(secret),
        }
    }
}

/// Which secret is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretKind {
    /// The EAP password.
    Password,
    /// The pre-shared key.
    Psk,
    /// The private key of the client certificate.
    PrivateKey,
    /// Our private key for the WireGuard fallback.
    WireguardPrivateKey,
    /// The pre-shared key of the WireGuard fallback.
    WireguardPresharedKey,
}
