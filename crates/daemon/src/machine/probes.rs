//! Probes of the path MTU: ICMP echoes through the tunnel, and whose answer is whose.

use std::net::IpAddr;

use evenkeel_datapath::probe::{Cookie, EchoRequest, PacketError, Probe, ProbeId, Reply, Watch, WatchSet};
use evenkeel_netprofile::mtu::{self, Direction, ProbeStyle};
use evenkeel_tunnel::SizeProbe;

/// Turns what is to be asked into packets, and answers into what was asked.
pub(super) struct Probes {
    /// Of the echoes of each direction.
    identifiers: [u16; 2],
    cookie: Cookie,
    /// Who answers.
    target: Option<IpAddr>,
    /// The highest number that was sent in each direction.
    highest: [u32; 2],
}

impl Probes {
    /// With an identifier and a cookie that nobody can guess.
    pub(super) fn new(random: [u8; 10]) -> Self {
        let [a, b, cookie @ ..] = random;
        let first = u16::from_be_bytes([a, b]);
        Self {
            identifiers: [first, first.wrapping_add(1)],
            cookie: Cookie(cookie),
            target: None,
            highest: [0; 2],
        }
    }

    /// The packets of a probe, and what to watch for if that has changed.
    pub(super) fn packets(
        &mut self,
        probe: &SizeProbe,
    ) -> Result<(Vec<Probe>, Option<WatchSet>), PacketError> {
        let SizeProbe { source, target, inner_len, cut_to, probe: mtu::Probe { id, style, size } } = *probe;
        let direction = index(id.direction);
        let echo = EchoRequest {
            source,
            destination: target,
            identifier: self.identifiers[direction],
            sequence: sequence(id.number),
            cookie: self.cookie,
        };
        let (packets, outer_len) = match (style, cut_to) {
            (ProbeStyle::Padded, _) => (vec![echo.packet()?], Some(size)),
            (ProbeStyle::Echo, None) => (vec![echo.packet_of(inner_len)?], None),
            (ProbeStyle::Echo, Some(longest)) => (echo.fragments_of(inner_len, longest)?, None),
        };
        self.highest[direction] = self.highest[direction].max(id.number);
        let watches = (self.target.replace(target) != Some(target)).then(|| {
            let echoes = self.identifiers.map(|identifier| Watch::Echo {
                from: target,
                identifier,
                cookie: self.cookie,
            });
            WatchSet::new(echoes).unwrap_or_default()
        });
        let name = ProbeId(u64::from(id.number) << 1 | direction as u64);
        Ok((packets.into_iter().map(|packet| Probe { id: name, packet, outer_len }).collect(), watches))
    }

    /// Which probe this packet answers.
    pub(super) fn answered(&self, packet: &[u8]) -> Option<mtu::ProbeId> {
        let Reply::Echo { from, identifier, sequence, cookie } = Reply::parse(packet)? else { return None };
        if Some(from) != self.target || cookie != self.cookie {
            return None;
        }
        let direction = self.identifiers.iter().position(|ours| *ours == identifier)?;
        // The newest number with this sequence.
        let highest = self.highest[direction];
        let back = u32::from((highest as u16).wrapping_sub(sequence));
        let number = highest.checked_sub(back)?;
        let direction = if direction == 0 { Direction::Uplink } else { Direction::Downlink };
        Some(mtu::ProbeId { direction, number })
    }
}

const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Uplink => 0,
        Direction::Downlink => 1,
    }
}

/// Sixteen bits of a number: the search asks far fewer questions at once.
const fn sequence(number: u32) -> u16 {
    let [.., high, low] = number.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(direction: Direction, style: ProbeStyle, number: u32) -> SizeProbe {
        SizeProbe {
            source: "10.9.0.2".parse().unwrap(),
            target: "10.10.0.1".parse().unwrap(),
            inner_len: 1300,
            cut_to: None,
            probe: mtu::Probe { id: mtu::ProbeId { direction, number }, style, size: 1400 },
        }
    }

    /// The reply to an echo request: type 0, addresses exchanged. Checksums are the data plane's to check.
    fn reply(request: &[u8]) -> Vec<u8> {
        let mut packet = request.to_vec();
        let (source, destination) = (request[12..16].to_vec(), request[16..20].to_vec());
        packet[12..16].copy_from_slice(&destination);
        packet[16..20].copy_from_slice(&source);
        packet[20] = 0;
        packet
    }

    #[test]
    fn each_answer_finds_its_question_beyond_the_sequence_numbers_too() {
        let mut probes = Probes::new([7; 10]);
        for number in [0, 1, 65_535, 65_536, 70_000, 131_072] {
            for direction in [Direction::Uplink, Direction::Downlink] {
                let (sent, _) = probes.packets(&probe(direction, ProbeStyle::Echo, number)).unwrap();
                assert_eq!(
                    probes.answered(&reply(&sent[0].packet)),
                    Some(mtu::ProbeId { direction, number })
                );
            }
        }
    }

    #[test]
    fn what_is_padded_is_small_inside_and_what_is_not_has_the_length_itself() {
        let mut probes = Probes::new([7; 10]);
        let (padded, watches) = probes.packets(&probe(Direction::Uplink, ProbeStyle::Padded, 1)).unwrap();
        assert_eq!((padded[0].packet.len(), padded[0].outer_len), (36, Some(1400)));
        assert!(watches.is_some(), "nobody watches for the answer");
        let (echo, watches) = probes.packets(&probe(Direction::Downlink, ProbeStyle::Echo, 1)).unwrap();
        assert_eq!((echo[0].packet.len(), echo[0].outer_len), (1300, None));
        assert!(watches.is_none());
    }

    #[test]
    fn what_is_too_long_for_the_way_there_goes_in_fragments() {
        let mut probes = Probes::new([7; 10]);
        let wanted = SizeProbe { cut_to: Some(600), ..probe(Direction::Downlink, ProbeStyle::Echo, 1) };
        let (pieces, _) = probes.packets(&wanted).unwrap();
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.packet.len()).collect();
        // 1280 bytes behind the IP header, in pieces of a multiple of eight.
        assert_eq!(lengths, [596, 596, 148]);
        assert!(pieces.iter().all(|piece| piece.packet[6] & 0x40 == 0), "DF is set");
        let all = probes.packets(&SizeProbe { cut_to: Some(1300), ..wanted }).unwrap().0;
        assert_eq!(all.len(), 1, "cut for nothing");
    }

    #[test]
    fn answers_to_others_are_none() {
        let (mut ours, mut others) = (Probes::new([7; 10]), Probes::new([8; 10]));
        ours.packets(&probe(Direction::Uplink, ProbeStyle::Padded, 1)).unwrap();
        let (theirs, _) = others.packets(&probe(Direction::Uplink, ProbeStyle::Padded, 1)).unwrap();
        assert_eq!(ours.answered(&reply(&theirs[0].packet)), None);
        assert_eq!(ours.answered(&[]), None);
    }
}
