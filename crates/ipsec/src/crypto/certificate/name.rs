//! Comparison of distinguished names (RFC 5280 §7.1, RFC 4518 in outline).

use x509_cert::der::asn1::Any;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::name::{Name, RelativeDistinguishedName};

/// Whether two DER Names are the same: as many RDNs in the same order, each with the same attributes. Strings count
/// equal regardless of their type, of case and of surplus spaces; other values must be identical. False if either can't
/// be read or is empty.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    let (Ok(a), Ok(b)) = (Name::from_der(a), Name::from_der(b)) else {
        return false;
    };
    !a.is_empty()
        && a.iter_rdn().count() == b.iter_rdn().count()
        && a.iter_rdn().zip(b.iter_rdn()).all(|(a, b)| equal_rdn(a, b))
}

fn equal_rdn(a: &RelativeDistinguishedName, b: &RelativeDistinguishedName) -> bool {
    let normal = |rdn: &RelativeDistinguishedName| {
        // A set: its order in DER depends on the string types, so it is sorted anew.
        let mut attributes: Vec<_> =
            rdn.iter().map(|attribute| (attribute.oid, Value::of(&attribute.value))).collect();
        attributes.sort();
        attributes
    };
    normal(a) == normal(b)
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    Other(Option<Vec<u8>>),
}

impl Value {
    fn of(value: &Any) -> Self {
        match text(value) {
            Some(text) => {
                let words: Vec<_> = text.split_whitespace().collect();
                Self::Text(words.join(" ").to_lowercase())
            }
            None => Self::Other(value.to_der().ok()),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only string types are text")]
fn text(value: &Any) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::PrintableString | Tag::Ia5String | Tag::Utf8String => String::from_utf8(bytes.to_vec()).ok(),
        // As everyone does, Latin-1.
        Tag::TeletexString => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let (units, rest) = bytes.as_chunks::<2>();
            let units: Vec<_> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok()).flatten()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Name of one-attribute RDNs: (last octet of the OID under 2.5.4, tag, value).
    fn name(rdns: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let tlv = |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()], value].concat();
        let rdns: Vec<u8> = rdns
            .iter()
            .flat_map(|(oid, tag, value)| {
                let attribute = [tlv(6, &[0x55, 0x04, *oid]), tlv(*tag, value)].concat();
                tlv(0x31, &tlv(0x30, &attribute))
            })
            .collect();
        tlv(0x30, &rdns)
    }

    const CN: u8 = 3;
    const O: u8 = 10;
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    const BMP: u8 = 0x1e;

    #[test]
    fn string_type_case_and_spaces_make_no_difference() {
        let reference = name(&[(O, UTF8, b"Example Org"), (CN, UTF8, b"gateway")]);
        assert!(equal(&reference, &reference));
        assert!(equal(&reference, &name(&[(O, PRINTABLE, b" example  ORG "), (CN, PRINTABLE, b"Gateway")])));
        let bmp: Vec<u8> = "gateway".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert!(equal(&reference, &name(&[(O, UTF8, b"Example Org"), (CN, BMP, &bmp)])));
    }

    #[test]
    fn order_number_type_and_content_do() {
        let reference = name(&[(O, UTF8, b"Example"), (CN, UTF8, b"gateway")]);
        for other in [
            name(&[(CN, UTF8, b"gateway"), (O, UTF8, b"Example")]),
            name(&[(O, UTF8, b"Example")]),
            name(&[(O, UTF8, b"Example"), (CN, UTF8, b"gateway"), (CN, UTF8, b"gateway")]),
            name(&[(O, UTF8, b"Example"), (O, UTF8, b"gateway")]),
            name(&[(O, UTF8, b"Example"), (CN, UTF8, b"gateway2")]),
            name(&[(O, UTF8, b"Exam ple"), (CN, UTF8, b"gateway")]),
            name(&[(O, UTF8, b"Example"), (CN, 0x04, b"gateway")]),
            name(&[]),
            vec![],
        ] {
            assert!(!equal(&reference, &other) && !equal(&other, &reference));
        }
        assert!(!equal(&name(&[]), &name(&[])), "an empty name identifies nobody");
    }
}
