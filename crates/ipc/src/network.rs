//! What is known of networks. The field names are an interface: they only grow.
use serde::{Deserialize, Serialize};

use crate::{NetworkId, Timestamp};

/// The network under the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Its name among the remembered ones; none while it can't be told from others.
    pub id: Option<NetworkId>,
    /// What to call it: the SSID, else the subnet.
    pub label: Option<String>,
    /// What carries the connection.
    pub transport: Option<Carrier>,
    /// Whether that is not the first choice, UDP.
    pub fallback: bool,
    /// What is in the way of the first choice.
    pub blockage: Option<Blockage>,
    /// What was learned here.
    #[serde(flatten)]
    pub learned: LearnedNetwork,
}

/// A network that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedNetwork {
    /// Names it.
    pub id: NetworkId,
    /// What to call it: the SSID, else the subnet. Chosen by whoever runs the network.
    pub label: String,
    /// When we were last there.
    pub last_seen: Timestamp,
    /// Whether we are there.
    pub present: bool,
    /// What carried the last connection.
    pub transport: Option<Carrier>,
    /// Seconds between NAT keepalives that this network is proven to bear.
    pub keepalive_s: Option<u32>,
    /// Milliseconds that connecting took: the median of the last connections.
    pub connect_ms: Option<u32>,
    /// When a captive portal was last seen.
    pub portal_seen: Option<Timestamp>,
    /// What was learned there.
    #[serde(flatten)]
    pub learned: LearnedNetwork,
}

/// What was learned of a network. None is "not measured", which is never "no".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedNetwork {
    /// Whether there is a NAT.
    pub nat: Option<bool>,
    /// Between what bounds it forgets a silent mapping.
    pub nat_lifetime_s: Option<NatLifetime>,
    /// The path MTU.
    pub path_mtu: PathMtu,
    /// What gets through.
    pub verdicts: Verdicts,
}

/// Bounds of a NAT's mapping lifetime, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatLifetime {
    /// The longest silence that a mapping survived.
    pub lower: Option<u32>,
    /// The shortest that one did not survive.
    pub upper: Option<u32>,
}

/// Path MTU in bytes, of outer packets with their IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMtu {
    /// Towards the gateway.
    pub up: Option<u16>,
    /// From the gateway.
    pub down: Option<u16>,
}

/// What gets through a network, transport by transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// IKE on UDP/500.
    pub udp500: Option<Measured>,
    /// IKE on UDP/4500.
    pub udp4500: Option<Measured>,
    /// ESP on UDP/4500.
    pub esp_in_udp: Option<Measured>,
    /// TCP encapsulation on 4500.
    pub tcp4500: Option<Measured>,
    /// TCP encapsulation on 443.
    pub tcp443: Option<Measured>,
    /// TCP encapsulation on 443 inside TLS.
    pub tls443: Option<Measured>,
    /// WireGuard.
    pub wireguard: Option<Measured>,
}

/// A verdict, what it rests on, and when that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on.
    pub how: How,
    /// When.
    pub at: Timestamp,
}

/// Whether a transport works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The gateway answered through it.
    Open,
    /// It failed while the gateway answered through something else: blocked, or not offered by the gateway.
    Blocked,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// An answer of the gateway.
    Answered,
    /// No answer, while another transport was answered.
    SilentWhileOthersAnswered,
    /// A refusal, while another transport was answered.
    Refused,
}

/// What carries the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carrier {
    /// IKE and ESP in UDP (RFC 3948).
    #[serde(rename = "udp")]
    Udp,
    /// In TCP on port 4500 (RFC 9329).
    #[serde(rename = "tcp-4500")]
    Tcp4500,
    /// In TCP on port 443.
    #[serde(rename = "tcp-443")]
    Tcp443,
    /// In TLS on port 443 (RFC 9329 appendix A).
    #[serde(rename = "tls-443")]
    Tls443,
    /// WireGuard.
    #[serde(rename = "wireguard")]
    Wireguard,
}

/// What is in the way of UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blockage {
    /// UDP/500 gets through and UDP/4500 does not.
    #[serde(rename = "udp-4500-blocked")]
    Udp4500Blocked,
    /// No UDP gets through, and TCP does.
    #[serde(rename = "udp-blocked")]
    UdpBlocked,
    /// IKE gets through on UDP/4500, and ESP does not.
    #[serde(rename = "esp-blocked")]
    EspBlocked,
    /// Nothing gets through at all.
    #[serde(rename = "nothing-answers")]
    NothingAnswers,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_told_by_name_and_what_is_not_is_null() {
        let at = Timestamp::from_unix(1_800_000_000);
        let measured = Some(Measured { verdict: Verdict::Blocked, how: How::SilentWhileOthersAnswered, at });
        let status = NetworkStatus {
            id: "0123456789abcdef".parse().ok(),
            label: Some("Cafe".to_owned()),
            transport: Some(Carrier::Tcp4500),
            fallback: true,
            blockage: Some(Blockage::Udp4500Blocked),
            learned: LearnedNetwork {
                nat: Some(true),
                nat_lifetime_s: Some(NatLifetime { lower: Some(100), upper: None }),
                path_mtu: PathMtu { up: Some(1400), down: None },
                verdicts: Verdicts { udp4500: measured, ..Verdicts::default() },
            },
        };
        let json = serde_json::to_value(&status).unwrap_or_default();
        let expected = serde_json::json!({
            "id": "0123456789abcdef", "label": "Cafe", "transport": "tcp-4500", "fallback": true,
            "blockage": "udp-4500-blocked", "nat": true, "nat_lifetime_s": { "lower": 100, "upper": null },
            "path_mtu": { "up": 1400, "down": null },
            "verdicts": {
                "udp500": null, "esp_in_udp": null, "tcp4500": null, "tcp443": null, "tls443": null, "wireguard": null,
                "udp4500": { "verdict": "blocked", "how": "silent-while-others-answered", "at": "2027-01-15T08:00:00Z" },
            },
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<NetworkStatus>(json).ok(), Some(status));
    }
}
