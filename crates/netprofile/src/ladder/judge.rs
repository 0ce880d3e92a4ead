//! From what answered where to what is blocked.

use std::time::Duration;

use super::{How, Measured, Transport, Verdict, Verdicts};
use crate::defaults;
use crate::overhead::Family;
use crate::time::UnixSeconds;

/// What was seen of one attempt, or of ESP after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observation {
    /// Through what.
    pub transport: Transport,
    /// Over which family.
    pub family: Family,
    /// What came of it.
    pub seen: Seen,
}

/// What came of an attempt. IKE stands for WireGuard's handshake as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The gateway answered.
    IkeAnswered,
    /// No answer to `requests` sent over `waited`.
    IkeSilent {
        /// From the first request until the attempt was given up.
        waited: Duration,
        /// How often the request was sent.
        requests: u32,
    },
    /// ICMP port unreachable, or a TCP reset.
    Refused,
    /// The local system could not send, for lack of a route or an address: nothing about the network beyond.
    NotSent,
    /// An ESP packet of the peer arrived.
    EspAnswered,
    /// A probe that is answered through the tunnel was not, within `waited` and `requests` repetitions.
    EspSilent {
        /// From the first probe until it was given up.
        waited: Duration,
        /// How often the probe was sent.
        requests: u32,
    },
}

/// Why the ladder's first rung does not carry the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blockage {
    /// IKE is answered on UDP/500 and nothing is on UDP/4500.
    Udp4500Blocked,
    /// Nothing is answered over UDP and something is over TCP.
    UdpBlocked,
    /// IKE is answered on UDP/4500, ESP there is not, and the same probe through another transport is.
    EspBlocked,
    /// The gateway answers through nothing at all: it is down, or the network is, or there is a captive portal.
    NothingAnswers,
}

/// What [`judge`] finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// Verdicts that these observations allow; the others stay as they were.
    pub verdicts: Verdicts,
    /// The cause, where there is one.
    pub blockage: Option<Blockage>,
}

/// Judges the observations of one connection attempt on one network.
///
/// Silence speaks against a transport only beside an answer through another one over the same family: without it the
/// gateway may be down or the family unusable. WireGuard's peer need not be the gateway, so its answer speaks for itself
/// alone. Observations may come in any order, and an answer outweighs any silence.
#[must_use]
pub fn judge(observations: &[Observation], at: UnixSeconds) -> Judgement {
    let mut verdicts = Verdicts::default();
    for transport in Transport::ALL {
        *verdicts.of_mut(transport) =
            handshake(observations, transport).map(|(verdict, how)| Measured { verdict, at, how });
    }
    verdicts.esp_in_udp = esp(observations).map(|(verdict, how)| Measured { verdict, at, how });
    Judgement { verdicts, blockage: blockage(&verdicts, observations) }
}

fn is_long(waited: Duration, requests: u32) -> bool {
    waited >= defaults::SILENCE && requests >= defaults::REQUESTS_BEFORE_SILENCE
}

/// The gateway was heard through `transport` over this family.
fn answers(observations: &[Observation], family: Family, transport: impl Fn(Transport) -> bool) -> bool {
    observations.iter().any(|seen| {
        seen.family == family
            && transport(seen.transport)
            && matches!(seen.seen, Seen::IkeAnswered | Seen::EspAnswered)
    })
}

fn handshake(observations: &[Observation], transport: Transport) -> Option<(Verdict, How)> {
    let of_it = || observations.iter().filter(|seen| seen.transport == transport);
    if of_it().any(|seen| matches!(seen.seen, Seen::IkeAnswered | Seen::EspAnswered)) {
        return Some((Verdict::Open, How::Answered));
    }
    let is_gateway = |other: Transport| other != transport && other != Transport::WireGuard;
    let beside_an_answer = |seen: &&Observation| answers(observations, seen.family, is_gateway);
    let silent = |seen: &Observation| match seen.seen {
        Seen::IkeSilent { waited, requests } => is_long(waited, requests),
        Seen::IkeAnswered | Seen::Refused | Seen::NotSent | Seen::EspAnswered | Seen::EspSilent { .. } => {
            false
        }
    };
    if of_it().filter(beside_an_answer).any(silent) {
        return Some((Verdict::Blocked, How::SilentWhileOthersAnswered));
    }
    let refused = of_it().filter(beside_an_answer).any(|seen| seen.seen == Seen::Refused);
    refused.then_some((Verdict::Blocked, How::Refused))
}

fn esp(observations: &[Observation]) -> Option<(Verdict, How)> {
    let udp = || observations.iter().filter(|seen| seen.transport == Transport::Udp4500);
    if udp().any(|seen| seen.seen == Seen::EspAnswered) {
        return Some((Verdict::Open, How::Answered));
    }
    let ike = udp().any(|seen| seen.seen == Seen::IkeAnswered);
    let silent = udp().any(|seen| match seen.seen {
        Seen::EspSilent { waited, requests } => is_long(waited, requests),
        Seen::IkeAnswered | Seen::IkeSilent { .. } | Seen::Refused | Seen::NotSent | Seen::EspAnswered => {
            false
        }
    });
    // Without ESP through something else, the probe's target may be what is silent.
    let elsewhere =
        observations.iter().any(|seen| !seen.transport.is_udp() && seen.seen == Seen::EspAnswered);
    (ike && silent && elsewhere).then_some((Verdict::Blocked, How::SilentWhileOthersAnswered))
}

impl Verdicts {
    /// What is in the way of UDP by what was measured before, as far as that still counts.
    #[must_use]
    pub fn blockage(&self, now: UnixSeconds) -> Option<Blockage> {
        let mut fresh = *self;
        fresh.age(now);
        blockage(&fresh, &[])
    }
}

fn blockage(verdicts: &Verdicts, observations: &[Observation]) -> Option<Blockage> {
    let is = |measured: Option<Measured>, verdict| measured.is_some_and(|known| known.verdict == verdict);
    if is(verdicts.esp_in_udp, Verdict::Blocked) {
        return Some(Blockage::EspBlocked);
    }
    if is(verdicts.udp4500, Verdict::Blocked) {
        if is(verdicts.udp500, Verdict::Open) {
            return Some(Blockage::Udp4500Blocked);
        }
        let over_tcp = [Transport::Tcp4500, Transport::Tcp443, Transport::Tls443];
        if over_tcp.into_iter().any(|transport| is(verdicts.of(transport), Verdict::Open)) {
            return Some(Blockage::UdpBlocked);
        }
        return Some(Blockage::Udp4500Blocked);
    }
    let of_gateway = || observations.iter().filter(|seen| seen.transport != Transport::WireGuard);
    let sent = || of_gateway().filter(|seen| seen.seen != Seen::NotSent);
    let all_failed = sent().all(|seen| match seen.seen {
        Seen::IkeSilent { waited, requests } => is_long(waited, requests),
        Seen::Refused => true,
        Seen::IkeAnswered | Seen::NotSent | Seen::EspAnswered | Seen::EspSilent { .. } => false,
    });
    (sent().next().is_some() && all_failed).then_some(Blockage::NothingAnswers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transport::{Tcp443, Tcp4500, Udp500, Udp4500, WireGuard};

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
    const SILENT: Seen = Seen::IkeSilent { waited: Duration::from_secs(3), requests: 3 };
    const ESP_SILENT: Seen = Seen::EspSilent { waited: Duration::from_secs(3), requests: 3 };

    fn seen(of: &[(Transport, Seen)]) -> Judgement {
        let over = |&(transport, seen)| Observation { transport, family: Family::V4, seen };
        judge(&of.iter().map(over).collect::<Vec<_>>(), NOW)
    }

    fn verdict(measured: Option<Measured>) -> Option<Verdict> {
        measured.map(|measured| measured.verdict)
    }

    #[test]
    fn an_answer_on_500_and_none_on_4500_is_udp_4500_blocked() {
        let judgement = seen(&[(Udp500, Seen::IkeAnswered), (Udp4500, SILENT)]);
        assert_eq!(judgement.blockage, Some(Blockage::Udp4500Blocked));
        assert_eq!(verdict(judgement.verdicts.udp500), Some(Verdict::Open));
        assert_eq!(
            judgement.verdicts.udp4500,
            Some(Measured { verdict: Verdict::Blocked, at: NOW, how: How::SilentWhileOthersAnswered })
        );
        assert_eq!(judgement.verdicts.tcp443, None, "not measured is not a verdict");
    }

    #[test]
    fn silence_on_udp_beside_an_answer_over_tcp_is_udp_blocked() {
        let judgement =
            seen(&[(Udp500, SILENT), (Udp4500, SILENT), (Tcp4500, SILENT), (Tcp443, Seen::IkeAnswered)]);
        assert_eq!(judgement.blockage, Some(Blockage::UdpBlocked));
        assert_eq!(verdict(judgement.verdicts.tcp4500), Some(Verdict::Blocked));
        assert_eq!(verdict(judgement.verdicts.tcp443), Some(Verdict::Open));
    }

    #[test]
    fn esp_that_dies_on_udp_and_lives_on_tcp_is_esp_blocked() {
        let judgement = seen(&[
            (Udp4500, Seen::IkeAnswered),
            (Udp4500, ESP_SILENT),
            (Tcp4500, Seen::IkeAnswered),
            (Tcp4500, Seen::EspAnswered),
        ]);
        assert_eq!(judgement.blockage, Some(Blockage::EspBlocked));
        assert_eq!(verdict(judgement.verdicts.esp_in_udp), Some(Verdict::Blocked));
        assert_eq!(verdict(judgement.verdicts.udp4500), Some(Verdict::Open));
    }

    #[test]
    fn esp_that_nothing_answers_anywhere_is_no_verdict() {
        let judgement = seen(&[
            (Udp4500, Seen::IkeAnswered),
            (Udp4500, ESP_SILENT),
            (Tcp4500, Seen::IkeAnswered),
            (Tcp4500, ESP_SILENT),
        ]);
        assert_eq!((judgement.blockage, judgement.verdicts.esp_in_udp), (None, None));
    }

    #[test]
    fn silence_everywhere_blames_no_transport() {
        let judgement = seen(&[(Udp500, SILENT), (Udp4500, SILENT), (Tcp443, Seen::Refused)]);
        assert_eq!(judgement.blockage, Some(Blockage::NothingAnswers));
        assert_eq!(judgement.verdicts, Verdicts::default());
    }

    #[test]
    fn what_was_in_the_way_is_remembered_as_long_as_its_verdicts_count() {
        let answered = Seen::IkeAnswered;
        let verdicts = seen(&[(Udp500, answered), (Udp4500, SILENT), (Tcp4500, answered)]).verdicts;
        let after = |days: u64| verdicts.blockage(UnixSeconds(NOW.0 + days * 86_400));
        assert_eq!(
            (after(0), after(6), after(8)),
            (Some(Blockage::Udp4500Blocked), Some(Blockage::Udp4500Blocked), None)
        );
        assert_eq!(Verdicts::default().blockage(NOW), None);
    }

    #[test]
    fn a_short_silence_or_a_single_request_is_no_verdict() {
        let short = Seen::IkeSilent { waited: Duration::from_millis(300), requests: 3 };
        let single = Seen::IkeSilent { waited: Duration::from_secs(9), requests: 1 };
        for silence in [short, single, Seen::NotSent] {
            let judgement = seen(&[(Udp500, Seen::IkeAnswered), (Udp4500, silence)]);
            assert_eq!((judgement.blockage, judgement.verdicts.udp4500), (None, None), "{silence:?}");
        }
    }

    #[test]
    fn a_dead_family_is_not_taken_for_a_blocked_port() {
        let v6 = |transport, seen| Observation { transport, family: Family::V6, seen };
        let v4 = |transport, seen| Observation { transport, family: Family::V4, seen };
        let judgement = judge(&[v6(Udp4500, SILENT), v6(Udp500, SILENT), v4(Udp500, Seen::IkeAnswered)], NOW);
        assert_eq!((judgement.blockage, judgement.verdicts.udp4500), (None, None));
        let judgement = judge(&[v6(Udp4500, SILENT), v4(Udp4500, Seen::IkeAnswered)], NOW);
        assert_eq!(verdict(judgement.verdicts.udp4500), Some(Verdict::Open));
    }

    #[test]
    fn a_gateway_without_tcp_is_refused_there_and_nothing_is_wrong() {
        let judgement = seen(&[(Udp4500, Seen::IkeAnswered), (Tcp4500, Seen::Refused)]);
        assert_eq!(judgement.blockage, None);
        assert_eq!(
            judgement.verdicts.tcp4500,
            Some(Measured { verdict: Verdict::Blocked, at: NOW, how: How::Refused })
        );
    }

    #[test]
    fn the_answer_of_a_wireguard_peer_says_nothing_about_the_gateway() {
        let judgement = seen(&[(Udp500, SILENT), (Udp4500, SILENT), (WireGuard, Seen::IkeAnswered)]);
        assert_eq!(judgement.blockage, Some(Blockage::NothingAnswers));
        assert_eq!((judgement.verdicts.udp500, judgement.verdicts.udp4500), (None, None));
        assert_eq!(verdict(judgement.verdicts.wireguard), Some(Verdict::Open));
        let judgement = seen(&[(Udp4500, Seen::IkeAnswered), (WireGuard, SILENT)]);
        assert_eq!(judgement.blockage, None);
        assert_eq!(verdict(judgement.verdicts.wireguard), Some(Verdict::Blocked));
    }

    #[test]
    fn the_order_of_what_was_seen_does_not_matter() {
        let mut all = vec![
            (Udp4500, SILENT),
            (Udp500, Seen::IkeAnswered),
            (Tcp443, Seen::IkeAnswered),
            (Udp500, SILENT),
        ];
        let first = seen(&all);
        for _ in 0..all.len() {
            all.rotate_left(1);
            assert_eq!(seen(&all), first);
        }
    }
}
