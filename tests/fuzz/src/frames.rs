//! Several packets in one input, for targets that keep state from packet to packet.

/// Splits an input into packets, each behind its length in two octets; what the last one lacks is left out.
pub fn frames(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (packet, behind) = rest.split_at_checked(length)?;
        input = behind;
        Some(packet)
    })
}

/// Appends a packet for [`frames`] to split off again.
pub fn frame(packet: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(packet.iter().take(length.into()));
}
