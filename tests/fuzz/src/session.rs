//! A client session with a gateway that holds the keys and means no good.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_ipsec::ike::Event;
use evenkeel_ipsec::wire::{Envelope, Exchange, MessageId};

use crate::Outcome;
use crate::gateway::{Gateway, Message, Reaction, message_of};

/// One octet for the state to begin in, then steps in [frames](crate::frames). A step's first octet says what it is:
/// a message in an SK payload, a fragment in an SKF payload, a datagram, or time.
pub fn ike_session(input: &[u8]) -> Outcome {
    let Some((state, steps)) = input.split_first() else {
        return Outcome::Refused;
    };
    let mut gateway = if state & 1 == 0 { Gateway::after_init() } else { Gateway::established() };
    let mut outcome = Outcome::Refused;
    for step in crate::frames(steps) {
        let reaction = take(&mut gateway, step);
        check(&reaction);
        let has_effect = |event: &Event| !matches!(event, Event::Closed(_));
        if !reaction.transmits.is_empty() || reaction.events.iter().any(has_effect) {
            outcome = Outcome::Accepted;
        }
    }
    outcome
}

/// One octet for how many fragments, one for each fragment that says when it is sent and what else is, then a message:
/// one octet for the exchange, one for its first payload, its content.
///
/// However a message is cut, shuffled, repeated and mixed with rubbish, it must have the effect of the whole one.
pub fn skf_reassembly(input: &[u8]) -> Outcome {
    let Some((total, rest)) = input.split_first() else {
        return Outcome::Refused;
    };
    let total = 1 + total % 16;
    let Some((plan, [exchange, first, content @ ..])) = rest.split_at_checked(total.into()) else {
        return Outcome::Refused;
    };
    let message = Message {
        exchange: Exchange::from_number(36 + exchange % 2),
        response: false,
        message_id: MessageId(0),
        first: *first,
    };
    let expected = Gateway::established().send(message, content);
    let reactions = send_in_fragments(&mut Gateway::established(), message, total, plan, content);

    let sent = |reactions: &[Reaction]| -> BTreeSet<Vec<u8>> {
        reactions.iter().flat_map(|reaction| &reaction.transmits).map(|sent| sent.payload.clone()).collect()
    };
    let told = |reactions: &[Reaction]| reactions.iter().map(|reaction| reaction.events.len()).sum::<usize>();
    let answered = !expected.transmits.is_empty();
    let expected = [expected];
    assert_eq!(sent(&reactions), sent(&expected));
    assert_eq!(told(&reactions), told(&expected));
    if answered { Outcome::Accepted } else { Outcome::Refused }
}

/// Sends the fragments in the order of the plan. Bits of its octets add a damaged copy before, another copy after, and
/// the start of an older, coarser division of the message.
fn send_in_fragments(
    gateway: &mut Gateway,
    message: Message,
    total: u8,
    plan: &[u8],
    content: &[u8],
) -> Vec<Reaction> {
    let total_len = content.len();
    let cut = |number: usize| total_len * number / usize::from(total);
    let mut order: Vec<(u8, u8)> = plan.iter().copied().zip(1..=total).collect();
    order.sort_unstable();
    let mut reactions = Vec::new();
    for (choice, number) in order {
        let at = usize::from(number);
        let part = content.get(cut(at - 1)..cut(at)).unwrap_or_default();
        let (number, total) = (u16::from(number), u16::from(total));
        // One fragment out of fewer is ignored once a larger total is known; before, it must not matter.
        if choice & 1 != 0 && total > 2 {
            reactions.push(gateway.send_fragment(message, 1, total - 1, b"of an older division"));
        }
        reactions.push(gateway.send_fragment(message, number, total, part));
        if choice & 2 != 0 {
            reactions.push(gateway.send_fragment(message, number, total, part));
        }
        if choice & 4 != 0 {
            reactions.push(gateway.send_fragment(message, number, total, b"other content, same number"));
        }
    }
    reactions
}

fn take(gateway: &mut Gateway, step: &[u8]) -> Reaction {
    match step {
        [kind, exchange, flags, id, first, rest @ ..] if kind & 3 < 2 => {
            let message = Message {
                exchange: Exchange::from_number(34 + exchange % 5),
                response: flags & 1 != 0,
                message_id: MessageId(u32::from(*id)),
                first: *first,
            };
            match rest {
                [number, total, content @ ..] if kind & 1 != 0 => {
                    // At least 1, as RFC 7383 demands: other numbers don't pass the envelope.
                    let (number, total) = (u16::from(*number).max(1), u16::from(*total).max(1));
                    gateway.send_fragment(message, number.min(total), total, content)
                }
                content => gateway.send(message, content),
            }
        }
        [kind, seconds, ..] if kind & 3 == 2 => gateway.wait(Duration::from_secs(u64::from(*seconds))),
        [_, datagram @ ..] => gateway.send_datagram(datagram),
        [] => Reaction::default(),
    }
}

/// What the session sends must be well-formed.
fn check(reaction: &Reaction) {
    for transmit in &reaction.transmits {
        let envelope = Envelope::parse(message_of(transmit));
        assert!(envelope.is_ok(), "{envelope:?}");
    }
}
