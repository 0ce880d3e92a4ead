//! Property lists, XML or binary, within limits.
//!
//! A binary one may refer to the same object again and again, so that a few hundred bytes stand for gigabytes;
//! and nesting costs stack when it is freed. So events are counted before anything is built from them.
use std::io::Cursor;

use plist::Value;
use plist::stream::{BinaryReader, Event, OwnedEvent, XmlReader};

use crate::{Place, Problem};

/// Values, strings and keys that a file may have. A large one of an organisation has some hundred.
const MAX_EVENTS: usize = 20_000;
/// Bytes of strings and data in all; the file itself may be a fourth of this.
const MAX_BYTES: usize = 4 * crate::MAX_FILE;
/// Arrays and dictionaries within each other.
const MAX_DEPTH: usize = 32;

/// The tree, or what is wrong and where.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, (Option<Place>, Problem)> {
    let syntax = |message: String| (None, Problem::Syntax { format: "property list", message });
    let events = if bytes.starts_with(b"bplist") {
        collect(BinaryReader::new(Cursor::new(bytes)))
    } else {
        collect(XmlReader::new(Cursor::new(bytes)))
    };
    let events = events.map_err(|stop| match stop {
        Stop::Error(error) => {
            let (message, place) = explain(&error.to_string(), bytes);
            (place, Problem::Syntax { format: "property list", message })
        }
        Stop::Limit(what) => syntax(format!("{what} than any configuration profile has")),
    })?;
    Value::from_events(events.into_iter().map(Ok))
        .map_err(|error| syntax(explain(&error.to_string(), bytes).0))
}

enum Stop {
    Error(plist::Error),
    Limit(&'static str),
}

fn collect(reader: impl Iterator<Item = Result<OwnedEvent, plist::Error>>) -> Result<Vec<OwnedEvent>, Stop> {
    let mut events = Vec::new();
    let (mut depth, mut size) = (0_usize, 0_usize);
    for event in reader {
        let event = event.map_err(Stop::Error)?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "scalars are all alike here")]
        match &event {
            Event::StartArray(_) | Event::StartDictionary(_) => depth += 1,
            Event::EndCollection => depth = depth.saturating_sub(1),
            Event::Data(data) => size = size.saturating_add(data.len()),
            Event::String(text) => size = size.saturating_add(text.len()),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Stop::Limit("it is nested deeper"));
        }
        if size > MAX_BYTES || events.len() == MAX_EVENTS {
            return Err(Stop::Limit("it holds more"));
        }
        events.push(event);
    }
    Ok(events)
}

/// The parser says `Kind (offset N)`.
fn explain(message: &str, bytes: &[u8]) -> (String, Option<Place>) {
    let Some((what, offset)) = message.strip_suffix(')').and_then(|m| m.rsplit_once(" (offset ")) else {
        return (message.to_owned(), None);
    };
    let place = offset.parse::<usize>().ok().filter(|_| !bytes.starts_with(b"bplist")).map(|offset| {
        let before = bytes.get(..offset).unwrap_or(bytes);
        let mut lines = before.rsplit(|b| *b == b'\n');
        let column = lines.next().map_or(0, <[u8]>::len) + 1;
        Place { line: lines.count() + 1, column }
    });
    (what.to_owned(), place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        parse(bytes).expect_err("refused").1.to_string()
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_built() {
        let deep = format!("<plist>{}", "<array>".repeat(100_000));
        assert!(refusal(deep.as_bytes()).contains("nested deeper"));
    }

    #[test]
    fn shared_references_do_not_multiply() {
        // Sixteen arrays, each holding the next one twice: 65,536 values in about a hundred bytes.
        let mut file = b"bplist00".to_vec();
        let mut offsets = Vec::new();
        for level in 0..16_u8 {
            offsets.push(u8::try_from(file.len()).expect("short"));
            file.extend([0xa2, level + 1, level + 1]);
        }
        offsets.push(u8::try_from(file.len()).expect("short"));
        file.push(0x09);
        let table = u64::try_from(file.len()).expect("short");
        let count = u64::try_from(offsets.len()).expect("short");
        file.extend(offsets);
        file.extend([0, 0, 0, 0, 0, 0, 1, 1]);
        file.extend(count.to_be_bytes());
        file.extend(0_u64.to_be_bytes());
        file.extend(table.to_be_bytes());
        assert!(refusal(&file).contains("it holds more"));
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let (place, problem) = parse(b"<plist>\n<dict>\n<oops/>\n</dict></plist>").expect_err("refused");
        assert_eq!(place.map(|p| p.line), Some(3), "{problem}");
    }

    #[test]
    fn nothing_and_junk_are_refused() {
        for bytes in
            [&b""[..], b"<", b"bplist00", b"<plist></plist>", b"<?xml version='1.0'?>", b"<plist><dict><key>"]
        {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
