//! Text from peers, made safe for terminals and logs.

use std::fmt::{self, Write as _};

/// Displays text that a peer chose: control characters and those that reorder or break lines come out as
/// `\u{1b}`, so that nobody can forge a log line or drive a terminal.
#[derive(Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_harmful(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

fn is_harmful(c: char) -> bool {
    let reorders =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks_line = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() || reorders || breaks_line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_drive_a_terminal_is_escaped() {
        assert_eq!(Printable("a\x1b[2J\r\nb\u{9b}").to_string(), r"a\u{1b}[2J\u{d}\u{a}b\u{9b}");
        assert_eq!(Printable("\u{202e}moc\u{2028}").to_string(), r"\u{202e}moc\u{2028}");
    }

    #[test]
    fn ordinary_text_of_any_script_stays() {
        assert_eq!(Printable("Zürich \\ 東京").to_string(), "Zürich \\ 東京");
    }
}
