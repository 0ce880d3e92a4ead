//! From a key to its place in a TOML text, and back.
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Place;

/// A parsed TOML text that knows where each key stands.
pub(crate) struct Locator<'t> {
    text: &'t str,
    table: Option<Spanned<DeTable<'t>>>,
}

impl<'t> Locator<'t> {
    /// For any text: one that isn't TOML simply has no keys.
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, table: DeTable::parse(text).ok() }
    }

    /// The text itself.
    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// Whether it is well-formed.
    pub(crate) fn is_toml(&self) -> bool {
        self.table.is_some()
    }

    /// Line and column of a byte offset.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        Place { line: before.matches('\n').count() + 1, column: column + 1 }
    }

    /// Where a dotted key (`auth.method`, `trust.ca[1]`) has its value; for a missing key the nearest table
    /// above it that is there.
    pub(crate) fn place_of(&self, key: &str) -> Option<Place> {
        let mut table = self.table.as_ref()?.get_ref();
        let mut found = None;
        for part in key.split('.') {
            let (name, index) = match part.strip_suffix(']').and_then(|p| p.split_once('[')) {
                Some((name, index)) => (name, index.parse::<usize>().ok()),
                None => (part, None),
            };
            let Some((_, value)) = table.iter().find(|(k, _)| k.get_ref() == name) else { break };
            found = Some(value.span().start);
            if let (Some(index), Some(array)) = (index, value.get_ref().as_array()) {
                found = array.get(index).map(|v| v.span().start).or(found);
            }
            match value.get_ref().as_table() {
                Some(inner) => table = inner,
                None => break,
            }
        }
        found.map(|offset| self.place(offset))
    }

    /// The dotted key whose name or value covers the span most tightly.
    pub(crate) fn key_at(&self, span: &Range<usize>) -> Option<String> {
        let mut path = Vec::new();
        descend(self.table.as_ref()?.get_ref(), span, &mut path);
        (!path.is_empty()).then(|| path.join("."))
    }
}

fn descend(table: &DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>) {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table {
        if covers(key.span()) {
            path.push(key.get_ref().to_string());
            return;
        }
        // A table's span is that of its header, so its keys are looked at in any case.
        if let Some(inner) = value.get_ref().as_table() {
            path.push(key.get_ref().to_string());
            let depth = path.len();
            descend(inner, span, path);
            if path.len() > depth || covers(value.span()) {
                return;
            }
            path.pop();
        } else if covers(value.span()) {
            path.push(format!("{}{}", key.get_ref(), element(value.get_ref(), span)));
            return;
        }
    }
}

fn element(value: &DeValue<'_>, span: &Range<usize>) -> String {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    value
        .as_array()
        .and_then(|array| array.iter().position(|v| covers(v.span())))
        .map_or_else(String::new, |i| format!("[{i}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"Lab\"\n[auth]\nmethod = \"psk\"\n[trust]\nca = [\"a\", \"b\"]\n";

    #[test]
    fn keys_are_found_and_found_back() {
        let locator = Locator::new(TEXT);
        for key in ["name", "auth.method", "trust.ca[1]"] {
            let place = locator.place_of(key).expect(key);
            let line: String = TEXT.lines().nth(place.line - 1).expect("line").to_owned();
            let offset = TEXT.find(&line).expect("offset") + place.column - 1;
            assert_eq!(locator.key_at(&(offset..offset + 1)).as_deref(), Some(key));
        }
    }

    #[test]
    fn a_missing_key_is_placed_at_its_table() {
        let locator = Locator::new(TEXT);
        assert_eq!(locator.place_of("auth.identity").map(|p| p.line), Some(2));
        assert_eq!(locator.place_of("gateway"), None);
    }

    #[test]
    fn columns_count_characters() {
        let locator = Locator::new("# ä\nü = 1 # x");
        assert_eq!(locator.place("# ä\nü = ".len()), Place { line: 2, column: 5 });
        assert_eq!(locator.place(9999).line, 2);
    }
}
