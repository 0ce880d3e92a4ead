//! What the IKE sessions say: the one in use, its successor, and those on their way out.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_ipsec::crypto::UnixTime;
use evenkeel_ipsec::ike::{self, ChildEnd, ChildInstalled, Failure};
use evenkeel_ipsec::wire::{EspSpi, NotifyType};
use evenkeel_netprofile::memory::ConnectTime;

use super::Tunnel;
use crate::cause::{Cause, Remedy};
use crate::defaults;
use crate::event::{Event, LinkId, OpenedPath};
use crate::link::Link;
use crate::moving::Moving;
use crate::phase::{Carrier, Network, Phase, Reauthentication};
use crate::race::Race;
use crate::way::Way;

/// Which session speaks.
#[derive(Clone, Copy)]
enum Role {
    InUse,
    /// One that still races.
    Lane(LinkId),
    Successor,
    Leaving(usize),
}

impl Role {
    /// Whether traffic may move to its CHILD SAs. What one that leaves was still given is received on, and nothing more.
    fn may_send(self) -> bool {
        match self {
            Self::InUse | Self::Lane(_) | Self::Successor => true,
            Self::Leaving(_) => false,
        }
    }
}

/// Whether the gateway is still to be told that we leave.
#[derive(Clone, Copy)]
pub(super) enum Farewell {
    Due,
    Needless,
}

impl Tunnel {
    /// Handles what every session has to say. Handling one event can move sessions about, so the next is looked for anew.
    pub(super) fn handle_session_events(&mut self, now: Instant) {
        while let Some((role, event)) = self.next_session_event() {
            match event {
                ike::Event::SignAuth(request) => {
                    if let Some(link) = self.link_of(role) {
                        let link = link.id;
                        self.events.push_back(Event::SignAuth { link, request });
                    }
                }
                ike::Event::Established(sa) => {
                    tracing::info!(
                        spi_i = %sa.spi_i, spi_r = %sa.spi_r, suite = %sa.suite, peer = %sa.peer_id,
                        nat_local = sa.nat_local, nat_remote = sa.nat_remote, round_trips = sa.round_trips,
                        "IKE SA established"
                    );
                    warn_of(&sa.suite.legacy());
                }
                ike::Event::Configured(assigned) => {
                    if let Some(link) = self.link_of(role) {
                        link.assigned = assigned;
                    }
                }
                ike::Event::ChildInstalled(child) => self.child_installed(role, child, now),
                ike::Event::ChildSendOn { spi_in } => {
                    if let Some(link) = self.link_of(role).filter(|_| role.may_send()) {
                        link.send_on(spi_in);
                        self.events.push_back(Event::SendOn { spi_in });
                    }
                    self.configure();
                }
                ike::Event::ChildRemoved { spi_in, reason } => self.child_removed(role, spi_in, reason, now),
                ike::Event::IkeRekeyed(sa) => {
                    tracing::info!(spi_i = %sa.spi_i, spi_r = %sa.spi_r, "IKE SA rekeyed");
                }
                ike::Event::RekeyFailed(failed) => {
                    tracing::warn!(what = ?failed.what, notify = ?failed.notify, "the gateway refused a rekey");
                }
                ike::Event::ChildRefused(notify) => {
                    tracing::warn!(?notify, "the gateway refused another CHILD SA");
                    if matches!(role, Role::InUse) && matches!(self.phase, Phase::ExpectChild(..)) {
                        self.lost(child_failure(notify).into(), Farewell::Due, now);
                    }
                }
                ike::Event::PathChanged(path) => {
                    tracing::debug!(remote = %path.remote, "the gateway's packets come from another address");
                }
                ike::Event::Migrated { path } => {
                    tracing::info!(local = %path.local, remote = %path.remote, "the gateway follows us to this path");
                    if matches!(role, Role::InUse) {
                        self.followed(path, now);
                    }
                }
                ike::Event::MigrationRefused { path, refusal } => {
                    tracing::warn!(local = %path.local, ?refusal, "the gateway does not follow us to this path");
                    if matches!(role, Role::InUse) {
                        self.refused_to_follow(refusal, now);
                    }
                }
                ike::Event::MappingChanged => {
                    if matches!(role, Role::InUse) {
                        self.mapping_changed(now);
                    }
                }
                ike::Event::PathChecked { path, mapping, .. } => {
                    self.path_checked(path, now);
                    self.spare_checked(path, mapping, now);
                }
                ike::Event::PathUnreachable { path } => {
                    self.path_unreachable(path, now);
                    self.spare_unreachable(path, now);
                }
                ike::Event::DelayedCheck { path, outcome } => {
                    if matches!(role, Role::InUse) {
                        self.delayed_check(path, outcome, now);
                    }
                }
                ike::Event::ReauthenticationDue { .. } => {
                    if matches!(role, Role::InUse)
                        && matches!(self.reauthentication, Reauthentication::NotDue)
                    {
                        self.reauthenticate(now);
                    }
                }
                ike::Event::Closed(failure) => self.closed(role, failure, now),
            }
        }
    }

    /// Starts a second session beside the one in use. Straight on the NAT-traversal port: it is known to pass, and
    /// RFC 7296 §2.23 allows IKE_SA_INIT there.
    pub(super) fn reauthenticate(&mut self, now: Instant) {
        let Some(link) = self.phase.link() else {
            // There is no session to replace any more.
            self.reauthentication = Reauthentication::NotDue;
            return;
        };
        let age = now.saturating_duration_since(link.started).as_secs();
        let wall = UnixTime(link.path.wall.0.saturating_add(age));
        let (id, path) = (link.path_id, OpenedPath { init: link.path.nat, wall, ..link.path });
        tracing::info!("re-authenticating before the gateway's lifetime for this session ends");
        let mut successor = self.start_link(id, path, now);
        successor.way = self.way;
        self.reauthentication = Reauthentication::ExpectChild(successor);
    }

    /// Packets can flow and the system's network is configured: this is up.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other phase stays as it is")]
    pub(super) fn up_if_configured(&mut self, now: Instant) {
        if !matches!(self.network, Network::Applied(_)) {
            return;
        }
        match mem::replace(&mut self.phase, Phase::Off) {
            Phase::ExpectConfigured(carrier) => {
                let (known, works) = match &carrier {
                    Carrier::Session(link) => (&mut self.known, link.path.nat.remote.ip()),
                    Carrier::Peer(peer) => (&mut self.peer_known, peer.path.nat.remote.ip()),
                };
                known.retain(|address| *address != works);
                known.insert(0, works);
                if let Some(way) = self.way {
                    self.note_good(way, now);
                    self.note_connected(way, now);
                }
                self.ever_up = true;
                self.cause = None;
                self.phase = Phase::Up(carrier);
            }
            other => self.phase = other,
        }
    }

    /// Remembers how long the attempt took that is over, if it was one.
    fn note_connected(&mut self, way: Way, now: Instant) {
        let Some(began) = self.attempt_began.take() else { return };
        let took = now.saturating_duration_since(began).as_millis();
        self.profile.connect_times.record(ConnectTime {
            at: self.wall_at(now),
            took_ms: u32::try_from(took).unwrap_or(u32::MAX),
            transport: way.transport,
        });
    }

    fn next_session_event(&mut self) -> Option<(Role, ike::Event)> {
        if let Some(event) = self.phase.link_mut().and_then(|link| link.session.poll_event()) {
            return Some((Role::InUse, event));
        }
        if let Phase::Racing(race) = &mut self.phase
            && let Some(event) =
                race.links_mut().find_map(|link| Some((Role::Lane(link.id), link.session.poll_event()?)))
        {
            return Some(event);
        }
        if let Reauthentication::ExpectChild(link) = &mut self.reauthentication
            && let Some(event) = link.session.poll_event()
        {
            return Some((Role::Successor, event));
        }
        self.leaving.iter_mut().enumerate().find_map(|(index, leaving)| {
            leaving.link.session.poll_event().map(|event| (Role::Leaving(index), event))
        })
    }

    fn link_of(&mut self, role: Role) -> Option<&mut Link> {
        match role {
            Role::InUse => self.phase.link_mut(),
            Role::Lane(id) => match &mut self.phase {
                Phase::Racing(race) => race.links_mut().find(|link| link.id == id),
                Phase::Off
                | Phase::ExpectAddresses { .. }
                | Phase::ExpectChild(..)
                | Phase::ExpectConfigured(_)
                | Phase::Up(_)
                | Phase::ExpectRetry { .. }
                | Phase::ExpectClosed
                | Phase::Failed => None,
            },
            Role::Successor => match &mut self.reauthentication {
                Reauthentication::ExpectChild(link) => Some(link),
                Reauthentication::NotDue | Reauthentication::ExpectRetry { .. } => None,
            },
            Role::Leaving(index) => self.leaving.get_mut(index).map(|leaving| &mut leaving.link),
        }
    }

    fn child_installed(&mut self, role: Role, mut child: Box<ChildInstalled>, now: Instant) {
        child.send_now &= role.may_send();
        let Some(link) = self.link_of(role) else { return };
        link.installed(&child.info, child.send_now);
        let path = link.path_id;
        if matches!(role, Role::Successor) && self.phase.path().is_some_and(|(old, _)| old != path) {
            self.events.push_back(Event::UsePath { path });
        }
        tracing::info!(
            spi_in = %child.info.spi_in, spi_out = %child.info.spi_out, suite = %child.info.suite,
            replaces = child.replaces.map(tracing::field::display), "CHILD SA installed"
        );
        warn_of(&child.info.suite.legacy());
        self.events.push_back(Event::InstallChild(child));
        match role {
            Role::InUse => self.in_use(now),
            Role::Successor => self.switch_to_successor(now),
            Role::Lane(_) | Role::Leaving(_) => {}
        }
    }

    /// The session in use has a CHILD SA: the system's network can follow it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other phase stays as it is")]
    fn in_use(&mut self, now: Instant) {
        self.phase = match mem::replace(&mut self.phase, Phase::Off) {
            Phase::ExpectChild(_, link) => Phase::ExpectConfigured(Carrier::Session(link)),
            other => other,
        };
        self.keep_sizing(now);
        if self.mapping.is_none() {
            self.start_mapping(now);
        }
        self.configure();
        self.up_if_configured(now);
    }

    /// Traffic moves to the successor; the session that was in use takes its leave. Its CHILD SA goes on receiving until
    /// the gateway has acknowledged that.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other phase stays as it is")]
    fn switch_to_successor(&mut self, now: Instant) {
        let Reauthentication::ExpectChild(successor) =
            mem::replace(&mut self.reauthentication, Reauthentication::NotDue)
        else {
            return;
        };
        let way = successor.way.or(self.way);
        match mem::replace(&mut self.phase, Phase::Off) {
            Phase::Up(old) => {
                self.phase = Phase::Up(Carrier::Session(successor));
                self.dismiss(old, Farewell::Due, now);
            }
            Phase::ExpectConfigured(old) => {
                self.phase = Phase::ExpectConfigured(Carrier::Session(successor));
                self.dismiss(old, Farewell::Due, now);
            }
            // The old one has lost its CHILD SA and waits for another.
            Phase::ExpectChild(_, old) => {
                self.phase = Phase::ExpectChild(Race::default(), successor);
                self.leave(*old, now);
            }
            other => {
                self.phase = other;
                return self.leave(*successor, now);
            }
        }
        // A session that was begun before the last move is still where that one was.
        let elsewhere = self.way != way;
        self.way = way;
        self.in_use(now);
        self.succeeded(now);
        if elsewhere && self.moving.is_still() {
            self.arrived(now);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other phase stays as it is")]
    fn child_removed(&mut self, role: Role, spi_in: EspSpi, reason: ChildEnd, now: Instant) {
        let Some(link) = self.link_of(role) else { return };
        if !link.removed(spi_in) {
            return;
        }
        tracing::info!(%spi_in, ?reason, "CHILD SA removed");
        self.events.push_back(Event::RemoveChild { spi_in, reason });
        if !matches!(role, Role::InUse) {
            return;
        }
        // An IKE SA that carries nothing is no connection: ask for another CHILD SA. For one that the gateway did not
        // know any more the session has asked already (RFC 7296 §2.25).
        self.phase = match mem::replace(&mut self.phase, Phase::Off) {
            Phase::Up(Carrier::Session(mut link)) | Phase::ExpectConfigured(Carrier::Session(mut link))
                if link.children().next().is_none() =>
            {
                match reason {
                    ChildEnd::PeerDeleted | ChildEnd::Expired => link.session.create_child(now),
                    ChildEnd::Replaced | ChildEnd::Redundant | ChildEnd::LocalDeleted | ChildEnd::Lost => {}
                }
                Phase::ExpectChild(Race::default(), link)
            }
            other => other,
        };
    }

    fn closed(&mut self, role: Role, failure: Failure, now: Instant) {
        match role {
            Role::InUse => self.lost(failure.into(), Farewell::Needless, now),
            Role::Lane(id) => self.lane_closed(id, failure, now),
            Role::Successor => {
                tracing::warn!(%failure, "re-authentication failed; the old session goes on");
                let retry = Reauthentication::ExpectRetry { at: now + defaults::REAUTHENTICATION_RETRY };
                if let Reauthentication::ExpectChild(link) = mem::replace(&mut self.reauthentication, retry) {
                    self.events.extend(link.into_removals(ChildEnd::PeerDeleted));
                }
                let cause = Cause::from(failure);
                if self.phase.peer().is_some() && cause.is_refusal() {
                    // Asked again and again it might lock the account; and whom the gateway turns away is not to stay inside
                    // by another door.
                    return self.give_up(cause, now);
                }
                self.successor_failed(now);
            }
            Role::Leaving(index) => {
                if index < self.leaving.len() {
                    let gone = self.leaving.swap_remove(index);
                    self.events.extend(gone.link.into_removals(ChildEnd::LocalDeleted));
                }
            }
        }
    }

    /// The WireGuard peer in use does not answer any more.
    pub(super) fn peer_lost(&mut self, cause: Cause, now: Instant) {
        self.lost(cause, Farewell::Needless, now);
    }

    /// What is in use is no more.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other phase stays as it is")]
    fn lost(&mut self, cause: Cause, farewell: Farewell, now: Instant) {
        match mem::replace(&mut self.phase, Phase::Off) {
            Phase::ExpectChild(race, link) => {
                self.forget(*link, farewell, now);
                self.connecting_failed(cause, race, now);
            }
            Phase::ExpectConfigured(carrier) | Phase::Up(carrier) => {
                self.dismiss(carrier, farewell, now);
                self.reconnect(cause, now);
            }
            other => self.phase = other,
        }
    }

    /// Along no way does the gateway answer the session in use: another one is made at once, since what has changed is the
    /// network and not the gateway.
    pub(super) fn abandon(&mut self, cause: Cause, farewell: Farewell, now: Instant) {
        match self.phase {
            Phase::ExpectConfigured(_) | Phase::Up(_) => {
                tracing::warn!(%cause, "the connection did not survive the change of network");
                if let Phase::ExpectConfigured(carrier) | Phase::Up(carrier) =
                    mem::replace(&mut self.phase, Phase::Off)
                {
                    self.dismiss(carrier, farewell, now);
                }
                self.stop_learning();
                self.reauthentication = Reauthentication::NotDue;
                self.cause = Some(Arc::new(cause));
                self.backoff.reset();
                self.start_round(now);
            }
            Phase::ExpectChild(..) => self.lost(cause, farewell, now),
            Phase::Off
            | Phase::ExpectAddresses { .. }
            | Phase::Racing(_)
            | Phase::ExpectRetry { .. }
            | Phase::ExpectClosed
            | Phase::Failed => {}
        }
    }

    /// Lets go of what packets went through. A WireGuard peer is told nothing: there are no words for it.
    fn dismiss(&mut self, carrier: Carrier, farewell: Farewell, now: Instant) {
        match carrier {
            Carrier::Session(link) => self.forget(*link, farewell, now),
            Carrier::Peer(_) => {}
        }
    }

    fn forget(&mut self, link: Link, farewell: Farewell, now: Instant) {
        match farewell {
            Farewell::Due => self.leave(link, now),
            Farewell::Needless => self.events.extend(link.into_removals(ChildEnd::PeerDeleted)),
        }
    }

    fn reconnect(&mut self, cause: Cause, now: Instant) {
        tracing::warn!(%cause, "the connection is lost");
        self.moving = Moving::Still;
        self.stop_learning();
        let remedy = cause.remedy();
        // A successor under way is the quickest way back.
        if let Reauthentication::ExpectChild(successor) =
            mem::replace(&mut self.reauthentication, Reauthentication::NotDue)
        {
            self.cause = Some(Arc::new(cause));
            self.events.push_back(Event::UsePath { path: successor.path_id });
            self.way = successor.way.or(self.way);
            self.phase = Phase::ExpectChild(Race::default(), successor);
            return;
        }
        match remedy {
            Remedy::GiveUp => self.give_up(cause, now),
            Remedy::NextAddress | Remedy::Retry => {
                self.cause = Some(Arc::new(cause));
                // A gateway that restarted is back at once; one that keeps failing us is given time.
                if now.saturating_duration_since(self.since) >= defaults::STABLE_AFTER {
                    self.backoff.reset();
                    self.start_round(now);
                } else {
                    self.pause(now);
                }
            }
        }
    }
}

/// What the profile had to allow is no secret from who reads the log.
fn warn_of(legacy: &[String]) {
    if !legacy.is_empty() {
        tracing::warn!(
            algorithms = legacy.join(" "),
            "the gateway chose algorithms that are broken or close to it"
        );
    }
}

/// What a refused CHILD SA means for the connection (RFC 7296 §3.10.1).
fn child_failure(notify: NotifyType) -> Failure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "most types have no meaning of their own here")]
    match notify {
        NotifyType::TsUnacceptable => Failure::TsUnacceptable,
        NotifyType::NoProposalChosen => Failure::ChildNoProposal,
        NotifyType::NoAdditionalSas => Failure::NoAdditionalSas,
        NotifyType::InternalAddressFailure => Failure::InternalAddressFailure,
        other => Failure::UnexpectedNotify(other),
    }
}
