//! WireGuard peers: asked by a task each, and the one that carries the tunnel by threads of its own.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;

use evenkeel_datapath::MssClamp;
use evenkeel_datapath::wireguard::{Established, PeerConfig, WireGuardEvent, WireGuardPlane};
use evenkeel_ipc::Cause;
use evenkeel_ipsec::ike::{Framing, Path};
use evenkeel_platform::socket::{UdpOptions, UdpSocket};
use evenkeel_platform::tun::Tun;
use evenkeel_tunnel::{OpenedPath, PathError, PathId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::FIRST_MTU;
use super::paths::{connected, link_mtu};
use crate::control::{Fault, MachineEvent, PeerReach, wall_clock};
use crate::wireguard::{HANDSHAKE_TIMEOUT, HandshakeError, connect};

/// Outcomes of handshakes, one for each that is under way, that nobody has been told of.
const WAITING: usize = 64;
/// Events of the threads that wait for the control task. They say a few things in a minute.
const EVENTS: usize = 64;

/// Every peer by the path to it.
pub(super) struct Peers {
    attempts: BTreeMap<PathId, Attempt>,
    used: Option<Used>,
    sender: mpsc::Sender<(PathId, Result<Established, HandshakeError>)>,
    outcomes: mpsc::Receiver<(PathId, Result<Established, HandshakeError>)>,
}

/// A handshake that is under way, or was answered. Dropped to give it up.
struct Attempt {
    opened: OpenedPath,
    task: JoinHandle<()>,
    established: Option<Established>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The peer that carries the tunnel.
struct Used {
    id: PathId,
    remote: SocketAddr,
    plane: WireGuardPlane,
    events: mpsc::Receiver<WireGuardEvent>,
}

impl Default for Peers {
    fn default() -> Self {
        let (sender, outcomes) = mpsc::channel(WAITING);
        Self { attempts: BTreeMap::new(), used: None, sender, outcomes }
    }
}

impl Peers {
    /// Begins a handshake; [`event`](Self::event) tells what became of it.
    pub(super) fn open(
        &mut self,
        id: PathId,
        remote: SocketAddr,
        reach: &PeerReach,
    ) -> Result<(), Fault<PathError>> {
        let (socket, opened) = socket(remote)?;
        let config = fresh(&reach.config);
        let sender = self.sender.clone();
        let task = tokio::spawn(async move {
            let outcome = connect(config, socket, HANDSHAKE_TIMEOUT).await;
            // Without a receiver nobody is interested any more.
            let _ = sender.send((id, outcome)).await;
        });
        self.attempts.insert(id, Attempt { opened, task, established: None });
        Ok(())
    }

    /// Whether this is a path to a peer that has answered.
    pub(super) fn knows(&self, id: PathId) -> bool {
        self.attempts.get(&id).is_some_and(|attempt| attempt.established.is_some())
    }

    /// Has this peer carry what goes through `tun`, which nobody else reads.
    pub(super) fn start(&mut self, id: PathId, tun: Tun) -> Result<(), Fault<PathError>> {
        self.stop();
        let Some(mut attempt) = self.attempts.remove(&id) else { return Ok(()) };
        let Some(established) = attempt.established.take() else { return Ok(()) };
        let (sender, events) = mpsc::channel(EVENTS);
        // Full: nobody listens. What counts is told again.
        let sink = Box::new(move |event| drop(sender.try_send(event)));
        let plane = established.start(tun, MssClamp::for_mtu(FIRST_MTU), sink).map_err(|error| Fault {
            error: PathError::NoDataPlane,
            cause: Cause::DataPlaneFailed { detail: error.to_string() },
        })?;
        self.used = Some(Used { id, remote: attempt.opened.nat.remote, plane, events });
        Ok(())
    }

    /// What carries the tunnel, if a peer does.
    pub(super) fn plane(&self) -> Option<&WireGuardPlane> {
        self.used.as_ref().map(|used| &used.plane)
    }

    /// No peer carries the tunnel any more: its threads leave the device.
    pub(super) fn stop(&mut self) {
        self.used = None;
    }

    /// Goes on over another socket.
    pub(super) fn rebind(&mut self, id: PathId) -> Result<OpenedPath, Fault<PathError>> {
        let used = self.used.as_ref().filter(|used| used.id == id);
        let used = used.ok_or_else(|| Fault {
            error: PathError::Closed,
            cause: Cause::Internal { detail: "a path that no WireGuard peer uses".to_owned() },
        })?;
        let (socket, opened) = socket(used.remote)?;
        if let Err(error) = used.plane.set_socket(socket) {
            // It is sent again, and in the end the silence is what counts.
            tracing::debug!(%error, "a handshake was not sent");
        }
        Ok(opened)
    }

    /// Closes a path, whatever it has come to.
    pub(super) fn close(&mut self, id: PathId) {
        self.attempts.remove(&id);
        self.used.take_if(|used| used.id == id);
    }

    /// The next thing to tell. Cancel safe.
    pub(super) async fn event(&mut self) -> MachineEvent {
        loop {
            tokio::select! {
                Some((id, outcome)) = self.outcomes.recv() => {
                    if let Some(event) = self.follow_up(id, outcome) {
                        return event;
                    }
                }
                (id, event) = heard(&mut self.used) => {
                    if let Some(event) = told(id, event) {
                        return event;
                    }
                }
            }
        }
    }

    fn follow_up(
        &mut self,
        id: PathId,
        outcome: Result<Established, HandshakeError>,
    ) -> Option<MachineEvent> {
        // Unless nobody is interested any more.
        let attempt = self.attempts.get_mut(&id)?;
        let result = match outcome {
            Ok(established) => {
                attempt.established = Some(established);
                Ok(attempt.opened)
            }
            Err(error) => {
                let remote = attempt.opened.nat.remote;
                tracing::info!(%error, %remote, "WireGuard");
                self.attempts.remove(&id);
                Err(fault(&error, remote))
            }
        };
        Some(MachineEvent::PathOpened { path: id, result })
    }
}

/// A socket towards a peer, and its addresses.
fn socket(remote: SocketAddr) -> Result<(UdpSocket, OpenedPath), Fault<PathError>> {
    let (socket, local) = connected(remote, UdpOptions::default())?;
    let path = Path { local, remote, framing: Framing::NonEspMarker };
    let opened = OpenedPath { init: path, nat: path, path_mtu: link_mtu(&socket), wall: wall_clock() };
    Ok((socket, opened))
}

/// The same keys for another session, by another name.
fn fresh(config: &PeerConfig) -> PeerConfig {
    let mut index = [0; 4];
    // Unique is enough, unpredictable is better.
    let random = aws_lc_rs::rand::fill(&mut index).is_ok();
    let index = if random { u32::from_ne_bytes(index) } else { config.index };
    PeerConfig { index, ..config.clone() }
}

async fn heard(used: &mut Option<Used>) -> (PathId, WireGuardEvent) {
    match used {
        Some(Used { id, events, .. }) => match events.recv().await {
            Some(event) => (*id, event),
            // The threads are gone, and have said so.
            None => pending().await,
        },
        None => pending().await,
    }
}

/// What the control task hears of an event of the threads.
fn told(path: PathId, event: WireGuardEvent) -> Option<MachineEvent> {
    match event {
        WireGuardEvent::Handshake | WireGuardEvent::PeerAnswers => Some(MachineEvent::PeerAnswers { path }),
        WireGuardEvent::PeerSilent | WireGuardEvent::HandshakeLost => Some(MachineEvent::PeerSilent { path }),
        // The system tells it of a route of its own, or has checked that the ICMP error quotes a packet of the socket's.
        WireGuardEvent::TooBig { path_mtu, .. } => {
            path_mtu.map(|mtu| MachineEvent::TooBig { mtu, quotes_our_packet: true })
        }
        WireGuardEvent::Trouble(error) => {
            tracing::debug!(%error, "packets could not be sent to the WireGuard peer, or received");
            None
        }
        WireGuardEvent::Stopped(error) => {
            Some(MachineEvent::Stopped(Cause::DataPlaneFailed { detail: error.to_string() }))
        }
    }
}

fn fault(error: &HandshakeError, remote: SocketAddr) -> Fault<PathError> {
    let silent = || Cause::NoResponse { exchange: "a WireGuard handshake".to_owned(), remote };
    match error {
        HandshakeError::NoAnswer { .. } => Fault { error: PathError::Silent, cause: silent() },
        HandshakeError::Refused => Fault { error: PathError::Closed, cause: silent() },
        HandshakeError::PresharedKey => {
            Fault { error: PathError::OtherKey, cause: Cause::WireguardPresharedKey }
        }
        HandshakeError::Io(error) => {
            Fault { error: PathError::Refused, cause: Cause::SocketFailed { detail: error.to_string() } }
        }
    }
}
