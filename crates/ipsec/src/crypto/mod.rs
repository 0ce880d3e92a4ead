//! Algorithms by their IKEv2 names, over the libraries that implement them.
//!
//! * Drawing and holding secrets: [`Rng`], [`Secret`].
//! * Algorithms: [`Encr`], [`Integ`], [`Prf`], [`Group`]; a negotiated set of them is an [`IkeSuite`] or an [`EspSuite`].
//! * Negotiation: [`IkeProposals`] and [`EspProposals`] offer, select and check.
//! * Operations: [`KeyExchange`], [`SkKey`].
//! * Authentication: [`choose_auth`], [`SigningKey`], [`verify_auth`]; [`CertificateCheck`] for whose key it is.
//!
//! Every primitive is aws-lc's, but for the MODP groups (crypto-bigint) and the generator behind [`Rng`]
//! (rand_chacha).

mod certificate;
mod group;
mod key_exchange;
mod modp;
mod prf;
mod proposal;
mod rng;
mod secret;
mod signature;
mod sk;
mod suite;
mod transform;

pub(crate) use certificate::same_name;
pub use certificate::{
    CertificateCheck, CertificateError, PeerRole, TrustAnchorError, TrustAnchors, UnixTime, VerifiedPeer,
    certificate_ids, subject_dn,
};
pub use group::Group;
pub use key_exchange::{KeyExchange, KeyExchangeError};
pub use prf::Prf;
pub use proposal::{
    EspProposal, EspProposals, IkeProposal, IkeProposals, ParseProposalError, ProposalError, ProposalPart,
};
pub use rng::Rng;
pub use secret::Secret;
pub use signature::{
    AuthChoice, Curve, HashAlgorithm, KeyError, KeyKind, SignError, SignatureError, SignatureScheme,
    SigningKey, VerifyPolicy, choose_auth, verify_auth,
};
pub use sk::{SkError, SkKey};
pub use suite::{EspSuite, IkeSuite};
pub use transform::{Encr, Integ, KeyBits};
