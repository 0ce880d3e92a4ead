//! What the network did with each message of a handshake, told from the bytes alone, so that a test can say of
//! a handshake that failed whether it could have succeeded.

use crate::wire::{Exchange, NON_ESP_MARKER};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const IKE_SA_INIT: u8 = 34;
const IKE_AUTH: u8 = 35;
/// Payload type of the Encrypted and Authenticated Fragment (RFC 7383 §2.5).
const SKF: u8 = 53;

/// Every exchange that the client began while connecting, in order, and what became of its datagrams.
#[derive(Default)]
pub(super) struct Ledger {
    exchanges: Vec<Exchanged>,
    /// The exchange whose request the responder received last: what it sends next answers this one.
    asked: Option<usize>,
    /// Copies that never arrived.
    pub lost: u64,
    /// Copies beyond the first.
    pub duplicated: u64,
    /// Datagrams that arrived after one of the same direction that was sent later.
    pub overtaken: u64,
    newest: [u64; 2],
}

/// One request, all its transmissions identical, with its response.
struct Exchanged {
    kind: u8,
    id: [u8; 4],
    request: Message,
    response: Message,
}

/// One message, whole or in fragments.
#[derive(Default)]
struct Message {
    /// Its datagrams by fragment number; one that is not fragmented is number 1 of 1.
    parts: BTreeMap<u16, Vec<u8>>,
    total: u16,
    /// When it was sent, told by its first datagram.
    sent: Vec<Instant>,
    /// Which of its datagrams arrived, and when.
    delivered: Vec<(Instant, u16)>,
}

/// What the header of a datagram says, read without the decoder that is under test.
struct Seen<'a> {
    kind: u8,
    id: [u8; 4],
    response: bool,
    number: u16,
    total: u16,
    bytes: &'a [u8],
}

impl<'a> Seen<'a> {
    /// Of a message of the handshake; nothing else is kept.
    fn of(payload: &'a [u8]) -> Option<Self> {
        let bytes = payload.strip_prefix(&NON_ESP_MARKER).unwrap_or(payload);
        let (&first, &kind, &flags) = (bytes.get(16)?, bytes.get(18)?, bytes.get(19)?);
        let id = bytes.get(20..24)?.try_into().ok()?;
        let number_at = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let (number, total) = if first == SKF { (number_at(32)?, number_at(34)?) } else { (1, 1) };
        let seen = Self { kind, id, response: flags & 0x20 != 0, number, total, bytes };
        matches!(kind, IKE_SA_INIT | IKE_AUTH).then_some(seen)
    }
}

impl Message {
    fn add_sent(&mut self, seen: &Seen<'_>, now: Instant) {
        self.total = seen.total;
        let kept = self.parts.entry(seen.number).or_insert_with(|| seen.bytes.to_vec());
        assert_eq!(kept, seen.bytes, "retransmissions are identical");
        if seen.number == 1 {
            self.sent.push(now);
        }
    }

    fn has(&self, seen: &Seen<'_>) -> bool {
        self.parts.get(&seen.number).is_some_and(|part| part == seen.bytes)
    }

    /// Whether every fragment has arrived, be it from different transmissions: reassembly goes by number.
    fn is_complete(&self) -> bool {
        let numbers: BTreeSet<u16> = self.delivered.iter().map(|(_, number)| *number).collect();
        !self.parts.is_empty() && numbers.len() == usize::from(self.total)
    }

    /// How often a responder must have answered: once when nothing is missing any more, and then again each
    /// time that the first fragment arrives (RFC 7383 §2.6.1).
    fn answers_due(&self) -> usize {
        let mut missing: BTreeSet<u16> = (1..=self.total).collect();
        let mut answers = 0;
        for (_, number) in &self.delivered {
            let was_complete = missing.is_empty();
            missing.remove(number);
            let again = was_complete && *number == 1;
            answers += usize::from(again || !was_complete && missing.is_empty());
        }
        answers
    }
}

impl Ledger {
    /// A peer has sent a datagram.
    pub(super) fn note_sent(&mut self, to_responder: bool, payload: &[u8], now: Instant) {
        let Some(seen) = Seen::of(payload).filter(|seen| seen.response != to_responder) else { return };
        if seen.response {
            let asked = self.asked.and_then(|index| self.exchanges.get_mut(index));
            let asked = asked.expect("a response answers a request that arrived");
            assert_eq!((asked.kind, asked.id), (seen.kind, seen.id), "a response to another request");
            asked.response.add_sent(&seen, now);
            return;
        }
        let same = |exchange: &Exchanged| {
            let begun = !exchange.request.parts.contains_key(&seen.number);
            (exchange.kind, exchange.id) == (seen.kind, seen.id) && (begun || exchange.request.has(&seen))
        };
        // IKE_SA_INIT that starts anew has the same message ID but is another request.
        if !self.exchanges.last().is_some_and(same) {
            self.exchanges.push(Exchanged {
                kind: seen.kind,
                id: seen.id,
                request: Message::default(),
                response: Message::default(),
            });
        }
        if let Some(exchange) = self.exchanges.last_mut() {
            exchange.request.add_sent(&seen, now);
        }
    }

    /// The datagram with this place in the order of sending arrives.
    pub(super) fn note_delivered(&mut self, to_responder: bool, payload: &[u8], order: u64, now: Instant) {
        let newest = &mut self.newest[usize::from(to_responder)];
        self.overtaken += u64::from(order < *newest);
        *newest = order.max(*newest);
        let Some(seen) = Seen::of(payload).filter(|seen| seen.response != to_responder) else { return };
        let message = |exchange: &mut Exchanged| {
            let message = if seen.response { &mut exchange.response } else { &mut exchange.request };
            message.has(&seen).then(|| message.delivered.push((now, seen.number))).is_some()
        };
        let found = self.exchanges.iter_mut().position(message);
        assert!(found.is_some(), "a datagram that nobody sent");
        if !seen.response {
            self.asked = found;
        }
    }

    /// Panics unless the handshake that ended at `gave_up` was bound to fail: its last request was sent as often
    /// as the schedule allows, each time that it arrived it was answered, and yet no answer arrived whole.
    pub(super) fn assert_hopeless(&self, exchange: Exchange, gave_up: Instant, what: &str) {
        let last = self.exchanges.last().expect("a handshake sends something");
        let kind = if last.kind == IKE_SA_INIT { Exchange::IkeSaInit } else { Exchange::IkeAuth };
        assert_eq!(kind, exchange, "{what}: which exchange it gave up on");
        let sent: Vec<Duration> = last.request.sent.iter().map(|at| *at - last.request.sent[0]).collect();
        let schedule = [0, 500, 1500, 3500, 7500].map(Duration::from_millis);
        assert_eq!(sent, schedule, "{what}: transmissions of the request");
        let patience = gave_up - last.request.sent[0];
        assert_eq!(patience, Duration::from_millis(15_500), "{what}: how long it waited");
        assert_eq!(
            last.response.sent.len(),
            last.request.answers_due(),
            "{what}: the request arrived as {:?} of {}, the answer was sent at {:?}",
            last.request.delivered,
            last.request.total,
            last.response.sent,
        );
        assert!(
            !last.response.is_complete(),
            "{what}: gave up although the response had arrived: {:?} of {}",
            last.response.delivered,
            last.response.total,
        );
    }

    /// Whether the last exchange had more than one datagram a message, in either direction.
    pub(super) fn last_is_fragmented(&self) -> bool {
        self.exchanges.last().is_some_and(|last| last.request.total > 1 || last.response.total > 1)
    }
}
