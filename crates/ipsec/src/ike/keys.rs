//! Key derivation (RFC 7296 §2.14, §2.17, §2.18).

use super::failure::Failure;
use crate::crypto::{EspSuite, IkeSuite, Prf, Secret, SkKey};
use crate::esp::EspKeys;
use crate::wire::IkeSpi;

/// Keys of one IKE SA, seen from our side.
pub(super) struct IkeKeys {
    pub prf: Prf,
    pub sk_d: Secret,
    pub sk_pi: Secret,
    pub sk_pr: Secret,
    /// Protects what we send.
    pub tx: SkKey,
    /// Opens what the peer sends.
    pub rx: SkKey,
}

/// The two nonces and SPIs that go into every derivation, in the order of the exchange's roles.
#[derive(Clone, Copy)]
pub(super) struct Exchanged<'a> {
    pub nonce_i: &'a [u8],
    pub nonce_r: &'a [u8],
    pub spi_i: IkeSpi,
    pub spi_r: IkeSpi,
}

impl IkeKeys {
    /// Keys after IKE_SA_INIT: SKEYSEED = prf(Ni | Nr, g^ir).
    pub(super) fn initial(
        suite: IkeSuite,
        shared: &Secret,
        x: Exchanged<'_>,
        initiator: bool,
    ) -> Result<Self, Failure> {
        let nonces = [x.nonce_i, x.nonce_r].concat();
        let skeyseed = suite.prf.mac(&nonces, &[shared.as_bytes()]);
        Self::expand(suite, &skeyseed, x, initiator)
    }

    /// Keys of an IKE SA that replaces `self`: SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), with the
    /// old SA's PRF. `initiator` is our role in the exchange that rekeys.
    pub(super) fn rekeyed(
        &self,
        suite: IkeSuite,
        shared: &Secret,
        x: Exchanged<'_>,
        initiator: bool,
    ) -> Result<Self, Failure> {
        let skeyseed = self.prf.mac(self.sk_d.as_bytes(), &[shared.as_bytes(), x.nonce_i, x.nonce_r]);
        Self::expand(suite, &skeyseed, x, initiator)
    }

    fn expand(
        suite: IkeSuite,
        skeyseed: &Secret,
        x: Exchanged<'_>,
        initiator: bool,
    ) -> Result<Self, Failure> {
        let prf_len = suite.prf.output_len();
        let integ_len = suite.integ.map_or(0, |integ| integ.key_len());
        let encr_len = suite.encr.key_len();
        let total = 3 * prf_len + 2 * integ_len + 2 * encr_len;
        let spis = [x.spi_i.0.to_be_bytes(), x.spi_r.0.to_be_bytes()].concat();
        let keymat = suite.prf.plus(skeyseed.as_bytes(), &[x.nonce_i, x.nonce_r, &spis], total);
        let mut rest = keymat.as_bytes();
        let mut take = |len: usize| {
            let (head, tail) = rest.split_at(len.min(rest.len()));
            rest = tail;
            head
        };
        let sk_d = Secret::new(take(prf_len));
        let (ai, ar) = (take(integ_len), take(integ_len));
        let (ei, er) = (take(encr_len), take(encr_len));
        let (sk_pi, sk_pr) = (Secret::new(take(prf_len)), Secret::new(take(prf_len)));
        let unfit = |_| Failure::Local("the IKE keys do not fit the suite");
        let key_i = SkKey::new(suite.encr, suite.integ, ei, ai).map_err(unfit)?;
        let key_r = SkKey::new(suite.encr, suite.integ, er, ar).map_err(unfit)?;
        let (tx, rx) = if initiator { (key_i, key_r) } else { (key_r, key_i) };
        Ok(Self { prf: suite.prf, sk_d, sk_pi, sk_pr, tx, rx })
    }

    /// KEYMAT of a CHILD SA: prf+(SK_d, [g^ir (new)] | Ni | Nr). Keys of the exchange's initiator come
    /// first, and in each direction encryption before integrity.
    pub(super) fn child(
        &self,
        suite: EspSuite,
        shared: Option<&Secret>,
        nonce_i: &[u8],
        nonce_r: &[u8],
        initiator: bool,
    ) -> ChildKeys {
        let encr_len = suite.encr.key_len();
        let integ_len = suite.integ.map_or(0, |integ| integ.key_len());
        let shared = shared.map_or(&[][..], Secret::as_bytes);
        let keymat =
            self.prf.plus(self.sk_d.as_bytes(), &[shared, nonce_i, nonce_r], 2 * (encr_len + integ_len));
        let mut rest = keymat.as_bytes();
        let mut take = |len: usize| {
            let (head, tail) = rest.split_at(len.min(rest.len()));
            rest = tail;
            Secret::new(head)
        };
        let from_initiator = EspKeys { encr: take(encr_len), integ: take(integ_len) };
        let from_responder = EspKeys { encr: take(encr_len), integ: take(integ_len) };
        if initiator {
            ChildKeys { outbound: from_initiator, inbound: from_responder }
        } else {
            ChildKeys { outbound: from_responder, inbound: from_initiator }
        }
    }
}

/// ESP keys of one CHILD SA, by direction.
pub(super) struct ChildKeys {
    pub outbound: EspKeys,
    pub inbound: EspKeys,
}
