//! The name a person gives a profile and types after `connect`.
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A profile's name: 1 to 64 characters, printable, without path separators or outer blanks.
///
/// Names are compared exactly. They end up in file names, logs and terminals, hence the limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(String);

/// Why a text is no profile name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing, or nothing but blanks.
    #[error("a profile needs a name; allowed: 1 to 64 characters")]
    Empty,
    /// Longer than 64 characters.
    #[error("the name is too long; allowed: 1 to 64 characters")]
    TooLong,
    /// A control or formatting character, `/` or `\`, or a blank or dot at an end.
    #[error(
        "the name has a character that names can't have; allowed: printable characters other than / and \\, \
         not starting with a dot or dash, no blanks at the ends"
    )]
    Character,
}

impl ProfileName {
    const MAX_CHARS: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name to a text from a foreign file: what can't stand in a name becomes a blank.
    pub fn from_foreign(text: &str) -> Option<Self> {
        let clean: String =
            text.chars().map(|c| if is_allowed(c) { c } else { ' ' }).take(Self::MAX_CHARS).collect();
        let clean = clean.trim().trim_start_matches(['.', '-']).trim();
        Self::try_from(clean.to_owned()).ok()
    }
}

impl TryFrom<String> for ProfileName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        if text.trim().is_empty() {
            return Err(NameError::Empty);
        }
        if text.chars().count() > Self::MAX_CHARS {
            return Err(NameError::TooLong);
        }
        if text.trim() != text || text.starts_with(['.', '-']) || !text.chars().all(is_allowed) {
            return Err(NameError::Character);
        }
        Ok(Self(text))
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.0
    }
}

impl std::str::FromStr for ProfileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_allowed(c: char) -> bool {
    !c.is_control() && c != '/' && c != '\\' && !is_invisible(c)
}

/// Whether a character changes how its neighbours are shown without showing itself: bidirectional controls,
/// zero-width marks, the byte-order mark. With them two different names look alike.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken_as_they_are() {
        for name in ["Lab", "Büro Köln", "office (new)", "東京", "a.b-c"] {
            assert_eq!(name.parse::<ProfileName>().map(String::from).as_deref(), Ok(name));
        }
    }

    #[test]
    fn names_that_could_mislead_a_shell_a_path_or_an_eye_are_refused() {
        for name in
            ["../etc", "a/b", "a\\b", ".hidden", "-f", " lab", "lab ", "a\u{202e}b", "a\nb", "a\u{200b}"]
        {
            assert_eq!(name.parse::<ProfileName>(), Err(NameError::Character), "{name:?}");
        }
        assert_eq!("  ".parse::<ProfileName>(), Err(NameError::Empty));
        assert_eq!("x".repeat(65).parse::<ProfileName>(), Err(NameError::TooLong));
    }

    #[test]
    fn a_foreign_name_is_cleaned_rather_than_refused() {
        let clean = |text| ProfileName::from_foreign(text).map(String::from);
        assert_eq!(clean("ACME/VPN\n").as_deref(), Some("ACME VPN"));
        assert_eq!(clean("../up").as_deref(), Some("up"));
        assert_eq!(clean("\u{202e}"), None);
    }
}
