//! The status as clients see it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use evenkeel_datapath::PlaneDrop;
use evenkeel_datapath::wireguard::WireGuardStats;
use evenkeel_ipc::{
    Address, Cause, ChildSa, EspSpi, IkeSa, IkeSpi, State, Status, Target, Timestamp, Transport,
    WireguardPeer,
};
use evenkeel_ipsec::ike::{ChildSaInfo, Framing, IkeSaInfo};
use evenkeel_ipsec::wire::TrafficSelector;
use evenkeel_profile::WireGuard;
use evenkeel_tunnel::{Activity, PeerInfo, TargetState, Tunnel, TunnelState};

/// The same moment on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(super) fn present() -> Self {
        Self { now: Instant::now(), wall: SystemTime::now() }
    }

    pub(super) fn wall_at(self, at: Instant) -> Timestamp {
        let ago = self.now.saturating_duration_since(at);
        self.wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH).into()
    }

    fn seconds_until(self, at: Instant) -> u64 {
        at.saturating_duration_since(self.now).as_secs()
    }

    fn seconds_since(self, at: Instant) -> u64 {
        self.now.saturating_duration_since(at).as_secs()
    }
}

/// What a tunnel says of itself; profile and gateway are for the caller to add.
pub(super) fn of_tunnel(
    tunnel: &Tunnel,
    cause: Option<Cause>,
    activity: Activity,
    plane_drops: &[(&'static str, u64)],
    moment: Moment,
) -> Status {
    let fact = tunnel.status();
    let inner = tunnel.inner_network();
    let ike = tunnel.ike_sa();
    let mut child_sas: Vec<ChildSa> = tunnel.child_sas().map(|child| child_sa(child, moment)).collect();
    let mut legacy: Vec<String> = ike.iter().flat_map(|ike| ike.suite.legacy()).collect();
    legacy.extend(tunnel.child_sas().flat_map(|child| child.suite.legacy()));
    let mut seen = BTreeSet::new();
    legacy.retain(|name| seen.insert(name.clone()));
    // What the data plane dropped belongs to no SA: shown with the newest.
    if let Some(newest) = child_sas.last_mut() {
        newest.drops.extend(plane_drops.iter().map(|(reason, count)| ((*reason).to_owned(), *count)));
    }
    Status {
        target: match fact.target {
            TargetState::Up => Target::Connected,
            TargetState::Down => Target::Disconnected,
        },
        state: state(fact.state, fact.has_been_up),
        since: moment.wall_at(fact.since),
        cause,
        addresses: inner
            .map(|inner| inner.addresses.iter().map(|&(ip, prefix)| Address { ip, prefix }).collect())
            .unwrap_or_default(),
        dns: inner.map(|inner| inner.dns.clone()).unwrap_or_default(),
        domains: inner.map(|inner| inner.domains.clone()).unwrap_or_default(),
        mtu: inner.map(|inner| inner.mtu),
        keepalive_s: tunnel.keepalive_interval().and_then(|interval| u32::try_from(interval.as_secs()).ok()),
        round_trips: ike.as_ref().map(|ike| ike.round_trips),
        received_ago_s: activity.received.map(|at| moment.seconds_since(at)),
        sent_ago_s: activity.sent.map(|at| moment.seconds_since(at)),
        ike_sa: ike.map(|ike| ike_sa(&ike, moment)),
        child_sas,
        legacy,
        ..Status::off(moment.wall_at(fact.since))
    }
}

/// The WireGuard peer that carries the tunnel.
pub(super) fn wireguard(
    peer: &WireGuard,
    path: PeerInfo,
    stats: &WireGuardStats,
    moment: Moment,
) -> WireguardPeer {
    let dropped =
        PlaneDrop::ALL.into_iter().map(|reason| (reason.name().to_owned(), stats.plane.dropped(reason)));
    WireguardPeer {
        endpoint: peer.endpoint().clone(),
        public_key: *peer.public_key(),
        local: path.local,
        remote: path.remote,
        allowed_ips: peer.allowed_ips().iter().map(ToString::to_string).collect(),
        last_handshake: stats.last_handshake.map(|at| moment.wall_at(at)),
        handshakes: stats.handshakes,
        bytes_in: stats.bytes_received,
        bytes_out: stats.bytes_sent,
        packets_in: stats.plane.inbound.packets_written,
        packets_out: stats.plane.outbound.packets_sent,
        drops: dropped.filter(|(_, count)| *count != 0).collect(),
    }
}

/// What somebody may know whose connection it is not: that there is one.
pub(super) fn redacted(status: &Status) -> Status {
    Status { target: status.target, state: status.state, ..Status::off(status.since) }
}

fn state(state: TunnelState, has_been_up: bool) -> State {
    match state {
        TunnelState::Off => State::Off,
        TunnelState::Up => State::Connected,
        TunnelState::Closing => State::Disconnecting,
        TunnelState::Failed => State::Failed,
        TunnelState::Resolving
        | TunnelState::Connecting { .. }
        | TunnelState::Authenticating { .. }
        | TunnelState::Configuring
        | TunnelState::Waiting { .. }
            if has_been_up =>
        {
            State::Reconnecting
        }
        TunnelState::Resolving => State::Resolving,
        TunnelState::Connecting { .. } | TunnelState::Waiting { .. } => State::Connecting,
        TunnelState::Authenticating { .. } => State::Authenticating,
        TunnelState::Configuring => State::Configuring,
    }
}

fn ike_sa(ike: &IkeSaInfo, moment: Moment) -> IkeSa {
    IkeSa {
        spi_i: IkeSpi(ike.spi_i.0),
        spi_r: IkeSpi(ike.spi_r.0),
        local: ike.path.local,
        remote: ike.path.remote,
        transport: match ike.path.framing {
            Framing::Bare | Framing::NonEspMarker => Transport::Udp,
            Framing::Stream => Transport::Tcp,
        },
        proposal: ike.suite.to_string(),
        nat_local: ike.nat_local,
        nat_remote: ike.nat_remote,
        peer_id: ike.peer_id.to_string(),
        established: moment.wall_at(ike.established),
        rekey_in_s: None,
    }
}

fn child_sa(child: &ChildSaInfo, moment: Moment) -> ChildSa {
    let (received, sent) = (child.counters_in.snapshot(), child.counters_out.snapshot());
    let mut drops = BTreeMap::new();
    for (reason, count) in received.dropped_by_reason().chain(sent.dropped_by_reason()) {
        *drops.entry(reason.name().to_owned()).or_insert(0) += count;
    }
    ChildSa {
        spi_in: EspSpi(child.spi_in.0),
        spi_out: EspSpi(child.spi_out.0),
        suite: child.suite.to_string(),
        ts_i: texts(&child.ts_local),
        ts_r: texts(&child.ts_remote),
        bytes_in: received.bytes,
        bytes_out: sent.bytes,
        packets_in: received.packets,
        packets_out: sent.packets,
        drops,
        rekey_in_s: Some(moment.seconds_until(child.rekey_at)),
    }
}

/// We are always the initiator of the first exchange, so our side is TSi.
fn texts(selectors: &[TrafficSelector]) -> Vec<String> {
    selectors.iter().map(ToString::to_string).collect()
}
