//! INFORMATIONAL exchanges: DPD, DELETE and errors (RFC 7296 §1.4, §1.4.1, §2.4, §2.25).

use super::child::ChildState;
use super::defaults;
use super::established::{Established, Intent};
use super::event::{ChildEnd, Event};
use super::failure::Failure;
use super::ike_rekey::retired;
use super::path::Path;
use super::payloads::Payloads;
use super::sa::{SaState, Task};
use super::session::Common;
use crate::wire::{Delete, EspSpi, Exchange, IkeSpi, NotifyType, Payload};
use std::time::Instant;

/// What an INFORMATIONAL request does to the IKE SA that carries it, once it has been answered.
pub(super) enum AfterAnswer {
    /// Nothing.
    Stay,
    /// The SA is gone, the session lives on another.
    Drop,
    /// The session is over.
    Close(Failure),
}

impl Established {
    /// Works on the peer's request; the payloads are the answer.
    pub(super) fn answer_informational(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        path: Path,
        payloads: &Payloads,
        now: Instant,
    ) -> (Vec<Payload>, AfterAnswer) {
        if payloads.deletes.contains(&Delete::Ike) {
            return (Vec::new(), self.peer_deletes_ike(common, carrier, now));
        }
        if payloads.has(NotifyType::AuthenticationFailed) {
            return (Vec::new(), AfterAnswer::Close(Failure::AuthenticationRejected));
        }
        if let Some(lifetime) = payloads.notifies(NotifyType::AuthLifetime).next()
            && let Ok(seconds) = <[u8; 4]>::try_from(lifetime.data.as_slice())
        {
            self.peer.reauthenticate_by =
                Some(now + std::time::Duration::from_secs(u64::from(u32::from_be_bytes(seconds))));
            self.schedule_reauthentication(now);
        }
        let mut ours = Vec::new();
        for delete in &payloads.deletes {
            if let Delete::Esp(spis) = delete {
                ours.extend(spis.iter().filter_map(|spi| self.peer_deletes_child(common, *spi, now)));
            }
        }
        let mut answer = self.answer_mobike(common, carrier, path, payloads, now);
        answer.extend(self.answer_delayed_check(common, path, payloads, now));
        if !ours.is_empty() {
            answer.push(Payload::Delete(Delete::Esp(ours)));
        }
        (answer, AfterAnswer::Stay)
    }

    /// RFC 7296 §2.25.2: reply as usual; a DELETE beats our own outstanding rekey or close.
    fn peer_deletes_ike(&mut self, common: &mut Common, carrier: IkeSpi, now: Instant) -> AfterAnswer {
        let Some(sa) = self.sa(carrier) else { return AfterAnswer::Drop };
        match sa.state {
            SaState::Retired { .. } => AfterAnswer::Drop,
            SaState::Candidate => {
                // The peer knows that its rekey has lost before we do.
                for sa in self.all_mut() {
                    if let Some(Task::RekeyIke(request)) = sa.task_mut() {
                        request.collision = None;
                    }
                }
                AfterAnswer::Drop
            }
            SaState::Current => {
                let collision = if let Some(Task::RekeyIke(request)) = sa.task() {
                    request.collision.as_ref()
                } else {
                    None
                };
                match collision.map(|collision| collision.created) {
                    // The peer never saw our rekey: its own has won.
                    Some(created) if self.sa(created).is_some() => {
                        self.adopt(common, carrier, created, now);
                        AfterAnswer::Drop
                    }
                    Some(_) | None if self.closing.is_some() => AfterAnswer::Close(Failure::LocalClose),
                    Some(_) | None => AfterAnswer::Close(Failure::PeerClosed),
                }
            }
        }
    }

    /// Returns our SPI for the answer, unless our own DELETE is under way (RFC 7296 §1.4.1).
    fn peer_deletes_child(&mut self, common: &mut Common, spi_out: EspSpi, now: Instant) -> Option<EspSpi> {
        let known = self.children.values_mut().find(|child| {
            child.info.spi_out == spi_out && !matches!(child.state, ChildState::Lingering { .. })
        });
        let Some(child) = known else {
            self.note_early_delete(spi_out);
            return None;
        };
        let spi_in = child.info.spi_in;
        let until = now + defaults::OLD_CHILD_LINGER;
        match child.state {
            ChildState::Deleting(reason) => {
                child.state = ChildState::Lingering { until, reason };
                None
            }
            ChildState::Replaced { by } => {
                child.state = ChildState::Lingering { until, reason: ChildEnd::Replaced };
                self.send_on(common, by);
                Some(spi_in)
            }
            ChildState::Installed | ChildState::Rekeying => {
                let replacement = self.replacement_under_way(spi_in);
                match replacement {
                    Some(created) => {
                        if let Some(child) = self.children.get_mut(&spi_in) {
                            child.state = ChildState::Lingering { until, reason: ChildEnd::Replaced };
                        }
                        self.send_on(common, created);
                    }
                    None => self.drop_child(common, spi_in, ChildEnd::PeerDeleted),
                }
                Some(spi_in)
            }
            ChildState::Lingering { .. } => None,
        }
    }

    /// A DELETE may overtake the response that creates what it deletes.
    fn note_early_delete(&mut self, spi_out: EspSpi) {
        for sa in self.all_mut() {
            if let Some(Task::CreateChild(request)) = sa.task_mut()
                && request.deleted.len() < defaults::MAX_CHILDREN
            {
                request.deleted.push(spi_out);
            }
        }
    }

    /// The CHILD SA that the peer's rekey of `spi_in` created while ours is still outstanding.
    fn replacement_under_way(&self, spi_in: EspSpi) -> Option<EspSpi> {
        self.all().find_map(|sa| {
            if let Some(Task::CreateChild(request)) = sa.task()
                && request.rekeys == Some(spi_in)
            {
                request.collision.as_ref().map(|collision| collision.created)
            } else {
                None
            }
        })
    }

    /// The peer has answered our DELETE of a CHILD SA.
    pub(super) fn on_child_deleted(&mut self, common: &mut Common, spi_in: EspSpi, now: Instant) {
        let Some(child) = self.children.get_mut(&spi_in) else { return };
        if let ChildState::Deleting(reason) = child.state {
            match reason {
                ChildEnd::Replaced | ChildEnd::Redundant => {
                    child.state = ChildState::Lingering { until: now + defaults::OLD_CHILD_LINGER, reason };
                }
                ChildEnd::PeerDeleted | ChildEnd::LocalDeleted | ChildEnd::Lost | ChildEnd::Expired => {
                    self.drop_child(common, spi_in, reason);
                }
            }
        }
    }

    /// Queues a DELETE for a CHILD SA; it receives until the peer has answered.
    pub(super) fn delete_child(&mut self, spi_in: EspSpi, reason: ChildEnd) {
        if let Some(child) = self.children.get_mut(&spi_in)
            && !matches!(child.state, ChildState::Deleting(_) | ChildState::Lingering { .. })
        {
            child.state = ChildState::Deleting(reason);
            self.intents.push_back(Intent::DeleteChild(spi_in));
        }
    }

    /// Forgets a CHILD SA and tells the owner.
    pub(super) fn drop_child(&mut self, common: &mut Common, spi_in: EspSpi, reason: ChildEnd) {
        if self.children.remove(&spi_in).is_some() {
            common.events.push_back(Event::ChildRemoved { spi_in, reason });
        }
    }

    /* INFORMATIONAL { D(ESP) } --> */
    pub(super) fn request_child_delete(&mut self, common: &mut Common, spi_in: EspSpi, now: Instant) {
        let payloads = [Payload::Delete(Delete::Esp(vec![spi_in]))];
        self.request_informational(common, None, &payloads, Task::DeleteChild(spi_in), now);
    }

    /* INFORMATIONAL { D(IKE) } --> */
    pub(super) fn request_ike_delete(&mut self, common: &mut Common, own_spi: IkeSpi, now: Instant) {
        if let Some(sa) = self.sa_mut(own_spi)
            && matches!(sa.state, SaState::Retired { .. })
        {
            sa.state = retired(now);
        }
        self.request_informational(
            common,
            Some(own_spi),
            &[Payload::Delete(Delete::Ike)],
            Task::DeleteIke,
            now,
        );
    }

    fn request_informational(
        &mut self,
        common: &mut Common,
        carrier: Option<IkeSpi>,
        payloads: &[Payload],
        task: Task,
        now: Instant,
    ) {
        let timers = common.timers.clone();
        let sa = match carrier {
            Some(own_spi) => self.sa_mut(own_spi),
            None => Some(&mut self.current),
        };
        if let Some(sa) = sa {
            sa.request(&mut common.out, Exchange::Informational, payloads, task, &timers, now);
        }
    }
}
