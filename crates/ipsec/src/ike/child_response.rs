//! CREATE_CHILD_SA for a CHILD SA, as the exchange's responder (RFC 7296 §1.3.1, §1.3.3, §2.25).

use super::child::{Agreed, ChildState, narrow, random_spi};
use super::child_request::Collision;
use super::defaults;
use super::established::Established;
use super::init::random_nonce;
use super::payloads::{Payloads, status};
use super::sa::{IkeSa, SaState, Task};
use super::session::Common;
use crate::crypto::{KeyExchange, Secret};
use crate::wire::{EspSpi, IkeSpi, Notify, NotifyType, Payload, Protocol, Spi};
use std::time::Instant;

impl Established {
    /// Answers the peer's request for a CHILD SA on the IKE SA `carrier`.
    pub(super) fn answer_child(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        payloads: &Payloads,
        now: Instant,
    ) -> Vec<Payload> {
        self.try_answer_child(common, carrier, payloads, now).unwrap_or_else(|refusal| vec![refusal])
    }

    fn try_answer_child(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        payloads: &Payloads,
        now: Instant,
    ) -> Result<Vec<Payload>, Payload> {
        let refuse = |kind| status(kind, Vec::new());
        let (Some(offered), Some(nonce_i), Some(ts_i), Some(ts_r)) =
            (&payloads.sa, &payloads.nonce, &payloads.ts_i, &payloads.ts_r)
        else {
            return Err(refuse(NotifyType::InvalidSyntax));
        };
        let Some(sa) = self.sa(carrier) else { return Err(refuse(NotifyType::TemporaryFailure)) };
        // RFC 7296 §2.25.2: not while the IKE SA is being rekeyed or closed.
        if sa.state != SaState::Current || matches!(sa.task(), Some(Task::RekeyIke(_) | Task::DeleteIke)) {
            return Err(refuse(NotifyType::TemporaryFailure));
        }
        let rekeys = match payloads.notifies(NotifyType::RekeySa).next() {
            // A replaced one is the peer's to delete; one that never does must not make us hold ever more.
            Some(_) if self.children.len() >= 2 * defaults::MAX_CHILDREN => {
                return Err(refuse(NotifyType::TemporaryFailure));
            }
            Some(notify) => Some(self.rekey_target(notify, sa)?),
            None if self.children.len() >= defaults::MAX_CHILDREN => {
                return Err(refuse(NotifyType::NoAdditionalSas));
            }
            None => None,
        };
        #[cfg(feature = "responder")]
        if let (Some(kind), Some(_)) = (common.faults.reject_child_rekey, rekeys) {
            return Err(refuse(kind));
        }
        let Some((answer, suite, group, spi)) = common.esp.select(offered, payloads.ke.is_some()) else {
            return Err(refuse(NotifyType::NoProposalChosen));
        };
        let Spi::Esp(spi_out) = spi else { return Err(refuse(NotifyType::InvalidSyntax)) };
        let (policy_local, policy_remote) = match rekeys.and_then(|spi_in| self.children.get(&spi_in)) {
            Some(old) => (&old.info.ts_local, &old.info.ts_remote),
            None => (&self.policy.0, &self.policy.1),
        };
        let (ts_remote, ts_local) = (narrow(ts_i, policy_remote), narrow(ts_r, policy_local));
        if ts_local.is_empty() || ts_remote.is_empty() {
            return Err(refuse(NotifyType::TsUnacceptable));
        }
        let mut shared: Option<Secret> = None;
        let mut own_ke = None;
        if let Some(group) = group {
            let Some((_, public)) = payloads.ke.as_ref().filter(|(id, _)| *id == group.id()) else {
                return Err(status(NotifyType::InvalidKePayload, group.id().to_be_bytes().to_vec()));
            };
            let Ok((own, secret)) = KeyExchange::respond(group, public, &mut common.out.rng) else {
                return Err(refuse(NotifyType::InvalidSyntax));
            };
            shared = Some(secret);
            own_ke = Some(Payload::Ke { group: group.id(), data: own.public().to_vec() });
        }
        let nonce_r = random_nonce(&mut common.out.rng);
        let spi_in = random_spi(&mut common.out.rng);
        let Some(sa) = self.sa(carrier) else { return Err(refuse(NotifyType::TemporaryFailure)) };
        let keys = sa.keys.child(suite, shared.as_ref(), nonce_i, &nonce_r, false);
        let tfc_supported = !payloads.has(NotifyType::EspTfcPaddingNotSupported);
        let agreed = Agreed {
            spi_in,
            spi_out,
            suite,
            group,
            keys,
            ts_local: ts_local.clone(),
            ts_remote: ts_remote.clone(),
            tfc_supported,
        };
        let Ok(built) = agreed.build(common, now) else { return Err(refuse(NotifyType::NoProposalChosen)) };
        // The peer has not installed its half yet: receive at once, send when the old SA is deleted.
        self.add_child(common, built, rekeys, rekeys.is_none());
        if let Some(old_spi) = rekeys {
            let lowest_nonce = nonce_i.as_slice().min(nonce_r.as_slice()).to_vec();
            self.note_peer_rekey(carrier, old_spi, spi_in, lowest_nonce);
        }
        let mut answer = answer;
        answer.spi = Spi::Esp(spi_in);
        let mut response = vec![Payload::Sa(vec![answer]), Payload::Nonce(nonce_r)];
        response.extend(own_ke);
        response.push(Payload::TsI(ts_remote));
        response.push(Payload::TsR(ts_local));
        Ok(response)
    }

    /// The CHILD SA that REKEY_SA names by the peer's inbound SPI, if it may be rekeyed.
    fn rekey_target(&self, notify: &Notify, carrier: &IkeSa) -> Result<EspSpi, Payload> {
        let Spi::Esp(spi_out) = notify.spi else { return Err(status(NotifyType::InvalidSyntax, Vec::new())) };
        let not_found = Payload::Notify(Notify {
            protocol: Protocol::Esp,
            spi: notify.spi,
            kind: NotifyType::ChildSaNotFound,
            data: Vec::new(),
        });
        let Some(child) = self.children.values().find(|child| child.info.spi_out == spi_out) else {
            // It may be the one that our outstanding request has just created at the peer: "not found" would
            // make the peer forget it while we install it.
            let creating = matches!(carrier.task(), Some(Task::CreateChild(_)));
            return Err(if creating { status(NotifyType::TemporaryFailure, Vec::new()) } else { not_found });
        };
        match child.state {
            ChildState::Installed | ChildState::Rekeying => Ok(child.info.spi_in),
            ChildState::Deleting(_) | ChildState::Replaced { .. } => {
                Err(status(NotifyType::TemporaryFailure, Vec::new()))
            }
            ChildState::Lingering { .. } => Err(not_found),
        }
    }

    /// Remembers a simultaneous rekey, or retires the old CHILD SA when there is none.
    fn note_peer_rekey(&mut self, carrier: IkeSpi, old: EspSpi, created: EspSpi, lowest_nonce: Vec<u8>) {
        if let Some(Task::CreateChild(request)) = self.sa_mut(carrier).and_then(|sa| sa.task_mut())
            && request.rekeys == Some(old)
        {
            request.collision = Some(Collision { created, lowest_nonce });
        } else {
            self.retire_child(old, created);
        }
    }
}
