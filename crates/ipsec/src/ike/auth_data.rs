//! AUTH payload data (RFC 7296 §2.15, §2.16).

use super::keys::IkeKeys;
use crate::crypto::{Prf, Secret};
use crate::wire::Id;

const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// AUTH method of a shared key, PSK or MSK (RFC 7296 §3.8).
pub(super) const METHOD_SHARED_KEY: u8 = 2;

/// What both peers contribute to their signed octets.
pub(super) struct AuthMaterial {
    /// The final IKE_SA_INIT request, as it was sent.
    pub init_request: Vec<u8>,
    /// The IKE_SA_INIT response.
    pub init_response: Vec<u8>,
    pub nonce_i: Vec<u8>,
    pub nonce_r: Vec<u8>,
}

impl AuthMaterial {
    /// InitiatorSignedOctets = RealMessage1 | NonceRData | prf(SK_pi, RestOfInitIDPayload).
    pub(super) fn initiator_octets(&self, keys: &IkeKeys, id_i: &Id) -> Vec<u8> {
        let maced = keys.prf.mac(keys.sk_pi.as_bytes(), &[&id_i.to_payload_body()]);
        [&self.init_request[..], &self.nonce_r, maced.as_bytes()].concat()
    }

    /// ResponderSignedOctets = RealMessage2 | NonceIData | prf(SK_pr, RestOfRespIDPayload).
    pub(super) fn responder_octets(&self, keys: &IkeKeys, id_r: &Id) -> Vec<u8> {
        let maced = keys.prf.mac(keys.sk_pr.as_bytes(), &[&id_r.to_payload_body()]);
        [&self.init_response[..], &self.nonce_i, maced.as_bytes()].concat()
    }
}

/// AUTH = prf(prf(shared secret, "Key Pad for IKEv2"), signed octets).
pub(super) fn shared_key_auth(prf: Prf, secret: &Secret, octets: &[u8]) -> Secret {
    let padded = prf.mac(secret.as_bytes(), &[KEY_PAD]);
    prf.mac(padded.as_bytes(), &[octets])
}

/// Whether `data` is the AUTH that `secret` gives, compared in constant time.
pub(super) fn shared_key_matches(prf: Prf, secret: &Secret, octets: &[u8], data: &[u8]) -> bool {
    shared_key_auth(prf, secret, octets) == Secret::new(data)
}
