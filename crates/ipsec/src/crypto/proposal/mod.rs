//! Negotiation of algorithms (RFC 7296 §2.7, §3.3): what is offered, selected and accepted.
//!
//! Both roles work on the same lists. The initiator offers [`IkeProposals::to_wire`] and checks the answer with
//! [`IkeProposals::accept`]; the responder answers with [`IkeProposals::select`], by its own order of preference.

mod esp;
mod ike;
mod parse;

pub use esp::{EspProposal, EspProposals};
pub use ike::{IkeProposal, IkeProposals};
pub use parse::{ParseProposalError, ProposalPart};

use super::{Encr, Group, Integ};
use crate::wire::{Proposal, Protocol, Spi, Transform, TransformType};

/// Why the answer to our proposals is unacceptable: in each case the peer broke RFC 7296 §3.3.6.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposalError {
    /// The answer has not exactly one proposal.
    #[error("the peer answered with {0} proposals instead of one")]
    NotOne(usize),
    /// The answer's number isn't one of ours.
    #[error("the peer chose proposal {0}, which was not offered")]
    UnknownNumber(u8),
    /// The answer is about another protocol.
    #[error("the peer's proposal is for another protocol")]
    WrongProtocol,
    /// A transform was not in the offered proposal.
    #[error("the peer chose transform {kind:?} {id}, which was not offered")]
    NotOffered {
        /// Transform type.
        kind: TransformType,
        /// Transform ID.
        id: u16,
    },
    /// A transform type occurs more than once.
    #[error("the peer chose more than one transform of type {0:?}")]
    Repeated(TransformType),
    /// A transform type that was offered is missing.
    #[error("the peer chose no transform of type {0:?}")]
    Missing(TransformType),
}

/// Transform ID of AUTH_NONE and of the key exchange method NONE.
const NONE: u16 = 0;
const NO_ESN: u16 = 0;
const ESN: u16 = 1;

fn transform(kind: TransformType, id: u16, key_bits: Option<u16>) -> Transform {
    Transform { kind, id, key_bits, unknown_attribute: false }
}

fn encr_transforms(encr: &[Encr]) -> impl Iterator<Item = Transform> + '_ {
    encr.iter().map(|encr| transform(TransformType::Encr, encr.transform_id(), encr.key_bits()))
}

fn integ_transforms(integ: &[Integ]) -> impl Iterator<Item = Transform> + '_ {
    integ.iter().map(|integ| transform(TransformType::Integ, integ.transform_id(), None))
}

fn ke_transforms(groups: &[Group]) -> impl Iterator<Item = Transform> + '_ {
    groups.iter().map(|group| transform(TransformType::Ke, group.id(), None))
}

/// Each group once, in order of preference.
fn distinct<'a>(groups: impl IntoIterator<Item = &'a Group>) -> Vec<Group> {
    let mut distinct = Vec::new();
    for group in groups {
        if !distinct.contains(group) {
            distinct.push(*group);
        }
    }
    distinct
}

/// The proposals of an SA payload, each with these transforms.
fn encode(transforms: impl Iterator<Item = Vec<Transform>>, protocol: Protocol, spi: Spi) -> Vec<Proposal> {
    let numbered = transforms.enumerate();
    numbered
        .map_while(|(index, transforms)| {
            Some(Proposal { number: proposal_number(index)?, protocol, spi, transforms })
        })
        .collect()
}

/// The answer to a proposal: its number, and no SPI yet.
fn answer(theirs: &Proposal, transforms: Vec<Transform>) -> Proposal {
    Proposal { number: theirs.number, protocol: theirs.protocol, spi: Spi::None, transforms }
}

/// The number of the proposal at `index`: they count from 1 (RFC 7296 §3.3.1). A list too long for the field gives
/// `None`, and the rest of it isn't offered.
fn proposal_number(index: usize) -> Option<u8> {
    index.checked_add(1).and_then(|number| u8::try_from(number).ok())
}

/// The one answered proposal and the index of ours that it answers.
fn single_answer(chosen: &[Proposal]) -> Result<(&Proposal, usize), ProposalError> {
    let [answer] = chosen else {
        return Err(ProposalError::NotOne(chosen.len()));
    };
    let index = usize::from(answer.number).checked_sub(1);
    Ok((answer, index.ok_or(ProposalError::UnknownNumber(answer.number))?))
}

/// A received proposal's transforms, sorted by type. A transform with an attribute that we don't know is left out
/// here, which makes it one that can't be chosen, while the others of its type still can (RFC 7296 §3.3.6).
struct Received<'a> {
    transforms: &'a [Transform],
}

impl<'a> Received<'a> {
    fn new(proposal: &'a Proposal) -> Self {
        Self { transforms: &proposal.transforms }
    }

    fn of(&self, kind: TransformType) -> impl Iterator<Item = &'a Transform> {
        self.transforms.iter().filter(move |t| t.kind == kind && !t.unknown_attribute)
    }

    /// Whether the type occurs at all, whatever its transforms are.
    fn has(&self, kind: TransformType) -> bool {
        self.transforms.iter().any(|t| t.kind == kind)
    }

    /// Whether every transform's type is among `kinds`; a proposal with a type that we don't understand must be
    /// rejected (RFC 7296 §3.3.6).
    fn only(&self, kinds: &[TransformType]) -> bool {
        self.transforms.iter().all(|t| kinds.contains(&t.kind))
    }

    /// The first of `ours` that is offered, with the transform as it came, to be echoed.
    fn choose<T: Copy>(
        &self,
        kind: TransformType,
        ours: &[T],
        is: impl Fn(&Transform, T) -> bool,
    ) -> Option<(T, Transform)> {
        ours.iter().find_map(|our| {
            self.of(kind).find(|theirs| is(theirs, *our)).map(|theirs| (*our, theirs.clone()))
        })
    }

    /// What to answer about integrity: for an AEAD nothing, or NONE if it was offered; for other ciphers the first of
    /// ours. The inner `Option` is the algorithm, `None` at the outer level means that there is no match.
    fn choose_integ(&self, encr: Encr, ours: &[Integ]) -> Option<(Option<Integ>, Option<Transform>)> {
        let kind = TransformType::Integ;
        if encr.is_aead() {
            let none = self.of(kind).find(|t| t.id == NONE && t.key_bits.is_none());
            // An AEAD beside integrity algorithms without NONE breaks RFC 7296 §3.3.
            return (none.is_some() || !self.has(kind)).then(|| (None, none.cloned()));
        }
        let (integ, echo) = self.choose(kind, ours, is_integ)?;
        Some((Some(integ), Some(echo)))
    }

    /// The first of `ours`' ciphers that is offered and finds an integrity algorithm, with the transforms to echo.
    fn choose_protection(
        &self,
        encr: &[Encr],
        integ: &[Integ],
    ) -> Option<(Encr, Option<Integ>, Vec<Transform>)> {
        encr.iter().find_map(|encr| {
            let (encr, echo) = self.choose(TransformType::Encr, &[*encr], is_encr)?;
            let (integ, integ_echo) = self.choose_integ(encr, integ)?;
            Some((encr, integ, [Some(echo), integ_echo].into_iter().flatten().collect()))
        })
    }

    /// The only transform of a type in an answer.
    fn single(&self, kind: TransformType) -> Result<Option<&'a Transform>, ProposalError> {
        let mut all = self.transforms.iter().filter(|t| t.kind == kind);
        match (all.next(), all.next()) {
            (None, _) => Ok(None),
            (Some(only), None) if only.unknown_attribute => Err(not_offered(only)),
            (Some(only), None) => Ok(Some(only)),
            (Some(_), Some(_)) => Err(ProposalError::Repeated(kind)),
        }
    }

    /// The answer for a type of which one of `ours` must have been chosen.
    fn accept<T: Copy>(
        &self,
        kind: TransformType,
        ours: &[T],
        is: impl Fn(&Transform, T) -> bool,
    ) -> Result<T, ProposalError> {
        let theirs = self.single(kind)?.ok_or(ProposalError::Missing(kind))?;
        ours.iter().copied().find(|our| is(theirs, *our)).ok_or(not_offered(theirs))
    }

    /// The answered cipher and integrity algorithm.
    fn accept_protection(
        &self,
        encr: &[Encr],
        integ: &[Integ],
    ) -> Result<(Encr, Option<Integ>), ProposalError> {
        let encr = self.accept(TransformType::Encr, encr, is_encr)?;
        if !encr.is_aead() {
            return Ok((encr, Some(self.accept(TransformType::Integ, integ, is_integ)?)));
        }
        // We offer no integrity transform beside an AEAD; a peer that answers NONE says the same.
        match self.single(TransformType::Integ)? {
            Some(answer) if answer.id != NONE => Err(not_offered(answer)),
            Some(_) | None => Ok((encr, None)),
        }
    }

    /// Fails on any transform of a type outside `kinds`.
    fn accept_only(&self, kinds: &[TransformType]) -> Result<(), ProposalError> {
        match self.transforms.iter().find(|t| !kinds.contains(&t.kind)) {
            Some(surplus) => Err(not_offered(surplus)),
            None => Ok(()),
        }
    }
}

fn not_offered(transform: &Transform) -> ProposalError {
    ProposalError::NotOffered { kind: transform.kind, id: transform.id }
}

fn is_encr(transform: &Transform, encr: Encr) -> bool {
    Encr::from_transform(transform.id, transform.key_bits) == Some(encr)
}

fn is_integ(transform: &Transform, integ: Integ) -> bool {
    Integ::from_transform(transform.id, transform.key_bits) == Some(integ)
}

fn is_group(transform: &Transform, group: Group) -> bool {
    transform.key_bits.is_none() && Group::from_id(transform.id) == Some(group)
}
