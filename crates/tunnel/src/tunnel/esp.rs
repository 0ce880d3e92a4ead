//! Whether ESP passes where IKE does: some filters know one from the other.
//!
//! An SA on which nothing comes back within moments, although somebody inside was asked, is tried in a stream. If the same
//! question is answered there, the network drops ESP in UDP, and the connection stays where it works; if it is not, the one
//! who was asked is silent, and everything goes back to UDP.

use std::time::Instant;

use evenkeel_netprofile::ladder::{Observation, Seen, Transport, judge};
use evenkeel_netprofile::mtu::{Direction, Probe, ProbeId, ProbeStyle};
use evenkeel_netprofile::overhead::Family;

use super::Tunnel;
use crate::defaults;
use crate::event::Event;
use crate::moving::Motive;
use crate::phase::Phase;
use crate::sizes::SizeProbe;

/// What is known of ESP on the path in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum EspCheck {
    /// Nothing is to be found out: it passes, or nobody can be asked, or there is no way round.
    #[default]
    Done,
    /// Somebody inside was asked and has not answered.
    Awaiting { since: Instant },
    /// Somebody inside is asked in a stream. `from` is when UDP was first asked.
    Trying { from: Instant, asked: u32, next: Instant },
}

impl Tunnel {
    /// A path carries datagrams and somebody inside is being asked.
    pub(super) fn begin_esp_check(&mut self, now: Instant) {
        let mobike = self.phase.link().and_then(|link| link.ike_sa()).is_some_and(|ike| ike.mobike);
        let worthwhile = self.sizes.is_some() && mobike && !self.config.fallbacks.is_empty();
        if worthwhile && !self.esp_hopeless {
            self.esp_check = EspCheck::Awaiting { since: now };
        } else if !matches!(self.esp_check, EspCheck::Trying { .. }) {
            self.esp_check = EspCheck::Done;
        }
    }

    /// Something came through the tunnel.
    pub(super) fn esp_heard(&mut self, id: Option<ProbeId>, now: Instant) {
        match self.esp_check {
            EspCheck::Awaiting { .. } => {
                self.esp_check = EspCheck::Done;
                self.observe_esp(&[(Transport::Udp4500, Seen::EspAnswered)], now);
            }
            // No search is under way in a stream: it is one of these questions.
            EspCheck::Trying { from, .. } if id.is_some() => {
                let Some(way) = self.way else { return };
                self.esp_check = EspCheck::Done;
                let silent = Seen::EspSilent {
                    waited: now.saturating_duration_since(from),
                    requests: defaults::ESP_QUESTIONS,
                };
                self.observe_esp(
                    &[
                        (Transport::Udp4500, Seen::IkeAnswered),
                        (Transport::Udp4500, silent),
                        (way.transport, Seen::EspAnswered),
                    ],
                    now,
                );
                // Whether IKE passes over UDP says nothing here: another network, or another visit, is tried anew.
                self.retest = None;
            }
            EspCheck::Done | EspCheck::Trying { .. } => {}
        }
    }

    fn observe_esp(&mut self, seen: &[(Transport, Seen)], now: Instant) {
        let Some(way) = self.way else { return };
        let family = Family::from(way.gateway);
        let observations: Vec<Observation> =
            seen.iter().map(|&(transport, seen)| Observation { transport, family, seen }).collect();
        let judgement = judge(&observations, self.wall_at(now));
        self.profile.verdicts.merge(&judgement.verdicts);
        if let Some(blockage) = judgement.blockage {
            tracing::warn!(?blockage, "this network lets IKE through and nothing else");
            self.blockage = Some(blockage);
        }
    }

    /// The stream that ESP is to be tried in is in use.
    pub(super) fn try_esp(&mut self, from: Instant, now: Instant) {
        self.esp_check = EspCheck::Trying { from, asked: 0, next: now };
    }

    pub(super) fn esp_timeout(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Up(_)) || !self.moving.is_still() {
            return;
        }
        match self.esp_check {
            EspCheck::Awaiting { since } if since + defaults::ESP_SILENCE <= now => {
                tracing::info!("nothing comes back through the tunnel; trying a stream");
                self.start_move(Motive::EspSilent { since }, now);
            }
            EspCheck::Trying { from, asked, next } if next <= now => {
                if asked < defaults::ESP_QUESTIONS {
                    self.esp_check = EspCheck::Trying {
                        from,
                        asked: asked + 1,
                        next: now + defaults::ESP_QUESTION_INTERVAL,
                    };
                    self.ask_in_stream(now);
                } else {
                    self.esp_gave_nothing(now);
                }
            }
            EspCheck::Awaiting { .. } | EspCheck::Trying { .. } | EspCheck::Done => {}
        }
    }

    /// The stream makes no difference, or there is none.
    pub(super) fn esp_gave_nothing(&mut self, now: Instant) {
        self.esp_check = EspCheck::Done;
        self.esp_hopeless = true;
        if self.way.is_some_and(|way| way.transport != Transport::Udp4500) {
            self.start_move(Motive::BackToUdp, now);
        }
    }

    fn ask_in_stream(&mut self, now: Instant) {
        let Some((source, target)) = self.phase.link().and_then(|link| link.inner_pair()) else {
            return self.esp_gave_nothing(now);
        };
        let id = ProbeId { direction: Direction::Uplink, number: self.next_probe };
        self.next_probe = self.next_probe.saturating_add(1);
        let probe = Probe { id, style: ProbeStyle::Echo, size: defaults::ESP_QUESTION_SIZE };
        self.events.push_back(Event::SendProbe(SizeProbe {
            source,
            target,
            inner_len: defaults::ESP_QUESTION_SIZE,
            cut_to: None,
            probe,
        }));
    }

    /// When something of this is due.
    pub(super) fn esp_due(&self) -> Option<Instant> {
        let possible = matches!(self.phase, Phase::Up(_)) && self.moving.is_still();
        match self.esp_check {
            EspCheck::Awaiting { since } if possible => Some(since + defaults::ESP_SILENCE),
            EspCheck::Trying { next, .. } if possible => Some(next),
            EspCheck::Awaiting { .. } | EspCheck::Trying { .. } | EspCheck::Done => None,
        }
    }
}
