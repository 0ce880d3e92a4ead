//! Whole messages and chains of payloads (RFC 7296 §3.1, §3.2, §3.14; RFC 7383 §2.5).

use super::reader::Reader;
use super::writer::{length16, with_length16};
use super::{DecodeError, Header, Part, Payload, PayloadType};

/// More payloads than any message of the protocol has, with room for long certificate chains.
const MAX_PAYLOADS: usize = 64;
/// Next payload, critical bit, length (RFC 7296 §3.2).
const GENERIC_HEADER_LEN: usize = 4;
/// The generic header, fragment number, total fragments (RFC 7383 §2.5).
const SKF_HEADER_LEN: usize = 8;
const CRITICAL: u8 = 0x80;

/// A message's outer structure. Its header is checked; the body of a protected message is opaque until the
/// integrity of the datagram is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope<'a> {
    /// The header.
    pub header: Header,
    /// What follows it.
    pub body: Body<'a>,
}

/// What follows the IKE header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// Payloads in clear text.
    Clear(ClearBody<'a>),
    /// One SK payload (RFC 7296 §3.14).
    Encrypted {
        /// Type of the first payload inside.
        first: u8,
        /// Octets from the start of the datagram up to and including the SK payload's generic header; the sealed
        /// content is what follows.
        aad_len: usize,
    },
    /// One SKF payload (RFC 7383 §2.5).
    Fragment {
        /// Type of the first payload inside the reassembled content; only fragment 1 carries it, else 0.
        first: u8,
        /// Fragment number, from 1 to `total`.
        number: u16,
        /// Number of fragments, at least 1.
        total: u16,
        /// Like that of [`Body::Encrypted`], the two fragment fields included.
        aad_len: usize,
    },
}

/// The payloads of an unprotected message, not yet decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClearBody<'a> {
    first: u8,
    bytes: &'a [u8],
}

impl ClearBody<'_> {
    /// Decodes the payloads.
    ///
    /// # Errors
    ///
    /// See [`decode_payloads`]; offsets count from the start of the datagram.
    pub fn payloads(&self) -> Result<Vec<Payload>, DecodeError> {
        decode_chain(self.first, self.bytes, Header::LEN)
    }
}

impl Envelope<'_> {
    /// Checks the header of a datagram, without its non-ESP marker, and finds out how its body is protected.
    ///
    /// An SK or SKF payload is accepted as the only payload of its message. RFC 7296 §3.14 lets others stand before
    /// it, but no exchange has such payloads.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BadVersion`] for another major version; [`DecodeError::Truncated`], [`DecodeError::BadLength`]
    /// or [`DecodeError::BadValue`] when the header or that of an SK or SKF payload contradicts the datagram.
    pub fn parse(datagram: &[u8]) -> Result<Envelope<'_>, DecodeError> {
        let mut r = Reader::new(datagram, Part::Header, 0);
        let (header, first) = Header::decode(&mut r)?;
        let kind = PayloadType::from_number(first);
        let body = match kind {
            PayloadType::Sk => {
                let first = read_encrypted_header(&mut r, kind)?;
                Body::Encrypted { first, aad_len: Header::LEN + GENERIC_HEADER_LEN }
            }
            PayloadType::Skf => {
                let first = read_encrypted_header(&mut r, kind)?;
                let place = r.place();
                let number = r.u16("fragment number")?;
                let total = r.u16("total fragments")?;
                // RFC 7383 §2.6: the first checks of a received fragment.
                if total == 0 || !(1..=total).contains(&number) {
                    return Err(place.bad_value("fragment number", number, "1 to the number of fragments"));
                }
                let first = if number == 1 { first } else { PayloadType::None.number() };
                Body::Fragment { first, number, total, aad_len: Header::LEN + SKF_HEADER_LEN }
            }
            PayloadType::None
            | PayloadType::Sa
            | PayloadType::Ke
            | PayloadType::IdI
            | PayloadType::IdR
            | PayloadType::Cert
            | PayloadType::CertReq
            | PayloadType::Auth
            | PayloadType::Nonce
            | PayloadType::Notify
            | PayloadType::Delete
            | PayloadType::Vendor
            | PayloadType::TsI
            | PayloadType::TsR
            | PayloadType::Config
            | PayloadType::Eap
            | PayloadType::Unknown(_) => Body::Clear(ClearBody { first, bytes: r.remainder() }),
        };
        Ok(Envelope { header, body })
    }
}

/// Reads the generic header of an SK or SKF payload, which reaches to the end of the message; returns the type of
/// the first payload inside.
fn read_encrypted_header(r: &mut Reader<'_>, kind: PayloadType) -> Result<u8, DecodeError> {
    r.enter(Part::Payload(kind));
    let place = r.place();
    let payload_len = r.len();
    let first = r.u8("next payload")?;
    r.u8("critical bit")?;
    let length = usize::from(r.u16("payload length")?);
    if length != payload_len {
        return Err(place.bad_length("payload", length, "up to the end of the message"));
    }
    Ok(first)
}

/// Decodes a chain of payloads: a cleartext body or the decrypted content of an SK payload. Unknown payloads are
/// skipped unless they are critical.
///
/// # Errors
///
/// Any [`DecodeError`] but [`DecodeError::BadVersion`]; the whole chain is refused.
pub fn decode_payloads(first: u8, bytes: &[u8]) -> Result<Vec<Payload>, DecodeError> {
    decode_chain(first, bytes, 0)
}

fn decode_chain(first: u8, bytes: &[u8], offset: usize) -> Result<Vec<Payload>, DecodeError> {
    let mut r = Reader::new(bytes, Part::Trailer, offset);
    let mut payloads = Vec::new();
    let mut next = PayloadType::from_number(first);
    let mut count = 0;
    while next != PayloadType::None {
        let kind = next;
        r.enter(Part::Payload(kind));
        let place = r.place();
        if count == MAX_PAYLOADS {
            return Err(DecodeError::TooMany { place, what: "payloads", limit: MAX_PAYLOADS });
        }
        count += 1;
        if matches!(kind, PayloadType::Sk | PayloadType::Skf) {
            return Err(place.bad_value(
                "type among other payloads",
                kind.number(),
                "anything but SK and SKF",
            ));
        }
        next = PayloadType::from_number(r.u8("next payload")?);
        let is_critical = r.u8("critical bit")? & CRITICAL != 0;
        let mut body = r.sub_after_length(GENERIC_HEADER_LEN, "payload", "4 or more")?;
        match Payload::decode(kind, &mut body)? {
            Some(payload) => payloads.push(payload),
            // RFC 7296 §2.5: the bit is for those who don't know the type.
            None if is_critical => return Err(DecodeError::UnsupportedCriticalPayload(kind.number())),
            None => {}
        }
    }
    r.enter(Part::Trailer);
    r.finish("what follows the last payload", "0")?;
    Ok(payloads)
}

/// Encodes a chain of payloads; returns the type of the first (0 for none) and the bytes.
#[must_use]
pub fn encode_payloads(payloads: &[Payload]) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    let first = append_payloads(payloads, &mut out);
    (first, out)
}

/// Encodes a complete unprotected message: IKE_SA_INIT, or a notification outside any IKE SA.
#[must_use]
pub fn encode_message(header: &Header, payloads: &[Payload]) -> Vec<u8> {
    let (first, body) = encode_payloads(payloads);
    let total = Header::LEN + body.len();
    let mut out = Vec::with_capacity(total);
    header.encode(&mut out, first, total);
    out.extend_from_slice(&body);
    out
}

/// Encodes the header and the generic header of an SK payload, lengths filled in: the associated data of an AEAD,
/// and what stands before the sealed content of `sealed_len` octets (IV, ciphertext with padding, ICV).
/// `first` is the type of the first payload inside.
#[must_use]
pub fn encode_sk_prefix(header: &Header, first: u8, sealed_len: usize) -> Vec<u8> {
    let payload_len = GENERIC_HEADER_LEN + sealed_len;
    encode_encrypted_prefix(header, PayloadType::Sk, first, payload_len)
}

/// Like [`encode_sk_prefix`] for fragment `number` of `total`, counted from 1. `first` is the type of the first
/// payload of the whole content, and written in fragment 1 only (RFC 7383 §2.5).
#[must_use]
pub fn encode_skf_prefix(header: &Header, first: u8, number: u16, total: u16, sealed_len: usize) -> Vec<u8> {
    let first = if number == 1 { first } else { PayloadType::None.number() };
    let mut out = encode_encrypted_prefix(header, PayloadType::Skf, first, SKF_HEADER_LEN + sealed_len);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&total.to_be_bytes());
    out
}

fn encode_encrypted_prefix(header: &Header, kind: PayloadType, first: u8, payload_len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(Header::LEN + SKF_HEADER_LEN);
    header.encode(&mut out, kind.number(), Header::LEN + payload_len);
    out.extend_from_slice(&[first, 0]);
    out.extend_from_slice(&length16(payload_len).to_be_bytes());
    out
}

fn append_payloads(payloads: &[Payload], out: &mut Vec<u8>) -> u8 {
    let mut rest = payloads.iter().peekable();
    let first = rest.peek().map_or(PayloadType::None, |payload| payload.payload_type());
    while let Some(payload) = rest.next() {
        let next = rest.peek().map_or(PayloadType::None, |payload| payload.payload_type());
        with_length16(out, 2, |out| {
            out.extend_from_slice(&[next.number(), 0, 0, 0]);
            payload.encode(out);
        });
    }
    first.number()
}

#[cfg(test)]
mod tests;
