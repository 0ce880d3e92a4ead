//! Key exchange groups (transform type 4).

use std::fmt;

/// Groups for the Diffie-Hellman exchange.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Group {
    /// 1024-bit MODP (RFC 2409 §6.2). Legacy.
    Modp1024 = 2,
    /// 2048-bit MODP (RFC 3526 §3).
    Modp2048 = 14,
    /// 3072-bit MODP (RFC 3526 §4).
    Modp3072 = 15,
    /// 4096-bit MODP (RFC 3526 §5).
    Modp4096 = 16,
    /// NIST P-256 (RFC 5903).
    P256 = 19,
    /// NIST P-384 (RFC 5903).
    P384 = 20,
    /// NIST P-521 (RFC 5903).
    P521 = 21,
    /// Curve25519 (RFC 8031).
    X25519 = 31,
}

impl Group {
    /// Every group we have, the preferred ones first.
    pub const ALL: [Self; 8] = [
        Self::X25519,
        Self::P256,
        Self::P384,
        Self::P521,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Modp1024,
    ];

    /// Transform ID, also the group number in a KE payload.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// The group of a number, if we have it.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.id() == id)
    }

    /// Octets of the public value in a KE payload: exact, leading zeros included (RFC 7296 §3.4).
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::P256 => 64,
            Self::P384 => 96,
            Self::P521 => 132,
            Self::Modp1024 => 128,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
        }
    }

    /// Whether a profile must ask for it by `legacy = true` (RFC 8247 §2.4: group 2 SHOULD NOT).
    #[must_use]
    pub const fn is_legacy(self) -> bool {
        matches!(self, Self::Modp1024)
    }
}

/// "CURVE_25519", "ECP_256", "MODP_2048".
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X25519 => "CURVE_25519",
            Self::P256 => "ECP_256",
            Self::P384 => "ECP_384",
            Self::P521 => "ECP_521",
            Self::Modp1024 => "MODP_1024",
            Self::Modp2048 => "MODP_2048",
            Self::Modp3072 => "MODP_3072",
            Self::Modp4096 => "MODP_4096",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_comes_back_from_its_number() {
        for group in Group::ALL {
            assert_eq!(Group::from_id(group.id()), Some(group));
        }
        assert_eq!(Group::from_id(0), None);
        assert_eq!(Group::from_id(1), None);
    }
}
