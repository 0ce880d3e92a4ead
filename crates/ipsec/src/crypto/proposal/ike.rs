//! Proposals for IKE SAs.

use super::{
    ProposalError, Received, answer, distinct, encode, encr_transforms, integ_transforms, is_group,
    ke_transforms, single_answer, transform,
};
use crate::crypto::{Encr, Group, IkeSuite, Integ, KeyBits, Prf};
use crate::wire::{Proposal, Protocol, Spi, Transform, TransformType};

/// What a profile allows for IKE SAs, the most preferred proposal first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeProposals(pub Vec<IkeProposal>);

/// One proposal: any of each list may be combined. AEADs and other ciphers can't share one (RFC 7296 §3.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeProposal {
    /// Ciphers in order of preference: AEADs only, or none of them.
    pub encr: Vec<Encr>,
    /// Integrity algorithms; empty for AEADs.
    pub integ: Vec<Integ>,
    /// Pseudorandom functions.
    pub prf: Vec<Prf>,
    /// Key exchange groups; the first is the one whose value IKE_SA_INIT carries.
    pub groups: Vec<Group>,
}

const KINDS: [TransformType; 4] =
    [TransformType::Encr, TransformType::Prf, TransformType::Integ, TransformType::Ke];

pub(super) const MODERN_AEAD: [Encr; 3] =
    [Encr::AesGcm16(KeyBits::Bits256), Encr::ChaCha20Poly1305, Encr::AesGcm16(KeyBits::Bits128)];
pub(super) const MODERN_CBC: [Encr; 2] = [Encr::AesCbc(KeyBits::Bits256), Encr::AesCbc(KeyBits::Bits128)];
pub(super) const MODERN_INTEG: [Integ; 3] =
    [Integ::HmacSha256_128, Integ::HmacSha384_192, Integ::HmacSha512_256];
const MODERN_PRF: [Prf; 3] = [Prf::HmacSha256, Prf::HmacSha384, Prf::HmacSha512];
pub(super) const MODERN_GROUPS: [Group; 7] =
    [Group::X25519, Group::P256, Group::P384, Group::P521, Group::Modp2048, Group::Modp3072, Group::Modp4096];

impl IkeProposals {
    /// Everything that RFC 8247 lets one offer today: AEADs first, then AES-CBC with HMAC-SHA2.
    #[must_use]
    pub fn modern() -> Self {
        let proposal = |encr: &[Encr], integ: &[Integ]| IkeProposal {
            encr: encr.to_vec(),
            integ: integ.to_vec(),
            prf: MODERN_PRF.to_vec(),
            groups: MODERN_GROUPS.to_vec(),
        };
        Self(vec![proposal(&MODERN_AEAD, &[]), proposal(&MODERN_CBC, &MODERN_INTEG)])
    }

    /// [`IkeProposals::modern`], and as the last resort one with SHA-1 and group 2 for gateways of another age.
    #[must_use]
    pub fn with_legacy() -> Self {
        let mut proposals = Self::modern();
        proposals.0.push(IkeProposal {
            encr: MODERN_CBC.to_vec(),
            integ: [MODERN_INTEG.as_slice(), &[Integ::HmacSha1_96]].concat(),
            prf: [MODERN_PRF.as_slice(), &[Prf::HmacSha1]].concat(),
            groups: [MODERN_GROUPS.as_slice(), &[Group::Modp1024]].concat(),
        });
        proposals
    }

    /// Whether any proposal holds an algorithm that a profile must ask for by `legacy = true`.
    #[must_use]
    pub fn is_legacy(&self) -> bool {
        self.0.iter().any(IkeProposal::is_legacy)
    }

    /// Every group that is offered, without repetition, in order of preference.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        distinct(self.0.iter().flat_map(|proposal| &proposal.groups))
    }

    /// The proposals of an SA payload. `spi` is none in IKE_SA_INIT and our new SPI when the IKE SA is rekeyed
    /// (RFC 7296 §3.3.1).
    #[must_use]
    pub fn to_wire(&self, spi: Spi) -> Vec<Proposal> {
        encode(self.0.iter().map(IkeProposal::transforms), Protocol::Ike, spi)
    }

    /// The responder's choice: the answer with one transform of each type, what it means, and the initiator's SPI.
    /// The answer has no SPI; at a rekey the caller puts its own there. `None` is NO_PROPOSAL_CHOSEN.
    #[must_use]
    pub fn select(&self, offered: &[Proposal]) -> Option<(Proposal, IkeSuite, Spi)> {
        self.0.iter().find_map(|ours| {
            offered.iter().find_map(|theirs| {
                let (transforms, suite) = ours.select(theirs)?;
                Some((answer(theirs, transforms), suite, theirs.spi))
            })
        })
    }

    /// The initiator's check of the answer: exactly one proposal, a subset of the one of ours that it names. Gives the
    /// suite and the responder's SPI.
    ///
    /// # Errors
    /// See [`ProposalError`].
    pub fn accept(&self, chosen: &[Proposal]) -> Result<(IkeSuite, Spi), ProposalError> {
        let (answer, index) = single_answer(chosen)?;
        let ours = self.0.get(index).ok_or(ProposalError::UnknownNumber(answer.number))?;
        if answer.protocol != Protocol::Ike {
            return Err(ProposalError::WrongProtocol);
        }
        let received = Received::new(answer);
        received.accept_only(&KINDS)?;
        let (encr, integ) = received.accept_protection(&ours.encr, &ours.integ)?;
        let prf = received.accept(TransformType::Prf, &ours.prf, is_prf)?;
        let group = received.accept(TransformType::Ke, &ours.groups, is_group)?;
        Ok((IkeSuite { encr, integ, prf, group }, answer.spi))
    }
}

impl IkeProposal {
    fn is_legacy(&self) -> bool {
        self.integ.iter().any(|integ| integ.is_legacy())
            || self.prf.iter().any(|prf| prf.is_legacy())
            || self.groups.iter().any(|group| group.is_legacy())
    }

    fn transforms(&self) -> Vec<Transform> {
        encr_transforms(&self.encr)
            .chain(self.prf.iter().map(|prf| transform(TransformType::Prf, prf.transform_id(), None)))
            .chain(integ_transforms(&self.integ))
            .chain(ke_transforms(&self.groups))
            .collect()
    }

    fn select(&self, offered: &Proposal) -> Option<(Vec<Transform>, IkeSuite)> {
        let received = Received::new(offered);
        if offered.protocol != Protocol::Ike || !received.only(&KINDS) {
            return None;
        }
        let (encr, integ, mut transforms) = received.choose_protection(&self.encr, &self.integ)?;
        let (prf, prf_echo) = received.choose(TransformType::Prf, &self.prf, is_prf)?;
        let (group, group_echo) = received.choose(TransformType::Ke, &self.groups, is_group)?;
        transforms.extend([prf_echo, group_echo]);
        Some((transforms, IkeSuite { encr, integ, prf, group }))
    }
}

fn is_prf(transform: &Transform, prf: Prf) -> bool {
    Prf::from_transform(transform.id, transform.key_bits) == Some(prf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::IkeSpi;

    fn proposals(texts: &[&str]) -> IkeProposals {
        IkeProposals(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn what_the_responder_selects_the_initiator_accepts() {
        let spi = Spi::Ike(IkeSpi(7));
        for (client, gateway, suite) in [
            (IkeProposals::modern(), IkeProposals::modern(), "AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519"),
            (
                IkeProposals::modern(),
                proposals(&["aes128-sha256-modp2048"]),
                "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048",
            ),
            (
                IkeProposals::with_legacy(),
                proposals(&["aes128-sha1-modp1024"]),
                "AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024",
            ),
            (
                // The responder's order counts, and the second of its proposals is the only one that fits.
                proposals(&["chacha20poly1305-prfsha512-ecp384-ecp256"]),
                proposals(&["aes256-sha256-x25519", "chacha20poly1305-prfsha512-ecp256-ecp384"]),
                "CHACHA20_POLY1305/PRF_HMAC_SHA2_512/ECP_256",
            ),
        ] {
            let (answer, selected, peer_spi) = gateway.select(&client.to_wire(spi)).unwrap();
            assert_eq!(selected.to_string(), suite);
            assert_eq!(peer_spi, spi);
            assert_eq!(client.accept(&[answer]), Ok((selected, Spi::None)));
        }
    }

    #[test]
    fn nothing_in_common_is_no_proposal_chosen() {
        let offered = IkeProposals::modern().to_wire(Spi::None);
        assert_eq!(proposals(&["aes256-sha1-modp2048"]).select(&offered), None);
        assert_eq!(proposals(&["aes256-sha256-modp1024"]).select(&offered), None);
    }

    #[test]
    fn a_proposal_with_an_unknown_transform_type_is_passed_over_for_the_next() {
        let mut offered = IkeProposals::modern().to_wire(Spi::None);
        // ADDKE1 (RFC 9370), from a peer that did not learn that we can't do it.
        offered[0].transforms.push(transform(TransformType::Other(6), 36, None));
        let (answer, suite, _) = IkeProposals::modern().select(&offered).unwrap();
        assert_eq!(answer.number, 2);
        assert_eq!(suite.encr, Encr::AesCbc(KeyBits::Bits256));
    }

    #[test]
    fn a_transform_with_an_unknown_attribute_is_not_chosen() {
        let mut offered = proposals(&["aes256gcm16-aes128gcm16-prfsha256-x25519"]).to_wire(Spi::None);
        offered[0].transforms[0].unknown_attribute = true;
        let (_, suite, _) = IkeProposals::modern().select(&offered).unwrap();
        assert_eq!(suite.encr, Encr::AesGcm16(KeyBits::Bits128));
    }

    #[test]
    fn integrity_none_beside_an_aead_is_understood_and_echoed() {
        let ours = proposals(&["aes256gcm16-prfsha256-x25519"]);
        let mut offered = ours.to_wire(Spi::None);
        offered[0].transforms.push(transform(TransformType::Integ, 0, None));
        let (answer, suite, _) = ours.select(&offered).unwrap();
        assert_eq!(suite.integ, None);
        assert!(answer.transforms.iter().any(|t| t.kind == TransformType::Integ && t.id == 0));
        assert_eq!(ours.accept(&[answer]), Ok((suite, Spi::None)));
        // Without NONE the combination is malformed (RFC 7296 §3.3).
        offered[0].transforms.pop();
        offered[0].transforms.push(transform(TransformType::Integ, 12, None));
        assert_eq!(ours.select(&offered), None);
    }

    #[test]
    fn every_deviation_in_the_answer_is_refused() {
        let ours = proposals(&["aes128-sha256-x25519", "aes256gcm16-prfsha256-ecp256"]);
        let (answer, ..) = ours.select(&ours.to_wire(Spi::None)).unwrap();
        assert!(ours.accept(std::slice::from_ref(&answer)).is_ok());
        let refused = |change: &dyn Fn(&mut Proposal)| {
            let mut changed = answer.clone();
            change(&mut changed);
            ours.accept(&[changed]).unwrap_err()
        };
        use ProposalError as E;
        use TransformType as T;
        assert_eq!(ours.accept(&[]), Err(E::NotOne(0)));
        assert_eq!(ours.accept(&[answer.clone(), answer.clone()]), Err(E::NotOne(2)));
        assert_eq!(refused(&|a| a.number = 0), E::UnknownNumber(0));
        assert_eq!(refused(&|a| a.number = 3), E::UnknownNumber(3));
        assert_eq!(refused(&|a| a.number = 2), E::NotOffered { kind: T::Encr, id: 12 });
        assert_eq!(refused(&|a| a.protocol = Protocol::Esp), E::WrongProtocol);
        assert_eq!(refused(&|a| a.transforms.retain(|t| t.kind != T::Prf)), E::Missing(T::Prf));
        assert_eq!(refused(&|a| a.transforms.retain(|t| t.kind != T::Integ)), E::Missing(T::Integ));
        assert_eq!(refused(&|a| a.transforms.push(a.transforms[0].clone())), E::Repeated(T::Encr));
        assert_eq!(
            refused(&|a| a.transforms.push(transform(T::Esn, 0, None))),
            E::NotOffered { kind: T::Esn, id: 0 }
        );
        assert_eq!(
            refused(&|a| a.transforms[0].unknown_attribute = true),
            E::NotOffered { kind: T::Encr, id: 12 }
        );
        assert_eq!(
            refused(&|a| a.transforms[0].key_bits = Some(256)),
            E::NotOffered { kind: T::Encr, id: 12 }
        );
    }

    #[test]
    fn only_the_legacy_list_holds_legacy_algorithms() {
        assert!(!IkeProposals::modern().is_legacy());
        assert!(IkeProposals::with_legacy().is_legacy());
        assert_eq!(IkeProposals::with_legacy().groups().len(), Group::ALL.len());
    }
}
