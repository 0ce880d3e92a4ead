//! Proposals in the notation that administrators know from swanctl.conf: "aes256gcm16-prfsha256-x25519".

use std::str::FromStr;

use super::{EspProposal, IkeProposal};
use crate::crypto::{Encr, Group, Integ, KeyBits, Prf};

/// Why a proposal in words could not be taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseProposalError {
    /// A word is no algorithm that we have, or has no place in this kind of proposal.
    #[error("unknown algorithm \"{0}\"")]
    UnknownWord(String),
    /// AEADs and other ciphers in one proposal (RFC 7296 §3.3).
    #[error("AEAD and other ciphers must be in separate proposals")]
    MixedCiphers,
    /// An AEAD with an integrity algorithm.
    #[error("an AEAD cipher takes no integrity algorithm")]
    IntegrityWithAead,
    /// A kind of algorithm is missing.
    #[error("the proposal names no {0}")]
    Missing(ProposalPart),
}

/// A kind of algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposalPart {
    /// Encryption.
    Encryption,
    /// Integrity.
    Integrity,
    /// Pseudorandom function.
    Prf,
    /// Key exchange group.
    Group,
}

impl std::fmt::Display for ProposalPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Encryption => "encryption algorithm",
            Self::Integrity => "integrity algorithm",
            Self::Prf => "pseudorandom function",
            Self::Group => "key exchange group",
        })
    }
}

/// The words, sorted. `integ` also names the PRF of an IKE proposal without one, as in strongSwan.
#[derive(Default)]
struct Words {
    encr: Vec<Encr>,
    integ: Vec<Integ>,
    prf: Vec<Prf>,
    groups: Vec<Group>,
    esn: Vec<bool>,
}

impl Words {
    fn parse(text: &str) -> Result<Self, ParseProposalError> {
        let mut words = Self::default();
        for word in text.split('-') {
            let known = word.trim().to_ascii_lowercase();
            if let Some(encr) = encr(&known) {
                push(&mut words.encr, encr);
            } else if let Some(integ) = integ(&known) {
                push(&mut words.integ, integ);
            } else if let Some(prf) = known.strip_prefix("prf").and_then(integ).map(prf_of) {
                push(&mut words.prf, prf);
            } else if let Some(group) = group(&known) {
                push(&mut words.groups, group);
            } else if let Some(esn) = esn(&known) {
                push(&mut words.esn, esn);
            } else {
                return Err(ParseProposalError::UnknownWord(word.to_owned()));
            }
        }
        let aead = words.encr.iter().filter(|encr| encr.is_aead()).count();
        match (words.encr.len(), aead) {
            (0, _) => Err(ParseProposalError::Missing(ProposalPart::Encryption)),
            (all, aead) if aead != 0 && aead != all => Err(ParseProposalError::MixedCiphers),
            (_, 0) if words.integ.is_empty() => Err(ParseProposalError::Missing(ProposalPart::Integrity)),
            (_, aead) if aead != 0 && !words.integ.is_empty() => Err(ParseProposalError::IntegrityWithAead),
            (_, _) => Ok(words),
        }
    }
}

impl FromStr for IkeProposal {
    type Err = ParseProposalError;

    /// Words: `aes128` `aes256` `aes128gcm16` `aes256gcm16` `chacha20poly1305` `sha1` `sha256` `sha384` `sha512` `prfsha1`
    /// ... `prfsha512` `x25519` `ecp256` `ecp384` `ecp521` `modp1024` `modp2048` `modp3072` `modp4096`. Without a `prf...`
    /// word the PRFs are those of the integrity algorithms.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = Words::parse(text)?;
        if let Some(esn) = words.esn.first() {
            let word = if *esn { "esn" } else { "noesn" };
            return Err(ParseProposalError::UnknownWord(word.to_owned()));
        }
        if words.prf.is_empty() {
            words.prf = words.integ.iter().copied().map(prf_of).collect();
        }
        match (words.prf.is_empty(), words.groups.is_empty()) {
            (true, _) => Err(ParseProposalError::Missing(ProposalPart::Prf)),
            (_, true) => Err(ParseProposalError::Missing(ProposalPart::Group)),
            (false, false) => {
                Ok(Self { encr: words.encr, integ: words.integ, prf: words.prf, groups: words.groups })
            }
        }
    }
}

impl FromStr for EspProposal {
    type Err = ParseProposalError;

    /// The words of an IKE proposal but for `prf...`; groups are optional and mean perfect forward secrecy. `esn` and
    /// `noesn` narrow extended sequence numbers, which are offered and preferred otherwise.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = Words::parse(text)?;
        if !words.prf.is_empty() {
            let word = text.split('-').find(|word| word.trim().to_ascii_lowercase().starts_with("prf"));
            return Err(ParseProposalError::UnknownWord(word.unwrap_or_default().to_owned()));
        }
        if words.esn.is_empty() {
            words.esn = vec![true, false];
        }
        Ok(Self { encr: words.encr, integ: words.integ, groups: words.groups, esn: words.esn })
    }
}

fn push<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn encr(word: &str) -> Option<Encr> {
    Some(match word {
        "aes" | "aes128" => Encr::AesCbc(KeyBits::Bits128),
        "aes256" => Encr::AesCbc(KeyBits::Bits256),
        "aes128gcm16" | "aes128gcm128" | "aes128gcm" => Encr::AesGcm16(KeyBits::Bits128),
        "aes256gcm16" | "aes256gcm128" | "aes256gcm" => Encr::AesGcm16(KeyBits::Bits256),
        "chacha20poly1305" | "chacha20poly1305compat" => Encr::ChaCha20Poly1305,
        _ => return None,
    })
}

fn integ(word: &str) -> Option<Integ> {
    Some(match word {
        "sha1" | "sha" => Integ::HmacSha1_96,
        "sha256" | "sha2_256" => Integ::HmacSha256_128,
        "sha384" | "sha2_384" => Integ::HmacSha384_192,
        "sha512" | "sha2_512" => Integ::HmacSha512_256,
        _ => return None,
    })
}

fn prf_of(integ: Integ) -> Prf {
    match integ {
        Integ::HmacSha1_96 => Prf::HmacSha1,
        Integ::HmacSha256_128 => Prf::HmacSha256,
        Integ::HmacSha384_192 => Prf::HmacSha384,
        Integ::HmacSha512_256 => Prf::HmacSha512,
    }
}

fn group(word: &str) -> Option<Group> {
    Some(match word {
        "x25519" | "curve25519" => Group::X25519,
        "ecp256" => Group::P256,
        "ecp384" => Group::P384,
        "ecp521" => Group::P521,
        "modp1024" => Group::Modp1024,
        "modp2048" => Group::Modp2048,
        "modp3072" => Group::Modp3072,
        "modp4096" => Group::Modp4096,
        _ => return None,
    })
}

fn esn(word: &str) -> Option<bool> {
    match word {
        "esn" => Some(true),
        "noesn" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_algorithms_in_their_order() {
        let ike: IkeProposal = "aes256-aes128-sha384-sha256-ecp384-modp2048".parse().unwrap();
        assert_eq!(ike.encr, [Encr::AesCbc(KeyBits::Bits256), Encr::AesCbc(KeyBits::Bits128)]);
        assert_eq!(ike.prf, [Prf::HmacSha384, Prf::HmacSha256], "derived from the integrity algorithms");
        assert_eq!(ike.groups, [Group::P384, Group::Modp2048]);
        let esp: EspProposal = "AES128GCM16-X25519-noesn".parse().unwrap();
        assert_eq!(esp.groups, [Group::X25519]);
        assert_eq!(esp.esn, [false]);
    }

    #[test]
    fn impossible_proposals_are_refused_with_their_reason() {
        use ParseProposalError as E;
        let ike = |text: &str| text.parse::<IkeProposal>().unwrap_err();
        assert_eq!(ike(""), E::UnknownWord(String::new()));
        assert_eq!(ike("aes256-sha256-modp768"), E::UnknownWord("modp768".into()));
        assert_eq!(ike("aes256gcm16-aes256-sha256-x25519"), E::MixedCiphers);
        assert_eq!(ike("aes256gcm16-sha256-x25519"), E::IntegrityWithAead);
        assert_eq!(ike("aes256gcm16-x25519"), E::Missing(ProposalPart::Prf));
        assert_eq!(ike("aes256-sha256"), E::Missing(ProposalPart::Group));
        assert_eq!(ike("aes256-x25519"), E::Missing(ProposalPart::Integrity));
        assert_eq!(ike("sha256-x25519"), E::Missing(ProposalPart::Encryption));
        assert_eq!(ike("aes256-sha256-x25519-esn"), E::UnknownWord("esn".into()));
        let esp = "aes256gcm16-prfsha256".parse::<EspProposal>().unwrap_err();
        assert_eq!(esp, E::UnknownWord("prfsha256".into()));
    }
}
