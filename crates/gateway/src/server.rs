//! The event loop: the only place with sockets and a clock.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evenkeel_datapath::PlaneEvent;
use evenkeel_ipsec::crypto::UnixTime;
use evenkeel_ipsec::ike::{Framing, Path, SessionId};
use evenkeel_platform::ipc_transport::BindError;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::config::GatewayConfig;
use crate::control::{self, Answer, Asked, Listening, Request};
use crate::engine::EngineError;
use crate::gateway::Gateway;
use crate::sockets::{ListenError, Sockets};
use crate::streams::{self, StreamListeners, Streams};
use crate::tun_plane::{TunError, TunPlane};

/// How long clients have to acknowledge the goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why the gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it was given is no good.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// UDP or TCP.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// TUN mode.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// The control socket.
    #[error("control socket")]
    Control(#[from] BindError),
    /// The system has no randomness to give.
    #[error("the system gave no random numbers")]
    Random,
}

/// Where a started gateway can be reached; printed as one line of JSON so that scripts need not wait blindly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Ready {
    /// UDP addresses for IKE without the non-ESP marker.
    pub ike: Vec<SocketAddr>,
    /// UDP addresses for IKE with the marker and for ESP.
    pub nat: Vec<SocketAddr>,
    /// TCP addresses for IKE and ESP in a stream.
    pub tcp: Vec<SocketAddr>,
    /// The control socket.
    pub control: Option<PathBuf>,
    /// Process ID.
    pub pid: u32,
}

/// A gateway with its sockets bound: from here on no client's packet is lost.
pub struct Server {
    gateway: Gateway,
    sockets: Sockets,
    /// Has the port with the non-ESP marker, if there is one.
    tun: Option<TunPlane>,
    streams: Streams,
    control: Option<(mpsc::Receiver<Asked>, Listening)>,
    ready: Ready,
}

impl Server {
    /// Binds everything. Needs a tokio runtime.
    pub fn start(config: GatewayConfig) -> Result<Self, StartError> {
        let listen = config.listen.clone();
        let tun = config.tun.as_ref().map(|settings| TunPlane::start(settings, &listen)).transpose()?;
        let sockets = if tun.is_some() { Sockets::bind_bare(&listen)? } else { Sockets::bind(&listen)? };
        let listeners = StreamListeners::bind(&listen, &config.credential)?;
        let control = listen.control.as_deref().map(control::listen).transpose()?;
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| StartError::Random)?;
        let gateway = Gateway::new(config, seed, wall_clock(), Instant::now())?;
        let with_framing = |wanted| {
            let of_framing = sockets.addresses().filter(move |(framing, _)| *framing == wanted);
            of_framing.map(|(_, address)| address)
        };
        let nat: Vec<SocketAddr> =
            with_framing(Framing::NonEspMarker).chain(tun.as_ref().map(TunPlane::local)).collect();
        let user = nat.first().copied().ok_or(ListenError::NoAddress)?;
        let ready = Ready {
            ike: with_framing(Framing::Bare).collect(),
            nat,
            tcp: listeners.addresses().collect(),
            control: listen.control,
            pid: std::process::id(),
        };
        let streams = listeners.serve(streams::reachable(user));
        Ok(Self { gateway, sockets, tun, streams, control, ready })
    }

    /// Where it can be reached.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Serves until `stop` is done or the control socket says so, then says goodbye to the clients.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut requests = self.control.take();
        loop {
            self.send_all().await;
            tokio::select! {
                () = self.wait() => {}
                Some(Asked { request, answer, written }) = next_request(&mut requests) => {
                    let stopping = request == Request::Stop {};
                    // Whoever asked may be gone.
                    let _ = answer.send(self.answer(request));
                    if stopping {
                        let _ = tokio::time::timeout(GOODBYE, written).await;
                        break;
                    }
                }
                () = &mut stop => break,
            }
        }
        drop(requests);
        self.say_goodbye().await;
    }

    /// Waits for datagrams or for the next thing that is due, and handles that. May be cancelled.
    async fn wait(&mut self) {
        let due = self.gateway.poll_timeout(Instant::now());
        let (gateway, streams) = (&mut self.gateway, self.streams.table());
        let received = self.sockets.receive(|path, datagram| {
            let path = streams.path_of(path.remote).unwrap_or(path);
            gateway.handle_datagram(path, datagram, Instant::now());
        });
        tokio::select! {
            () = received => {}
            event = next_event(&mut self.tun) => self.handle_plane_event(event),
            () = sleep_until(due) => self.gateway.handle_timeout(Instant::now()),
        }
    }

    /// Sends and orders what is ready.
    async fn send_all(&mut self) {
        while let Some(mut transmit) = self.gateway.poll_transmit(Instant::now()) {
            if transmit.path.framing == Framing::Stream {
                let Some(relay) = self.streams.table().relay_of(&transmit.path) else {
                    debug!(remote = %transmit.path.remote, "the stream has ended");
                    continue;
                };
                transmit.path = relay;
            }
            match &self.tun {
                Some(tun) if transmit.path.framing == Framing::NonEspMarker => tun.send(&transmit),
                Some(_) | None => self.sockets.send(&transmit).await,
            }
        }
        while let Some(command) = self.gateway.poll_command() {
            if let Some(tun) = &self.tun {
                tun.apply(command, self.streams.table());
            }
        }
    }

    fn handle_plane_event(&mut self, event: PlaneEvent) {
        let (Some(tun), now) = (&self.tun, Instant::now()) else { return };
        match event {
            PlaneEvent::Control { from, to: _, message } => {
                let path = self.path_from(tun, from);
                self.gateway.handle_datagram(path, &mut path.frame(&message).payload, now);
            }
            PlaneEvent::EspSeen { spi_in } => self.gateway.handle_esp_seen(spi_in, now),
            PlaneEvent::SequenceLow { spi_in } => self.gateway.handle_sequence_low(spi_in, now),
            PlaneEvent::PeerMoved { spi_in, peer } => {
                let path = self.path_from(tun, peer);
                self.gateway.handle_client_moved(spi_in, path);
            }
            PlaneEvent::UnknownSpi { .. } | PlaneEvent::TooBig { .. } | PlaneEvent::Trouble(_) => {
                debug!(?event, "data plane");
            }
            // A gateway sends no probes, and leaves the size of packets to its clients.
            PlaneEvent::IcmpTooBig { .. } | PlaneEvent::SentAfterSilence { .. } => {}
            PlaneEvent::ProbeSent { .. }
            | PlaneEvent::ProbeTooBig { .. }
            | PlaneEvent::ProbeFailed { .. }
            | PlaneEvent::ProbeReply { .. } => {}
            PlaneEvent::Stopped(error) => {
                error!(%error, "the data plane has stopped: nothing is carried any more")
            }
        }
    }

    /// The path of what the data plane received from `remote`.
    fn path_from(&self, tun: &TunPlane, remote: SocketAddr) -> Path {
        self.streams.table().path_of(remote).unwrap_or_else(|| tun.path_from(remote))
    }

    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Status {} => Answer::Status(Box::new(self.gateway.status())),
            Request::SetFaults { faults } => {
                info!(?faults, "faults changed");
                self.gateway.set_faults(*faults);
                Answer::Faults(Box::new(self.gateway.faults().clone()))
            }
            Request::Act { action, session } => {
                let sessions = self.gateway.act(action, session.map(SessionId), Instant::now());
                Answer::Acted { sessions }
            }
            Request::Stop {} => Answer::Stopping {},
        }
    }

    async fn say_goodbye(&mut self) {
        self.gateway.close(Instant::now());
        let goodbye = async {
            self.send_all().await;
            while !self.gateway.is_idle() {
                self.wait().await;
                self.send_all().await;
            }
        };
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            warn!("some clients did not acknowledge the goodbye");
        }
    }
}

async fn next_request(requests: &mut Option<(mpsc::Receiver<Asked>, Listening)>) -> Option<Asked> {
    match requests {
        Some((receiver, _)) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_event(tun: &mut Option<TunPlane>) -> PlaneEvent {
    match tun {
        Some(tun) => tun.event().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn wall_clock() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
