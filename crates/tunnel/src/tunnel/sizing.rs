//! The sizes of packets follow what the path carries.

use std::time::Instant;

use evenkeel_ipsec::ike::Framing;
use evenkeel_netprofile::defaults::{RAISE_AFTER, SMALLEST_IPV4_PATH_MTU};
use evenkeel_netprofile::mtu::ProbeId;
use evenkeel_netprofile::overhead::{Family, IPV6_MIN_MTU};

use super::Tunnel;
use crate::event::Event;
use crate::phase::Phase;
use crate::sizes::{PathSizes, Sizes};

impl Tunnel {
    /// Begins to ask how large packets may be on the path in use. Probes leave before the system's network is configured:
    /// they need the CHILD SA alone.
    pub(super) fn start_sizing(&mut self, now: Instant) {
        self.first_probe = self.next_probe;
        // Behind a WireGuard peer nobody is asked.
        self.sizes = self.phase.link().and_then(|link| match link.path.nat.framing {
            Framing::Stream => None,
            Framing::Bare | Framing::NonEspMarker => {
                let child = link.sending_child()?;
                Sizes::start(&link.assigned, child, &link.path, &self.profile, self.next_probe, now)
            }
        });
        self.sizing = self.current_sizes();
        self.begin_esp_check(now);
    }

    /// The session in use has a CHILD SA, maybe another than before. What is measured stays as long as it is asked the same
    /// way: a successor may have another inner address, and another suite has other sizes.
    pub(super) fn keep_sizing(&mut self, now: Instant) {
        let Some(link) = self.phase.link() else { return };
        let is_same = self.sizes.as_ref().is_some_and(|sizes| {
            link.sending_child().is_some_and(|child| sizes.are_of(&link.assigned, child, &link.path))
        });
        if !is_same {
            self.start_sizing(now);
        }
    }

    /// Sends what is to be asked, and has the system follow what was answered.
    pub(super) fn drive_sizing(&mut self, now: Instant) {
        if let Some(sizes) = &mut self.sizes {
            while let Some(probe) = sizes.poll_probe(now) {
                self.next_probe = self.next_probe.max(probe.probe.id.number.saturating_add(1));
                self.events.push_back(Event::SendProbe(probe));
            }
        }
        // On the way to another path, and before there is a CHILD SA, there is nothing to go by.
        let going_by = self.moving.is_still() && !matches!(self.phase, Phase::ExpectChild(..));
        if self.sizes.is_none() && !going_by {
            return;
        }
        let wanted = self.current_sizes();
        if wanted != self.sizing {
            tracing::info!(?wanted, "path MTU");
            self.sizing = wanted;
            self.configure();
        }
    }

    fn current_sizes(&self) -> Option<PathSizes> {
        let (_, path) = self.phase.path()?;
        Some(match (&self.sizes, path.nat.framing) {
            (Some(sizes), _) => sizes.sizes(),
            (None, Framing::Stream) => PathSizes::of_stream(path.path_mtu),
            (None, Framing::Bare | Framing::NonEspMarker) => {
                // Nobody says anything about the way back; what is narrow one way is more often than not so both ways.
                let narrowest = self.narrowed.map_or(path.path_mtu, |(mtu, _)| mtu.min(path.path_mtu));
                PathSizes::unmeasured(&self.profile, narrowest)
            }
        })
    }

    pub(super) fn probe_answered(&mut self, id: ProbeId, now: Instant) {
        // What was asked before may have crossed another path.
        if id.number < self.first_probe {
            return;
        }
        let at = self.wall_at(now);
        if let Some(sizes) = &mut self.sizes {
            sizes.handle_reply(id, now);
            sizes.remember(&mut self.profile, at);
        }
        self.esp_heard(Some(id), now);
    }

    pub(super) fn too_big(&mut self, mtu: u16, quotes_our_packet: bool, now: Instant) {
        if let Some(sizes) = &mut self.sizes {
            sizes.handle_icmp_too_big(mtu, quotes_our_packet, now);
        } else if quotes_our_packet && let Some((_, path)) = self.phase.path() {
            let least = match Family::from(path.nat.remote.ip()) {
                Family::V4 => SMALLEST_IPV4_PATH_MTU,
                Family::V6 => IPV6_MIN_MTU,
            };
            // RFC 8201 §4: believed for ten minutes.
            self.narrowed = Some((mtu.max(least), now + RAISE_AFTER));
        }
    }

    /// When there is something to do about sizes.
    pub(super) fn sizing_due(&self) -> Option<Instant> {
        let narrowed = self.narrowed.map(|(_, until)| until);
        let due = match &self.sizes {
            Some(sizes) => sizes.poll_timeout().into_iter().chain(self.look_at).min(),
            None => narrowed,
        };
        due.filter(|_| !self.moving.is_stranded())
    }

    pub(super) fn sizing_timeout(&mut self, now: Instant) {
        let at = self.wall_at(now);
        self.narrowed.take_if(|(_, until)| *until <= now);
        if let Some(sizes) = &mut self.sizes {
            sizes.handle_timeout(now);
            sizes.remember(&mut self.profile, at);
        }
    }
}
