//! Distinguished names as text (RFC 4514).

use std::str::FromStr;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::SetOfVec;
use x509_cert::der::oid::{ObjectIdentifier, db::DB};
use x509_cert::der::{self, Decode, Encode};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use super::Printable;

/// The RFC 4514 string of a DER-encoded name, most specific part first; `None` when it is no name or an empty one.
pub(super) fn to_text(name: &[u8]) -> Option<String> {
    let name = Name::from_der(name).ok().filter(|name| !name.is_empty())?;
    Some(Printable(&name.to_string()).to_string())
}

/// Whether the text starts like a distinguished name: an attribute type that is known, and `=`.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.split_once('=').is_some_and(|(kind, _)| attribute_type(kind).is_some())
}

/// DER of a name written in RFC 4514 order or, as OpenSSL and strongSwan print it, root first; spaces around the
/// parts don't count.
pub(super) fn from_text(text: &str) -> Result<Vec<u8>, der::Error> {
    let mut parts = split_unescaped(text, &[',', ';']);
    if !is_root_first(&parts) {
        parts.reverse();
    }
    encode(&parts)
}

/// DER of a name in RFC 4514 order.
pub(super) fn from_rfc4514(text: &str) -> Result<Vec<u8>, der::Error> {
    let mut parts = split_unescaped(text, &[',', ';']);
    parts.reverse();
    encode(&parts)
}

/// Whether `name` is the DER encoding of a name.
pub(super) fn is_name(name: &[u8]) -> bool {
    Name::from_der(name).is_ok()
}

/// A country is never the most specific part of a name, and a common name never the least specific one.
fn is_root_first(parts: &[&str]) -> bool {
    let starts_with = |part: Option<&&str>, wanted: &str| {
        let kind = part.and_then(|part| part.split_once('=')).and_then(|(kind, _)| attribute_type(kind));
        kind.is_some() && kind == attribute_type(wanted)
    };
    let (first, last) = (parts.first(), parts.last());
    starts_with(first, "C") || (starts_with(last, "CN") && !starts_with(first, "CN"))
}

fn encode(parts: &[&str]) -> Result<Vec<u8>, der::Error> {
    let rdns = parts.iter().map(|part| parse_rdn(part)).collect::<Result<Vec<_>, _>>()?;
    RdnSequence::from(rdns).to_der()
}

fn parse_rdn(text: &str) -> Result<RelativeDistinguishedName, der::Error> {
    let attributes = split_unescaped(text, &['+']).into_iter().map(parse_attribute);
    let attributes = attributes.collect::<Result<Vec<_>, _>>()?;
    Ok(SetOfVec::try_from(attributes)?.into())
}

fn parse_attribute(text: &str) -> Result<AttributeTypeAndValue, der::Error> {
    let malformed = || der::Error::from(der::ErrorKind::Failed);
    let (kind, value) = text.split_once('=').ok_or_else(malformed)?;
    let kind = attribute_type(kind).ok_or_else(malformed)?;
    let value = trim_unescaped(value);
    if value.is_empty() || ends_in_escape(value) {
        return Err(malformed());
    }
    AttributeTypeAndValue::from_str(&format!("{kind}={value}"))
}

fn attribute_type(text: &str) -> Option<ObjectIdentifier> {
    let text = text.trim();
    let name = match text {
        // Short forms of OpenSSL and of Microsoft's tools.
        "E" | "e" => "emailAddress",
        "S" | "s" => "ST",
        other => other,
    };
    DB.by_name(name).copied().or_else(|| ObjectIdentifier::new(text).ok())
}

/// Splits at separators that no backslash escapes, and trims the parts.
fn split_unescaped<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    let mut is_escaped = false;
    let parts = text.split(|c| {
        let separates = !is_escaped && separators.contains(&c);
        is_escaped = !is_escaped && c == '\\';
        separates
    });
    parts.map(trim_unescaped).collect()
}

/// Trims white space, but not a last space that a backslash makes part of the value.
fn trim_unescaped(text: &str) -> &str {
    let text = text.trim_start();
    let trimmed = text.trim_end();
    let kept = trimmed.len() + usize::from(ends_in_escape(trimmed));
    text.get(..kept).unwrap_or(trimmed)
}

/// Whether the last backslash escapes what would come next.
fn ends_in_escape(text: &str) -> bool {
    text.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}
