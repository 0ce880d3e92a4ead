//! Rekeying the IKE SA (RFC 7296 §1.3.2, §2.8.2, §2.18, §2.25.2).

use super::defaults;
use super::established::{Established, Intent};
use super::event::{Event, RekeyFailed, RekeyOf};
use super::failure::Failure;
use super::init::{random_nonce, random_spi};
use super::keys::Exchanged;
use super::payloads::{Payloads, named_group, status};
use super::sa::{IkeSa, SaState, Task};
use super::session::Common;
use crate::crypto::{Group, KeyExchange};
use crate::wire::{Exchange, IkeSpi, NotifyType, Payload, Spi};
use std::time::Instant;

/// Our outstanding request.
pub(super) struct IkeRekeyRequest {
    spi: IkeSpi,
    nonce: Vec<u8>,
    key_exchange: KeyExchange,
    /// Whether the group is the one that an INVALID_KE_PAYLOAD asked for: no second one is heeded.
    regrouped: bool,
    /// The peer's rekey of the same IKE SA, which we answered in the meantime.
    pub collision: Option<IkeCollision>,
}

/// A simultaneous rekey.
pub(super) struct IkeCollision {
    /// Our SPI of the IKE SA that the peer's request created.
    pub created: IkeSpi,
    /// The lower of the two nonces of the peer's exchange.
    pub lowest_nonce: Vec<u8>,
}

impl Established {
    /* CREATE_CHILD_SA { SA, Ni, KEi } --> */
    pub(super) fn request_ike_rekey(&mut self, common: &mut Common, group: Option<Group>, now: Instant) {
        let regrouped = group.is_some();
        let group = group.unwrap_or(self.ike_group());
        let rng = &mut common.out.rng;
        let Ok(key_exchange) = KeyExchange::generate(group, rng) else { return };
        let (spi, nonce) = (random_spi(rng), random_nonce(rng));
        let request = IkeRekeyRequest { spi, nonce, key_exchange, regrouped, collision: None };
        let payloads = [
            Payload::Sa(common.ike.to_wire(Spi::Ike(request.spi))),
            Payload::Nonce(request.nonce.clone()),
            Payload::Ke { group: group.id(), data: request.key_exchange.public().to_vec() },
        ];
        let task = Task::RekeyIke(Box::new(request));
        let timers = common.timers.clone();
        self.current.request(&mut common.out, Exchange::CreateChildSa, &payloads, task, &timers, now);
    }

    /// The response to `request`, which came on the IKE SA `carrier`.
    pub(super) fn on_ike_rekey_response(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        request: IkeRekeyRequest,
        payloads: &Payloads,
        now: Instant,
    ) -> Result<(), Failure> {
        if let Some(error) = payloads.error() {
            if let Some(collision) = &request.collision {
                self.adopt(common, carrier, collision.created, now);
                return Ok(());
            }
            if error.kind == NotifyType::InvalidKePayload
                && let Some(group) = named_group(error)
                && common.ike.groups().contains(&group)
                && group != request.key_exchange.group()
                && !request.regrouped
            {
                self.request_ike_rekey(common, Some(group), now);
                return Ok(());
            }
            self.ike_rekey_at = Some(if error.kind == NotifyType::TemporaryFailure {
                let wait = defaults::TEMPORARY_FAILURE_RETRY;
                now + wait + wait.mul_f64(super::child_request::jitter_share(common.out.rng.u64() % 1000))
            } else {
                let failed = RekeyFailed { what: RekeyOf::Ike, notify: error.kind };
                common.events.push_back(Event::RekeyFailed(failed));
                now + defaults::REKEY_REFUSED_RETRY
            });
            return Ok(());
        }
        let (new, nonce_r) = self.rekeyed_sa(common, carrier, &request, payloads, now)?;
        let own_spi = new.own_spi();
        let ours_lowest = request.nonce.as_slice().min(nonce_r.as_slice());
        match request.collision {
            // RFC 7296 §2.8.2, by the rule of §2.8.1: the lowest nonce loses; who created the loser deletes it.
            Some(collision) if ours_lowest < collision.lowest_nonce.as_slice() => {
                self.others.push(new.with_state(retired(now)));
                self.intents.push_back(Intent::DeleteIke(own_spi));
                self.adopt(common, carrier, collision.created, now);
            }
            Some(collision) => {
                self.others.push(new);
                if let Some(loser) = self.sa_mut(collision.created) {
                    loser.state = retired(now);
                }
                self.adopt(common, carrier, own_spi, now);
                self.intents.push_back(Intent::DeleteIke(carrier));
            }
            None => {
                self.others.push(new);
                self.adopt(common, carrier, own_spi, now);
                self.intents.push_back(Intent::DeleteIke(carrier));
            }
        }
        Ok(())
    }

    fn rekeyed_sa(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        request: &IkeRekeyRequest,
        payloads: &Payloads,
        now: Instant,
    ) -> Result<(IkeSa, Vec<u8>), Failure> {
        let (Some(proposals), Some(nonce_r), Some((group, public))) =
            (&payloads.sa, &payloads.nonce, &payloads.ke)
        else {
            return Err(Failure::ProtocolViolation("rekey response without SA, Nr or KEr"));
        };
        let (suite, spi) = common
            .ike
            .accept(proposals)
            .map_err(|_| Failure::ProtocolViolation("the peer chose an IKE proposal that was not offered"))?;
        let Spi::Ike(spi_r) = spi else { return Err(Failure::ProtocolViolation("rekey without an IKE SPI")) };
        let own = &request.key_exchange;
        if suite.group != own.group() || *group != own.group().id() || spi_r == IkeSpi::ZERO {
            return Err(Failure::ProtocolViolation("KE of another group than the chosen one"));
        }
        let shared = own.agree(public)?;
        let Some(old) = self.sa(carrier) else { return Err(Failure::Local("the IKE SA is gone")) };
        let exchanged = Exchanged { nonce_i: &request.nonce, nonce_r, spi_i: request.spi, spi_r };
        let keys = old.keys.rekeyed(suite, &shared, exchanged, true)?;
        let sa = IkeSa::new(true, (request.spi, spi_r), suite, keys, old.fragmentation, now);
        Ok((sa, nonce_r.clone()))
    }

    /// Answers the peer's request to rekey the IKE SA `carrier`.
    pub(super) fn answer_ike_rekey(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        payloads: &Payloads,
        now: Instant,
    ) -> Vec<Payload> {
        self.try_answer_ike_rekey(common, carrier, payloads, now).unwrap_or_else(|refusal| vec![refusal])
    }

    fn try_answer_ike_rekey(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        payloads: &Payloads,
        now: Instant,
    ) -> Result<Vec<Payload>, Payload> {
        let refuse = |kind| status(kind, Vec::new());
        let (Some(offered), Some(nonce_i), Some((group, public))) =
            (&payloads.sa, &payloads.nonce, &payloads.ke)
        else {
            return Err(refuse(NotifyType::InvalidSyntax));
        };
        let Some(old) = self.sa(carrier) else { return Err(refuse(NotifyType::TemporaryFailure)) };
        // RFC 7296 §2.25.2: not while closing it, nor while one of its CHILD SAs is being created, rekeyed or
        // closed by us: the answer to that request might get lost with this IKE SA.
        let busy = matches!(old.task(), Some(Task::DeleteIke | Task::CreateChild(_) | Task::DeleteChild(_)));
        if old.state != SaState::Current || busy || self.closing.is_some() {
            return Err(refuse(NotifyType::TemporaryFailure));
        }
        #[cfg(feature = "responder")]
        if let Some(kind) = common.faults.reject_ike_rekey {
            return Err(refuse(kind));
        }
        let Some((mut answer, suite, spi)) = common.ike.select(offered) else {
            return Err(refuse(NotifyType::NoProposalChosen));
        };
        let Spi::Ike(spi_i) = spi else { return Err(refuse(NotifyType::InvalidSyntax)) };
        if spi_i == IkeSpi::ZERO || self.others.len() > 2 {
            return Err(refuse(NotifyType::TemporaryFailure));
        }
        if suite.group.id() != *group {
            return Err(status(NotifyType::InvalidKePayload, suite.group.id().to_be_bytes().to_vec()));
        }
        let rng = &mut common.out.rng;
        let (spi_r, nonce_r) = (random_spi(rng), random_nonce(rng));
        let Ok((own, shared)) = KeyExchange::respond(suite.group, public, rng) else {
            return Err(refuse(NotifyType::InvalidSyntax));
        };
        let exchanged = Exchanged { nonce_i, nonce_r: &nonce_r, spi_i, spi_r };
        let Ok(keys) = old.keys.rekeyed(suite, &shared, exchanged, false) else {
            return Err(refuse(NotifyType::NoProposalChosen));
        };
        let new = IkeSa::new(false, (spi_i, spi_r), suite, keys, old.fragmentation, now);
        let lowest_nonce = nonce_i.as_slice().min(nonce_r.as_slice()).to_vec();
        if let Some(Task::RekeyIke(request)) = self.sa_mut(carrier).and_then(IkeSa::task_mut) {
            request.collision = Some(IkeCollision { created: spi_r, lowest_nonce });
            self.others.push(new.with_state(SaState::Candidate));
        } else {
            self.others.push(new);
            self.adopt(common, carrier, spi_r, now);
        }
        answer.spi = Spi::Ike(spi_r);
        Ok(vec![
            Payload::Sa(vec![answer]),
            Payload::Nonce(nonce_r),
            Payload::Ke { group: suite.group.id(), data: own.public().to_vec() },
        ])
    }

    /// Makes `new` the IKE SA that owns the CHILD SAs; `old` waits for its DELETE.
    pub(super) fn adopt(&mut self, common: &mut Common, old: IkeSpi, new: IkeSpi, now: Instant) {
        let Some(index) = self.others.iter().position(|sa| sa.own_spi() == new) else { return };
        debug_assert_eq!(self.current.own_spi(), old, "only the current IKE SA is rekeyed");
        let new = self.others.swap_remove(index);
        let old = std::mem::replace(&mut self.current, new.with_state(SaState::Current));
        self.others.push(old.with_state(retired(now)));
        // One that waited for the window is done by this, whoever began it.
        self.intents.retain(|intent| *intent != Intent::RekeyIke);
        self.schedule_ike_rekey(common, now);
        self.schedule_mapping_check(common, now);
        common.events.push_back(Event::IkeRekeyed(self.info(common)));
    }
}

pub(super) fn retired(now: Instant) -> SaState {
    SaState::Retired { until: now + defaults::OLD_IKE_EXPIRY }
}
