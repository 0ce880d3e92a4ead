//! Text from elsewhere, made safe for a terminal.
use evenkeel_profile::is_invisible;

/// The text with every character that a terminal obeys, or that hides, written out as `\u{1b}`.
///
/// Names, certificates, notify messages and log lines may be an attacker's: an escape sequence in one could
/// rewrite the screen, and a bidirectional control could show another name.
pub(crate) fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    safe
}

/// JSON text with the same characters as `\u001b`. Outside strings JSON has none of them but line ends.
pub(crate) fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_dangerous(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

fn is_dangerous(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_of_any_language_is_left_alone() {
        for text in ["Büro", "東京 VPN", "a\\b \"c\"", "naïve 🙂"] {
            assert_eq!(plain(text), text);
            assert_eq!(json(text), text);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(plain("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(plain("a\nb\r\u{9b}2J"), "a\\u{a}b\\u{d}\\u{9b}2J");
        assert_eq!(plain("evil\u{202e}gpj"), "evil\\u{202e}gpj");
    }

    #[test]
    fn escaped_json_still_means_the_same() {
        let value = serde_json::json!({ "a": "x\u{9b}\u{202e}\u{e0001}\u{1b}" });
        let text = json(&serde_json::to_string(&value).expect("serialises"));
        assert!(text.chars().all(|c| !is_dangerous(c)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("parses"), value);
    }
}
