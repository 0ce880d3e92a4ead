//! Drawing: pure functions from facts to text for a terminal of a certain width.
use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::explain::Explanation;

mod network;
mod profile;
mod status;
mod unit;

pub(crate) use network::{network_details, network_list};
pub(crate) use profile::{profile_details, profile_list};
pub(crate) use status::{Rates, status};
pub(crate) use unit::duration;

/// What can be drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Canvas {
    /// Columns.
    pub(crate) width: usize,
    /// Whether more than ASCII can be shown.
    pub(crate) unicode: bool,
}

impl Canvas {
    fn pick(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }
}

const BOLD: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const GOOD: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
const UNSURE: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));
const BAD: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));

/// A text made of labelled values, aligned and wrapped.
struct Page {
    canvas: Canvas,
    text: String,
    label: usize,
}

impl Page {
    const INDENT: usize = 2;

    /// `label` is the width of the widest label.
    fn new(canvas: Canvas, label: usize) -> Self {
        Self { canvas, text: String::new(), label }
    }

    /// A line of its own, wrapped under itself.
    fn heading(&mut self, mark: &str, style: Style, text: &str) {
        let indent = if mark.is_empty() { 0 } else { mark.width() + 1 };
        for (row, line) in wrap(text, self.canvas.width.saturating_sub(indent)).iter().enumerate() {
            let lead = match (row, mark) {
                (0, "") => String::new(),
                (0, mark) => format!("{style}{mark}{style:#} "),
                _ => " ".repeat(indent),
            };
            self.text.push_str(&format!("{lead}{style}{line}{style:#}\n"));
        }
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    /// `label   value`, the value wrapped under itself; where that leaves too little room, below its label.
    /// The value must be safe to print.
    fn field(&mut self, label: &str, value: &str) {
        const LEAST: usize = 20;
        let beside = Self::INDENT + self.label + 2;
        let stacked = self.canvas.width < beside + LEAST;
        let column = if stacked { 2 * Self::INDENT } else { beside };
        let lines = wrap(value, self.canvas.width.saturating_sub(column));
        let mut lead = format!("{:1$}{QUIET}{label}{QUIET:#}", "", Self::INDENT);
        if stacked && !label.is_empty() {
            self.text.push_str(&lead);
            self.text.push('\n');
        }
        lead.push_str(&" ".repeat(column.saturating_sub(Self::INDENT + label.width())));
        for (row, line) in lines.iter().enumerate() {
            if row == 0 && !stacked {
                self.text.push_str(&format!("{lead}{line}\n"));
            } else {
                self.text.push_str(&format!("{:column$}{line}\n", ""));
            }
        }
    }

    fn finish(self) -> String {
        self.text
    }
}

/// What went wrong, why, and what to do now.
pub(crate) fn explanation(explanation: &Explanation, canvas: Canvas) -> String {
    let mut page = Page::new(canvas, "Why".len());
    page.heading(canvas.pick("✗", "x"), BAD, &explanation.what);
    page.reasons(explanation);
    page.finish()
}

impl Page {
    fn reasons(&mut self, explanation: &Explanation) {
        if !explanation.why.is_empty() {
            self.field("Why", &explanation.why);
        }
        if !explanation.now.is_empty() {
            self.field("Now", &explanation.now);
        }
    }
}

/// Breaks a text into lines at blanks, or within a word that is too long for a line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(12);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word;
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        while let Some((fits, rest)) = split_at_width(word, width) {
            lines.push(fits.to_owned());
            word = rest;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// If a word is too long: as much of it as fits, up to its last slash if that is past the middle, and the rest.
fn split_at_width(word: &str, width: usize) -> Option<(&str, &str)> {
    let mut columns = 0;
    let (end, _) = word.char_indices().find(|&(start, c)| {
        columns += c.width().unwrap_or(0);
        columns > width && start > 0
    })?;
    let slash = word.get(..end)?.rfind('/').map(|slash| slash + 1).filter(|slash| *slash > end / 2);
    word.split_at_checked(slash.unwrap_or(end))
}

/// Rows under their heads, the columns as wide as they must be; `None` where that is wider than the canvas.
fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]], canvas: Canvas) -> Option<String> {
    let mut widths = heads.map(UnicodeWidthStr::width);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    if widths.iter().sum::<usize>() + 2 * N.saturating_sub(1) > canvas.width {
        return None;
    }
    let line = |cells: &[&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| pad(cell, width)).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = format!("{QUIET}{}{QUIET:#}\n", line(&heads));
    for row in rows {
        text.push_str(&line(&row.each_ref().map(String::as_str)));
        text.push('\n');
    }
    Some(text)
}

/// Pads to a width in columns.
fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_and_long_ones_break() {
        assert_eq!(wrap("one two three four", 12), ["one two", "three four"]);
        assert_eq!(wrap("0123456789abcdef x", 12), ["0123456789ab", "cdef x"]);
        assert_eq!(wrap("東京東京東京東京", 12), ["東京東京東京", "東京"]);
        assert_eq!(wrap("AES_GCM_16/PRF_HMAC", 16), ["AES_GCM_16/", "PRF_HMAC"]);
        assert_eq!(wrap("", 12), [""]);
    }

    #[test]
    fn an_explanation_fits_a_narrow_terminal() {
        let text = explanation(
            &Explanation::new(
                "The gateway does not answer.",
                "Nothing came back from 198.51.100.1:4500.",
                "Try again.",
            ),
            Canvas { width: 30, unicode: true },
        );
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert!(plain.lines().all(|line| line.width() <= 30), "{plain}");
        assert!(
            plain.starts_with("✗ The gateway does not answer.\n  Why  Nothing came back from\n       198.51"),
            "{plain}"
        );
    }
}
