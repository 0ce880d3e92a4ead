//! An authenticated association: dispatch of requests and responses, timers, and the queue of what to ask
//! for next.

use super::child::{Child, ChildState, jittered};
use super::defaults;
use super::delayed_check::DelayedChecks;
use super::event::{ChildEnd, Event, IkeSaInfo};
use super::failure::Failure;
use super::inform::AfterAnswer;
use super::mapping::MappingWatch;
use super::natd::NatDetected;
use super::path::Path;
use super::payloads::{Payloads, status, unreadable};
use super::sa::{IkeSa, Incoming, Outstanding, Retransmission, SaState, Task};
use super::session::{Common, Phase, Step};
use super::timers::{Earliest, WakeReason};
use crate::crypto::Group;
use crate::wire::{
    DecodeError, Delete, Envelope, EspSpi, Exchange, Id, IkeSpi, NotifyType, Payload, Protocol,
    TrafficSelector,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

/// An authenticated association.
pub(super) struct Established {
    /// The one that new exchanges use.
    pub current: IkeSa,
    /// Those that will replace it, or were replaced.
    pub others: Vec<IkeSa>,
    pub children: BTreeMap<EspSpi, Child>,
    /// What to ask the peer for when the window is free.
    pub intents: VecDeque<Intent>,
    pub peer: Peer,
    /// Selectors of the first CHILD SA: local, remote. What any further one may cover.
    pub policy: (Vec<TrafficSelector>, Vec<TrafficSelector>),
    pub ike_rekey_at: Option<Instant>,
    pub closing: Option<Instant>,
    pub last_inbound: Instant,
    /// When ESP was last sent, as far as the owner has told.
    pub last_esp_sent: Option<Instant>,
    /// When the owner last told what ESP has seen.
    looked_at: Instant,
    pub mapping: MappingWatch,
    pub delayed: DelayedChecks,
    reauthenticate_at: Option<Instant>,
}

/// Facts about the peer that survive rekeying.
pub(super) struct Peer {
    pub id: Id,
    pub nat: NatDetected,
    /// Whether it supports MOBIKE, as we do.
    pub mobike: bool,
    /// Whether it knows delayed checks, as we do.
    pub delayed_checks: bool,
    pub additional_addresses: Vec<IpAddr>,
    pub round_trips: u32,
    pub reauthenticate_by: Option<Instant>,
}

/// A request that waits for the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Intent {
    Dpd,
    UpdateAddresses,
    CheckPath(Path),
    AskDelayedCheck,
    DelayedCheck,
    NewChild,
    RekeyChild(EspSpi),
    DeleteChild(EspSpi),
    RekeyIke,
    /// The IKE SA by our SPI of it.
    DeleteIke(IkeSpi),
}

impl Established {
    pub(super) fn new(sa: IkeSa, peer: Peer, common: &mut Common, now: Instant) -> Self {
        let mut established = Self {
            current: sa,
            others: Vec::new(),
            children: BTreeMap::new(),
            intents: VecDeque::new(),
            peer,
            policy: (Vec::new(), Vec::new()),
            ike_rekey_at: None,
            closing: None,
            last_inbound: now,
            last_esp_sent: None,
            looked_at: now,
            mapping: MappingWatch::default(),
            delayed: DelayedChecks::default(),
            reauthenticate_at: None,
        };
        established.schedule_ike_rekey(common, now);
        established.schedule_reauthentication(now);
        established.schedule_mapping_check(common, now);
        established
    }

    pub(super) fn schedule_ike_rekey(&mut self, common: &mut Common, now: Instant) {
        let percent = common.timers.jitter_percent;
        self.ike_rekey_at =
            common.timers.ike_rekey.map(|lifetime| jittered(&mut common.out.rng, lifetime, percent, now));
    }

    pub(super) fn schedule_reauthentication(&mut self, now: Instant) {
        let wait = |by: Instant| by.saturating_duration_since(now) * defaults::REAUTH_AT_PERCENT / 100;
        self.reauthenticate_at =
            self.peer.reauthenticate_by.map(|by| now + wait(by).max(defaults::REAUTH_MIN));
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &IkeSa> {
        std::iter::once(&self.current).chain(&self.others)
    }

    pub(super) fn sa(&self, own_spi: IkeSpi) -> Option<&IkeSa> {
        self.all().find(|sa| sa.own_spi() == own_spi)
    }

    pub(super) fn sa_mut(&mut self, own_spi: IkeSpi) -> Option<&mut IkeSa> {
        self.all_mut().find(|sa| sa.own_spi() == own_spi)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut IkeSa> {
        std::iter::once(&mut self.current).chain(&mut self.others)
    }

    #[cfg(feature = "responder")]
    pub(super) fn owns(&self, header: &crate::wire::Header) -> bool {
        self.all().any(|sa| sa.owns(header))
    }

    pub(super) fn ike_group(&self) -> Group {
        self.current.suite.group
    }

    pub(super) fn info(&self, common: &Common) -> IkeSaInfo {
        let sa = &self.current;
        IkeSaInfo {
            spi_i: sa.spi_i,
            spi_r: sa.spi_r,
            initiator: sa.initiator,
            path: common.out.path,
            suite: sa.suite,
            nat_local: self.peer.nat.local,
            nat_remote: self.peer.nat.remote,
            peer_id: self.peer.id.clone(),
            round_trips: self.peer.round_trips,
            established: sa.created,
            mobike: self.peer.mobike,
            delayed_checks: self.peer.delayed_checks,
            additional_addresses: self.peer.additional_addresses.clone(),
        }
    }

    pub(super) fn intend(&mut self, intent: Intent) {
        if !self.intents.contains(&intent) && self.closing.is_none() {
            self.intents.push_back(intent);
        }
    }

    /// Closes the session: nothing else is asked for, and the peer gets two seconds to answer.
    pub(super) fn queue_close(&mut self, common: &mut Common, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        // The goodbye does not wait for a path that may lead nowhere.
        let Common { out, timers, .. } = common;
        for sa in self.all_mut().filter(|sa| sa.is_aside()) {
            sa.resume(out, timers, now);
        }
        self.closing = Some(now + std::time::Duration::from_secs(2));
        self.intents.clear();
        self.delayed = DelayedChecks::default();
        self.intents.push_back(Intent::DeleteIke(self.current.own_spi()));
    }

    pub(super) fn handle(
        mut self: Box<Self>,
        common: &mut Common,
        path: Path,
        envelope: &Envelope<'_>,
        message: &[u8],
        now: Instant,
    ) -> Step {
        let Some(sa) = self.all_mut().find(|sa| sa.owns(&envelope.header)) else {
            return Ok(Phase::Established(self));
        };
        #[cfg(feature = "responder")]
        if common.faults.ignore_requests && !envelope.header.response {
            return Ok(Phase::Established(self));
        }
        let carrier = sa.own_spi();
        match sa.receive(&mut common.out, path, envelope, message) {
            Incoming::Nothing => {}
            Incoming::Request { exchange, id, payloads } => {
                // That another path works is no sign of life on the main one.
                if !self.delayed.is_asked_along(path) {
                    self.last_inbound = now;
                }
                // RFC 4555 §3.8: with MOBIKE the peer says when it has moved.
                if common.follows_peer && !self.peer.mobike && path != common.out.path {
                    common.out.path = path;
                    common.events.push_back(Event::PathChanged(path));
                }
                #[cfg(feature = "responder")]
                let ignored =
                    common.faults.ignore_dpd && super::mobike::is_liveness_check(exchange, &payloads);
                let (answer, after) = self.answer(common, carrier, exchange, payloads, path, now);
                #[cfg(feature = "responder")]
                if ignored && matches!(after, AfterAnswer::Stay) {
                    return Ok(Phase::Established(self));
                }
                if let Some(sa) = self.sa_mut(carrier) {
                    sa.respond(&mut common.out, path, exchange, id, &answer);
                    sa.wake(&mut common.out, &common.timers, now);
                }
                match after {
                    AfterAnswer::Stay => {}
                    AfterAnswer::Drop => self.drop_sa(carrier),
                    AfterAnswer::Close(failure) => return Err(failure),
                }
            }
            Incoming::Response { payloads, request } => {
                if !request.is_aside() {
                    self.last_inbound = now;
                }
                if let Err(failure) = self.on_response(common, carrier, path, payloads, request, now) {
                    self.part(common, &failure);
                    return Err(failure);
                }
            }
        }
        Ok(Phase::Established(self))
    }

    fn answer(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        exchange: Exchange,
        payloads: Result<Vec<Payload>, DecodeError>,
        path: Path,
        now: Instant,
    ) -> (Vec<Payload>, AfterAnswer) {
        let payloads = match payloads.map_err(Failure::Malformed).and_then(Payloads::sort) {
            Ok(payloads) => payloads,
            // An unknown critical payload spoils one exchange, bad syntax the SA (RFC 7296 §2.5, §2.21.3).
            Err(failure @ Failure::Malformed(DecodeError::UnsupportedCriticalPayload(_))) => {
                return (vec![unreadable(&failure)], AfterAnswer::Stay);
            }
            Err(failure) => return (vec![unreadable(&failure)], AfterAnswer::Close(failure)),
        };
        match exchange {
            Exchange::Informational => self.answer_informational(common, carrier, path, &payloads, now),
            Exchange::CreateChildSa => {
                let is_ike = payloads
                    .sa
                    .as_ref()
                    .is_some_and(|sa| sa.iter().any(|proposal| proposal.protocol == Protocol::Ike));
                let answer = if is_ike {
                    self.answer_ike_rekey(common, carrier, &payloads, now)
                } else {
                    self.answer_child(common, carrier, &payloads, now)
                };
                (answer, AfterAnswer::Stay)
            }
            Exchange::IkeSaInit | Exchange::IkeAuth | Exchange::Other(_) => {
                (vec![status(NotifyType::InvalidSyntax, Vec::new())], AfterAnswer::Stay)
            }
        }
    }

    fn on_response(
        &mut self,
        common: &mut Common,
        carrier: IkeSpi,
        path: Path,
        payloads: Result<Vec<Payload>, DecodeError>,
        request: Box<Outstanding>,
        now: Instant,
    ) -> Result<(), Failure> {
        let payloads = Payloads::sort(payloads?)?;
        if let Task::CheckPath(tested) = request.task {
            self.on_path_check_response(common, carrier, (tested, path), &request, &payloads, now);
            return Ok(());
        }
        if let Task::AskDelayedCheck(asked) = request.task {
            self.on_delayed_check_promise(common, asked, path, &request, &payloads, now);
            return Ok(());
        }
        match request.task {
            Task::Auth | Task::CheckPath(_) | Task::AskDelayedCheck(_) | Task::DelayedCheck(_) => Ok(()),
            Task::Dpd => {
                self.on_dpd_response(common, carrier, &payloads, now);
                Ok(())
            }
            Task::UpdateAddresses(update) => {
                self.on_update_response(common, carrier, &update, request.moved, &payloads)
            }
            Task::DeleteChild(spi_in) => {
                self.on_child_deleted(common, spi_in, now);
                Ok(())
            }
            Task::DeleteIke => {
                if self.current.own_spi() == carrier {
                    return Err(Failure::LocalClose);
                }
                self.drop_sa(carrier);
                Ok(())
            }
            Task::CreateChild(child) => self.on_child_response(common, carrier, *child, &payloads, now),
            Task::RekeyIke(ike) => self.on_ike_rekey_response(common, carrier, *ike, &payloads, now),
        }
    }

    /// The session ends by a failure of its own. The peer may hold SAs that we can't use, so it is told, without
    /// waiting for its answer. One IKE SA can't be reached: that which a rekey has just created for the peer alone. Nor is
    /// a peer told that has yet to answer another request: it takes one at a time (RFC 7296 §2.3).
    fn part(&mut self, common: &mut Common, failure: &Failure) {
        if !matches!(failure, Failure::LocalClose) && self.current.is_idle() {
            self.current.parting_request(&mut common.out, &[Payload::Delete(Delete::Ike)]);
        }
    }

    /// Forgets a replaced IKE SA. What it was still asking for is asked again on the current one.
    fn drop_sa(&mut self, own_spi: IkeSpi) {
        let Some(index) = self.others.iter().position(|sa| sa.own_spi() == own_spi) else { return };
        let mut sa = self.others.swap_remove(index);
        self.intents.retain(|intent| *intent != Intent::DeleteIke(own_spi));
        match sa.abandon() {
            Some(Task::CreateChild(request)) => match (request.rekeys, request.collision) {
                (Some(old), None) => {
                    if let Some(child) = self.children.get_mut(&old)
                        && child.state == ChildState::Rekeying
                    {
                        child.state = ChildState::Installed;
                        self.intend(Intent::RekeyChild(old));
                    }
                }
                (Some(old), Some(collision)) => self.retire_child(old, collision.created),
                (None, _) => self.intend(Intent::NewChild),
            },
            Some(Task::UpdateAddresses(_)) => self.intend_update(),
            Some(Task::CheckPath(path)) => self.intend(Intent::CheckPath(path)),
            Some(Task::AskDelayedCheck(asked)) => self.ask_again(asked),
            Some(Task::DelayedCheck(owed)) => self.owe_still(owed),
            Some(Task::DeleteChild(spi_in)) => self.intents.push_back(Intent::DeleteChild(spi_in)),
            Some(Task::Auth | Task::Dpd | Task::DeleteIke | Task::RekeyIke(_)) | None => {}
        }
    }

    /// Once the CHILD SA that was sent on is gone, one that waited for its DELETE takes over, however it went.
    fn keep_sending(&mut self, common: &mut Common) {
        let sends = |child: &Child| child.sending && !matches!(child.state, ChildState::Lingering { .. });
        if self.children.values().any(sends) {
            return;
        }
        let heir = self.children.values().find(|child| child.is_live()).map(|child| child.info.spi_in);
        if let Some(spi_in) = heir {
            self.send_on(common, spi_in);
        }
    }

    /// Sends the next request on every IKE SA whose window is free.
    pub(super) fn pump(&mut self, common: &mut Common, now: Instant) {
        self.keep_sending(common);
        let mut index = 0;
        while let Some(&intent) = self.intents.get(index) {
            let carrier = match intent {
                Intent::DeleteIke(own_spi) => self.sa(own_spi),
                Intent::Dpd
                | Intent::UpdateAddresses
                | Intent::CheckPath(_)
                | Intent::AskDelayedCheck
                | Intent::DelayedCheck
                | Intent::NewChild
                | Intent::RekeyChild(_)
                | Intent::DeleteChild(_)
                | Intent::RekeyIke => Some(&self.current),
            };
            let Some(carrier) = carrier else {
                self.intents.remove(index);
                continue;
            };
            // The window is one (RFC 7296 §2.3).
            if !carrier.is_idle() || intent == Intent::UpdateAddresses && self.is_updating() {
                index += 1;
                continue;
            }
            self.intents.remove(index);
            match intent {
                Intent::Dpd => self.request_dpd(common, now),
                Intent::UpdateAddresses => self.request_update(common, now),
                Intent::CheckPath(path) => self.request_path_check(common, path, now),
                Intent::AskDelayedCheck => self.request_delayed_check(common, now),
                Intent::DelayedCheck => self.send_delayed_check(common, now),
                Intent::NewChild => self.request_child(common, None, None, now),
                Intent::RekeyChild(spi_in) => self.request_child(common, Some(spi_in), None, now),
                Intent::DeleteChild(spi_in) => self.request_child_delete(common, spi_in, now),
                Intent::RekeyIke => self.request_ike_rekey(common, None, now),
                Intent::DeleteIke(own_spi) => self.request_ike_delete(common, own_spi, now),
            }
        }
    }

    pub(super) fn handle_timeout(mut self: Box<Self>, common: &mut Common, now: Instant) -> Step {
        self.looked_at = now;
        let mut given_up = Vec::new();
        // Who does not ask whether the peer lives does not find that out by a check that it has asked for either.
        let waits_for_sleepers = common.timers.dpd_after.is_none();
        for sa in self.all_mut() {
            if sa.handle_retransmit(&mut common.out, now) == Retransmission::GaveUp {
                if sa.state == SaState::Current {
                    if waits_for_sleepers && matches!(sa.task(), Some(Task::DelayedCheck(_))) {
                        sa.rest();
                        continue;
                    }
                    let closing = matches!(sa.task(), Some(Task::DeleteIke));
                    return Err(if closing { Failure::LocalClose } else { Failure::PeerDead });
                }
                given_up.push(sa.own_spi());
            } else if let SaState::Retired { until } = sa.state
                && until <= now
            {
                given_up.push(sa.own_spi());
            }
        }
        for own_spi in given_up {
            self.drop_sa(own_spi);
        }
        if self.closing.is_some_and(|at| at <= now) {
            return Err(Failure::LocalClose);
        }
        if let Err(failure) = self.children_timeout(common, now) {
            self.part(common, &failure);
            return Err(failure);
        }
        if self.ike_rekey_at.is_some_and(|at| at <= now) {
            self.ike_rekey_at = None;
            self.intend(Intent::RekeyIke);
        }
        if self.reauthenticate_at.is_some_and(|at| at <= now) {
            self.reauthenticate_at = None;
            let by = self.peer.reauthenticate_by.unwrap_or(now);
            common.events.push_back(Event::ReauthenticationDue { by });
        }
        if self.delayed.is_due(now) {
            self.intend(Intent::DelayedCheck);
        }
        if self.mapping.check_at.take_if(|at| *at <= now).is_some() {
            self.look_at_mapping(now);
        }
        if self.dpd_at(common).is_some_and(|at| at <= now) {
            self.intend(Intent::Dpd);
        }
        Ok(Phase::Established(self))
    }

    fn children_timeout(&mut self, common: &mut Common, now: Instant) -> Result<(), Failure> {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let spis: Vec<EspSpi> = self.children.keys().copied().collect();
        for spi_in in spis {
            let Some(child) = self.children.get_mut(&spi_in) else { continue };
            if let ChildState::Lingering { until, reason } = child.state {
                if until <= now {
                    self.drop_child(common, spi_in, reason);
                }
            } else if due(child.expires_at) {
                child.expires_at = None;
                let last = self.children.len() == 1;
                self.delete_child(spi_in, ChildEnd::Expired);
                if last {
                    return Err(Failure::RekeyRefused);
                }
            } else if due(child.rekey_at) {
                child.rekey_at = None;
                if child.state == ChildState::Installed {
                    self.intend(Intent::RekeyChild(spi_in));
                }
            }
        }
        Ok(())
    }

    /// When the peer is to be asked for a sign of life, should nothing come in: the longer patience is for a peer that
    /// nobody has asked anything.
    fn dpd_at(&self, common: &Common) -> Option<Instant> {
        let free = self.current.is_idle() && self.closing.is_none();
        let after = common.timers.dpd_after.filter(|_| free)?;
        let answered = self.last_inbound + defaults::ANSWER_WITHIN;
        let is_asked = self.last_esp_sent.is_some_and(|at| at > answered);
        let patience = common.idle_dpd_after.filter(|_| !is_asked).map_or(after, |longer| longer.max(after));
        Some(self.last_inbound + patience)
    }

    /// When the owner is to tell what ESP has seen, and the peer to be asked if it has seen nothing come in. As often with
    /// the longer patience as without: that somebody has begun to send is told only then.
    fn dpd_looks_at(&self, common: &Common) -> Option<Instant> {
        let due = self.dpd_at(common)?;
        let look = common.timers.dpd_after.map(|after| self.looked_at.max(self.last_inbound) + after);
        Some(look.map_or(due, |look| look.min(due)))
    }

    pub(super) fn timeouts(&self, common: &Common, earliest: &mut Earliest) {
        for sa in self.all() {
            earliest.add(sa.retransmit_at(), WakeReason::Retransmit);
            if let SaState::Retired { until } = sa.state {
                earliest.add(Some(until), WakeReason::Expiry);
            }
        }
        for child in self.children.values() {
            match child.state {
                ChildState::Lingering { until, .. } => earliest.add(Some(until), WakeReason::Expiry),
                ChildState::Installed
                | ChildState::Rekeying
                | ChildState::Replaced { .. }
                | ChildState::Deleting(_) => {
                    earliest.add(child.rekey_at, WakeReason::ChildRekey);
                    earliest.add(child.expires_at, WakeReason::Expiry);
                }
            }
        }
        earliest.add(self.ike_rekey_at, WakeReason::IkeRekey);
        earliest.add(self.reauthenticate_at, WakeReason::Reauthentication);
        earliest.add(self.dpd_looks_at(common), WakeReason::Dpd);
        earliest.add(self.mapping.check_at, WakeReason::Dpd);
        earliest.add(self.delayed.due(), WakeReason::DelayedCheck);
        earliest.add(self.closing, WakeReason::Expiry);
    }
}
