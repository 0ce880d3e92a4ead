//! Whether captive portals are looked for, and whom to ask.
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::WebUrl;

/// Whether captive portals are looked for, and whom to ask beside the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Portal {
    /// Whether to look at all.
    #[serde(default = "on")]
    pub detect: bool,
    /// A page of a known answer. Without one, the page that this system's own connectivity check asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<ProbePage>,
}

const fn on() -> bool {
    true
}

impl Default for Portal {
    fn default() -> Self {
        Self { detect: on(), page: None }
    }
}

impl Portal {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A page whose answer is known. It is plain `http`, which alone a portal can answer in somebody else's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ProbePageParts", into = "ProbePageParts")]
pub struct ProbePage {
    url: WebUrl,
    answer: ProbeAnswer,
}

/// The answer that tells that nobody is in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeAnswer {
    /// This status, 201 to 299, whatever the body.
    Status(u16),
    /// Status 200 with this body; white space around it does not count.
    Body(String),
}

/// Why a page can't be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProbePageError {
    /// `https`.
    #[error("a portal can't answer https; allowed: an http:// URL")]
    Secure,
    /// A status that portals answer with themselves, or that is none.
    #[error("this is no status to expect; allowed: 201 to 299, and for 200 'expect_body'")]
    Status,
    /// An empty body, or one that is longer than is read.
    #[error(
        "this is no body to expect; allowed: 1 to {} bytes that are not all white space",
        ProbePage::MAX_BODY
    )]
    Body,
}

impl ProbePage {
    /// Longest body to expect, in bytes.
    pub const MAX_BODY: usize = 1024;

    /// A page and its answer.
    ///
    /// # Errors
    /// When no answer would tell anything.
    pub fn new(url: WebUrl, answer: ProbeAnswer) -> Result<Self, ProbePageError> {
        if url.is_secure() {
            return Err(ProbePageError::Secure);
        }
        match &answer {
            ProbeAnswer::Status(201..=299) => {}
            ProbeAnswer::Status(_) => return Err(ProbePageError::Status),
            ProbeAnswer::Body(body) if body.len() > Self::MAX_BODY || body.trim().is_empty() => {
                return Err(ProbePageError::Body);
            }
            ProbeAnswer::Body(_) => {}
        }
        Ok(Self { url, answer })
    }

    /// Where it is.
    pub fn url(&self) -> &WebUrl {
        &self.url
    }

    /// What it says.
    pub fn answer(&self) -> &ProbeAnswer {
        &self.answer
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbePageParts {
    url: WebUrl,
    answer: ProbeAnswer,
}

impl TryFrom<ProbePageParts> for ProbePage {
    type Error = ProbePageError;

    fn try_from(parts: ProbePageParts) -> Result<Self, ProbePageError> {
        Self::new(parts.url, parts.answer)
    }
}

impl From<ProbePage> for ProbePageParts {
    fn from(page: ProbePage) -> Self {
        Self { url: page.url, answer: page.answer }
    }
}
