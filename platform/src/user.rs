//! Who a process runs as, in the terms of each system.

use std::{fmt, io, str::FromStr};

use serde::{Deserialize, Serialize};

#[cfg_attr(unix, path = "user/unix.rs")]
#[cfg_attr(windows, path = "user/windows.rs")]
mod sys;

#[cfg(windows)]
pub(crate) use sys::Token;
#[cfg(unix)]
pub(crate) use sys::is_admin;

/// A local account. Its text form (`uid:1000`, `S-1-5-18`) is stable and may be stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum UserId {
    /// A numeric user id of Linux or macOS.
    Uid(u32),
    /// A security identifier of Windows, in its string form.
    Sid(String),
}

impl UserId {
    /// The account this process acts as (the effective one, where a system knows more than one).
    pub fn current() -> io::Result<Self> {
        sys::current()
    }

    /// Whether this is the account that owns the machine: root, or LocalSystem.
    pub fn is_system(&self) -> bool {
        match self {
            Self::Uid(uid) => *uid == 0,
            Self::Sid(sid) => sid == "S-1-5-18",
        }
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Sid(sid) => f.write_str(sid),
        }
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> Self {
        user.to_string()
    }
}

/// A text that names no account in either form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a user id: expected \"uid:NUMBER\" or a SID (\"S-1-...\")")]
pub struct ParseUserIdError;

impl FromStr for UserId {
    type Err = ParseUserIdError;

    fn from_str(text: &str) -> Result<Self, ParseUserIdError> {
        if let Some(number) = text.strip_prefix("uid:") {
            return number.parse().map(Self::Uid).map_err(|_| ParseUserIdError);
        }
        let sid = text.strip_prefix("S-1-").ok_or(ParseUserIdError)?;
        let numbers = sid.split('-').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        if numbers { Ok(Self::Sid(text.to_owned())) } else { Err(ParseUserIdError) }
    }
}

impl TryFrom<String> for UserId {
    type Error = ParseUserIdError;

    fn try_from(text: String) -> Result<Self, ParseUserIdError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_survives_its_text_form() {
        for user in [UserId::Uid(0), UserId::Uid(u32::MAX), UserId::Sid("S-1-5-21-1-2-3-1001".into())] {
            assert_eq!(user.to_string().parse(), Ok(user));
        }
    }

    #[test]
    fn anything_else_is_no_user_id() {
        for text in ["", "1000", "uid:", "uid:-1", "uid:4294967296", "S-1-", "S-1-5-", "S-1-5-x", "root"] {
            assert_eq!(text.parse::<UserId>(), Err(ParseUserIdError), "{text}");
        }
    }
}
