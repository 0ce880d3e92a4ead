//! The gateway without its sockets: datagrams in, datagrams out.
//!
//! Feed it with the `handle_*` calls, then drain [`Gateway::poll_transmit`] and read [`Gateway::poll_timeout`]. It
//! reads no clock and draws no randomness beyond the seed.
//!
//! ```text
//!             link faults                      events
//! datagram ──► delay line ──┬─ IKE ─► Responder ──────┐
//!                           └─ ESP ─► plane ◄─────────┘ install, move, remove
//! datagram ◄── link faults ◄── IKE, ESP ◄─┘ ▲
//!                                           └─ inner network
//! ```

mod plane;
mod status;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use evenkeel_ipsec::crypto::{Rng, UnixTime};
use evenkeel_ipsec::ike::{
    ChildInstalled, ChildSaInfo, Event, Framing, Path, Responder, Session, SessionId, Transmit,
};
use evenkeel_ipsec::wire::{Encapsulated, EspSpi, classify};
use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

pub use self::plane::{ChildSas, PlaneCommand, PlaneDrops};
use self::plane::{Plane, UserPlane};
pub use self::status::{ChildStatus, SessionStatus, Status};
use crate::config::{Faults, GatewayConfig};
use crate::engine::{self, EngineError};
use crate::inner::InnerNet;
use crate::link::{Content, DelayLine, Direction, Link};

/// What the gateway does when it is told to, for tests of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Rekeys the IKE SA.
    RekeyIke,
    /// Rekeys every CHILD SA.
    RekeyChildren,
    /// Deletes every CHILD SA and keeps the IKE SA.
    DeleteChildren,
    /// Deletes the IKE SA.
    DeleteIke,
    /// Asks the client for a sign of life.
    Probe,
    /// Forgets the session without a word, as a restart does.
    Forget,
}

/// CHILD SAs at the same time, replaced ones included. Beyond it new ones are not installed: the client sees an SA
/// that swallows its packets, which is what a full gateway looks like.
const MAX_CHILDREN: usize = 8192;

/// The gateway.
pub struct Gateway {
    responder: Responder,
    children: BTreeMap<EspSpi, Child>,
    plane: Plane,
    link: Link,
    faults: Faults,
    auth_lifetime: Option<Duration>,
    arriving: DelayLine<Datagram>,
    departing: DelayLine<Transmit>,
    outbox: VecDeque<Transmit>,
}

/// A CHILD SA that is installed, by its inbound SPI.
struct Child {
    session: SessionId,
    info: ChildSaInfo,
    /// Whether packets leave on it.
    sending: bool,
}

/// A received datagram with where it came along.
struct Datagram {
    path: Path,
    payload: Vec<u8>,
}

impl Gateway {
    /// A gateway that has met nobody yet. `seed` must come from a secure source and never be used again; `wall` is
    /// the wall clock at `now`.
    pub fn new(
        config: GatewayConfig,
        seed: [u8; 32],
        wall: UnixTime,
        now: Instant,
    ) -> Result<Self, EngineError> {
        let mut rng = Rng::from_seed(seed);
        let plane = match config.tun {
            None => {
                Plane::User(Box::new(UserPlane::new(InnerNet::new(config.inner.clone(), rng.u64(), now))))
            }
            Some(_) => Plane::Outside(VecDeque::new()),
        };
        let auth_lifetime = config.timers.auth_lifetime;
        let faults = config.faults.clone();
        let mut responder = Responder::new(engine::responder_config(config)?, rng.fork(), wall, now);
        responder.set_faults(engine::faults(&faults.ike, auth_lifetime));
        Ok(Self {
            responder,
            children: BTreeMap::new(),
            plane,
            link: Link::new(faults.link.clone(), rng.fork()),
            faults,
            auth_lifetime,
            arriving: DelayLine::new(),
            departing: DelayLine::new(),
            outbox: VecDeque::new(),
        })
    }

    /// Takes the payload of a UDP datagram.
    pub fn handle_datagram(&mut self, path: Path, payload: &mut [u8], now: Instant) {
        let Some(content) = content(path.framing, payload) else { return };
        let fate = self.link.judge(Direction::Received, content, ip_len(&path, payload.len()));
        match fate.arrival(now) {
            None => return,
            Some(at) if at > now => {
                self.arriving.push(at, Datagram { path, payload: payload.to_vec() });
                return;
            }
            Some(_) => self.deliver(path, payload, now),
        }
        self.pump(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(mut datagram) = self.arriving.pop_due(now) {
            self.deliver(datagram.path, &mut datagram.payload, now);
        }
        self.responder.handle_timeout(now);
        self.pump(now);
    }

    /// The next datagram to send by `now`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.outbox.pop_front().or_else(|| self.departing.pop_due(now))
    }

    /// The next order for the data plane, if that is outside (`tun` in the configuration).
    pub fn poll_command(&mut self) -> Option<PlaneCommand> {
        self.plane.poll_command()
    }

    /// The data plane outside has seen authenticated ESP of this CHILD SA.
    pub fn handle_esp_seen(&mut self, spi_in: EspSpi, now: Instant) {
        let Some(child) = self.children.get_mut(&spi_in) else { return };
        // Who sends on an SA has it installed, so it may be answered on it.
        if !std::mem::replace(&mut child.sending, true) {
            self.plane.apply(PlaneCommand::SendOn(spi_in));
        }
        self.responder.with_session(child.session, |session| session.handle_esp_received(now));
    }

    /// The data plane outside has seen that the client of this CHILD SA is elsewhere.
    pub fn handle_client_moved(&mut self, spi_in: EspSpi, path: Path) {
        if let Some(session) = self.children.get(&spi_in).map(|child| child.session) {
            self.set_path(session, path);
        }
    }

    /// The data plane outside has nearly used up the sequence numbers of this CHILD SA.
    pub fn handle_sequence_low(&mut self, spi_in: EspSpi, now: Instant) {
        if let Some(session) = self.children.get(&spi_in).map(|child| child.session) {
            self.responder.with_session(session, |session| session.handle_sequence_low(spi_in, now));
            self.pump(now);
        }
    }

    /// When [`Self::handle_timeout`] wants to be called, and [`Self::poll_transmit`] after it.
    #[must_use]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let responder = self.responder.poll_timeout().map(|(at, _)| at);
        let plane = self.plane.poll_timeout(now);
        let line = [self.arriving.next_arrival(), self.departing.next_arrival()];
        line.into_iter().chain([responder, plane]).flatten().min()
    }

    /// The faults in force.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Puts exactly these faults in force, and starts to count IKE messages anew.
    pub fn set_faults(&mut self, faults: Faults) {
        self.link.set_faults(faults.link.clone());
        self.responder.set_faults(engine::faults(&faults.ike, self.auth_lifetime));
        self.faults = faults;
    }

    /// Does `action` on one session, or on all. Returns on how many.
    pub fn act(&mut self, action: Action, session: Option<SessionId>, now: Instant) -> usize {
        let chosen: Vec<SessionId> = self
            .responder
            .sessions()
            .map(|(id, _)| id)
            .filter(|&id| session.is_none_or(|wanted| wanted == id))
            .collect();
        for &id in &chosen {
            self.act_on(action, id, now);
        }
        self.pump(now);
        chosen.len()
    }

    /// Says goodbye to every client.
    pub fn close(&mut self, now: Instant) {
        self.act(Action::DeleteIke, None, now);
    }

    /// Whether no session is left.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.responder.sessions().next().is_none()
    }

    fn act_on(&mut self, action: Action, id: SessionId, now: Instant) {
        let act: fn(&mut Session, Instant) = match action {
            Action::RekeyIke => Session::rekey_ike,
            Action::RekeyChildren => |session, now| {
                children_in_use(session).into_iter().for_each(|spi_in| session.rekey_child(spi_in, now));
            },
            Action::DeleteChildren => |session, now| {
                children_in_use(session).into_iter().for_each(|spi_in| session.delete_child(spi_in, now));
            },
            Action::DeleteIke => Session::close,
            Action::Probe => Session::probe,
            Action::Forget => return self.forget(id),
        };
        self.responder.with_session(id, |session| act(session, now));
    }

    fn forget(&mut self, id: SessionId) {
        self.responder.forget(id);
        self.remove_children(id);
        info!(session = id.0, "session forgotten on request");
    }

    fn deliver(&mut self, path: Path, payload: &mut [u8], now: Instant) {
        let message = match path.framing {
            Framing::Bare => &*payload,
            Framing::NonEspMarker | Framing::Stream => match classify(payload) {
                Encapsulated::Ike(message) => message,
                Encapsulated::Esp(_) => return self.deliver_esp(path, payload, now),
                Encapsulated::Keepalive | Encapsulated::Runt => return,
            },
        };
        self.responder.handle_datagram(path, message, now);
    }

    fn deliver_esp(&mut self, path: Path, esp: &mut [u8], now: Instant) {
        let Some(packet) = self.plane.handle_esp(path, esp, now) else { return };
        self.handle_esp_seen(packet.spi_in, now);
        if packet.moved {
            self.handle_client_moved(packet.spi_in, path);
        }
    }

    /// Moves everything that is ready one step on, until nothing is.
    fn pump(&mut self, now: Instant) {
        while let Some((id, event)) = self.responder.poll_event() {
            self.handle_event(id, event);
        }
        self.plane.poll(now);
        while let Some(transmit) = self.responder.poll_transmit() {
            self.send(transmit, Content::Ike, now);
        }
        while let Some(transmit) = self.plane.poll_transmit() {
            self.send(transmit, Content::Esp, now);
        }
    }

    fn send(&mut self, transmit: Transmit, content: Content, now: Instant) {
        let length = ip_len(&transmit.path, transmit.payload.len());
        match self.link.judge(Direction::Sent, content, length).arrival(now) {
            None => {}
            Some(at) if at > now => self.departing.push(at, transmit),
            Some(_) => self.outbox.push_back(transmit),
        }
    }

    fn handle_event(&mut self, id: SessionId, event: Event) {
        let session = id.0;
        match event {
            Event::Established(ike) => {
                info!(
                    session,
                    peer = %ike.peer_id,
                    address = %ike.path.remote,
                    suite = %ike.suite,
                    nat = ike.nat_remote,
                    "IKE SA established"
                );
            }
            Event::Configured(assigned) => {
                info!(session, addresses = ?assigned.addresses, "addresses assigned");
            }
            Event::ChildInstalled(child) => self.install(id, *child),
            Event::ChildSendOn { spi_in } => {
                if let Some(child) = self.children.get_mut(&spi_in) {
                    child.sending = true;
                }
                self.plane.apply(PlaneCommand::SendOn(spi_in));
            }
            Event::ChildRemoved { spi_in, reason } => {
                info!(session, %spi_in, ?reason, "CHILD SA removed");
                self.remove_child(spi_in);
            }
            Event::IkeRekeyed(ike) => info!(session, suite = %ike.suite, "IKE SA rekeyed"),
            Event::ChildRefused(notify) => warn!(session, %notify, "CHILD SA refused by the client"),
            Event::RekeyFailed(failed) => warn!(session, ?failed, "rekey refused by the client"),
            Event::PathChanged(path) => {
                info!(session, address = %path.remote, "client moved");
                self.set_path(id, path);
            }
            Event::Closed(failure) => {
                info!(session, cause = %failure, "session closed");
                self.remove_children(id);
            }
            // The responder signs by itself, does not re-authenticate, and follows instead of migrating.
            Event::SignAuth(_)
            | Event::ReauthenticationDue { .. }
            | Event::Migrated { .. }
            | Event::MigrationRefused { .. }
            | Event::MappingChanged
            | Event::PathChecked { .. }
            | Event::PathUnreachable { .. }
            | Event::DelayedCheck { .. } => {
                debug!(session, "an event that concerns clients only");
            }
        }
    }

    fn install(&mut self, session: SessionId, child: ChildInstalled) {
        let ChildInstalled { info, inbound, outbound, replaces: _, send_now } = child;
        let (spi_in, spi_out) = (info.spi_in, info.spi_out);
        // A session that ended in the same moment has no path any more.
        let Some(path) = self.session_path(session) else { return };
        if self.children.len() >= MAX_CHILDREN {
            warn!(session = session.0, %spi_in, "no room for another CHILD SA");
            return;
        }
        info!(session = session.0, %spi_in, %spi_out, suite = %info.suite, "CHILD SA installed");
        self.children.insert(spi_in, Child { session, info, sending: send_now });
        self.plane.apply(PlaneCommand::Install(Box::new(ChildSas { inbound, outbound, send_now, path })));
    }

    fn remove_child(&mut self, spi_in: EspSpi) {
        self.children.remove(&spi_in);
        self.plane.apply(PlaneCommand::Remove(spi_in));
    }

    fn remove_children(&mut self, session: SessionId) {
        let of_session: Vec<EspSpi> = self.children_of(session).map(|child| child.spi_in).collect();
        of_session.into_iter().for_each(|spi_in| self.remove_child(spi_in));
    }

    /// The session's packets go elsewhere from here on.
    fn set_path(&mut self, session: SessionId, path: Path) {
        let of_session: Vec<EspSpi> = self.children_of(session).map(|child| child.spi_in).collect();
        for spi_in in of_session {
            self.plane.apply(PlaneCommand::SetPath(spi_in, path));
        }
    }

    fn children_of(&self, session: SessionId) -> impl Iterator<Item = &ChildSaInfo> {
        self.children.values().filter(move |child| child.session == session).map(|child| &child.info)
    }

    fn session_path(&self, id: SessionId) -> Option<Path> {
        self.responder
            .sessions()
            .find(|(own, _)| *own == id)
            .and_then(|(_, session)| Some(session.info()?.path))
    }
}

/// Inbound SPIs of the session's CHILD SAs without those that were replaced.
fn children_in_use(session: &Session) -> Vec<EspSpi> {
    session.children().map(|child| child.spi_in).collect()
}

/// What the datagram carries; `None` for what is ignored.
fn content(framing: Framing, payload: &[u8]) -> Option<Content> {
    match framing {
        Framing::Bare => Some(Content::Ike),
        Framing::NonEspMarker | Framing::Stream => match classify(payload) {
            Encapsulated::Ike(_) => Some(Content::Ike),
            Encapsulated::Esp(_) => Some(Content::Esp),
            // NAT keepalives are for the NAT (RFC 3948 §4).
            Encapsulated::Keepalive | Encapsulated::Runt => None,
        },
    }
}

/// Length of the IP packet around a UDP payload. What a stream carries has no packet of its own: TCP cuts it to fit.
fn ip_len(path: &Path, payload: usize) -> usize {
    match path.framing {
        Framing::Bare | Framing::NonEspMarker => payload + 8 + if path.remote.is_ipv4() { 20 } else { 40 },
        Framing::Stream => 0,
    }
}
