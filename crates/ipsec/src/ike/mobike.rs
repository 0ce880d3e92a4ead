//! MOBIKE (RFC 4555): the addresses of an association change while its SAs stay.
//!
//! The client decides about addresses, the gateway follows it: from UPDATE_SA_ADDRESSES alone, never from a
//! request that merely came along another path. "Client" is who initiated the first IKE SA, whoever
//! initiated those that have replaced it (RFC 4555 §1.3).

use super::defaults;
use super::established::{Established, Intent};
use super::event::{Event, MigrationRefusal};
use super::failure::Failure;
use super::natd;
use super::path::Path;
use super::payloads::{Payloads, status};
use super::sa::Task;
use super::session::Common;
#[cfg(feature = "responder")]
use crate::wire::DecodeError;
use crate::wire::{Exchange, IkeSpi, NotifyType, Payload};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

/// Why an association cannot be moved to another path. It stays where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MigrateError {
    /// There is no authenticated IKE SA yet, or none any more.
    #[error("the IKE SA is not established")]
    NotEstablished,
    /// The peer does not support MOBIKE or we did not offer it, or we are the responder, which follows.
    #[error("MOBIKE was not agreed on")]
    NotAgreed,
}

/// COOKIE2 has 8 to 64 octets (RFC 4555 §4.2.5).
const COOKIE2_LEN: std::ops::RangeInclusive<usize> = 8..=64;

/// Our request to update the addresses.
pub(super) struct Update {
    /// Where it was sent, and where the answer has to come from.
    pub path: Path,
    cookie: [u8; 16],
}

impl Established {
    /// Whether we are the one who decides about addresses.
    pub(super) fn leads_mobike(&self, common: &Common) -> bool {
        self.peer.mobike && !common.follows_peer
    }

    /// Moves every IKE SA to `path`, and asks the peer to follow.
    pub(super) fn migrate(
        &mut self,
        common: &mut Common,
        path: Path,
        now: Instant,
    ) -> Result<(), MigrateError> {
        if !self.leads_mobike(common) {
            return Err(MigrateError::NotAgreed);
        }
        self.move_to(common, path, now);
        self.void_delayed_check(common);
        self.intend_update();
        Ok(())
    }

    /// RFC 4555 §3.5: outstanding requests go on along the new path.
    fn move_to(&mut self, common: &mut Common, path: Path, now: Instant) {
        common.out.path = path;
        let Common { out, timers, .. } = common;
        for sa in self.all_mut() {
            sa.resume(out, timers, now);
        }
    }

    /// Queues UPDATE_SA_ADDRESSES before everything else.
    pub(super) fn intend_update(&mut self) {
        if self.closing.is_none() {
            self.intents.retain(|intent| *intent != Intent::UpdateAddresses);
            self.intents.push_front(Intent::UpdateAddresses);
        }
    }

    /// Whether an UPDATE_SA_ADDRESSES waits for its answer. Another one has to wait as long: on two IKE SAs at
    /// once the earlier could arrive last and move the peer back.
    pub(super) fn is_updating(&self) -> bool {
        self.all().any(|sa| matches!(sa.task(), Some(Task::UpdateAddresses(_))))
    }

    /* INFORMATIONAL { N(UPDATE_SA_ADDRESSES), N(NATD_S), N(NATD_D), N(COOKIE2) } --> */
    pub(super) fn request_update(&mut self, common: &mut Common, now: Instant) {
        let mut cookie = [0; 16];
        common.out.rng.fill(&mut cookie);
        let path = common.out.path;
        let sa = &mut self.current;
        let mut payloads = vec![status(NotifyType::UpdateSaAddresses, Vec::new())];
        payloads.extend(natd::notifications(sa.spi_i, sa.spi_r, &path, true));
        payloads.push(status(NotifyType::Cookie2, cookie.to_vec()));
        let task = Task::UpdateAddresses(Update { path, cookie });
        sa.request(&mut common.out, Exchange::Informational, &payloads, task, &common.timers, now);
    }

    /// The peer has answered UPDATE_SA_ADDRESSES.
    pub(super) fn on_update_response(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        update: &Update,
        moved: bool,
        payloads: &Payloads,
    ) -> Result<(), Failure> {
        self.note_additional_addresses(payloads);
        // RFC 4555 §3.5: after another change of address the answer says nothing; the next request is queued.
        if moved || self.intents.contains(&Intent::UpdateAddresses) {
            return Ok(());
        }
        let path = update.path;
        if let Some(error) = payloads.error() {
            let refusal = MigrationRefusal::from_notify(error.kind);
            common.events.push_back(Event::MigrationRefused { path, refusal });
            return Ok(());
        }
        if !payloads.notifies(NotifyType::Cookie2).any(|notify| notify.data == update.cookie) {
            // RFC 4555 §3.7 asks for no less.
            return Err(Failure::ProtocolViolation("COOKIE2 did not come back as it was sent"));
        }
        if let Some(sa) = self.sa(carrier)
            && let Some(nat) = natd::detect(sa.spi_i, sa.spi_r, &path, payloads)
        {
            self.peer.nat = nat;
        }
        self.on_mapping_recorded(carrier, payloads);
        common.events.push_back(Event::Migrated { path });
        Ok(())
    }

    /// Works on what a request of the peer's says about addresses, and on what it wants to know about them.
    pub(super) fn answer_mobike(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        path: Path,
        payloads: &Payloads,
        now: Instant,
    ) -> Vec<Payload> {
        let Some((spi_i, spi_r)) = self.sa(carrier).map(|sa| (sa.spi_i, sa.spi_r)) else { return Vec::new() };
        if !self.peer.mobike {
            return Vec::new();
        }
        self.note_additional_addresses(payloads);
        let mut answer = Vec::new();
        let seen = natd::detect(spi_i, spi_r, &path, payloads);
        if payloads.has(NotifyType::UpdateSaAddresses) && common.follows_peer {
            let refusal = nat_is_forbidden(payloads, path).then_some(NotifyType::UnexpectedNatDetected);
            #[cfg(feature = "responder")]
            let refusal = common.faults.reject_update.or(refusal);
            match refusal {
                Some(kind) => answer.push(status(kind, Vec::new())),
                None => {
                    self.peer.nat = seen.unwrap_or(self.peer.nat);
                    if path != common.out.path {
                        self.delayed.forget_owed();
                        self.move_to(common, path, now);
                    }
                    // Said even if IKE is there already: a late ESP packet may have led ESP astray.
                    common.events.push_back(Event::PathChanged(path));
                }
            }
        }
        if seen.is_some() {
            answer.extend(natd::notifications(spi_i, spi_r, &path, !common.follows_peer));
        }
        let cookie = payloads.notifies(NotifyType::Cookie2).next();
        answer.extend(
            cookie
                .filter(|cookie| COOKIE2_LEN.contains(&cookie.data.len()))
                .map(|cookie| status(NotifyType::Cookie2, cookie.data.clone())),
        );
        answer
    }

    fn note_additional_addresses(&mut self, payloads: &Payloads) {
        if let Some(addresses) = additional_addresses(payloads) {
            self.peer.additional_addresses = addresses;
        }
    }
}

/// Whether NO_NATS_ALLOWED names other addresses or ports than the message came with (RFC 4555 §3.9).
pub(super) fn nat_is_forbidden(payloads: &Payloads, path: Path) -> bool {
    let octets = |address: SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    // As its sender sees it: the source is the peer.
    let [source, destination] = [path.remote, path.local];
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let seen = [octets(source), octets(destination), ports].concat();
    payloads.notifies(NotifyType::NoNatsAllowed).any(|notify| notify.data != seen)
}

/// Whether a request asks for nothing but a sign of life, with NAT detection or without (RFC 4555 §3.8).
#[cfg(feature = "responder")]
pub(super) fn is_liveness_check(exchange: Exchange, payloads: &Result<Vec<Payload>, DecodeError>) -> bool {
    let is_nat_detection = |payload: &Payload| {
        matches!(payload, Payload::Notify(notify) if matches!(
            notify.kind,
            NotifyType::NatDetectionSourceIp | NotifyType::NatDetectionDestinationIp
        ))
    };
    exchange == Exchange::Informational
        && payloads.as_ref().is_ok_and(|payloads| payloads.iter().all(is_nat_detection))
}

/// The peer's further addresses (RFC 4555 §3.4, §3.6). `None` when the message says nothing about them;
/// entries of another length than an address has are skipped.
pub(super) fn additional_addresses(payloads: &Payloads) -> Option<Vec<IpAddr>> {
    let is_about = |kind| {
        matches!(
            kind,
            NotifyType::AdditionalIp4Address
                | NotifyType::AdditionalIp6Address
                | NotifyType::NoAdditionalAddresses
        )
    };
    if !payloads.notifies.iter().any(|notify| is_about(notify.kind)) {
        return None;
    }
    let addresses = payloads.notifies.iter().filter_map(|notify| {
        let data = notify.data.as_slice();
        let address = if notify.kind == NotifyType::AdditionalIp4Address {
            IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?))
        } else if notify.kind == NotifyType::AdditionalIp6Address {
            IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?))
        } else {
            return None;
        };
        (!address.is_unspecified() && !address.is_multicast()).then_some(address)
    });
    Some(addresses.take(defaults::MAX_ADDITIONAL_ADDRESSES).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests, helpers included")]

    use super::*;
    use crate::ike::Framing;
    use crate::wire::Notify;

    fn payloads(notifies: Vec<(NotifyType, Vec<u8>)>) -> Payloads {
        let notifies = notifies.into_iter().map(|(kind, data)| Notify::new(kind, data)).collect();
        Payloads { notifies, ..Payloads::default() }
    }

    #[test]
    fn additional_addresses_are_read_in_order_bounded_and_without_nonsense() {
        assert_eq!(additional_addresses(&payloads(vec![])), None);
        assert_eq!(
            additional_addresses(&payloads(vec![(NotifyType::NoAdditionalAddresses, vec![])])),
            Some(vec![])
        );
        let six: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let read = additional_addresses(&payloads(vec![
            (NotifyType::AdditionalIp6Address, six.octets().to_vec()),
            (NotifyType::AdditionalIp4Address, vec![198, 51, 100, 7]),
            (NotifyType::AdditionalIp4Address, vec![198, 51, 100]),
            (NotifyType::AdditionalIp4Address, vec![0; 4]),
            (NotifyType::AdditionalIp6Address, vec![0xff; 16]),
            (NotifyType::Cookie2, vec![1, 2, 3, 4]),
        ]));
        assert_eq!(read, Some(vec![six.into(), Ipv4Addr::new(198, 51, 100, 7).into()]));
        let many = (0..200).map(|last| (NotifyType::AdditionalIp4Address, vec![198, 51, 100, last]));
        let read = additional_addresses(&payloads(many.collect())).expect("some");
        assert_eq!(read.len(), defaults::MAX_ADDITIONAL_ADDRESSES);
    }

    #[test]
    fn no_nats_allowed_holds_only_for_the_addresses_and_ports_that_it_names() {
        let path = Path {
            local: "198.51.100.10:4500".parse().unwrap(),
            remote: "203.0.113.9:40002".parse().unwrap(),
            framing: Framing::NonEspMarker,
        };
        let mut named = vec![203, 0, 113, 9, 198, 51, 100, 10, 0x9c, 0x42, 0x11, 0x94];
        assert!(!nat_is_forbidden(&payloads(vec![]), path));
        assert!(!nat_is_forbidden(&payloads(vec![(NotifyType::NoNatsAllowed, named.clone())]), path));
        named[9] ^= 1;
        assert!(nat_is_forbidden(&payloads(vec![(NotifyType::NoNatsAllowed, named)]), path));
        assert!(nat_is_forbidden(&payloads(vec![(NotifyType::NoNatsAllowed, vec![])]), path));
    }
}
