//! Signed `.mobileconfig` files: a CMS `SignedData` around the plist (RFC 5652 §5).
//!
//! The signature is not checked: whom it would have to be by is nothing that a VPN client could know. The
//! importer says so.
use x509_cert::der::asn1::{ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode, Header, Reader, SliceReader, Tag, TagNumber};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");

/// Whether these bytes begin like DER (or BER) `ContentInfo`.
pub(super) fn looks_signed(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x80..=0x84, ..])
}

/// The signed contents; `None` if this is no such thing.
pub(super) fn contents(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(bytes).ok()?;
    // ContentInfo ::= SEQUENCE { contentType, [0] EXPLICIT content }
    let info = inner(&mut reader, Tag::Sequence)?;
    let mut info = SliceReader::new(info).ok()?;
    if ObjectIdentifier::decode(&mut info).ok()? != SIGNED_DATA {
        return None;
    }
    let explicit = inner(&mut info, context(0))?;
    let mut explicit = SliceReader::new(explicit).ok()?;
    // SignedData ::= SEQUENCE { version, digestAlgorithms SET, encapContentInfo SEQUENCE { type, [0] OCTETS }, .. }
    let signed = inner(&mut explicit, Tag::Sequence)?;
    let mut signed = SliceReader::new(signed).ok()?;
    signed.tlv_bytes().ok()?;
    signed.tlv_bytes().ok()?;
    let encapsulated = inner(&mut signed, Tag::Sequence)?;
    let mut encapsulated = SliceReader::new(encapsulated).ok()?;
    encapsulated.tlv_bytes().ok()?;
    let octets = inner(&mut encapsulated, context(0))?;
    Some(<&OctetStringRef>::from_der(octets).ok()?.as_bytes())
}

/// The value of the next element, if it has this tag.
fn inner<'d>(reader: &mut SliceReader<'d>, tag: Tag) -> Option<&'d [u8]> {
    let header = Header::decode(reader).ok()?;
    if header.tag() != tag {
        return None;
    }
    reader.read_slice(header.length()).ok()
}

fn context(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // openssl smime -sign -nodetach -binary -outform der, over the text "hello"
    const SIGNED: &[u8] = include_bytes!("../../tests/data/hello.p7m");

    #[test]
    fn the_contents_of_a_signed_file_come_out() {
        assert!(looks_signed(SIGNED));
        assert_eq!(contents(SIGNED), Some(&b"hello"[..]));
    }

    #[test]
    fn other_bytes_and_cut_ones_are_not_signed_files() {
        for bytes in [&b""[..], b"0", b"hello", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(contents(bytes), None);
        }
        for cut in 0..SIGNED.len() {
            assert_eq!(SIGNED.get(..cut).and_then(contents), None);
        }
    }
}
