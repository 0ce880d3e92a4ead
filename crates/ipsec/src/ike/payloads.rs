//! The payloads of one message, sorted by kind.

use super::failure::Failure;
use crate::crypto::Group;
use crate::wire::{
    Cert, ConfigPayload, Delete, Id, Notify, NotifyType, Payload, Proposal, Protocol, Spi, TrafficSelector,
};

/// Payloads by kind. Kinds that may appear once are `Option`s: a second one makes the message malformed.
#[derive(Default, Debug)]
pub(super) struct Payloads {
    pub sa: Option<Vec<Proposal>>,
    pub ke: Option<(u16, Vec<u8>)>,
    pub nonce: Option<Vec<u8>>,
    pub id_i: Option<Id>,
    pub id_r: Option<Id>,
    pub certs: Vec<Cert>,
    pub cert_requests: Vec<(u8, Vec<u8>)>,
    pub auth: Option<(u8, Vec<u8>)>,
    pub notifies: Vec<Notify>,
    pub deletes: Vec<Delete>,
    pub ts_i: Option<Vec<TrafficSelector>>,
    pub ts_r: Option<Vec<TrafficSelector>>,
    pub config: Option<ConfigPayload>,
    pub eap: Option<Vec<u8>>,
}

impl Payloads {
    /// Sorts decoded payloads; refuses a repeated payload that must be single (RFC 7296 §1.2 to §1.4).
    pub(super) fn sort(payloads: Vec<Payload>) -> Result<Self, Failure> {
        let mut sorted = Self::default();
        for payload in payloads {
            let fresh = match payload {
                Payload::Sa(v) => sorted.sa.replace(v).is_none(),
                Payload::Ke { group, data } => sorted.ke.replace((group, data)).is_none(),
                Payload::Nonce(v) => sorted.nonce.replace(v).is_none(),
                Payload::IdI(v) => sorted.id_i.replace(v).is_none(),
                Payload::IdR(v) => sorted.id_r.replace(v).is_none(),
                Payload::Auth { method, data } => sorted.auth.replace((method, data)).is_none(),
                Payload::TsI(v) => sorted.ts_i.replace(v).is_none(),
                Payload::TsR(v) => sorted.ts_r.replace(v).is_none(),
                Payload::Config(v) => sorted.config.replace(v).is_none(),
                Payload::Eap(v) => sorted.eap.replace(v).is_none(),
                Payload::Cert(v) => {
                    sorted.certs.push(v);
                    true
                }
                Payload::CertReq { encoding, authorities } => {
                    sorted.cert_requests.push((encoding, authorities));
                    true
                }
                Payload::Notify(v) => {
                    sorted.notifies.push(v);
                    true
                }
                Payload::Delete(v) => {
                    sorted.deletes.push(v);
                    true
                }
                Payload::Vendor(_) => true,
            };
            if !fresh {
                return Err(Failure::ProtocolViolation("a payload that must be single is repeated"));
            }
        }
        Ok(sorted)
    }

    /// All notifications of one type.
    pub(super) fn notifies(&self, kind: NotifyType) -> impl Iterator<Item = &Notify> {
        self.notifies.iter().filter(move |notify| notify.kind == kind)
    }

    /// Whether a notification of this type is present.
    pub(super) fn has(&self, kind: NotifyType) -> bool {
        self.notifies(kind).next().is_some()
    }

    /// The first error notification.
    pub(super) fn error(&self) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind.is_error())
    }
}

/// A notification about the IKE SA or the exchange itself.
pub(super) fn status(kind: NotifyType, data: Vec<u8>) -> Payload {
    Payload::Notify(Notify { protocol: Protocol::Other(0), spi: Spi::None, kind, data })
}

/// What to answer to a request that can't be decoded or sorted (RFC 7296 §2.5, §2.21.3).
pub(super) fn unreadable(failure: &Failure) -> Payload {
    let named = if let Failure::Malformed(error) = failure { error.notify() } else { None };
    let (kind, data) = named.unwrap_or((NotifyType::InvalidSyntax, Vec::new()));
    status(kind, data)
}

/// The group that an INVALID_KE_PAYLOAD names (RFC 7296 §1.3), if we have it.
pub(super) fn named_group(error: &Notify) -> Option<Group> {
    let id = <[u8; 2]>::try_from(error.data.as_slice()).ok()?;
    Group::from_id(u16::from_be_bytes(id))
}
