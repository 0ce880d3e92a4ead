//! What a person calls a network.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Identity;
use crate::defaults;

/// A name to show: the SSID, else the subnet. At most 64 characters, none of them a control or formatting character:
/// an SSID is chosen by whoever runs the network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// The label for a network.
    #[must_use]
    pub fn of(identity: &Identity<'_>) -> Self {
        if let Some(ssid) = identity.ssid.filter(|ssid| !ssid.is_empty()) {
            return Self::from(String::from_utf8_lossy(ssid).into_owned());
        }
        if let Some(subnet) = identity.subnet {
            let (address, prefix) = subnet.network();
            return Self(format!("{address}/{prefix}"));
        }
        Self::from(identity.dhcp_domain.unwrap_or("?").to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        let shown = |c: char| if is_harmless(c) { c } else { '\u{fffd}' };
        Self(text.chars().take(defaults::LABEL_CHARS).map(shown).collect())
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Neither a control character nor one that reorders or hides others.
fn is_harmless(c: char) -> bool {
    let invisible = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Subnet;
    use std::net::Ipv4Addr;

    #[test]
    fn the_ssid_comes_before_the_subnet() {
        let subnet = Some(Subnet { address: Ipv4Addr::new(10, 1, 2, 3).into(), prefix: 8 });
        let identity = Identity { ssid: Some(b"Z\xc3\xbcrich"), subnet, ..Identity::default() };
        assert_eq!(Label::of(&identity).as_str(), "Z\u{fc}rich");
        assert_eq!(Label::of(&Identity { ssid: None, ..identity }).as_str(), "10.0.0.0/8");
        assert_eq!(Label::of(&Identity { ssid: Some(b""), ..identity }).as_str(), "10.0.0.0/8");
    }

    #[test]
    fn an_ssid_can_neither_move_the_cursor_nor_be_endless() {
        let ssid = "a\x1b[2J\u{202e}b\n".repeat(100);
        let label = Label::of(&Identity { ssid: Some(ssid.as_bytes()), ..Identity::default() });
        assert_eq!(label.as_str().chars().count(), 64);
        assert!(label.as_str().starts_with("a\u{fffd}[2J\u{fffd}b\u{fffd}"));
        assert_eq!(
            Label::of(&Identity { ssid: Some(&[0xff, 0xfe]), ..Identity::default() }).as_str(),
            "\u{fffd}\u{fffd}"
        );
    }
}
