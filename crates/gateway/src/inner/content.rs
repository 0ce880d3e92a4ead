//! The bytes that `/bytes/N` streams: one endless stream that both ends can compute, of which `N` bytes are taken.
//!
//! Every eight bytes differ from every other eight within any practical length, so that a lost, repeated or
//! misplaced piece always changes the SHA-256.

use std::collections::BTreeMap;

use aws_lc_rs::digest;

/// SHA-256 as bytes.
pub type Sha256 = [u8; 32];

/// Fills `buffer` with the stream from `offset` on.
pub fn fill(offset: u64, buffer: &mut [u8]) {
    let mut word = offset / 8;
    // Below eight by construction.
    let mut skip = (offset % 8) as usize;
    let mut rest = buffer;
    while !rest.is_empty() {
        let bytes = mix(word).to_be_bytes();
        let count = (8 - skip).min(rest.len());
        let (head, tail) = rest.split_at_mut(count);
        head.copy_from_slice(&bytes[skip..skip + count]);
        rest = tail;
        skip = 0;
        word += 1;
    }
}

/// The SHA-256 of the stream's first `length` bytes, at once. For tests and short lengths; the server spreads
/// the work over several turns with [`DigestJob`].
#[must_use]
pub fn sha256(length: u64) -> Sha256 {
    let mut job = DigestJob::new(length);
    loop {
        if let Some(digest) = job.advance() {
            return digest;
        }
    }
}

/// Hexadecimal text of a digest.
#[must_use]
pub fn hex(digest: &Sha256) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 over a prefix of the stream, computed a piece at a time so that one large download doesn't hold up
/// everyone else's packets.
pub struct DigestJob {
    context: digest::Context,
    offset: u64,
    length: u64,
}

impl DigestJob {
    /// Bytes hashed in one turn: about a millisecond.
    const TURN: u64 = 512 * 1024;

    /// A job over the first `length` bytes.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Self { context: digest::Context::new(&digest::SHA256), offset: 0, length }
    }

    /// The length that this job is about.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Does one turn; returns the digest when it is complete.
    pub fn advance(&mut self) -> Option<Sha256> {
        let end = self.length.min(self.offset + Self::TURN);
        let mut block = [0; 8192];
        while self.offset < end {
            // Bounded by the block's size.
            let count = (end - self.offset).min(block.len() as u64) as usize;
            fill(self.offset, &mut block[..count]);
            self.context.update(&block[..count]);
            self.offset += count as u64;
        }
        (self.offset == self.length).then(|| finish(self.context.clone()))
    }
}

/// The digest's bytes of a SHA-256 context.
pub(super) fn finish(context: digest::Context) -> Sha256 {
    let mut bytes = [0; 32];
    // SHA-256 has 32 bytes; a context of another algorithm would leave zeros, which no test accepts.
    if let Some(digest) = context.finish().as_ref().first_chunk() {
        bytes = *digest;
    }
    bytes
}

/// Digests by length that were computed already.
#[derive(Default)]
pub(super) struct DigestCache(BTreeMap<u64, Sha256>);

impl DigestCache {
    const BOUND: usize = 64;

    pub(super) fn find(&self, length: u64) -> Option<Sha256> {
        self.0.get(&length).copied()
    }

    pub(super) fn insert(&mut self, length: u64, digest: Sha256) {
        if self.0.len() >= Self::BOUND {
            self.0.pop_first();
        }
        self.0.insert(length, digest);
    }
}

/// The finaliser of SplitMix64: a bijection on 64 bits, so distinct words stay distinct.
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_of_the_stream_equals_the_same_piece_of_the_whole() {
        let mut whole = vec![0; 1000];
        fill(0, &mut whole);
        for (start, end) in [(0, 1), (1, 8), (7, 9), (8, 16), (13, 977), (999, 1000), (500, 500)] {
            let mut piece = vec![0; end - start];
            fill(start as u64, &mut piece);
            assert_eq!(piece, whole[start..end]);
        }
    }

    #[test]
    fn a_digest_spread_over_turns_equals_the_digest_of_the_bytes() {
        let length = DigestJob::TURN * 2 + 12_345;
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        fill(0, &mut bytes);
        assert_eq!(sha256(length), digest::digest(&digest::SHA256, &bytes).as_ref());
        assert_eq!(hex(&sha256(0)), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
