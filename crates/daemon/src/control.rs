//! The control task: it owns the connection and every timer of it.
//!
//! One task drives the sans-IO [`Tunnel`]: what clients ask for, what the [`Machine`] has to say and what time it is go
//! in; datagrams and things to do come out. It sleeps until one of the three has something; there is no tick.

mod cause;
mod engine;
mod handle;
mod knowledge;
mod machine;
mod place;
mod portal;
mod remembered;
mod status;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use evenkeel_ipc::{Cause, RequestError, Status};
use evenkeel_ipsec::crypto::{SigningKey, UnixTime};
use evenkeel_ipsec::ike::SignRequest;
use evenkeel_platform::network_identity::NetworkIdentity;
use evenkeel_platform::user::UserId;
use evenkeel_tunnel::{Command, Event, PathEvent, TargetState, Tunnel, TunnelState};
use tokio::sync::{mpsc, oneshot, watch};

use crate::access::{Action, Caller, permit};
use crate::logging::LogRing;
use crate::networks::Memory;
use crate::profiles::Record;
use crate::timer::until;
use cause::{Circumstances, cause_of};
pub use engine::Engine;
pub use handle::{Activation, Active, ControlEnd, ControlHandle, ControlRequest};
pub use machine::{Fault, Machine, MachineEvent, PeerReach, Reach};
use place::Place;
use portal::PortalSearch;
use status::Moment;

/// Gives fresh randomness, or none when the system has none to give.
pub type Seeds = fn() -> Option<[u8; 32]>;

/// The control task's state.
pub struct Control<M> {
    machine: M,
    requests: mpsc::Receiver<ControlRequest>,
    changes: watch::Sender<()>,
    log: LogRing,
    seeds: Seeds,
    connection: Option<Connection>,
    /// A wish that waits for the connection before it to end.
    next: Option<Wish>,
    idle_since: SystemTime,
    place: Place,
}

/// Somebody's wish to connect, with where its answer goes.
struct Wish {
    caller: Caller,
    activation: Box<Activation>,
    reply: oneshot::Sender<Result<(), RequestError>>,
}

/// One person's connection, from the wish for it until another takes its place.
struct Connection {
    user: UserId,
    record: Record,
    tunnel: Tunnel,
    reach: Reach,
    key: Option<SigningKey>,
    /// The machine's own words for its last fault.
    fault: Option<Cause>,
    /// Unless the profile says not to look.
    portal: Option<PortalSearch>,
    /// It has been up.
    been_up: bool,
}

impl Connection {
    /// When something of this connection is due.
    fn wake(&self) -> Option<Instant> {
        let tunnel = self.tunnel.poll_timeout().map(|(at, _)| at);
        let portal = self.portal.as_ref().and_then(PortalSearch::poll_timeout);
        [tunnel, portal].into_iter().flatten().min()
    }
}

impl<M: Machine> Control<M> {
    /// A task that has nothing to do yet.
    #[must_use]
    pub fn new(machine: M, end: ControlEnd, log: LogRing, seeds: Seeds, memory: Memory) -> Self {
        let ControlEnd { requests, changes } = end;
        Self {
            machine,
            requests,
            changes,
            log,
            seeds,
            connection: None,
            next: None,
            idle_since: SystemTime::now(),
            place: Place::new(memory),
        }
    }

    /// Runs until `stop` is ready, then takes the connection down.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut stopping = false;
        loop {
            let wake = self.connection.as_ref().and_then(Connection::wake);
            tokio::select! {
                () = &mut stop, if !stopping => {
                    stopping = true;
                    self.next = None;
                    self.tell_tunnel(Command::Disconnect);
                }
                Some(request) = self.requests.recv(), if !stopping => self.handle_request(request),
                event = self.machine.next_event() => self.handle_event(event),
                () = until(wake) => self.handle_timeout(),
            }
            if stopping && !self.is_busy() {
                self.machine.close();
                return self.place.finish().await;
            }
        }
    }

    fn handle_request(&mut self, request: ControlRequest) {
        match request {
            ControlRequest::Connect { caller, activation, reply } => {
                self.connect(Wish { caller, activation, reply });
            }
            ControlRequest::Disconnect { caller, reply } => drop(reply.send(self.disconnect(&caller))),
            ControlRequest::Status { caller, reply } => drop(reply.send(self.status(&caller))),
            ControlRequest::Networks { caller, reply } => drop(reply.send(self.networks(&caller))),
            ControlRequest::Network { caller, id, reply } => drop(reply.send(self.network(&caller, id))),
            ControlRequest::ForgetNetworks { caller, id, reply } => self.forget_networks(&caller, id, reply),
            ControlRequest::Active { reply } => {
                let active = self.connection.as_ref().filter(|_| self.is_busy());
                drop(reply.send(active.map(|connection| Active {
                    user: connection.user.clone(),
                    profile: connection.record.id,
                })));
            }
        }
    }

    fn connect(&mut self, wish: Wish) {
        let Wish { caller, activation, reply } = wish;
        if let Some(connection) = self.connection.as_ref().filter(|_| self.is_busy()) {
            let refusal = if permit(&caller, Action::EndConnectionOf(&connection.user)).is_err() {
                RequestError::NotPermitted
            } else if connection.tunnel.status().target == TargetState::Down && self.next.is_none() {
                // It is going down: this wish comes next, and its answer with it.
                self.next = Some(Wish { caller, activation, reply });
                return;
            } else if connection.user == caller.user && connection.record.id == activation.record.id {
                self.tell_tunnel(Command::Connect);
                drop(reply.send(Ok(())));
                return;
            } else {
                RequestError::Busy { active: connection.record.profile.name.clone() }
            };
            drop(reply.send(Err(refusal)));
            return;
        }
        drop(reply.send(self.begin(caller, *activation)));
    }

    fn begin(&mut self, caller: Caller, activation: Activation) -> Result<(), RequestError> {
        let Activation { record, engine } = activation;
        // Asked here once more, next to the keys: what is used must be the caller's to use.
        permit(&caller, Action::Use(&record.owner)).map_err(|_| RequestError::NotPermitted)?;
        let seed =
            (self.seeds)().ok_or_else(|| RequestError::Internal { detail: "no randomness".to_owned() })?;
        self.log.belongs_to(Some(caller.user.clone()));
        tracing::info!(user = %caller.user, profile = %record.profile.name, "connecting");
        let tunnel = Tunnel::new(engine.tunnel, self.place.profile(), seed, wall_clock(), Instant::now());
        let (reach, key) = (engine.reach, engine.key);
        let portal = record.profile.portal.detect.then(PortalSearch::new);
        self.connection = Some(Connection {
            user: caller.user,
            record,
            tunnel,
            reach,
            key,
            fault: None,
            portal,
            been_up: false,
        });
        self.tell_tunnel(Command::Connect);
        Ok(())
    }

    fn disconnect(&mut self, caller: &Caller) -> Result<(), RequestError> {
        let Some(connection) = &self.connection else { return Ok(()) };
        permit(caller, Action::EndConnectionOf(&connection.user)).map_err(|_| RequestError::NotPermitted)?;
        // A wish that waits for the end of this connection is taken back by whoever may end what would come of it.
        let may_end = |wish: &mut Wish| permit(caller, Action::EndConnectionOf(&wish.caller.user)).is_ok();
        if let Some(Wish { reply, .. }) = self.next.take_if(may_end) {
            drop(reply.send(Err(RequestError::Cancelled)));
        }
        tracing::info!(user = %caller.user, "disconnecting");
        self.tell_tunnel(Command::Disconnect);
        Ok(())
    }

    fn status(&mut self, caller: &Caller) -> Status {
        let Some(connection) = &self.connection else { return Status::off(self.idle_since.into()) };
        let cause = connection.tunnel.status().cause.map(|cause| {
            cause_of(
                &cause,
                &Circumstances {
                    host: connection.record.profile.gateway.as_str(),
                    remote: connection.tunnel.gateway(),
                    fault: connection.fault.as_ref(),
                },
            )
        });
        let (activity, drops, moment) = (self.machine.activity(), self.machine.drops(), Moment::present());
        let peer = connection.record.profile.wireguard.as_deref();
        let wireguard = peer.zip(connection.tunnel.peer()).zip(self.machine.wireguard());
        let fallback = wireguard.map(|((peer, path), stats)| status::wireguard(peer, path, &stats, moment));
        let told = status::of_tunnel(&connection.tunnel, cause, activity, &drops, moment);
        // Only a peer's keepalives are not the tunnel's own.
        let kept = peer.filter(|_| fallback.is_some()).map(|peer| peer.keepalive_s().into());
        let status = Status {
            keepalive_s: kept.filter(|seconds| *seconds > 0).or(told.keepalive_s),
            wireguard: fallback.map(Box::new),
            portal: portal::of_search(connection.portal.as_ref(), moment),
            profile: Some(connection.record.profile.name.clone()),
            gateway: Some(connection.record.profile.gateway.clone()),
            network: Some(knowledge::of_tunnel(&connection.tunnel, self.place.present())),
            ..told
        };
        match permit(caller, Action::InspectConnectionOf(&connection.user)) {
            Ok(()) => status,
            Err(_) => status::redacted(&status),
        }
    }

    fn handle_event(&mut self, event: MachineEvent) {
        if let MachineEvent::Network(identity) = event {
            return self.on_network(identity);
        }
        let Some(connection) = &mut self.connection else { return };
        let command = match event {
            MachineEvent::Received { path, message } => {
                connection.tunnel.handle_datagram(path, &message, Instant::now());
                return self.settle();
            }
            MachineEvent::NetworkChanged => return self.handle_path_event(PathEvent::NetworkChanged),
            MachineEvent::Woke => return self.handle_path_event(PathEvent::Woke),
            MachineEvent::Portal(report) => return self.handle_portal(&report),
            MachineEvent::Network(_) => return,
            MachineEvent::Resolved(result) => Command::Resolved(result),
            MachineEvent::PeerResolved(result) => Command::PeerResolved(result),
            MachineEvent::PeerSilent { path } => Command::PeerSilent { path },
            MachineEvent::PeerAnswers { path } => Command::PeerAnswers { path },
            MachineEvent::PathOpened { path, result } => Command::PathOpened {
                path,
                result: result.map_err(|fault| {
                    connection.fault = Some(fault.cause);
                    fault.error
                }),
            },
            MachineEvent::PathLost { path, fault } => {
                connection.fault = Some(fault.cause);
                Command::PathLost { path, error: fault.error }
            }
            MachineEvent::Configured(result) => Command::Configured(result.map_err(|fault| {
                connection.fault = Some(fault.cause);
                fault.error
            })),
            MachineEvent::Unconfigured => Command::Unconfigured,
            MachineEvent::ProbeAnswered(id) => Command::ProbeAnswered(id),
            MachineEvent::TooBig { mtu, quotes_our_packet } => Command::TooBig { mtu, quotes_our_packet },
            MachineEvent::SentAfterSilence(silence) => Command::SentAfterSilence(silence),
            MachineEvent::EspSeen => {
                let activity = self.machine.activity();
                connection.tunnel.handle_activity(activity, Instant::now());
                return self.settle();
            }
            MachineEvent::SequenceLow { spi_in } => Command::SequenceLow { spi_in },
            MachineEvent::Stopped(cause) => {
                tracing::error!(?cause, "the data plane has stopped");
                connection.fault = Some(cause);
                Command::DataPlaneLost
            }
        };
        self.tell_tunnel(command);
    }

    fn handle_path_event(&mut self, event: PathEvent) {
        let Some(connection) = &mut self.connection else { return };
        connection.tunnel.handle_path_event(event, Instant::now());
        if let Some(search) = &mut connection.portal {
            search.handle_network_change();
        }
        self.settle();
    }

    /// We are on this network. On none, or on one that nobody can name yet, we are about to be on one: until then nothing
    /// is learned of any.
    fn on_network(&mut self, identity: Option<NetworkIdentity>) {
        if identity.as_ref().is_some_and(|identity| self.place.stays(identity)) {
            return;
        }
        self.keep_what_was_learned();
        let Some(identity) = identity else { return self.place.leave() };
        if let Some(profile) = self.place.arrive(identity) {
            self.tell_tunnel(Command::Network(Box::new(profile)));
        }
    }

    fn keep_what_was_learned(&mut self) {
        if let Some(connection) = &self.connection {
            self.place.keep(connection.tunnel.network_profile());
        }
    }

    fn handle_timeout(&mut self) {
        let activity = self.machine.activity();
        let Some(connection) = &mut self.connection else { return };
        let now = Instant::now();
        if let Some((_, reason)) = connection.tunnel.poll_timeout().filter(|(at, _)| *at <= now) {
            tracing::trace!(?reason, "timer");
            connection.tunnel.handle_activity(activity, now);
            connection.tunnel.handle_timeout(now);
        }
        self.settle();
    }

    fn tell_tunnel(&mut self, command: Command) {
        if let Some(connection) = &mut self.connection {
            connection.tunnel.handle_command(command, Instant::now());
            self.settle();
        }
    }

    /// Does what the tunnel and the search for a portal ask for, until neither asks for anything more.
    fn settle(&mut self) {
        let mut changed = self.carry_out();
        while self.follow_portal() {
            changed = true;
            self.carry_out();
        }
        if changed {
            // Nobody watching is no error.
            let _ = self.changes.send(());
        }
    }

    /// Does what the tunnel asks for. Whether that was anything.
    fn carry_out(&mut self) -> bool {
        let mut changed = false;
        while let Some(connection) = &mut self.connection {
            let Some(event) = connection.tunnel.poll_event() else { break };
            changed = true;
            // An SA receives before the answer leaves that lets the gateway send on it; everything else comes after
            // what was said before, since it may close the socket.
            if !matches!(event, Event::InstallChild(_)) {
                self.flush();
            }
            self.act(event);
        }
        self.flush();
        let is_up = |connection: &Connection| connection.tunnel.status().state == TunnelState::Up;
        if self.place.is_due() && self.connection.as_ref().is_some_and(is_up) {
            self.keep_what_was_learned();
        }
        changed
    }

    fn flush(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        while let Some(transmit) = connection.tunnel.poll_transmit() {
            self.machine.send(&transmit);
        }
    }

    fn act(&mut self, event: Event) {
        let Some(connection) = &mut self.connection else { return };
        let answer = match event {
            Event::Status(status) => {
                tracing::info!(state = ?status.state, cause = status.cause.map(tracing::field::display), "tunnel");
                match status.state {
                    TunnelState::Up => {
                        connection.been_up = true;
                        self.keep_what_was_learned();
                    }
                    TunnelState::Off | TunnelState::Failed => self.rest(),
                    TunnelState::Resolving
                    | TunnelState::Connecting { .. }
                    | TunnelState::Authenticating { .. }
                    | TunnelState::Configuring
                    | TunnelState::Waiting { .. }
                    | TunnelState::Closing => {}
                }
                return;
            }
            Event::ResolveGateway => return self.machine.resolve(&connection.record.profile.gateway),
            Event::ResolvePeer => {
                // Asked for only where there is one.
                let Some(peer) = &connection.reach.peer else { return };
                return self.machine.resolve_peer(peer.endpoint.host());
            }
            Event::OpenPath { path, way } => return self.machine.open_path(path, way, &connection.reach),
            Event::UsePath { path } => match self.machine.use_path(path) {
                Ok(()) => return,
                Err(fault) => {
                    connection.fault = Some(fault.cause);
                    Command::DataPlaneLost
                }
            },
            Event::RebindPath { path } => {
                let result = self.machine.rebind_path(path);
                let result = result.map_err(|fault| {
                    connection.fault = Some(fault.cause);
                    fault.error
                });
                Command::Rebound { path, result }
            }
            Event::ClosePath { path } => return self.machine.close_path(path),
            Event::SignAuth { link, request } => {
                Command::Signed { link, signature: sign(connection.key.as_ref(), &request) }
            }
            Event::SendProbe(probe) => return self.machine.probe(&probe),
            Event::InstallChild(child) => return self.machine.install(*child),
            Event::SendOn { spi_in } => return self.machine.send_on(spi_in),
            Event::RemoveChild { spi_in, .. } => return self.machine.remove(spi_in),
            Event::Configure(inner) => return self.machine.configure(Arc::clone(&inner)),
            Event::Unconfigure => return self.machine.unconfigure(),
        };
        connection.tunnel.handle_command(answer, Instant::now());
    }

    /// The connection has ended: give back what it had, and see whether somebody waits for that.
    fn rest(&mut self) {
        self.keep_what_was_learned();
        self.machine.close();
        self.log.belongs_to(None);
        let ended = self.connection.as_ref().map(|connection| connection.tunnel.status().target);
        if ended == Some(TargetState::Down) {
            self.connection = None;
            self.idle_since = SystemTime::now();
        }
        if let Some(Wish { caller, activation, reply }) = self.next.take() {
            drop(reply.send(self.begin(caller, *activation)));
        }
    }

    /// Whether there is a connection that is not at its end.
    fn is_busy(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            !matches!(connection.tunnel.status().state, TunnelState::Off | TunnelState::Failed)
        })
    }
}

/// Seconds since 1970.
pub(crate) fn wall_clock() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn sign(key: Option<&SigningKey>, request: &SignRequest) -> Option<Vec<u8>> {
    let signed = key?.sign(request.choice, &request.octets);
    signed.inspect_err(|error| tracing::error!(%error, "the private key could not be used")).ok()
}
