//! Proposals in strongSwan's notation, `aes256gcm16-prfsha256-x25519`.
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One proposal: transform names joined by `-`. Only its shape is checked here; the engine knows which
/// names exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Proposal(String);

/// The text is no proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this is no proposal; allowed: algorithm names joined by '-', such as aes256gcm16-prfsha256-x25519")]
pub struct ProposalError;

impl Proposal {
    const MAX: usize = 256;

    /// The proposal as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Proposal {
    type Error = ProposalError;

    fn try_from(text: String) -> Result<Self, ProposalError> {
        let text = text.to_ascii_lowercase();
        let name = |n: &str| {
            n.starts_with(|c: char| c.is_ascii_lowercase())
                && n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if text.len() <= Self::MAX && text.split('-').all(name) { Ok(Self(text)) } else { Err(ProposalError) }
    }
}

impl From<Proposal> for String {
    fn from(proposal: Proposal) -> Self {
        proposal.0
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_a_proposal_is_checked() {
        for ok in
            ["aes256gcm16-prfsha256-x25519", "aes128-sha256-modp2048", "chacha20poly1305", "AES256-SHA384"]
        {
            assert!(Proposal::try_from(ok.to_owned()).is_ok(), "{ok}");
        }
        for bad in ["", "-", "aes256-", "aes 256", "aes256,sha1", "aes256!", "256aes"] {
            assert_eq!(Proposal::try_from(bad.to_owned()), Err(ProposalError), "{bad}");
        }
    }
}
