//! From the gateway's configuration to the engine's.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_ipsec::crypto::{KeyError, SigningKey, TrustAnchorError, TrustAnchors};
use evenkeel_ipsec::ike::{self, PeerPolicy, Pool, ResponderAuth, ResponderConfig, Timers, defaults};

use crate::config::{Assign, Clients, Credential, ErrorNotify, GatewayConfig, GatewayTimers, IkeFaults};

/// Why the engine can't use what it is given.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `identity.key`.
    #[error("identity.key")]
    Key(#[from] KeyError),
    /// `clients.ca`.
    #[error("clients.ca")]
    Anchors(#[from] TrustAnchorError),
}

/// The responder's configuration.
pub(crate) fn responder_config(config: GatewayConfig) -> Result<ResponderConfig, EngineError> {
    Ok(ResponderConfig {
        local_id: config.id,
        auth: auth(config.credential)?,
        peers: peers(config.clients)?,
        ike: config.ike,
        esp: config.esp,
        ts_local: config.assign.local_ts.clone(),
        pool: pool(config.assign),
        timers: timers(config.timers),
        cookie_threshold: defaults::COOKIE_THRESHOLD,
        fragment_size: defaults::FRAGMENT_SIZE,
        legacy_sha1: false,
    })
}

/// The responder's faults.
pub(crate) fn faults(faults: &IkeFaults, auth_lifetime: Option<Duration>) -> ike::Faults {
    let notify = |error: Option<ErrorNotify>| error.map(|ErrorNotify(kind)| kind);
    ike::Faults {
        wrong_ts: faults.wrong_ts,
        bad_auth: faults.bad_auth,
        reject_child_rekey: notify(faults.reject_child_rekey),
        reject_ike_rekey: notify(faults.reject_ike_rekey),
        reject_child: notify(faults.reject_child),
        ignore_dpd: faults.ignore_dpd,
        ignore_requests: faults.ignore_requests,
        no_tfc: faults.no_tfc,
        auth_lifetime,
        no_fragmentation: faults.no_fragmentation,
        no_mobike: faults.no_mobike,
        no_delayed_checks: faults.no_delayed_checks,
        ignore_delayed_checks: faults.ignore_delayed_checks,
        reject_update: notify(faults.reject_update),
        no_signature_hashes: faults.no_signature_hashes,
    }
}

fn auth(credential: Credential) -> Result<ResponderAuth, EngineError> {
    match credential {
        Credential::Psk => Ok(ResponderAuth::Psk),
        Credential::Certificate { chain, key_pem } => {
            let key = Arc::new(SigningKey::from_pem(key_pem.as_bytes())?);
            Ok(ResponderAuth::Certificate { chain, key })
        }
    }
}

fn peers(clients: Clients) -> Result<PeerPolicy, EngineError> {
    let anchors = match clients.anchors.as_slice() {
        [] => None,
        anchors => Some(Arc::new(TrustAnchors::from_der(anchors)?)),
    };
    Ok(PeerPolicy { psks: clients.psk, eap_users: clients.eap, anchors })
}

fn pool(assign: Assign) -> Pool {
    Pool { v4: assign.v4, v6: assign.v6, dns: assign.dns, subnets: assign.subnets, domains: assign.domains }
}

fn timers(timers: GatewayTimers) -> Timers {
    Timers {
        dpd_after: timers.dpd_after,
        ike_rekey: timers.ike_rekey,
        child_rekey: timers.child_rekey,
        ..Timers::default()
    }
}
