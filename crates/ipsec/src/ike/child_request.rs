//! CREATE_CHILD_SA for a CHILD SA, as the exchange's initiator: new ones and rekeys
//! (RFC 7296 §1.3.1, §1.3.3, §2.8, §2.25.1).

use super::child::{Agreed, Built, Child, ChildState, Offer, random_spi};
use super::defaults;
use super::established::{Established, Intent};
use super::event::{ChildEnd, Event, RekeyFailed, RekeyOf};
use super::failure::Failure;
use super::init::random_nonce;
use super::payloads::{Payloads, named_group};
use super::sa::Task;
use super::session::Common;
use crate::crypto::{Group, KeyExchange};
use crate::wire::{EspSpi, Exchange, IkeSpi, Notify, NotifyType, Payload, Protocol, Spi, TrafficSelector};
use std::time::Instant;

/// Our outstanding request.
pub(super) struct ChildRequest {
    /// Inbound SPI of the CHILD SA that it replaces.
    pub rekeys: Option<EspSpi>,
    pub spi_in: EspSpi,
    nonce: Vec<u8>,
    key_exchange: Option<KeyExchange>,
    /// Whether the group is the one that an INVALID_KE_PAYLOAD asked for: no second one is heeded.
    regrouped: bool,
    ts_local: Vec<TrafficSelector>,
    ts_remote: Vec<TrafficSelector>,
    /// The peer's rekey of the same CHILD SA, which we answered in the meantime.
    pub collision: Option<Collision>,
    /// The peer's SPIs that it deleted in the meantime: the one that this request creates may be among them.
    pub deleted: Vec<EspSpi>,
}

/// A simultaneous rekey, seen by the side that has an own request outstanding.
pub(super) struct Collision {
    /// Inbound SPI of the CHILD SA that the peer's request created.
    pub created: EspSpi,
    /// The lower of the two nonces of the peer's exchange.
    pub lowest_nonce: Vec<u8>,
}

impl Established {
    /* CREATE_CHILD_SA { [N(REKEY_SA)], SA, Ni, [KEi], TSi, TSr } --> */
    pub(super) fn request_child(
        &mut self,
        common: &mut Common,
        rekeys: Option<EspSpi>,
        group: Option<Group>,
        now: Instant,
    ) {
        let old = match rekeys {
            Some(spi_in) => match self.children.get_mut(&spi_in) {
                Some(old) if old.is_live() => {
                    old.state = ChildState::Rekeying;
                    Some(old)
                }
                Some(_) | None => return,
            },
            None => None,
        };
        let offered = common.esp.groups();
        let regrouped = group.is_some();
        // The group that worked last time is the one least likely to cost a round trip.
        let preferred = group.or(old.as_ref().and_then(|old| old.info.group)).or(Some(self.ike_group()));
        let group = preferred.filter(|group| offered.contains(group)).or(offered.first().copied());
        let rng = &mut common.out.rng;
        let key_exchange = match group.map(|group| KeyExchange::generate(group, rng)).transpose() {
            Ok(key_exchange) => key_exchange,
            Err(_) => return,
        };
        let (ts_local, ts_remote) = match rekeys.and_then(|spi_in| self.children.get(&spi_in)) {
            // Never narrower than what is in use (RFC 7296 §2.9.2).
            Some(old) => (old.info.ts_local.clone(), old.info.ts_remote.clone()),
            None => self.policy.clone(),
        };
        let request = ChildRequest {
            rekeys,
            spi_in: random_spi(rng),
            nonce: random_nonce(rng),
            key_exchange,
            regrouped,
            ts_local,
            ts_remote,
            collision: None,
            deleted: Vec::new(),
        };
        let mut payloads = Vec::new();
        if let Some(spi_in) = rekeys {
            payloads.push(Payload::Notify(Notify {
                protocol: Protocol::Esp,
                spi: Spi::Esp(spi_in),
                kind: NotifyType::RekeySa,
                data: Vec::new(),
            }));
        }
        let spi = Spi::Esp(request.spi_in);
        let proposals = if request.key_exchange.is_some() {
            common.esp.to_wire(spi)
        } else {
            common.esp.to_wire_without_ke(spi)
        };
        payloads.push(Payload::Sa(proposals));
        payloads.push(Payload::Nonce(request.nonce.clone()));
        payloads.extend(request.key_exchange.as_ref().map(|key_exchange| Payload::Ke {
            group: key_exchange.group().id(),
            data: key_exchange.public().to_vec(),
        }));
        payloads.push(Payload::TsI(request.ts_local.clone()));
        payloads.push(Payload::TsR(request.ts_remote.clone()));
        let task = Task::CreateChild(Box::new(request));
        let timers = common.timers.clone();
        self.current.request(&mut common.out, Exchange::CreateChildSa, &payloads, task, &timers, now);
    }

    /// The response to `request`, which came on the IKE SA `carrier`.
    pub(super) fn on_child_response(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        request: ChildRequest,
        payloads: &Payloads,
        now: Instant,
    ) -> Result<(), Failure> {
        if let Some(error) = payloads.error() {
            self.child_refused(common, &request, error, now);
            return Ok(());
        }
        // If this fails the peer has installed something that we cannot use: only a fresh start is safe.
        let (built, nonce_r) = self.build_requested(common, carrier, &request, payloads, now)?;
        if request.deleted.contains(&built.info.spi_out) {
            if let Some(old) = request.rekeys.and_then(|spi_in| self.children.get_mut(&spi_in))
                && old.state == ChildState::Rekeying
            {
                old.state = ChildState::Installed;
            }
            return Ok(());
        }
        let spi_in = built.info.spi_in;
        let Some(old_spi) = request.rekeys else {
            self.add_child(common, built, None, true);
            return Ok(());
        };
        let replaces = self.children.contains_key(&old_spi).then_some(old_spi);
        let ours_lowest = request.nonce.as_slice().min(nonce_r.as_slice());
        match request.collision {
            // RFC 7296 §2.8.1: the exchange with the lowest of the four nonces loses, and the SA that it
            // created is deleted by the side that created it; the old SA by the side whose rekey survives.
            Some(collision) if ours_lowest < collision.lowest_nonce.as_slice() => {
                self.add_child(common, built, None, false);
                self.delete_child(spi_in, ChildEnd::Redundant);
                // Not yet to be sent on: our answer that creates it may still be on its way, or lost. The peer's DELETE
                // of the old one says that it has arrived.
                self.retire_child(old_spi, collision.created);
            }
            Some(collision) => {
                self.add_child(common, built, replaces, true);
                if let Some(redundant) = self.children.get_mut(&collision.created) {
                    redundant.state = ChildState::Replaced { by: spi_in };
                }
                self.delete_child(old_spi, ChildEnd::Replaced);
            }
            None => {
                self.add_child(common, built, replaces, true);
                self.delete_child(old_spi, ChildEnd::Replaced);
            }
        }
        Ok(())
    }

    fn build_requested(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        request: &ChildRequest,
        payloads: &Payloads,
        now: Instant,
    ) -> Result<(Built, Vec<u8>), Failure> {
        let (Some(proposals), Some(nonce_r)) = (&payloads.sa, &payloads.nonce) else {
            return Err(Failure::ProtocolViolation("CREATE_CHILD_SA response without SA or Nr"));
        };
        let (suite, group, spi) = common
            .esp
            .accept(proposals, request.key_exchange.is_some())
            .map_err(|_| Failure::ProtocolViolation("the peer chose an ESP proposal that was not offered"))?;
        let Spi::Esp(spi_out) = spi else { return Err(Failure::ProtocolViolation("SA without an ESP SPI")) };
        let shared = match (group, &request.key_exchange, &payloads.ke) {
            (None, _, _) => None,
            (Some(group), Some(own), Some((id, public))) if own.group() == group && *id == group.id() => {
                Some(own.agree(public)?)
            }
            (Some(_), _, _) => {
                return Err(Failure::ProtocolViolation("KE of another group than the chosen one"));
            }
        };
        let offer = Offer { ts_local: &request.ts_local, ts_remote: &request.ts_remote };
        let (ts_local, ts_remote) = offer.narrowed(payloads)?;
        let Some(sa) = self.sa(carrier) else { return Err(Failure::Local("the IKE SA is gone")) };
        let keys = sa.keys.child(suite, shared.as_ref(), &request.nonce, nonce_r, true);
        let tfc_supported = !payloads.has(NotifyType::EspTfcPaddingNotSupported);
        let agreed = Agreed {
            spi_in: request.spi_in,
            spi_out,
            suite,
            group,
            keys,
            ts_local,
            ts_remote,
            tfc_supported,
        };
        Ok((agreed.build(common, now)?, nonce_r.clone()))
    }

    fn child_refused(&mut self, common: &mut Common, request: &ChildRequest, error: &Notify, now: Instant) {
        if let Some(old_spi) = request.rekeys {
            if let Some(collision) = &request.collision {
                // The peer's rekey stands, ours is void. The peer's DELETE of the old SA makes us send on the new one.
                self.retire_child(old_spi, collision.created);
                return;
            }
            let Some(old) = self.children.get_mut(&old_spi) else { return };
            if !matches!(old.state, ChildState::Rekeying) {
                return;
            }
            old.state = ChildState::Installed;
        }
        if error.kind == NotifyType::InvalidKePayload
            && let Some(group) = named_group(error)
            && common.esp.groups().contains(&group)
            && request.key_exchange.as_ref().is_some_and(|own| own.group() != group)
            && !request.regrouped
        {
            self.request_child(common, request.rekeys, Some(group), now);
            return;
        }
        let Some(old_spi) = request.rekeys else {
            common.events.push_back(Event::ChildRefused(error.kind));
            return;
        };
        if error.kind == NotifyType::ChildSaNotFound {
            // RFC 7296 §2.25: silently deleted, and created from scratch.
            self.drop_child(common, old_spi, ChildEnd::Lost);
            self.intents.push_back(Intent::NewChild);
            return;
        }
        let Some(old) = self.children.get_mut(&old_spi) else { return };
        let jitter = common.out.rng.u64() % 1000;
        old.rekey_at = Some(if error.kind == NotifyType::TemporaryFailure {
            let wait = defaults::TEMPORARY_FAILURE_RETRY;
            now + wait + wait.mul_f64(jitter_share(jitter))
        } else {
            let what = RekeyOf::Child(old_spi);
            common.events.push_back(Event::RekeyFailed(RekeyFailed { what, notify: error.kind }));
            now + defaults::REKEY_REFUSED_RETRY
        });
    }

    /// Adds a CHILD SA and tells the owner.
    pub(super) fn add_child(
        &mut self,
        common: &mut Common,
        built: Built,
        replaces: Option<EspSpi>,
        send_now: bool,
    ) {
        let Built { info, inbound, outbound } = built;
        let child = Child::new(info.clone(), &common.timers, send_now);
        if self.children.is_empty() {
            self.policy = (info.ts_local.clone(), info.ts_remote.clone());
        }
        self.children.insert(info.spi_in, child);
        let installed = super::event::ChildInstalled { info, inbound, outbound, replaces, send_now };
        common.events.push_back(Event::ChildInstalled(Box::new(installed)));
    }

    /// Tells the owner to send on a CHILD SA that was installed for receiving only.
    pub(super) fn send_on(&mut self, common: &mut Common, spi_in: EspSpi) {
        if let Some(child) = self.children.get_mut(&spi_in)
            && !child.sending
        {
            child.sending = true;
            common.events.push_back(Event::ChildSendOn { spi_in });
        }
    }

    /// Marks a CHILD SA whose DELETE the peer owes.
    pub(super) fn retire_child(&mut self, spi_in: EspSpi, by: EspSpi) {
        if let Some(child) = self.children.get_mut(&spi_in)
            && child.is_live()
        {
            child.state = ChildState::Replaced { by };
        }
    }
}

/// `thousandths` of one, for a jitter between nothing and the whole.
pub(super) fn jitter_share(thousandths: u64) -> f64 {
    u32::try_from(thousandths).map_or(0.0, |n| f64::from(n) / 1000.0)
}
