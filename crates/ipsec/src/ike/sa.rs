//! One IKE SA as a channel for protected exchanges: keys, message IDs, a window of one, retransmission
//! (RFC 7296 §2.1 to §2.3) and fragmentation (RFC 7383).

use super::child_request::ChildRequest;
use super::config::Timers;
use super::delayed_check::{Asked, Owed};
use super::fragment::{Fragment, Reassembly};
use super::ike_rekey::IkeRekeyRequest;
use super::keys::IkeKeys;
use super::mobike::Update;
use super::pacing::Pacing;
use super::path::{Path, Transmit};
use crate::crypto::{IkeSuite, Rng, SkError};
use crate::wire::{
    Body, DecodeError, Envelope, EspSpi, Exchange, Header, IkeSpi, MessageId, Payload, decode_payloads,
    encode_payloads, encode_sk_prefix, encode_skf_prefix,
};
use std::collections::VecDeque;
use std::time::Instant;
use zeroize::Zeroizing;

/// Where finished datagrams go, with the randomness that sealing needs.
pub(super) struct Outbox {
    pub rng: Rng,
    pub queue: VecDeque<Transmit>,
    /// Where our own requests go.
    pub path: Path,
    /// IP datagram size for fragments.
    pub fragment_size: usize,
}

/// One IKE SA.
pub(super) struct IkeSa {
    /// Whether we initiated this very SA; decides the I flag and the direction of keys.
    pub initiator: bool,
    pub spi_i: IkeSpi,
    pub spi_r: IkeSpi,
    pub suite: IkeSuite,
    pub keys: IkeKeys,
    pub fragmentation: bool,
    pub created: Instant,
    pub state: SaState,
    next_request: MessageId,
    expected_request: MessageId,
    outstanding: Option<Outstanding>,
    answered: Option<Answered>,
    requests: Reassembly,
    responses: Reassembly,
}

/// What an IKE SA is to its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SaState {
    /// The one that new exchanges use.
    Current,
    /// Created by the peer while our own rekey is outstanding: which of the two stays is not known yet.
    Candidate,
    /// Replaced by another, or the loser of a simultaneous rekey. Its DELETE is under way from us or is
    /// awaited from the peer.
    Retired {
        /// Forgotten then in any case.
        until: Instant,
    },
}

/// A request of ours that waits for its response.
pub(super) struct Outstanding {
    pub exchange: Exchange,
    pub task: Task,
    /// Whether it went along more than one path, so that its answer proves nothing about any of them.
    pub moved: bool,
    /// When it was sent first.
    pub sent_at: Instant,
    /// Whether it was sent more than once.
    pub repeated: bool,
    id: MessageId,
    /// Bit-identical for every transmission (RFC 7296 §2.1), unless a path needs smaller ones.
    messages: Vec<Vec<u8>>,
    /// What they were made of.
    content: Content,
    pacing: Pacing,
    next_at: Instant,
    aside: Option<Aside>,
    /// Not sent again until the peer is heard of.
    resting: bool,
}

/// A request that keeps off the main path for the time being.
struct Aside {
    path: Path,
    /// For the main path, should there be no answer along this one.
    fallback: Pacing,
}

/// Encoded payloads, and the type of the first.
struct Content {
    first: u8,
    payloads: Zeroizing<Vec<u8>>,
}

struct Answered {
    id: MessageId,
    messages: Vec<Vec<u8>>,
}

/// What an outstanding request is for.
pub(super) enum Task {
    /// A step of IKE_AUTH.
    Auth,
    /// Liveness.
    Dpd,
    /// Tells the peer that we have moved.
    UpdateAddresses(Update),
    /// Tests this path.
    CheckPath(Path),
    /// Asks for a check after a silence.
    AskDelayedCheck(Asked),
    /// Is that check.
    DelayedCheck(Owed),
    /// Deletes the IKE SA that carries it.
    DeleteIke,
    /// Deletes the CHILD SA with this inbound SPI.
    DeleteChild(EspSpi),
    /// Creates or rekeys a CHILD SA.
    CreateChild(Box<ChildRequest>),
    /// Rekeys the IKE SA that carries it.
    RekeyIke(Box<IkeRekeyRequest>),
}

/// What a datagram turned out to be.
pub(super) enum Incoming {
    /// A new request: must be answered with `respond` and this ID.
    Request { exchange: Exchange, id: MessageId, payloads: Result<Vec<Payload>, DecodeError> },
    /// The response to our outstanding request.
    Response { payloads: Result<Vec<Payload>, DecodeError>, request: Box<Outstanding> },
    /// Handled (a retransmission, a fragment) or not worth handling.
    Nothing,
}

/// What became of an outstanding request at a timeout.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Retransmission {
    NotDue,
    Sent,
    GaveUp,
}

impl IkeSa {
    pub(super) fn new(
        initiator: bool,
        (spi_i, spi_r): (IkeSpi, IkeSpi),
        suite: IkeSuite,
        keys: IkeKeys,
        fragmentation: bool,
        now: Instant,
    ) -> Self {
        Self {
            initiator,
            spi_i,
            spi_r,
            suite,
            keys,
            fragmentation,
            created: now,
            state: SaState::Current,
            next_request: MessageId(0),
            expected_request: MessageId(0),
            outstanding: None,
            answered: None,
            requests: Reassembly::default(),
            responses: Reassembly::default(),
        }
    }

    /// The same SA after IKE_SA_INIT, whose messages had ID 0 in the initiator's direction.
    pub(super) fn after_init(mut self) -> Self {
        if self.initiator {
            self.next_request = MessageId(1);
        } else {
            self.expected_request = MessageId(1);
        }
        self
    }

    pub(super) fn with_state(self, state: SaState) -> Self {
        Self { state, ..self }
    }

    /// Whether a header belongs to this SA, sent by the peer.
    pub(super) fn owns(&self, header: &Header) -> bool {
        self.spi_i == header.spi_i && self.spi_r == header.spi_r && self.initiator != header.initiator
    }

    /// Whether a request may be sent: the window is one.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_none()
    }

    pub(super) fn task(&self) -> Option<&Task> {
        self.outstanding.as_ref().map(|outstanding| &outstanding.task)
    }

    pub(super) fn task_mut(&mut self) -> Option<&mut Task> {
        self.outstanding.as_mut().map(|outstanding| &mut outstanding.task)
    }

    /// Gives up the outstanding request, for an SA that ends.
    pub(super) fn abandon(&mut self) -> Option<Task> {
        self.outstanding.take().map(|outstanding| outstanding.task)
    }

    pub(super) fn retransmit_at(&self) -> Option<Instant> {
        self.outstanding
            .as_ref()
            .filter(|outstanding| !outstanding.resting)
            .map(|outstanding| outstanding.next_at)
    }

    /// Sends a request. The window must be free; message IDs must not be used up.
    pub(super) fn request(
        &mut self,
        out: &mut Outbox,
        exchange: Exchange,
        payloads: &[Payload],
        task: Task,
        timers: &Timers,
        now: Instant,
    ) {
        debug_assert!(self.outstanding.is_none(), "window of one");
        let id = self.next_request;
        // 2^32 exchanges on one SA do not happen before its rekey; saturation then reuses no ID, because the
        // peer refuses it.
        self.next_request = id.next().unwrap_or(id);
        let path = if let Task::CheckPath(path)
        | Task::AskDelayedCheck(Asked { path, .. })
        | Task::DelayedCheck(Owed { path, .. }) = task
        {
            path
        } else {
            out.path
        };
        let content = Content::of(payloads);
        let messages = self.seal(out, path, (exchange, false, id), &content);
        let usual = Pacing::usual(timers, timers.retransmits_established);
        let (pacing, aside) = match task {
            Task::Auth => (Pacing::usual(timers, timers.retransmits_connecting), None),
            Task::UpdateAddresses(_) => (Pacing::after_move(timers), None),
            Task::CheckPath(path)
            | Task::AskDelayedCheck(Asked { path, .. })
            | Task::DelayedCheck(Owed { path, .. }) => {
                (Pacing::path_check(), Some(Aside { path, fallback: usual }))
            }
            Task::Dpd | Task::DeleteIke | Task::DeleteChild(_) | Task::CreateChild(_) | Task::RekeyIke(_) => {
                (usual, None)
            }
        };
        let outstanding = Outstanding {
            exchange,
            task,
            moved: false,
            sent_at: now,
            repeated: false,
            id,
            messages,
            content,
            next_at: now + pacing.interval(),
            pacing,
            aside,
            resting: false,
        };
        outstanding.transmit(out);
        self.outstanding = Some(outstanding);
    }

    /// Whether the outstanding request keeps off the main path.
    pub(super) fn is_aside(&self) -> bool {
        self.outstanding.as_ref().is_some_and(Outstanding::is_aside)
    }

    /// The main path has changed, or must not wait: sends the outstanding request along it at once, and soon again.
    pub(super) fn resume(&mut self, out: &mut Outbox, timers: &Timers, now: Instant) {
        let Some(mut outstanding) = self.outstanding.take() else { return };
        outstanding.moved = true;
        outstanding.repeated = true;
        outstanding.aside = None;
        outstanding.resting = false;
        outstanding.pacing = Pacing::after_move(timers);
        outstanding.next_at = now + outstanding.pacing.interval();
        self.fit(&mut outstanding, out);
        outstanding.transmit(out);
        self.outstanding = Some(outstanding);
    }

    /// Cuts a request anew that is too long for the main path, as when it was made for a stream. A receiver that has some
    /// of the old fragments begins with the new ones, since there are more (RFC 7383 §2.5.2, §2.6).
    fn fit(&mut self, outstanding: &mut Outstanding, out: &mut Outbox) {
        let budget = out.path.message_budget(out.fragment_size);
        if self.fragmentation && outstanding.messages.iter().any(|message| message.len() > budget) {
            let Outstanding { exchange, id, ref content, .. } = *outstanding;
            outstanding.messages = self.seal(out, out.path, (exchange, false, id), content);
        }
    }

    /// Leaves the outstanding request alone, which the peer has not answered, until it is heard of.
    pub(super) fn rest(&mut self) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.resting = true;
        }
    }

    /// The peer was heard of: a request that rests goes on.
    pub(super) fn wake(&mut self, out: &mut Outbox, timers: &Timers, now: Instant) {
        if self.outstanding.as_ref().is_some_and(|outstanding| outstanding.resting) {
            self.resume(out, timers, now);
        }
    }

    /// Sends a request whose response nobody will wait for, because the SA ends with it.
    pub(super) fn parting_request(&mut self, out: &mut Outbox, payloads: &[Payload]) {
        let id = self.next_request;
        self.next_request = id.next().unwrap_or(id);
        let path = out.path;
        let messages = self.seal(out, path, (Exchange::Informational, false, id), &Content::of(payloads));
        out.queue.extend(messages.iter().map(|message| path.frame(message)));
    }

    /// Answers the request with this ID along the path that it came in on, and keeps the answer for
    /// retransmissions of the request.
    pub(super) fn respond(
        &mut self,
        out: &mut Outbox,
        path: Path,
        exchange: Exchange,
        id: MessageId,
        payloads: &[Payload],
    ) {
        let messages = self.seal(out, path, (exchange, true, id), &Content::of(payloads));
        out.queue.extend(messages.iter().map(|message| path.frame(message)));
        self.answered = Some(Answered { id, messages });
        if let Some(next) = id.next() {
            self.expected_request = next;
        }
    }

    /// Authenticates and sorts a datagram whose header this SA owns.
    pub(super) fn receive(
        &mut self,
        out: &mut Outbox,
        path: Path,
        envelope: &Envelope<'_>,
        datagram: &[u8],
    ) -> Incoming {
        let Header { response, message_id: id, exchange, .. } = envelope.header;
        let expected = if response {
            self.outstanding.as_ref().is_some_and(|o| o.id == id && o.exchange == exchange && o.accepts(path))
        } else {
            id == self.expected_request || self.answered.as_ref().is_some_and(|a| a.id == id)
        };
        if !expected {
            return Incoming::Nothing;
        }
        let (first, content) = match envelope.body {
            // Nothing unprotected is believed on an SA that has keys (RFC 7296 §2.21.3).
            Body::Clear(_) => return Incoming::Nothing,
            Body::Encrypted { first, aad_len } => match self.keys.rx.open(datagram, aad_len) {
                Ok(content) => (first, content),
                Err(_) => return Incoming::Nothing,
            },
            Body::Fragment { first, number, total, aad_len } => {
                let Ok(content) = self.keys.rx.open(datagram, aad_len) else { return Incoming::Nothing };
                if !response && id != self.expected_request {
                    // Answer a retransmission once, not once a fragment (RFC 7383 §2.6.1).
                    if number == 1 {
                        self.answer_again(out, path);
                    }
                    return Incoming::Nothing;
                }
                let reassembly = if response { &mut self.responses } else { &mut self.requests };
                let fragment = Fragment { message_id: id, first_payload: first, number, total, content };
                match reassembly.add(fragment) {
                    Some(whole) => whole,
                    None => return Incoming::Nothing,
                }
            }
        };
        if response {
            let payloads = decode_payloads(first, &content);
            return match self.outstanding.take() {
                Some(request) => Incoming::Response { payloads, request: Box::new(request) },
                None => Incoming::Nothing,
            };
        }
        if id != self.expected_request {
            self.answer_again(out, path);
            return Incoming::Nothing;
        }
        Incoming::Request { exchange, id, payloads: decode_payloads(first, &content) }
    }

    fn answer_again(&self, out: &mut Outbox, path: Path) {
        if let Some(answered) = &self.answered {
            out.queue.extend(answered.messages.iter().map(|message| path.frame(message)));
        }
    }

    /// Sends the outstanding request again if its time has come.
    pub(super) fn handle_retransmit(&mut self, out: &mut Outbox, now: Instant) -> Retransmission {
        let Some(outstanding) = &mut self.outstanding else { return Retransmission::NotDue };
        if outstanding.resting || now < outstanding.next_at {
            return Retransmission::NotDue;
        }
        let wait = match outstanding.pacing.retransmit() {
            Some(wait) => wait,
            None => {
                // What tests a path is shorter than any datagram.
                let Some(aside) = outstanding.aside.take() else { return Retransmission::GaveUp };
                outstanding.moved = true;
                outstanding.pacing = aside.fallback;
                outstanding.pacing.interval()
            }
        };
        outstanding.next_at = now + wait;
        outstanding.repeated = true;
        outstanding.transmit(out);
        Retransmission::Sent
    }

    /// The messages that carry `content` along `path`: one, or as many fragments as its datagrams need (RFC 7383).
    fn seal(
        &mut self,
        out: &mut Outbox,
        path: Path,
        (exchange, response, message_id): (Exchange, bool, MessageId),
        content: &Content,
    ) -> Vec<Vec<u8>> {
        let header = Header {
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            exchange,
            initiator: self.initiator,
            response,
            message_id,
        };
        let (first, content) = (content.first, &content.payloads);
        let budget = path.message_budget(out.fragment_size);
        let tx = &mut self.keys.tx;
        let sealed_len = tx.sealed_len(content.len());
        let prefix = encode_sk_prefix(&header, first, sealed_len);
        if !self.fragmentation || prefix.len() + sealed_len <= budget {
            return sealed(tx.seal(&prefix, content, &mut out.rng));
        }
        // The SKF header is four octets longer than the SK header.
        let chunk = tx.plain_capacity(budget.saturating_sub(prefix.len() + 4)).max(64);
        let chunks: Vec<&[u8]> = content.chunks(chunk).collect();
        let total = u16::try_from(chunks.len()).unwrap_or(u16::MAX);
        (1..=total)
            .zip(chunks)
            .map(|(number, chunk)| {
                let first = if number == 1 { first } else { 0 };
                let prefix = encode_skf_prefix(&header, first, number, total, tx.sealed_len(chunk.len()));
                tx.seal(&prefix, chunk, &mut out.rng)
            })
            .flat_map(sealed)
            .collect()
    }
}

impl Content {
    fn of(payloads: &[Payload]) -> Self {
        let (first, payloads) = encode_payloads(payloads);
        Self { first, payloads: Zeroizing::new(payloads) }
    }
}

impl Outstanding {
    fn transmit(&self, out: &mut Outbox) {
        let path = self.aside.as_ref().map_or(out.path, |aside| aside.path);
        out.queue.extend(self.messages.iter().map(|message| path.frame(message)));
    }

    /// Whether it has kept off the main path, so that its answer says nothing about that one.
    pub(super) fn is_aside(&self) -> bool {
        self.aside.is_some()
    }

    /// Whether a response that came along `path` may be the answer. One that has to prove something about a
    /// path must come along it; any other is welcome from anywhere (RFC 7296 §2.11).
    fn accepts(&self, path: Path) -> bool {
        match &self.task {
            Task::UpdateAddresses(update) => self.moved || path == update.path,
            Task::CheckPath(_) | Task::AskDelayedCheck(_) => {
                self.aside.as_ref().is_none_or(|aside| path == aside.path)
            }
            Task::Auth
            | Task::DelayedCheck(_)
            | Task::Dpd
            | Task::DeleteIke
            | Task::DeleteChild(_)
            | Task::CreateChild(_)
            | Task::RekeyIke(_) => true,
        }
    }
}

/// Sealing fails only when the IVs of an SA are used up, 2^64 messages on: nothing is sent then, and the
/// exchange times out.
fn sealed(message: Result<Vec<u8>, SkError>) -> Vec<Vec<u8>> {
    message
        .map_err(|error| tracing::error!(%error, "an IKE message could not be sealed"))
        .into_iter()
        .collect()
}
