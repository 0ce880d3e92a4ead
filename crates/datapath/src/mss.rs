//! TCP maximum segment size on SYN packets, both ways: what keeps TCP working where the ICMP messages of path
//! MTU discovery are eaten (RFC 4459 §3.2 calls it the practical choice for tunnels).

use crate::checksum::adjust;
use crate::headers::{Family, TCP_HEADER, TcpPacket, tcp};

/// The largest MSS that connections through the tunnel may agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MssClamp {
    /// For TCP over IPv4: the inner MTU less 40.
    pub v4: u16,
    /// For TCP over IPv6: the inner MTU less 60.
    pub v6: u16,
}

impl MssClamp {
    /// Leaves every packet as it is.
    pub const NONE: Self = Self { v4: u16::MAX, v6: u16::MAX };

    /// What fits into an inner MTU.
    #[must_use]
    pub const fn for_mtu(mtu: u16) -> Self {
        Self { v4: mtu.saturating_sub(40), v6: mtu.saturating_sub(60) }
    }

    /// Lowers the MSS option of a SYN. A packet without the option stays so: its sender's peer will assume
    /// 536 (RFC 9293 §3.7.1). `checksum` says whether the TCP checksum covers the option yet; a partial one is
    /// finished later over the new value.
    #[inline]
    pub(crate) fn apply(self, packet: &mut [u8], checksum: Checksum) {
        let Some(parsed) = TcpPacket::parse(packet) else { return };
        if parsed.flags(packet) & tcp::SYN != 0 {
            self.apply_to_syn(packet, parsed, checksum);
        }
    }

    #[cold]
    fn apply_to_syn(self, packet: &mut [u8], parsed: TcpPacket, checksum: Checksum) {
        let limit = match parsed.network.family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        };
        let start = parsed.network.header_len;
        let tcp_header = &mut packet[start..parsed.headers_len];
        let Some(value) = mss_option(tcp_header) else { return };
        let old = [tcp_header[value], tcp_header[value + 1]];
        if u16::from_be_bytes(old) <= limit {
            return;
        }
        let new = limit.to_be_bytes();
        tcp_header[value..value + 2].copy_from_slice(&new);
        match checksum {
            Checksum::Partial => {}
            Checksum::Complete => {
                let field = tcp::CHECKSUM..tcp::CHECKSUM + 2;
                let before = [tcp_header[field.start], tcp_header[field.start + 1]];
                // An option at an odd offset lies across two words: swap its bytes to sum it (RFC 1071 §2(B)).
                let odd = value % 2 == 1;
                let word = |bytes: [u8; 2]| if odd { [bytes[1], bytes[0]] } else { bytes };
                tcp_header[field].copy_from_slice(&adjust(before, word(old), word(new)));
            }
        }
    }
}

/// Whether a packet's TCP checksum is what will be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Checksum {
    Complete,
    Partial,
}

/// Where in a TCP header the value of the MSS option is.
fn mss_option(tcp_header: &[u8]) -> Option<usize> {
    let mut at = TCP_HEADER;
    loop {
        match *tcp_header.get(at..)? {
            [0, ..] | [] => return None,
            [1, ..] => at += 1,
            [2, 4, _, _, ..] => return Some(at + 2),
            [_, len, ..] if len >= 2 => at += usize::from(len),
            [_, ..] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::transport_is_valid;
    use crate::headers::TCP;
    use crate::testing::{self, Tcp};

    const CLAMP: MssClamp = MssClamp { v4: 1380, v6: 1360 };

    fn mss(packet: &[u8]) -> Option<u16> {
        let parsed = TcpPacket::parse(packet)?;
        let header = &packet[parsed.network.header_len..parsed.headers_len];
        mss_option(header).map(|at| u16::from_be_bytes([header[at], header[at + 1]]))
    }

    fn syn(family: Family, options: &[u8]) -> Vec<u8> {
        testing::tcp(&Tcp { family, flags: tcp::SYN, options, ..Tcp::default() })
    }

    #[test]
    fn a_larger_mss_is_lowered_and_the_checksum_stays_right() {
        for (family, limit) in [(Family::V4, 1380), (Family::V6, 1360)] {
            for options in
                [&[2, 4, 0x05, 0xb4][..], &[1, 2, 4, 0x23, 0x01, 0, 0, 0], &[4, 2, 1, 2, 4, 0xff, 0xff, 0]]
            {
                let mut packet = syn(family, options);
                CLAMP.apply(&mut packet, Checksum::Complete);
                assert_eq!(mss(&packet), Some(limit));
                let network = TcpPacket::parse(&packet).unwrap().network;
                assert!(transport_is_valid(&packet, network, TCP), "{family:?} {options:?}");
            }
        }
    }

    #[test]
    fn everything_else_is_left_alone() {
        let no_syn = testing::tcp(&Tcp { options: &[2, 4, 0x05, 0xb4], flags: tcp::ACK, ..Tcp::default() });
        for packet in [
            syn(Family::V4, &[2, 4, 0x05, 0x00]),
            syn(Family::V4, &[]),
            syn(Family::V4, &[2, 9, 0xff, 0xff]),
            syn(Family::V4, &[3, 0, 2, 4]),
            syn(Family::V4, &[1, 1, 1, 2]),
            no_syn,
            vec![0x45; 20],
            vec![],
        ] {
            let mut clamped = packet.clone();
            CLAMP.apply(&mut clamped, Checksum::Complete);
            assert_eq!(clamped, packet);
        }
    }

    #[test]
    fn a_partial_checksum_is_not_touched() {
        let mut packet = syn(Family::V4, &[2, 4, 0x05, 0xb4]);
        let field = 36..38;
        let before = packet[field.clone()].to_vec();
        CLAMP.apply(&mut packet, Checksum::Partial);
        assert_eq!((mss(&packet), &packet[field]), (Some(1380), &before[..]));
    }
}
