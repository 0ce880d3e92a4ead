//! The shape of a profile file: what serde accepts and what the published JSON schema says.
//!
//! Entries of lists stay text here: serde would blame the whole list for one of them.
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Endpoint, Host, Identity, Method, ProfileName, Secret, WebUrl, WireGuardKey};

/// A VPN connection for Evenkeel.
///
/// File names in it are relative to the profile's own folder and are read once, at import.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Evenkeel profile")]
pub(crate) struct ProfileFile {
    /// What you type after `evenkeel connect`: 1 to 64 printable characters.
    #[schemars(with = "String", length(min = 1, max = 64))]
    pub(crate) name: ProfileName,
    /// Host name, IPv4 or IPv6 address of the gateway, without port.
    #[schemars(with = "String", length(min = 1, max = 254))]
    pub(crate) gateway: Host,
    /// Ports other than the standard ones.
    #[serde(default)]
    pub(crate) gateway_ports: PortsFile,
    /// Who the gateway must prove to be (IDr): a DNS name, an e-mail address, an IP address or a distinguished
    /// name. Default: `gateway`.
    #[schemars(with = "Option<String>")]
    pub(crate) remote_id: Option<Identity>,
    /// Allow SHA-1 and MODP-1024 for a gateway that has nothing better.
    #[serde(default)]
    pub(crate) legacy: bool,
    /// How you and the gateway prove who you are.
    pub(crate) auth: AuthFile,
    /// Which certificate authorities may vouch for the gateway. Required except with method "psk".
    #[serde(default)]
    pub(crate) trust: Option<TrustFile>,
    /// What goes through the tunnel.
    #[serde(default)]
    pub(crate) tunnel: TunnelFile,
    /// The IKE SA.
    #[serde(default)]
    pub(crate) ike: IkeFile,
    /// The CHILD SA.
    #[serde(default)]
    pub(crate) esp: EspFile,
    /// Lifetimes in seconds.
    #[serde(default)]
    pub(crate) timers: TimersFile,
    /// Captive portals, as hotels and cafes have them.
    #[serde(default)]
    pub(crate) portal: PortalFile,
    /// What to do in networks that block UDP.
    #[serde(default)]
    pub(crate) fallback: FallbackFile,
    /// The WireGuard peer to fall back to in networks that let neither UDP nor TCP to the gateway through.
    pub(crate) wireguard: Option<WireGuardFile>,
}

/// Ports other than the standard ones.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortsFile {
    /// A UDP port that takes IKE and ESP alike. Default: 500, then 4500.
    #[schemars(range(min = 1))]
    pub(crate) udp: Option<u16>,
    /// The one TCP port for encapsulation (RFC 9329), instead of `fallback.tcp_ports`.
    #[schemars(range(min = 1))]
    pub(crate) tcp: Option<u16>,
}

/// How you and the gateway prove who you are.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthFile {
    /// "eap-mschapv2" (user name and password), "certificate" or "psk" (pre-shared key).
    pub(crate) method: Method,
    /// The user name; with "eap-mschapv2" only.
    #[schemars(with = "Option<String>")]
    pub(crate) identity: Option<Identity>,
    /// Who we say we are (IDi), where that differs from `identity` or the certificate's subject.
    #[schemars(with = "Option<String>")]
    pub(crate) local_id: Option<Identity>,
    /// File with your certificate and its intermediates, PEM or DER; with "certificate" only.
    pub(crate) certificate: Option<String>,
    /// File with the private key of `certificate`, PEM.
    pub(crate) key: Option<String>,
    /// PKCS#12 file, instead of `certificate` and `key`.
    pub(crate) pkcs12: Option<String>,
    /// The password, the pre-shared key, or the passphrase of `key` or `pkcs12`. Better left out: it is asked for.
    #[schemars(with = "Option<String>")]
    pub(crate) secret: Option<Secret>,
}

/// Which certificate authorities may vouch for the gateway.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustFile {
    /// Files with CA certificates, PEM or DER.
    #[serde(default)]
    pub(crate) ca: Vec<String>,
    /// Trust the system's certificate authorities.
    #[serde(default)]
    pub(crate) system: bool,
}

/// What goes through the tunnel.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TunnelFile {
    /// Networks behind the gateway to reach through the tunnel. Default: what the gateway offers.
    #[serde(default)]
    pub(crate) remote_ts: Vec<String>,
    /// Networks on this side. Default: the address that the gateway assigns.
    #[serde(default)]
    pub(crate) local_ts: Vec<String>,
    /// DNS servers to use instead of those of the gateway.
    #[serde(default)]
    pub(crate) dns: Vec<String>,
    /// Domains to resolve through the tunnel, beside those that the gateway names.
    #[serde(default)]
    pub(crate) domains: Vec<String>,
    /// MTU inside the tunnel. Default: computed.
    #[schemars(range(min = 576, max = 9000))]
    pub(crate) mtu: Option<u16>,
}

/// The IKE SA.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IkeFile {
    /// In order of preference, in strongSwan's notation: "aes256gcm16-prfsha256-x25519".
    #[serde(default)]
    pub(crate) proposals: Vec<String>,
}

/// The CHILD SA.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EspFile {
    /// In order of preference, in strongSwan's notation: "aes256gcm16-x25519".
    #[serde(default)]
    pub(crate) proposals: Vec<String>,
    /// Whether each rekey must (true) or must not (false) do a key exchange of its own, for perfect forward secrecy.
    /// Default: preferred, not required.
    pub(crate) pfs: Option<bool>,
}

/// Lifetimes in seconds.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimersFile {
    /// Age at which the IKE SA is rekeyed.
    #[schemars(range(min = 5, max = 604_800))]
    pub(crate) ike_rekey_s: Option<u32>,
    /// Age at which a CHILD SA is rekeyed.
    #[schemars(range(min = 5, max = 604_800))]
    pub(crate) child_rekey_s: Option<u32>,
    /// Silence after which the gateway is asked whether it is still there.
    #[schemars(range(min = 1, max = 86_400))]
    pub(crate) dpd_s: Option<u32>,
}

/// Captive portals: whether they are looked for, and whom to ask beside the gateway.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortalFile {
    /// Whether to look for a portal when the gateway does not answer. Default: true.
    pub(crate) detect: Option<bool>,
    /// A page of a known answer, plain http. Default: the one that this system's connectivity check asks for, if any.
    #[schemars(with = "Option<String>", length(max = 2048))]
    pub(crate) url: Option<WebUrl>,
    /// The status that `url` answers with. Default: 204, without `expect_body`.
    #[schemars(range(min = 201, max = 299))]
    pub(crate) expect_status: Option<u16>,
    /// The body that `url` answers with, instead of `expect_status`.
    #[schemars(length(min = 1, max = 1024))]
    pub(crate) expect_body: Option<String>,
}

/// What to do in networks that block UDP.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FallbackFile {
    /// Carry IKE and ESP in TCP (RFC 9329) where UDP does not get through. Default: true.
    pub(crate) tcp: Option<bool>,
    /// The gateway's TCP ports. The first other than 443 is tried, then 443 if it is among them. Default: both 4500 and 443.
    #[schemars(length(min = 1, max = 8), inner(range(min = 1)))]
    pub(crate) tcp_ports: Option<Vec<u16>>,
    /// Wrap the stream to port 443 in TLS. Default: false.
    #[serde(default)]
    pub(crate) tls: bool,
}

/// A WireGuard peer to fall back to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireGuardFile {
    /// Where the peer is: "vpn.example.com:51820" or "[2001:db8::1]:51820".
    #[schemars(with = "String")]
    pub(crate) endpoint: Endpoint,
    /// The peer's public key in base64.
    #[schemars(with = "String", length(equal = 44))]
    pub(crate) public_key: WireGuardKey,
    /// Our private key in base64; kept with the profile's other secrets after import.
    #[schemars(with = "String", length(equal = 44))]
    pub(crate) private_key: Secret,
    /// A key that both sides know beside their own, in base64.
    #[schemars(with = "Option<String>", length(equal = 44))]
    pub(crate) preshared_key: Option<Secret>,
    /// Our addresses inside the tunnel: nobody assigns them.
    #[schemars(length(min = 1, max = 8))]
    pub(crate) addresses: Vec<String>,
    /// What is reached through the peer. Default: `tunnel.remote_ts`, or everything.
    #[schemars(length(min = 1, max = 64))]
    pub(crate) allowed_ips: Option<Vec<String>>,
    /// DNS servers. Default: `tunnel.dns`.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub(crate) dns: Vec<String>,
    /// Seconds of silence after which a keepalive is sent; 0 for never. Default: 25.
    pub(crate) keepalive_s: Option<u16>,
}
