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

impl IkeSuite {
    /// The registered names of those algorithms in it that a profile has to allow by `legacy = true`.
    #[must_use]
    pub fn legacy(&self) -> Vec<String> {
        let integ = self.integ.filter(|integ| integ.is_legacy()).map(|integ| integ.to_string());
        let prf = self.prf.is_legacy().then(|| self.prf.to_string());
        let group = self.group.is_legacy().then(|| self.group.to_string());
        [integ, prf, group].into_iter().flatten().collect()
    }
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

    /// The registered names of those algorithms in it that a profile has to allow by `legacy = true`.
    #[must_use]
    pub fn legacy(&self) -> Vec<String> {
        let integ = self.integ.filter(|integ| integ.is_legacy()).map(|integ| integ.to_string());
        integ.into_iter().collect()
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

    #[test]
    fn legacy_algorithms_of_a_suite_are_named() {
        let encr = Encr::AesCbc(KeyBits::Bits128);
        let old =
            IkeSuite { encr, integ: Some(Integ::HmacSha1_96), prf: Prf::HmacSha1, group: Group::Modp1024 };
        assert_eq!(old.legacy(), ["HMAC_SHA1_96", "PRF_HMAC_SHA1", "MODP_1024"]);
        let modern = IkeSuite { integ: None, prf: Prf::HmacSha256, group: Group::Modp2048, ..old };
        assert_eq!(modern.legacy(), [""; 0]);
        assert_eq!(EspSuite { encr, integ: Some(Integ::HmacSha1_96), esn: true }.legacy(), ["HMAC_SHA1_96"]);
        assert_eq!(EspSuite { encr, integ: Some(Integ::HmacSha256_128), esn: true }.legacy(), [""; 0]);
    }
}
