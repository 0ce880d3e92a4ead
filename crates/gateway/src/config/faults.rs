//! What the gateway does wrong on purpose: in the file under `[faults]`, at run time through the control socket.

use std::fmt;

use evenkeel_ipsec::wire::NotifyType;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::link::LinkFaults;

/// All faults. The default is a gateway that behaves.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Faults of the network.
    pub link: LinkFaults,
    /// Faults of the IKE responder.
    pub ike: IkeFaults,
}

/// Faults of the IKE responder. Most concern what it does from then on; existing SAs stay as they are.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IkeFaults {
    /// Answer with traffic selectors that the client did not offer.
    pub wrong_ts: bool,
    /// Spoil the gateway's AUTH payload.
    pub bad_auth: bool,
    /// Announce ESP_TFC_PADDING_NOT_SUPPORTED.
    pub no_tfc: bool,
    /// Answer a client's CHILD SA rekey with this error.
    pub reject_child_rekey: Option<ErrorNotify>,
    /// Answer a client's IKE SA rekey with this error.
    pub reject_ike_rekey: Option<ErrorNotify>,
    /// Answer the first CHILD SA's negotiation with this error.
    pub reject_child: Option<ErrorNotify>,
    /// Do not answer INFORMATIONAL requests that are empty or hold nothing but NAT detection: DPD and path tests.
    pub ignore_dpd: bool,
    /// Do not answer any request on an established IKE SA.
    pub ignore_requests: bool,
    /// Do not announce IKE fragmentation (RFC 7383).
    pub no_fragmentation: bool,
    /// Do not agree on MOBIKE (RFC 4555). Concerns clients that connect from then on.
    pub no_mobike: bool,
    /// Do not agree on delayed checks (docs/delayed-check.md). Concerns clients that connect from then on.
    pub no_delayed_checks: bool,
    /// Promise delayed checks, and send none.
    pub ignore_delayed_checks: bool,
    /// Answer a client's change of address with this error, and go on sending to the old one.
    pub reject_update: Option<ErrorNotify>,
    /// Do not announce signature hashes, as gateways older than RFC 7427.
    pub no_signature_hashes: bool,
}

/// An error notification, written by its registered name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorNotify(pub NotifyType);

impl ErrorNotify {
    fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|Self(notify)| notify.name() == Some(name))
    }

    /// Every error type that has a name; errors are numbered below 16384, and the named ones far below that.
    fn all() -> impl Iterator<Item = Self> {
        (0..256).map(NotifyType::from_number).filter(|notify| notify.name().is_some()).map(Self)
    }
}

impl Serialize for ErrorNotify {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_u16(self.0.number()),
        }
    }
}

impl<'de> Deserialize<'de> for ErrorNotify {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl de::Visitor<'_> for NameVisitor {
            type Value = ErrorNotify;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an error notification, such as")?;
                for (index, ErrorNotify(notify)) in ErrorNotify::all().enumerate() {
                    write!(f, "{} {}", if index == 0 { "" } else { "," }, notify.name().unwrap_or_default())?;
                }
                Ok(())
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<ErrorNotify, E> {
                ErrorNotify::from_name(name).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_survive_a_round_trip_through_json() {
        let faults = Faults {
            link: LinkFaults {
                drop_percent: 5,
                drop_ike_sent: vec![1, 4],
                mtu: 1400,
                ..LinkFaults::default()
            },
            ike: IkeFaults {
                reject_child_rekey: Some(ErrorNotify(NotifyType::NoProposalChosen)),
                ..IkeFaults::default()
            },
        };
        let json = serde_json::to_string(&faults).unwrap();
        assert!(json.contains("\"NO_PROPOSAL_CHOSEN\""), "{json}");
        assert_eq!(serde_json::from_str::<Faults>(&json).unwrap(), faults);
    }

    #[test]
    fn an_unknown_notification_is_refused_with_what_is_allowed() {
        let refused =
            serde_json::from_str::<IkeFaults>(r#"{"reject_ike_rekey":"NO_SUCH_ERROR"}"#).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("NO_SUCH_ERROR") && text.contains("TEMPORARY_FAILURE"), "{text}");
    }
}
