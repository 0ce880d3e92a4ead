//! What a negotiation ends in: one algorithm of each kind.

use std::fmt;

use super::{Encr, Group, Integ, Prf};

/// The algorithms of an IKE SA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IkeSuite {
    /// Encryption of SK payloads.
    pub encr: Encr,
    /// Integrity of SK payloads; `None` exactly when `encr` is an AEAD.
    pub integ: Option<Integ>,
    /// Pseudorandom function of the key derivation and of AUTH.
    pub prf: Prf,
    /// Group of the key exchange.
    pub group: Group,
}

/// "AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519".
impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        protection(f, self.encr, self.integ)?;
        write!(f, "/{}/{}", self.prf, self.group)
    }
}

/// The algorithms of a CHILD SA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EspSuite {
    /// Encryption.
    pub encr: Encr,
    /// Integrity; `None` exactly when `encr` is an AEAD.
    pub integ: Option<Integ>,
    /// Whether sequence numbers have 64 bits (RFC 4303 §2.2.1).
    pub esn: bool,
}

impl EspSuite {
    /// Octets of the integrity check value at the end of each packet.
    #[must_use]
    pub const fn icv_len(&self) -> usize {
        match self.integ {
            Some(integ) => integ.icv_len(),
            None => Encr::TAG_LEN,
        }
    }
}

/// "AES_GCM_16_256/ESN", "AES_CBC_128/HMAC_SHA2_256_128".
impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        protection(f, self.encr, self.integ)?;
        f.write_str(if self.esn { "/ESN" } else { "" })
    }
}

fn protection(f: &mut fmt::Formatter<'_>, encr: Encr, integ: Option<Integ>) -> fmt::Result {
    match integ {
        Some(integ) => write!(f, "{encr}/{integ}"),
        None => write!(f, "{encr}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::KeyBits;

    #[test]
    fn suites_print_the_registered_names() {
        let ike = IkeSuite {
            encr: Encr::AesGcm16(KeyBits::Bits256),
            integ: None,
            prf: Prf::HmacSha256,
            group: Group::X25519,
        };
        assert_eq!(ike.to_string(), "AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519");
        let esp =
            EspSuite { encr: Encr::AesCbc(KeyBits::Bits128), integ: Some(Integ::HmacSha256_128), esn: true };
        assert_eq!(esp.to_string(), "AES_CBC_128/HMAC_SHA2_256_128/ESN");
    }
}
