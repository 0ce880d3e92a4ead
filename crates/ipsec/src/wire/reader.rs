//! A cursor that can't run past its end and knows where it is.

use super::{DecodeError, Part, Place};

/// Reads big-endian fields off the front of a slice.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    place: Place,
}

impl<'a> Reader<'a> {
    /// A reader over `bytes`, which start `offset` octets into what the decoder was given.
    pub(super) fn new(bytes: &'a [u8], part: Part, offset: usize) -> Self {
        Self { rest: bytes, place: Place { part, offset } }
    }

    /// Where the next field starts.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// How many octets are left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Names the part that errors report from here on.
    pub(super) fn enter(&mut self, part: Part) {
        self.place.part = part;
    }

    pub(super) fn bytes(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or_else(|| self.truncated(n, what))?;
        self.advance(n, tail);
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.truncated(N, what))?;
        self.advance(N, tail);
        Ok(*head)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array(what).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Everything that is left.
    pub(super) fn remainder(&mut self) -> &'a [u8] {
        let head = self.rest;
        self.advance(head.len(), &[]);
        head
    }

    /// Splits off a reader over the next `n` octets.
    pub(super) fn sub(&mut self, n: usize, what: &'static str) -> Result<Self, DecodeError> {
        let place = self.place;
        Ok(Self { rest: self.bytes(n, what)?, place })
    }

    /// Reads the 16-bit length of a structure whose first `read` octets, the length included, are behind the
    /// cursor, and splits off a reader over what remains of it.
    pub(super) fn sub_after_length(
        &mut self,
        read: usize,
        what: &'static str,
        allowed: &'static str,
    ) -> Result<Self, DecodeError> {
        let place = self.place;
        let length = usize::from(self.u16(what)?);
        let rest = length.checked_sub(read).ok_or(DecodeError::BadLength { place, what, length, allowed })?;
        self.sub(rest, what)
    }

    /// Requires that nothing is left of `what`.
    pub(super) fn finish(&self, what: &'static str, allowed: &'static str) -> Result<(), DecodeError> {
        if self.is_empty() {
            return Ok(());
        }
        Err(DecodeError::BadLength { place: self.place, what, length: self.len(), allowed })
    }

    fn truncated(&self, needed: usize, what: &'static str) -> DecodeError {
        DecodeError::Truncated { place: self.place, what, needed, available: self.rest.len() }
    }

    fn advance(&mut self, n: usize, tail: &'a [u8]) {
        self.rest = tail;
        self.place.offset += n;
    }
}

impl Place {
    /// A value at this place that is out of its range.
    pub(super) fn bad_value(
        self,
        what: &'static str,
        value: impl Into<u64>,
        allowed: &'static str,
    ) -> DecodeError {
        DecodeError::BadValue { place: self, what, value: value.into(), allowed }
    }

    /// A structure at this place with a length that it can't have.
    pub(super) fn bad_length(self, what: &'static str, length: usize, allowed: &'static str) -> DecodeError {
        DecodeError::BadLength { place: self, what, length, allowed }
    }
}
