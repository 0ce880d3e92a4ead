//! A CHILD SA: its life, and how it is built once an exchange has agreed on it.

use super::config::Timers;
use super::defaults;
use super::event::{ChildEnd, ChildSaInfo};
use super::failure::Failure;
use super::keys::ChildKeys;
use super::payloads::Payloads;
use super::sa::IkeSa;
use super::session::Common;
use crate::crypto::{EspSuite, Group, Rng};
use crate::esp::{InboundSa, OutboundSa, SaCounters, SelectorPair};
use crate::wire::{EspSpi, NotifyType, Spi, TrafficSelector};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A CHILD SA as its session sees it.
pub(super) struct Child {
    pub info: ChildSaInfo,
    pub state: ChildState,
    /// When we start to replace it.
    pub rekey_at: Option<Instant>,
    /// When it ends, replaced or not.
    pub expires_at: Option<Instant>,
    /// Whether the owner was told to send on it.
    pub sending: bool,
}

/// Life of a CHILD SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChildState {
    /// In use.
    Installed,
    /// In use, and our request to replace it is outstanding.
    Rekeying,
    /// Replaced by the peer's rekey; the peer will delete it.
    Replaced {
        /// The one to send on from here on.
        by: EspSpi,
    },
    /// Our DELETE for it is queued or outstanding; it still receives.
    Deleting(ChildEnd),
    /// Deleted on the wire; receives a little longer, for packets that were under way.
    Lingering {
        /// Removed then.
        until: Instant,
        /// Why.
        reason: ChildEnd,
    },
}

impl Child {
    pub(super) fn new(info: ChildSaInfo, timers: &Timers, sending: bool) -> Self {
        let expires_at =
            timers.child_rekey.map(|rekey| info.rekey_at + (rekey / 10).max(defaults::EXPIRY_MARGIN_MIN));
        let rekey_at = timers.child_rekey.map(|_| info.rekey_at);
        Self { info, state: ChildState::Installed, rekey_at, expires_at, sending }
    }

    /// Whether the peer may still ask to rekey it.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, ChildState::Installed | ChildState::Rekeying)
    }
}

/// A time up to `percent` of `lifetime` before its end.
pub(super) fn jittered(rng: &mut Rng, lifetime: Duration, percent: u32, now: Instant) -> Instant {
    let share = u64::from(percent.min(90)) * (rng.u64() % 1001);
    let early = lifetime.as_micros() * u128::from(share) / 100_000;
    now + lifetime.saturating_sub(Duration::from_micros(u64::try_from(early).unwrap_or(0)))
}

/// A random SPI outside the reserved range (RFC 4303 §2.1).
pub(super) fn random_spi(rng: &mut Rng) -> EspSpi {
    loop {
        let spi = rng.u32();
        if spi > 255 {
            return EspSpi(spi);
        }
    }
}

/// Both halves of a new CHILD SA with its facts.
pub(super) struct Built {
    pub info: ChildSaInfo,
    pub inbound: InboundSa,
    pub outbound: OutboundSa,
}

/// Everything that an exchange has agreed on.
pub(super) struct Agreed {
    pub spi_in: EspSpi,
    pub spi_out: EspSpi,
    pub suite: EspSuite,
    pub group: Option<Group>,
    pub keys: ChildKeys,
    pub ts_local: Vec<TrafficSelector>,
    pub ts_remote: Vec<TrafficSelector>,
    pub tfc_supported: bool,
}

impl Agreed {
    pub(super) fn build(self, common: &mut Common, now: Instant) -> Result<Built, Failure> {
        let Self { spi_in, spi_out, suite, group, keys, ts_local, ts_remote, tfc_supported } = self;
        let rng = &mut common.out.rng;
        let lifetime = common.timers.child_rekey.unwrap_or(defaults::CHILD_REKEY);
        let rekey_at = jittered(rng, lifetime, common.timers.jitter_percent, now);
        let selectors = SelectorPair { local: ts_local.clone(), remote: ts_remote.clone() };
        let (counters_in, counters_out) = (Arc::new(SaCounters::default()), Arc::new(SaCounters::default()));
        let unfit = |_| Failure::Local("the ESP keys do not fit the suite");
        let inbound = InboundSa::new(spi_in, suite, &keys.inbound, &selectors, Arc::clone(&counters_in));
        let inbound = inbound.map_err(unfit)?;
        let (iv_seed, counters) = (rng.fork(), Arc::clone(&counters_out));
        let outbound = OutboundSa::new(spi_out, suite, &keys.outbound, iv_seed, &selectors, counters);
        let outbound = outbound.map_err(unfit)?;
        let info = ChildSaInfo {
            spi_in,
            spi_out,
            suite,
            group,
            ts_local,
            ts_remote,
            counters_in,
            counters_out,
            rekey_at,
            tfc_supported,
        };
        Ok(Built { info, inbound, outbound })
    }
}

/// What we offered in TSi and TSr.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    pub ts_local: &'a [TrafficSelector],
    pub ts_remote: &'a [TrafficSelector],
}

impl Offer<'_> {
    /// The peer's narrowed selectors, refused when they go beyond the offer (RFC 7296 §2.9).
    pub(super) fn narrowed(
        self,
        payloads: &Payloads,
    ) -> Result<(Vec<TrafficSelector>, Vec<TrafficSelector>), Failure> {
        let (Some(ts_local), Some(ts_remote)) = (&payloads.ts_i, &payloads.ts_r) else {
            return Err(Failure::ProtocolViolation("response without traffic selectors"));
        };
        if within(ts_local, self.ts_local) && within(ts_remote, self.ts_remote) {
            Ok((ts_local.clone(), ts_remote.clone()))
        } else {
            Err(Failure::ProtocolViolation("the peer's traffic selectors go beyond those offered"))
        }
    }
}

/// Whether there are selectors and each lies within one of `bounds`.
fn within(selectors: &[TrafficSelector], bounds: &[TrafficSelector]) -> bool {
    !selectors.is_empty()
        && selectors.iter().all(|ts| bounds.iter().any(|bound| bound.intersect(ts).as_ref() == Some(ts)))
}

/// What a TS payload has room for (RFC 7296 §3.13).
const MAX_SELECTORS: usize = 255;

/// What both lists have in common, for a responder that narrows (RFC 7296 §2.9): no more than fits the answer, since
/// two hostile lists have a hundred times as many intersections.
pub(super) fn narrow(offered: &[TrafficSelector], policy: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut common = Vec::new();
    for ts in offered.iter().flat_map(|a| policy.iter().filter_map(|b| a.intersect(b))) {
        if common.len() == MAX_SELECTORS {
            break;
        }
        if !common.contains(&ts) {
            common.push(ts);
        }
    }
    common
}

/// The CHILD SA that IKE_AUTH creates, while only our half is known.
pub(super) struct FirstChild {
    pub spi_in: EspSpi,
}

impl FirstChild {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { spi_in: random_spi(rng) }
    }

    /// Takes SAr2, TSi and TSr. Its keys come from the nonces of IKE_SA_INIT (RFC 7296 §2.17).
    pub(super) fn complete(
        self,
        common: &mut Common,
        sa: &IkeSa,
        payloads: &Payloads,
        offer: Offer<'_>,
        (nonce_i, nonce_r): (&[u8], &[u8]),
        now: Instant,
    ) -> Result<Built, Failure> {
        let Some(proposals) = &payloads.sa else {
            return Err(Failure::ProtocolViolation("IKE_AUTH response without SAr2"));
        };
        let (suite, _, spi) = common
            .esp
            .accept(proposals, false)
            .map_err(|_| Failure::ProtocolViolation("the peer chose an ESP proposal that was not offered"))?;
        let Spi::Esp(spi_out) = spi else {
            return Err(Failure::ProtocolViolation("SAr2 without an ESP SPI"));
        };
        let (ts_local, ts_remote) = offer.narrowed(payloads)?;
        let keys = sa.keys.child(suite, None, nonce_i, nonce_r, true);
        let tfc_supported = !payloads.has(NotifyType::EspTfcPaddingNotSupported);
        let agreed = Agreed {
            spi_in: self.spi_in,
            spi_out,
            suite,
            group: None,
            keys,
            ts_local,
            ts_remote,
            tfc_supported,
        };
        agreed.build(common, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_hostile_lists_gives_no_more_than_an_answer_holds() {
        // Each of these overlaps each of those, everywhere differently.
        let ports = |start_port: u16, end_port| {
            let any = TrafficSelector::any_v4();
            TrafficSelector { protocol: 17, start_port, end_port, ..any }
        };
        let offered: Vec<_> = (0..=254).map(|n| ports(n, 1_000)).collect();
        let policy: Vec<_> = (0..=254).map(|n| ports(0, 300 + n)).collect();
        let narrowed = narrow(&offered, &policy);
        assert_eq!(narrowed.len(), MAX_SELECTORS);
        assert!(within(&narrowed, &offered) && within(&narrowed, &policy));
    }
}
