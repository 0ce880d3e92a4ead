//! How our address looks to the peer: NAT detection on DPD (RFC 4555 §3.8) and tests of other paths (§3.10).

use super::defaults;
use super::established::{Established, Intent};
use super::event::Event;
use super::natd;
use super::path::Path;
use super::payloads::Payloads;
use super::sa::{Outstanding, Task};
use super::session::Common;
use crate::wire::{Exchange, IkeSpi, NotifyType};
use std::time::Instant;

/// Our address and port as the peer sees them, hashed: NAT_DETECTION_DESTINATION_IP of the peer's answer.
///
/// The SPIs of the IKE SA go into the hash, so two of them can be compared only within one IKE SA. They are no
/// `PartialEq` for that reason.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// SPI of the IKE SA's initiator.
    pub spi_i: IkeSpi,
    /// SPI of the IKE SA's responder.
    pub spi_r: IkeSpi,
    /// SHA-1 over both SPIs, the address and the port (RFC 7296 §2.23).
    pub hash: [u8; 20],
}

impl Mapping {
    /// Whether both are the same address and port. `None` when that cannot be told, because they belong to
    /// different IKE SAs: a rekey came between them.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> Option<bool> {
        let is_comparable = (self.spi_i, self.spi_r) == (other.spi_i, other.spi_r);
        is_comparable.then_some(self.hash == other.hash)
    }
}

/// What is known of the mapping that the current path has.
#[derive(Default)]
pub(super) struct MappingWatch {
    /// What the peer took down for us: from the answer to our last UPDATE_SA_ADDRESSES, or the first since.
    recorded: Option<Mapping>,
    /// When to look next, beside DPD.
    pub check_at: Option<Instant>,
    /// No UPDATE_SA_ADDRESSES of our own accord before.
    update_after: Option<Instant>,
}

impl Established {
    /// Whether a NAT may change what the peer sees of us, and we can do something about it.
    fn watches_mapping(&self, common: &Common) -> bool {
        self.leads_mobike(common) && self.peer.nat.local
    }

    /// Looks at the mapping soon: hashes are not comparable across IKE SAs, so each needs one to start from. The first has
    /// what was seen of it when it was made; after that, see [`on_dpd_response`](Self::on_dpd_response).
    pub(super) fn schedule_mapping_check(&mut self, common: &Common, now: Instant) {
        if self.watches_mapping(common) && common.timers.dpd_after.is_some() {
            self.mapping.check_at = Some(now + defaults::MAPPING_CHECK_AFTER);
        }
    }

    /* INFORMATIONAL { [N(NATD_S), N(NATD_D)] } --> */
    pub(super) fn request_dpd(&mut self, common: &mut Common, now: Instant) {
        self.mapping.check_at = None;
        let watches = self.watches_mapping(common);
        let sa = &mut self.current;
        let path = common.out.path;
        let payloads =
            if watches { natd::notifications(sa.spi_i, sa.spi_r, &path, true).to_vec() } else { Vec::new() };
        sa.request(&mut common.out, Exchange::Informational, &payloads, Task::Dpd, &common.timers, now);
    }

    /// The peer is alive, and may have said what it sees of us.
    pub(super) fn on_dpd_response(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        payloads: &Payloads,
        now: Instant,
    ) {
        let is_updating = self.is_updating() || self.intents.contains(&Intent::UpdateAddresses);
        // After a move the answer may speak of the path before, and an update will soon outdate any.
        if is_updating || !self.watches_mapping(common) {
            return;
        }
        let Some(seen) = self.mapping_in(carrier, payloads) else { return };
        let Some(recorded) = self.mapping.recorded else {
            self.mapping.recorded = Some(seen);
            return;
        };
        match recorded.is_same_as(&seen) {
            Some(true) => {}
            Some(false) => {
                common.events.push_back(Event::MappingChanged);
                self.void_delayed_check(common);
                self.update_mapping(now);
            }
            // The mapping may have been lost around the rekey, and then the peer would never be told: what it took down is
            // not comparable with what it sees. An update costs no more than the look, and its answer is what holds.
            None => self.update_mapping(now),
        }
    }

    /// Has the peer take down our address anew. A NAT that changes its mind with each packet must not make us send without
    /// end.
    fn update_mapping(&mut self, now: Instant) {
        match self.mapping.update_after.filter(|after| now < *after) {
            Some(after) => self.mapping.check_at = Some(after),
            None => {
                self.mapping.update_after = Some(now + defaults::MAPPING_UPDATE_GAP);
                self.intend_update();
            }
        }
    }

    /// Whether the peer has not taken down our address since an IKE SA was replaced: to ask what it sees tells nothing.
    pub(super) fn is_mapping_of_another_sa(&self) -> bool {
        let current = (self.current.spi_i, self.current.spi_r);
        self.mapping.recorded.is_some_and(|recorded| (recorded.spi_i, recorded.spi_r) != current)
    }

    /// Looks at the mapping, which is due.
    pub(super) fn look_at_mapping(&mut self, now: Instant) {
        if self.is_mapping_of_another_sa() {
            self.update_mapping(now);
        } else {
            self.intend(Intent::Dpd);
        }
    }

    /// The peer has taken down our address anew. One that does not say what it saw is asked by the next DPD.
    pub(super) fn on_mapping_recorded(&mut self, carrier: IkeSpi, payloads: &Payloads) {
        if self.current.own_spi() == carrier {
            self.mapping.recorded = self.mapping_in(carrier, payloads);
        }
    }

    /// What an answer on the current IKE SA says; on one that was replaced there is nothing to compare with.
    fn mapping_in(&self, carrier: IkeSpi, payloads: &Payloads) -> Option<Mapping> {
        let sa = Some(&self.current).filter(|sa| sa.own_spi() == carrier)?;
        let hash = destination_hash(payloads)?;
        Some(Mapping { spi_i: sa.spi_i, spi_r: sa.spi_r, hash })
    }

    /// Queues a test of `path`; whether there is room for it.
    pub(super) fn queue_path_check(&mut self, common: &Common, path: Path) -> bool {
        let waiting = self.intents.iter().filter(|intent| matches!(intent, Intent::CheckPath(_))).count();
        let is_known = self.intents.contains(&Intent::CheckPath(path))
            || self.all().any(|sa| matches!(sa.task(), Some(Task::CheckPath(other)) if *other == path));
        let possible = self.leads_mobike(common)
            && self.closing.is_none()
            && !is_known
            && waiting < defaults::MAX_PATH_CHECKS;
        if possible {
            self.intents.push_back(Intent::CheckPath(path));
        }
        possible
    }

    /* INFORMATIONAL { N(NATD_S), N(NATD_D) } --> along another path */
    pub(super) fn request_path_check(&mut self, common: &mut Common, path: Path, now: Instant) {
        let sa = &mut self.current;
        let payloads = natd::notifications(sa.spi_i, sa.spi_r, &path, true);
        let task = Task::CheckPath(path);
        sa.request(&mut common.out, Exchange::Informational, &payloads, task, &common.timers, now);
    }

    /// The test of `path` has its answer, which came along `arrived`.
    pub(super) fn on_path_check_response(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        (path, arrived): (Path, Path),
        request: &Outstanding,
        payloads: &Payloads,
        now: Instant,
    ) {
        if arrived != path {
            common.events.push_back(Event::PathUnreachable { path });
            return;
        }
        let spis = self.sa(carrier).map(|sa| (sa.spi_i, sa.spi_r));
        // Once the request went along the main path too, the hash may be that path's: answers are made once.
        let hash = destination_hash(payloads).filter(|_| !request.moved);
        let mapping = spis.zip(hash).map(|((spi_i, spi_r), hash)| Mapping { spi_i, spi_r, hash });
        let rtt = now.saturating_duration_since(request.sent_at);
        common.events.push_back(Event::PathChecked { path, mapping, rtt });
    }
}

fn destination_hash(payloads: &Payloads) -> Option<[u8; 20]> {
    let notify = payloads.notifies(NotifyType::NatDetectionDestinationIp).next()?;
    notify.data.as_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_different_ike_sas_are_never_equal_nor_different() {
        let one = Mapping { spi_i: IkeSpi(1), spi_r: IkeSpi(2), hash: [3; 20] };
        assert_eq!(one.is_same_as(&one), Some(true));
        assert_eq!(one.is_same_as(&Mapping { hash: [4; 20], ..one }), Some(false));
        assert_eq!(one.is_same_as(&Mapping { spi_i: IkeSpi(9), ..one }), None);
        assert_eq!(one.is_same_as(&Mapping { spi_r: IkeSpi(9), ..one }), None);
    }
}
