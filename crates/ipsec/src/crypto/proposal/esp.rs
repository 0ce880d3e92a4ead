//! Proposals for CHILD SAs.

use super::ike::{MODERN_AEAD, MODERN_CBC, MODERN_GROUPS, MODERN_INTEG};
use super::{
    ESN, NO_ESN, NONE, ProposalError, Received, answer, distinct, encode, encr_transforms, integ_transforms,
    is_group, ke_transforms, single_answer, transform,
};
use crate::crypto::{Encr, EspSuite, Group, Integ};
use crate::wire::{Proposal, Protocol, Spi, Transform, TransformType};

/// What a profile allows for CHILD SAs, the most preferred proposal first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EspProposals(pub Vec<EspProposal>);

/// One proposal: any of each list may be combined. AEADs and other ciphers can't share one (RFC 7296 §3.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EspProposal {
    /// Ciphers in order of preference: AEADs only, or none of them.
    pub encr: Vec<Encr>,
    /// Integrity algorithms; empty for AEADs.
    pub integ: Vec<Integ>,
    /// Groups for a key exchange of the CHILD SA's own (perfect forward secrecy); empty for none. They are left out
    /// of IKE_AUTH, which has no KE payload (RFC 7296 §1.2).
    pub groups: Vec<Group>,
    /// Extended sequence numbers, in order of preference.
    pub esn: Vec<bool>,
}

const KINDS: [TransformType; 4] =
    [TransformType::Encr, TransformType::Integ, TransformType::Ke, TransformType::Esn];

impl EspProposals {
    /// Everything that RFC 8221 lets one offer today: AEADs first, then AES-CBC with HMAC-SHA2; each with perfect
    /// forward secrecy, and at the end without it, since many gateways refuse a group at a rekey.
    #[must_use]
    pub fn modern() -> Self {
        let proposal = |encr: &[Encr], integ: &[Integ], groups: &[Group]| EspProposal {
            encr: encr.to_vec(),
            integ: integ.to_vec(),
            groups: groups.to_vec(),
            esn: vec![true, false],
        };
        Self(vec![
            proposal(&MODERN_AEAD, &[], &MODERN_GROUPS),
            proposal(&MODERN_CBC, &MODERN_INTEG, &MODERN_GROUPS),
            proposal(&MODERN_AEAD, &[], &[]),
            proposal(&MODERN_CBC, &MODERN_INTEG, &[]),
        ])
    }

    /// [`EspProposals::modern`], and as the last resort AES-CBC with HMAC-SHA1.
    #[must_use]
    pub fn with_legacy() -> Self {
        let mut proposals = Self::modern();
        for groups in [[MODERN_GROUPS.as_slice(), &[Group::Modp1024]].concat(), Vec::new()] {
            let (encr, integ) = (MODERN_CBC.to_vec(), vec![Integ::HmacSha1_96]);
            proposals.0.push(EspProposal { encr, integ, groups, esn: vec![true, false] });
        }
        proposals
    }

    /// Whether any proposal holds an algorithm that a profile must ask for by `legacy = true`.
    #[must_use]
    pub fn is_legacy(&self) -> bool {
        self.0.iter().any(|proposal| {
            proposal.integ.iter().any(|integ| integ.is_legacy())
                || proposal.groups.iter().any(|group| group.is_legacy())
        })
    }

    /// Every group that is offered, without repetition, in order of preference; the first is the one whose value a
    /// CREATE_CHILD_SA request carries. Empty when no proposal has one.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        distinct(self.0.iter().flat_map(|proposal| &proposal.groups))
    }

    /// The proposals of an SA payload in CREATE_CHILD_SA. `spi` is that of our inbound SA.
    #[must_use]
    pub fn to_wire(&self, spi: Spi) -> Vec<Proposal> {
        encode(self.0.iter().map(EspProposal::transforms), Protocol::Esp, spi)
    }

    /// The proposals of an SA payload in IKE_AUTH, where there is no key exchange (RFC 7296 §1.2).
    #[must_use]
    pub fn to_wire_without_ke(&self, spi: Spi) -> Vec<Proposal> {
        encode(self.without_ke().iter().map(EspProposal::transforms), Protocol::Esp, spi)
    }

    /// The responder's choice: the answer with one transform of each type, what it means, the group if there is to be
    /// a key exchange, and the initiator's SPI. The answer has no SPI; the caller puts its own there.
    ///
    /// `group_in_exchange` says that the exchange can carry a KE payload: true for CREATE_CHILD_SA, false for
    /// IKE_AUTH, where groups are ignored on both sides. `None` is NO_PROPOSAL_CHOSEN.
    #[must_use]
    pub fn select(
        &self,
        offered: &[Proposal],
        group_in_exchange: bool,
    ) -> Option<(Proposal, EspSuite, Option<Group>, Spi)> {
        self.0.iter().find_map(|ours| {
            offered.iter().find_map(|theirs| {
                let (transforms, suite, group) = ours.select(theirs, group_in_exchange)?;
                Some((answer(theirs, transforms), suite, group, theirs.spi))
            })
        })
    }

    /// The initiator's check of the answer: exactly one proposal, a subset of the one of ours that it names. Gives the
    /// suite, the group of the key exchange if there is one, and the responder's SPI.
    ///
    /// `group_in_exchange` is false if the offer was [`EspProposals::to_wire_without_ke`].
    ///
    /// # Errors
    /// See [`ProposalError`].
    pub fn accept(
        &self,
        chosen: &[Proposal],
        group_in_exchange: bool,
    ) -> Result<(EspSuite, Option<Group>, Spi), ProposalError> {
        let (answer, index) = single_answer(chosen)?;
        let without_ke;
        let offered = if group_in_exchange {
            &self.0
        } else {
            without_ke = self.without_ke();
            &without_ke
        };
        let ours = offered.get(index).ok_or(ProposalError::UnknownNumber(answer.number))?;
        if answer.protocol != Protocol::Esp {
            return Err(ProposalError::WrongProtocol);
        }
        let received = Received::new(answer);
        received.accept_only(&KINDS)?;
        let (encr, integ) = received.accept_protection(&ours.encr, &ours.integ)?;
        let esn = received.accept(TransformType::Esn, &ours.esn, is_esn)?;
        let group = match received.single(TransformType::Ke)? {
            Some(theirs) if ours.groups.is_empty() && theirs.id == NONE => None,
            None if ours.groups.is_empty() => None,
            Some(_) | None => Some(received.accept(TransformType::Ke, &ours.groups, is_group)?),
        };
        Ok((EspSuite { encr, integ, esn }, group, answer.spi))
    }

    /// The proposals with their groups struck out, and those that become equal by it only once.
    fn without_ke(&self) -> Vec<EspProposal> {
        let mut proposals: Vec<EspProposal> = Vec::new();
        for proposal in &self.0 {
            let proposal = EspProposal { groups: Vec::new(), ..proposal.clone() };
            if !proposals.contains(&proposal) {
                proposals.push(proposal);
            }
        }
        proposals
    }
}

impl EspProposal {
    fn transforms(&self) -> Vec<Transform> {
        let esn = |esn: &bool| transform(TransformType::Esn, if *esn { ESN } else { NO_ESN }, None);
        encr_transforms(&self.encr)
            .chain(integ_transforms(&self.integ))
            .chain(ke_transforms(&self.groups))
            .chain(self.esn.iter().map(esn))
            .collect()
    }

    fn select(
        &self,
        offered: &Proposal,
        group_in_exchange: bool,
    ) -> Option<(Vec<Transform>, EspSuite, Option<Group>)> {
        let received = Received::new(offered);
        if offered.protocol != Protocol::Esp || !received.only(&KINDS) {
            return None;
        }
        let (encr, integ, mut transforms) = received.choose_protection(&self.encr, &self.integ)?;
        let (group, ke_echo) = if group_in_exchange { self.select_group(&received)? } else { (None, None) };
        transforms.extend(ke_echo);
        let esn = if received.has(TransformType::Esn) {
            let (esn, echo) = received.choose(TransformType::Esn, &self.esn, is_esn)?;
            transforms.push(echo);
            esn
        } else {
            // The type is mandatory for ESP (RFC 7296 §3.3.3); a peer that leaves it out can only mean the numbers
            // that every implementation has.
            self.esn.contains(&false).then_some(false)?
        };
        Some((transforms, EspSuite { encr, integ, esn }, group))
    }

    /// The group and the transform to echo. A peer that offers no group, or NONE among others, gets none only if this
    /// proposal has none.
    fn select_group(&self, received: &Received<'_>) -> Option<(Option<Group>, Option<Transform>)> {
        let kind = TransformType::Ke;
        if !self.groups.is_empty() {
            let (group, echo) = received.choose(kind, &self.groups, is_group)?;
            return Some((Some(group), Some(echo)));
        }
        let none = received.of(kind).find(|t| t.id == NONE);
        (none.is_some() || !received.has(kind)).then(|| (None, none.cloned()))
    }
}

fn is_esn(transform: &Transform, esn: bool) -> bool {
    transform.key_bits.is_none() && transform.id == if esn { ESN } else { NO_ESN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::EspSpi;

    const THEIRS: Spi = Spi::Esp(EspSpi(0x1234));
    const OURS: Spi = Spi::Esp(EspSpi(0x5678));

    fn proposals(texts: &[&str]) -> EspProposals {
        EspProposals(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn negotiate(client: &EspProposals, gateway: &EspProposals, ke: bool) -> Option<(String, Option<Group>)> {
        let offer = if ke { client.to_wire(THEIRS) } else { client.to_wire_without_ke(THEIRS) };
        let (mut answer, suite, group, spi) = gateway.select(&offer, ke)?;
        assert_eq!(spi, THEIRS);
        answer.spi = OURS;
        assert_eq!(client.accept(&[answer], ke), Ok((suite, group, OURS)));
        Some((suite.to_string(), group))
    }

    #[test]
    fn what_the_responder_selects_the_initiator_accepts() {
        let modern = EspProposals::modern();
        let gcm = "AES_GCM_16_256/ESN".to_owned();
        assert_eq!(negotiate(&modern, &modern, false), Some((gcm.clone(), None)));
        assert_eq!(negotiate(&modern, &modern, true), Some((gcm.clone(), Some(Group::X25519))));
        let without_pfs = proposals(&["aes256gcm16-esn"]);
        assert_eq!(negotiate(&modern, &without_pfs, true), Some((gcm, None)));
        let cbc = proposals(&["aes128-sha256-modp2048-noesn"]);
        let expected = "AES_CBC_128/HMAC_SHA2_256_128".to_owned();
        assert_eq!(negotiate(&modern, &cbc, true), Some((expected.clone(), Some(Group::Modp2048))));
        assert_eq!(negotiate(&modern, &cbc, false), Some((expected, None)), "no group in IKE_AUTH");
        assert_eq!(negotiate(&modern, &proposals(&["aes128-sha1"]), false), None);
        assert!(negotiate(&EspProposals::with_legacy(), &proposals(&["aes128-sha1"]), false).is_some());
    }

    #[test]
    fn a_responder_that_insists_on_a_group_refuses_an_offer_without_one() {
        let (with, without) = (proposals(&["aes256gcm16-x25519"]), proposals(&["aes256gcm16"]));
        assert_eq!(negotiate(&without, &with, true), None);
        assert_eq!(negotiate(&with, &without, true), None);
        assert!(negotiate(&without, &with, false).is_some(), "it can't matter in IKE_AUTH");
    }

    #[test]
    fn ike_auth_offers_no_group_and_no_proposal_twice() {
        let offer = EspProposals::modern().to_wire_without_ke(OURS);
        assert_eq!(offer.iter().map(|p| p.number).collect::<Vec<_>>(), [1, 2]);
        assert!(offer.iter().flat_map(|p| &p.transforms).all(|t| t.kind != TransformType::Ke));
    }

    #[test]
    fn an_offer_without_esn_transform_means_32_bit_numbers() {
        let mut offer = proposals(&["aes256gcm16"]).to_wire(THEIRS);
        offer[0].transforms.retain(|t| t.kind != TransformType::Esn);
        let (_, suite, ..) = EspProposals::modern().select(&offer, false).unwrap();
        assert!(!suite.esn);
        assert_eq!(proposals(&["aes256gcm16-esn"]).select(&offer, false), None);
    }

    #[test]
    fn a_group_that_was_not_offered_or_left_out_is_refused() {
        use ProposalError as E;
        use TransformType as T;
        let ours = proposals(&["aes256gcm16-x25519-noesn"]);
        let (answer, ..) = ours.select(&ours.to_wire(THEIRS), true).unwrap();
        let ke = Group::X25519.id();
        let unasked = E::NotOffered { kind: T::Ke, id: ke };
        assert_eq!(ours.accept(std::slice::from_ref(&answer), false), Err(unasked), "in IKE_AUTH");
        let mut without = answer.clone();
        without.transforms.retain(|t| t.kind != T::Ke);
        assert_eq!(ours.accept(&[without], true), Err(E::Missing(T::Ke)));
        let mut other = answer.clone();
        other.transforms.iter_mut().filter(|t| t.kind == T::Ke).for_each(|t| t.id = Group::P256.id());
        assert_eq!(ours.accept(&[other], true), Err(E::NotOffered { kind: T::Ke, id: Group::P256.id() }));
        let mut no_esn = answer;
        no_esn.transforms.retain(|t| t.kind != T::Esn);
        assert_eq!(ours.accept(&[no_esn], true), Err(E::Missing(T::Esn)));
    }
}
