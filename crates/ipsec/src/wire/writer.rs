//! Length fields for what is written.

/// A length as its 16-bit field.
///
/// Everything that this product sends fits a UDP datagram, so a structure of 64 KiB is a local mistake. Its length
/// saturates: the peer then refuses the message as malformed, where a wrapped length would be read as another,
/// shorter structure.
pub(super) fn length16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// A number of elements as its 8-bit field; saturates like [`length16`].
pub(super) fn count8(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Appends a structure that carries its own length: `body` writes it whole, and the 16-bit length at `at` octets
/// from its start is filled in afterwards.
pub(super) fn with_length16(out: &mut Vec<u8>, at: usize, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    body(out);
    let length = length16(out.len() - start).to_be_bytes();
    if let Some(field) = out.get_mut(start + at..start + at + length.len()) {
        field.copy_from_slice(&length);
    }
}
