//! The reachability ladder: which transports to try, in which order and how far apart.
//!
//! IKE_SA_INIT goes to UDP/4500 (and soon to UDP/500, which is the owner's to time), over IPv6 first and over IPv4 a quarter
//! of a second later (RFC 8305 §5); TCP encapsulation (RFC 9329) follows on 4500 and then on 443, a second apart; then WireGuard, where the profile
//! carries it. What a network has shown before reorders the rungs. It never removes one, and never puts one off by
//! more than a second: a wrong memory costs at most that.
//!
//! - [`Ladder::plan`] gives the attempts.
//! - [`judge()`] is the pure function from what answered where to [`Verdicts`] and to the [`Blockage`] behind them.
//! - [`Retest`] says when to try UDP again while a fallback carries the tunnel.

mod judge;
mod retest;
mod verdicts;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use judge::{Blockage, Judgement, Observation, Seen, judge};
pub use retest::Retest;
pub use verdicts::{How, Measured, Verdict, Verdicts};

use crate::defaults;
use crate::overhead::Family;
use crate::time::UnixSeconds;

/// A way to carry the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// IKE on UDP/4500 with the non-ESP marker, ESP in UDP beside it (RFC 3948).
    Udp4500,
    /// IKE on UDP/500. Moves to UDP/4500 for ESP when there is a NAT (RFC 7296 §2.23).
    Udp500,
    /// TCP encapsulation on port 4500 (RFC 9329).
    Tcp4500,
    /// TCP encapsulation on port 443.
    Tcp443,
    /// TCP encapsulation on port 443 inside TLS (RFC 9329 appendix A).
    Tls443,
    /// WireGuard, with keys and an endpoint of the profile.
    WireGuard,
}

impl Transport {
    /// Every transport, in the order in which a network that nothing is known about is tried.
    pub const ALL: [Self; 6] =
        [Self::Udp4500, Self::Udp500, Self::Tcp4500, Self::Tcp443, Self::Tls443, Self::WireGuard];

    /// Whether IKE and ESP travel in UDP datagrams of their own: what a fallback is a fallback from.
    #[must_use]
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::Udp4500 | Self::Udp500)
    }
}

/// The gateway's ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// IKE without NAT traversal.
    pub udp500: u16,
    /// IKE and ESP with NAT traversal.
    pub udp4500: u16,
    /// TCP encapsulation.
    pub tcp4500: u16,
    /// TCP encapsulation where only the Web gets out, in TLS or not.
    pub tcp443: u16,
    /// WireGuard.
    pub wireguard: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { udp500: 500, udp4500: 4500, tcp4500: 4500, tcp443: 443, wireguard: 51820 }
    }
}

impl Ports {
    const fn of(self, transport: Transport) -> u16 {
        match transport {
            Transport::Udp500 => self.udp500,
            Transport::Udp4500 => self.udp4500,
            Transport::Tcp4500 => self.tcp4500,
            Transport::Tcp443 | Transport::Tls443 => self.tcp443,
            Transport::WireGuard => self.wireguard,
        }
    }
}

/// What carried the tunnel the last time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastGood {
    /// The transport.
    pub transport: Transport,
    /// The outer family.
    pub family: Family,
    /// When it last carried traffic.
    pub at: UnixSeconds,
}

/// One attempt to reach the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Through what.
    pub transport: Transport,
    /// Over which family.
    pub family: Family,
    /// To which port of the gateway.
    pub port: u16,
    /// How long after the start.
    pub delay: Duration,
}

/// What there is to be tried.
#[derive(Clone, Debug)]
pub struct Ladder<'a> {
    /// The gateway's ports.
    pub ports: Ports,
    /// Families in which both ends have addresses. Order and repetitions mean nothing.
    pub families: &'a [Family],
    /// Transports that the profile offers. Order and repetitions mean nothing.
    pub transports: &'a [Transport],
}

impl Ladder<'_> {
    /// The attempts, by rising delay: at most one for each transport and family, none left out.
    #[must_use]
    pub fn plan(&self, verdicts: &Verdicts, last_good: Option<LastGood>, now: UnixSeconds) -> Vec<Attempt> {
        let last_good = last_good.filter(|last| last.at.age(now) < defaults::OPEN_VERDICT_LIVES);
        let blocked = |transport| verdicts.is_blocked(transport, now);
        let leader = self.leader(&blocked, last_good);
        let lead = if leader.is_some() { defaults::MEMORY_LEAD } else { Duration::ZERO };

        let fresh = self.stagger(&Transport::ALL, Duration::ZERO);
        let mut order = Transport::ALL;
        // Rungs that were blocked the last time come after those that were not.
        order.sort_by_key(|&transport| !transport.is_udp() && blocked(transport));
        let mut rungs = self.stagger(&order, lead);
        let most = defaults::MEMORY_COST - defaults::FAMILY_STAGGER;
        for (transport, delay) in &mut rungs {
            if Some(*transport) == leader {
                *delay = Duration::ZERO;
            } else if let Some((_, without)) = fresh.iter().find(|(other, _)| other == transport) {
                *delay = (*delay).min(*without + most);
            }
        }
        self.over_families(&rungs, last_good)
    }

    /// The offered transports of `order` with the time of each: UDP together, every fallback a rung later.
    fn stagger(&self, order: &[Transport], lead: Duration) -> Vec<(Transport, Duration)> {
        let mut rungs: Vec<(Transport, Duration)> = Vec::with_capacity(order.len());
        let mut delay = lead;
        for &transport in order.iter().filter(|transport| self.transports.contains(transport)) {
            // Without a rung before it, the first fallback has nothing to wait for.
            if !transport.is_udp() && !rungs.is_empty() {
                delay += defaults::RUNG_STAGGER;
            }
            rungs.push((transport, delay));
        }
        rungs
    }

    /// The fallback that memory puts first, if UDP is not what to begin with.
    fn leader(&self, blocked: &impl Fn(Transport) -> bool, last_good: Option<LastGood>) -> Option<Transport> {
        let offered = |transport: &Transport| self.transports.contains(transport);
        if let Some(last) = last_good {
            return Some(last.transport).filter(|transport| offered(transport) && !transport.is_udp());
        }
        if !blocked(Transport::Udp4500) {
            return None;
        }
        let mut fallbacks = Transport::ALL.into_iter().filter(|transport| !transport.is_udp());
        fallbacks.find(|transport| offered(transport) && !blocked(*transport))
    }

    fn over_families(&self, rungs: &[(Transport, Duration)], last_good: Option<LastGood>) -> Vec<Attempt> {
        let mut families: Vec<Family> =
            [Family::V6, Family::V4].into_iter().filter(|family| self.families.contains(family)).collect();
        if let Some(last) = last_good {
            families.sort_by_key(|&family| family != last.family);
        }
        let mut attempts: Vec<Attempt> = Vec::with_capacity(rungs.len() * families.len());
        let mut stagger = Duration::ZERO;
        for family in families {
            attempts.extend(rungs.iter().map(|&(transport, delay)| Attempt {
                transport,
                family,
                port: self.ports.of(transport),
                delay: delay + stagger,
            }));
            stagger += defaults::FAMILY_STAGGER;
        }
        attempts.sort_by_key(|attempt| attempt.delay);
        attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
    const BOTH: [Family; 2] = [Family::V4, Family::V6];

    fn ladder<'a>(families: &'a [Family], transports: &'a [Transport]) -> Ladder<'a> {
        Ladder { ports: Ports::default(), families, transports }
    }

    fn blocked(transports: &[Transport]) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for &transport in transports {
            let measured =
                Measured { verdict: Verdict::Blocked, at: NOW, how: How::SilentWhileOthersAnswered };
            *verdicts.of_mut(transport) = Some(measured);
        }
        verdicts
    }

    fn last(transport: Transport) -> Option<LastGood> {
        Some(LastGood { transport, family: Family::V4, at: NOW })
    }

    fn millis(plan: &[Attempt]) -> Vec<(Transport, Family, u128)> {
        plan.iter().map(|attempt| (attempt.transport, attempt.family, attempt.delay.as_millis())).collect()
    }

    fn delay(plan: &[Attempt], transport: Transport) -> Duration {
        plan.iter().find(|attempt| attempt.transport == transport).unwrap().delay
    }

    #[test]
    fn an_unknown_network_is_tried_with_udp_at_once_then_tcp_then_wireguard() {
        use Transport::{Tcp443, Tcp4500, Udp500, Udp4500, WireGuard};
        let offered = [WireGuard, Tcp443, Tcp4500, Udp500, Udp4500];
        let plan = ladder(&BOTH, &offered).plan(&Verdicts::default(), None, NOW);
        assert_eq!(
            millis(&plan),
            [
                (Udp4500, Family::V6, 0),
                (Udp500, Family::V6, 0),
                (Udp4500, Family::V4, 250),
                (Udp500, Family::V4, 250),
                (Tcp4500, Family::V6, 1000),
                (Tcp4500, Family::V4, 1250),
                (Tcp443, Family::V6, 2000),
                (Tcp443, Family::V4, 2250),
                (WireGuard, Family::V6, 3000),
                (WireGuard, Family::V4, 3250),
            ]
        );
        assert_eq!(plan[0].port, 4500);
        assert_eq!(plan[1].port, 500);
    }

    #[test]
    fn what_worked_the_last_time_comes_first_and_the_rest_is_still_tried() {
        let plan = ladder(&BOTH, &Transport::ALL).plan(
            &blocked(&[Transport::Udp4500]),
            last(Transport::Tcp443),
            NOW,
        );
        assert_eq!((plan[0].transport, plan[0].family), (Transport::Tcp443, Family::V4));
        assert_eq!(plan[0].delay, Duration::ZERO);
        assert_eq!(plan.len(), 12);
        assert_eq!(delay(&plan, Transport::Udp4500), Duration::from_millis(500));
    }

    #[test]
    fn a_wrong_memory_puts_no_attempt_off_by_more_than_a_second() {
        let ladder = ladder(&BOTH, &Transport::ALL);
        let fresh = ladder.plan(&Verdicts::default(), None, NOW);
        for bits in 0..64_u32 {
            let of_bits = Transport::ALL.into_iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
            let wrong: Vec<Transport> = of_bits.map(|(_, transport)| transport).collect();
            for good in Transport::ALL.map(last).into_iter().chain([None]) {
                let plan = ladder.plan(&blocked(&wrong), good, NOW);
                assert!(plan.is_sorted_by_key(|attempt| attempt.delay));
                assert_eq!(plan.len(), fresh.len(), "no rung is left out");
                for without in &fresh {
                    let attempt = plan
                        .iter()
                        .find(|with| (with.transport, with.family) == (without.transport, without.family))
                        .unwrap();
                    let cost = attempt.delay.saturating_sub(without.delay);
                    assert!(cost <= Duration::from_secs(1), "{attempt:?} with {good:?} and {wrong:?}");
                }
            }
        }
    }

    #[test]
    fn udp_that_was_blocked_lets_the_first_open_fallback_lead_without_a_last_good_one() {
        let plan = ladder(&[Family::V4], &Transport::ALL).plan(
            &blocked(&[Transport::Udp4500, Transport::Tcp4500]),
            None,
            NOW,
        );
        assert_eq!(plan[0].transport, Transport::Tcp443);
        assert_eq!(delay(&plan, Transport::Udp4500), defaults::MEMORY_LEAD);
        assert_eq!(delay(&plan, Transport::Tcp4500), Duration::from_millis(1750), "put off, but tried");
    }

    #[test]
    fn old_memory_reorders_nothing() {
        let later = UnixSeconds(NOW.0 + 400 * 86_400);
        let verdicts = blocked(&[Transport::Udp4500]);
        let ladder = ladder(&BOTH, &Transport::ALL);
        assert_eq!(
            ladder.plan(&verdicts, last(Transport::Tcp443), later),
            ladder.plan(&Verdicts::default(), None, later)
        );
    }

    #[test]
    fn a_profile_with_one_fallback_only_starts_it_at_once() {
        let plan = ladder(&[Family::V4], &[Transport::WireGuard, Transport::WireGuard]).plan(
            &Verdicts::default(),
            None,
            NOW,
        );
        assert_eq!(millis(&plan), [(Transport::WireGuard, Family::V4, 0)]);
        assert!(ladder(&[], &Transport::ALL).plan(&Verdicts::default(), None, NOW).is_empty());
    }
}
