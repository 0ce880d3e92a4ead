//! What the gateway knows of itself, for the control socket.

use std::collections::BTreeMap;

use evenkeel_ipsec::esp::SaCounters;
use evenkeel_ipsec::ike::{ChildSaInfo, Framing, Session, SessionId};
use serde::Serialize;

use super::Gateway;
use super::plane::PlaneDrops;
use crate::config::Faults;
use crate::link::LinkCounters;

/// Everything at one moment.
#[derive(Serialize, Debug)]
pub struct Status {
    /// Sessions that are authenticated.
    pub sessions: Vec<SessionStatus>,
    /// Sessions on the way there.
    pub half_open: usize,
    /// TCP connections into the inner network.
    pub connections: usize,
    /// Packets that no SA took.
    pub drops: PlaneDrops,
    /// What the faults of the network have done.
    pub link: LinkCounters,
    /// The faults in force.
    pub faults: Faults,
}

/// One authenticated session.
#[derive(Serialize, Debug)]
pub struct SessionStatus {
    /// Its number, never used again.
    pub session: u64,
    /// Who the client proved to be.
    pub peer: String,
    /// What carries its messages: "udp", or "tcp" for a stream.
    pub transport: &'static str,
    /// Where the client is.
    pub remote: String,
    /// Where the gateway is, as the client reaches it.
    pub local: String,
    /// Initiator's SPI of the IKE SA, hexadecimal.
    pub spi_i: String,
    /// Responder's SPI of the IKE SA, hexadecimal.
    pub spi_r: String,
    /// Algorithms of the IKE SA.
    pub suite: String,
    /// Whether the client is behind a NAT.
    pub nat_remote: bool,
    /// Whether the gateway is.
    pub nat_local: bool,
    /// Round trips from the first message to the last of IKE_AUTH.
    pub round_trips: u32,
    /// Its CHILD SAs, replaced ones included.
    pub children: Vec<ChildStatus>,
}

/// One CHILD SA.
#[derive(Serialize, Debug)]
pub struct ChildStatus {
    /// SPI of what the client sends, hexadecimal.
    pub spi_in: String,
    /// SPI of what the gateway sends, hexadecimal.
    pub spi_out: String,
    /// Algorithms.
    pub suite: String,
    /// The gateway's traffic selectors.
    pub ts_local: Vec<String>,
    /// The client's traffic selectors.
    pub ts_remote: Vec<String>,
    /// From the client.
    pub received: CounterStatus,
    /// To the client.
    pub sent: CounterStatus,
}

/// One direction of a CHILD SA.
#[derive(Serialize, Debug)]
pub struct CounterStatus {
    /// Inner packets.
    pub packets: u64,
    /// Bytes of inner packets.
    pub bytes: u64,
    /// Packets dropped, by reason.
    pub drops: BTreeMap<&'static str, u64>,
}

impl Gateway {
    /// Everything at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let sessions: Vec<_> =
            self.responder.sessions().filter_map(|(id, session)| self.session_status(id, session)).collect();
        Status {
            half_open: self.responder.sessions().count() - sessions.len(),
            sessions,
            connections: self.plane.connections(),
            drops: self.plane.drops(),
            link: self.link.counters(),
            faults: self.faults.clone(),
        }
    }

    fn session_status(&self, id: SessionId, session: &Session) -> Option<SessionStatus> {
        let info = session.info()?;
        Some(SessionStatus {
            session: id.0,
            peer: info.peer_id.to_string(),
            transport: match info.path.framing {
                Framing::Bare | Framing::NonEspMarker => "udp",
                Framing::Stream => "tcp",
            },
            remote: info.path.remote.to_string(),
            local: info.path.local.to_string(),
            spi_i: info.spi_i.to_string(),
            spi_r: info.spi_r.to_string(),
            suite: info.suite.to_string(),
            nat_remote: info.nat_remote,
            nat_local: info.nat_local,
            round_trips: info.round_trips,
            children: self.children_of(id).map(ChildStatus::new).collect(),
        })
    }
}

impl ChildStatus {
    fn new(info: &ChildSaInfo) -> Self {
        Self {
            spi_in: info.spi_in.to_string(),
            spi_out: info.spi_out.to_string(),
            suite: info.suite.to_string(),
            ts_local: info.ts_local.iter().map(ToString::to_string).collect(),
            ts_remote: info.ts_remote.iter().map(ToString::to_string).collect(),
            received: CounterStatus::new(&info.counters_in),
            sent: CounterStatus::new(&info.counters_out),
        }
    }
}

impl CounterStatus {
    fn new(counters: &SaCounters) -> Self {
        let counters = counters.snapshot();
        Self {
            packets: counters.packets,
            bytes: counters.bytes,
            drops: counters.dropped_by_reason().map(|(reason, count)| (reason.name(), count)).collect(),
        }
    }
}
