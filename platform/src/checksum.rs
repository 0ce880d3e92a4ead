//! The part of Internet checksums that depends on the processor: summing.

/// Adds `bytes` up for an Internet checksum (RFC 1071), as 32-bit words in the machine's byte order, an odd
/// end padded with zeros. Sums may be added up and folded to 16 bits later; a part that does not begin at an
/// even offset of the whole cannot be summed apart.
#[must_use]
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { sum_avx2(bytes) };
    }
    sum_lanes(bytes)
}

/// The same loop for wider registers: three times as fast, and checksums are the largest cost after the cipher.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> u64 {
    sum_lanes(bytes)
}

/// Sixteen independent sums, which compilers turn into vector additions.
#[inline(always)]
fn sum_lanes(bytes: &[u8]) -> u64 {
    const LANES: usize = 16;
    let mut lanes = [0u64; LANES];
    let (blocks, rest) = bytes.as_chunks::<{ LANES * 4 }>();
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let (words, rest) = rest.as_chunks::<4>();
    let mut end = [0; 4];
    end[..rest.len()].copy_from_slice(rest);
    lanes.iter().sum::<u64>()
        + words.iter().chain([&end]).map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(sum: u64) -> u16 {
        (sum % 0xffff) as u16
    }

    #[test]
    fn every_length_sums_as_its_16_bit_words_do() {
        let bytes: Vec<u8> = (0..2000u32).map(|n| (n * 7 + n / 256) as u8).collect();
        for len in 0..bytes.len() {
            let words: u64 = bytes[..len]
                .chunks(2)
                .map(|pair| u64::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
                .sum();
            assert_eq!(fold(sum(&bytes[..len])), fold(words), "{len} bytes");
            assert_eq!(sum(&bytes[..len]), sum_lanes(&bytes[..len]));
        }
    }

    #[test]
    fn the_longest_packet_does_not_overflow() {
        assert_eq!(
            fold(sum(&[0xff; 65_535])),
            fold(sum(&[0xff; 65_535][..65_534]) + u64::from(u16::from_ne_bytes([0xff, 0])))
        );
    }
}
