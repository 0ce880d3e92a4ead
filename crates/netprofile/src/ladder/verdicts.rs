//! What is known about each transport on one network.

use serde::{Deserialize, Serialize};

use super::Transport;
use crate::defaults;
use crate::time::UnixSeconds;

/// Whether a transport works here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The gateway answered through it.
    Open,
    /// It failed while the gateway answered through something else: blocked here, or not offered by the gateway. From
    /// here the two look alike; another network tells them apart.
    Blocked,
}

/// What a verdict rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// An authenticated or well-formed answer of the gateway.
    Answered,
    /// Several requests brought no answer while another transport of the same family was answered.
    SilentWhileOthersAnswered,
    /// It was refused (ICMP port unreachable, TCP reset) while another transport was answered.
    Refused,
}

/// A verdict with when and how it was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The verdict.
    pub verdict: Verdict,
    /// When.
    pub at: UnixSeconds,
    /// On what.
    pub how: How,
}

impl Measured {
    fn is_fresh(self, now: UnixSeconds) -> bool {
        let lives = match self.verdict {
            Verdict::Open => defaults::OPEN_VERDICT_LIVES,
            Verdict::Blocked => defaults::BLOCKED_VERDICT_LIVES,
        };
        self.at.age(now) < lives
    }
}

/// The verdicts of one network. `None` is "not measured", which is never "no".
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdicts {
    /// IKE on UDP/500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp500: Option<Measured>,
    /// IKE on UDP/4500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp4500: Option<Measured>,
    /// ESP on UDP/4500, which a filter that knows IKE can drop by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub esp_in_udp: Option<Measured>,
    /// TCP encapsulation on 4500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp4500: Option<Measured>,
    /// TCP encapsulation on 443.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp443: Option<Measured>,
    /// TCP encapsulation on 443 inside TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls443: Option<Measured>,
    /// WireGuard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<Measured>,
}

impl Verdicts {
    /// The verdict on a transport's own handshake.
    #[must_use]
    pub fn of(&self, transport: Transport) -> Option<Measured> {
        match transport {
            Transport::Udp4500 => self.udp4500,
            Transport::Udp500 => self.udp500,
            Transport::Tcp4500 => self.tcp4500,
            Transport::Tcp443 => self.tcp443,
            Transport::Tls443 => self.tls443,
            Transport::WireGuard => self.wireguard,
        }
    }

    pub(super) fn of_mut(&mut self, transport: Transport) -> &mut Option<Measured> {
        match transport {
            Transport::Udp4500 => &mut self.udp4500,
            Transport::Udp500 => &mut self.udp500,
            Transport::Tcp4500 => &mut self.tcp4500,
            Transport::Tcp443 => &mut self.tcp443,
            Transport::Tls443 => &mut self.tls443,
            Transport::WireGuard => &mut self.wireguard,
        }
    }

    /// Whether a tunnel through this transport was blocked, recently enough to matter. UDP/4500 counts as blocked
    /// where only its ESP is dropped.
    #[must_use]
    pub fn is_blocked(&self, transport: Transport, now: UnixSeconds) -> bool {
        let is = |measured: Option<Measured>| {
            measured.is_some_and(|measured| measured.verdict == Verdict::Blocked && measured.is_fresh(now))
        };
        is(self.of(transport)) || (transport == Transport::Udp4500 && is(self.esp_in_udp))
    }

    /// Takes over what `newer` has measured and keeps the rest.
    pub fn merge(&mut self, newer: &Self) {
        for transport in Transport::ALL {
            if let Some(measured) = newer.of(transport) {
                *self.of_mut(transport) = Some(measured);
            }
        }
        self.esp_in_udp = newer.esp_in_udp.or(self.esp_in_udp);
    }

    /// Forgets what is too old to be believed, and brings times that lie in the future back to `now`.
    pub fn age(&mut self, now: UnixSeconds) {
        let age = |slot: &mut Option<Measured>| {
            *slot = slot
                .filter(|measured| measured.is_fresh(now))
                .map(|measured| Measured { at: measured.at.min(now), ..measured });
        };
        for transport in Transport::ALL {
            age(self.of_mut(transport));
        }
        age(&mut self.esp_in_udp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    #[test]
    fn a_blocked_verdict_fades_sooner_than_an_open_one() {
        let measured = |verdict| Some(Measured { verdict, at: NOW, how: How::Answered });
        let mut verdicts = Verdicts {
            udp4500: measured(Verdict::Blocked),
            tcp443: measured(Verdict::Open),
            ..Verdicts::default()
        };
        verdicts.age(UnixSeconds(NOW.0 + 8 * 86_400));
        assert_eq!((verdicts.udp4500, verdicts.tcp443), (None, measured(Verdict::Open)));
        verdicts.age(UnixSeconds(NOW.0 + 91 * 86_400));
        assert_eq!(verdicts, Verdicts::default());
    }

    #[test]
    fn merging_keeps_what_was_not_measured_again() {
        let at = |verdict, at| Some(Measured { verdict, at: UnixSeconds(at), how: How::Answered });
        let mut verdicts = Verdicts {
            udp500: at(Verdict::Open, 1),
            esp_in_udp: at(Verdict::Blocked, 1),
            ..Verdicts::default()
        };
        verdicts.merge(&Verdicts { udp500: at(Verdict::Blocked, 2), ..Verdicts::default() });
        assert_eq!(verdicts.udp500, at(Verdict::Blocked, 2));
        assert_eq!(verdicts.esp_in_udp, at(Verdict::Blocked, 1));
    }

    #[test]
    fn where_only_esp_is_dropped_udp_4500_does_not_lead() {
        let blocked =
            Some(Measured { verdict: Verdict::Blocked, at: NOW, how: How::SilentWhileOthersAnswered });
        let verdicts = Verdicts { esp_in_udp: blocked, ..Verdicts::default() };
        assert!(verdicts.is_blocked(Transport::Udp4500, NOW));
        assert!(!verdicts.is_blocked(Transport::Udp500, NOW));
    }
}
