//! What shapes the connection, and what is left out.
use plist::{Dictionary, Value};

use super::Entry;
use crate::import::draft::Draft;
use crate::{Host, ProfileError};

/// Everything else that the IKEv2 dictionary may say.
pub(super) fn tuning(draft: &mut Draft, ike: &Entry<'_>, gateway: &Host) -> Result<(), ProfileError> {
    if let Some(mtu) = ike.number(draft, "MTU")? {
        draft.mtu(&ike.path("MTU"), mtu);
    }
    let key = ike.path("DeadPeerDetectionRate");
    match ike.text(draft, "DeadPeerDetectionRate")? {
        None => {}
        Some("Low") => draft.timers.dpd_s = Some(1800),
        Some("Medium") => draft.timers.dpd_s = Some(600),
        Some("High") => draft.timers.dpd_s = Some(60),
        Some("None") => {
            draft.not_honoured(&key, "a silent gateway is always asked whether it is still there")
        }
        Some(other) => draft.not_honoured(&key, format!("{other:?} is unknown")),
    }
    if let Some(name) = ike.text(draft, "ServerCertificateCommonName")? {
        let remote = ike.text(draft, "RemoteIdentifier")?.unwrap_or(gateway.as_str());
        if name != remote {
            let why = format!("the gateway's certificate must name the RemoteIdentifier, {remote:?}, itself");
            draft.not_honoured(&ike.path("ServerCertificateCommonName"), why);
        }
    }
    for (key, why) in LEFT_OUT {
        // Zero, false and an empty list ask for nothing.
        let asks_nothing = |value: &Value| {
            value.as_unsigned_integer() == Some(0)
                || value.as_boolean() == Some(false)
                || value.as_array().is_some_and(Vec::is_empty)
        };
        let asks = ike.value(key).is_some_and(|value| !asks_nothing(value));
        if asks {
            draft.not_honoured(&ike.path(key), *why);
        }
    }
    let known = |key: &String| KNOWN.contains(&key.as_str()) || LEFT_OUT.iter().any(|(k, _)| k == key);
    let unknown: Vec<String> =
        ike.dictionary.into_iter().flat_map(Dictionary::keys).filter(|k| !known(k)).cloned().collect();
    for key in unknown.iter().take(MAX_UNKNOWN) {
        draft.not_honoured(&ike.path(key), "Evenkeel doesn't know it");
    }
    Ok(())
}

pub(super) fn dns(draft: &mut Draft, dns: &Entry<'_>) -> Result<(), ProfileError> {
    if dns.dictionary.is_none() {
        return Ok(());
    }
    match dns.text(draft, "DNSProtocol")? {
        None | Some("Cleartext") => {}
        Some(_) => draft
            .not_honoured(&dns.path("DNSProtocol"), "names are asked for in plain DNS, inside the tunnel"),
    }
    draft.dns(&dns.path("ServerAddresses"), dns.list("ServerAddresses"));
    let mut domains = dns.list("SupplementalMatchDomains");
    // The empty one means every domain, which is what no list means here.
    domains.retain(|domain| !domain.is_empty());
    for domain in domains {
        match domain.parse() {
            Ok(host) if draft.tunnel.domains.len() < 64 => draft.tunnel.domains.push(host),
            Ok(_) | Err(_) => {
                draft
                    .not_honoured(&dns.path("SupplementalMatchDomains"), format!("{domain:?} can't be used"));
            }
        }
    }
    if !dns.list("SearchDomains").is_empty() || dns.has("DomainName") {
        draft.not_honoured(&dns.path("SearchDomains"), "names are looked up as they are typed");
    }
    Ok(())
}

/// What stands beside the IKEv2 dictionary.
pub(super) fn surroundings(draft: &mut Draft, payload: &Entry<'_>) {
    if payload.entry("Proxies").dictionary.is_some_and(|d| !d.is_empty()) {
        draft.not_honoured(&payload.path("Proxies"), "proxies are the browser's business");
    }
    let override_primary = payload.entry("IPv4").value("OverridePrimary");
    if override_primary.and_then(Value::as_unsigned_integer) == Some(1) {
        draft.not_honoured(
            &payload.path("IPv4.OverridePrimary"),
            "what the gateway offers goes through the tunnel",
        );
    }
}

/// Unknown keys that are worth listing one by one.
const MAX_UNKNOWN: usize = 20;

/// Keys of the IKEv2 dictionary that are read, or that mean nothing outside Apple's systems.
const KNOWN: [&str; 25] = [
    "RemoteAddress",
    "LocalIdentifier",
    "RemoteIdentifier",
    "AuthenticationMethod",
    "ExtendedAuthEnabled",
    "AuthName",
    "AuthPassword",
    "SharedSecret",
    "PayloadCertificateUUID",
    // The key says what it is.
    "CertificateType",
    "IKESecurityAssociationParameters",
    "ChildSecurityAssociationParameters",
    "EnablePFS",
    "DeadPeerDetectionRate",
    "MTU",
    "ServerCertificateCommonName",
    // The CAs in the file are trusted, and no others.
    "ServerCertificateIssuerCommonName",
    // The subnets that a gateway assigns are always asked for.
    "UseConfigurationAttributeInternalIPSubnet",
    // EAP-TLS only.
    "TLSMinimumVersion",
    "TLSMaximumVersion",
    "NATKeepAliveOffloadEnable",
    "EnableFallback",
    "EnforceStrictAlgorithmSelection",
    "ProviderType",
    "OnDemandUserOverrideDisabled",
];

/// Keys that ask for something that Evenkeel leaves out.
const LEFT_OUT: &[(&str, &str)] = &[
    ("OnDemandEnabled", "Evenkeel connects when it is told to"),
    ("OnDemandRules", "Evenkeel connects when it is told to"),
    ("DisconnectOnIdle", "Evenkeel stays connected"),
    ("DisconnectOnIdleTimer", "Evenkeel stays connected"),
    ("DisableMOBIKE", "the gateway decides whether MOBIKE is used"),
    ("DisableRedirect", "Evenkeel follows no redirects anyway"),
    ("NATKeepAliveInterval", "Evenkeel chooses the interval itself"),
    ("EnableCertificateRevocationCheck", "revocation is not checked"),
    ("IncludeAllNetworks", "traffic outside the tunnel is not blocked"),
    ("EnforceRoutes", "the system's routing decides"),
    ("ExcludeLocalNetworks", "the system's routing decides"),
    ("ExcludeCellularServices", "there are none here"),
    ("ExcludeAPNs", "Evenkeel makes no exceptions"),
    ("ExcludeDeviceCommunication", "Evenkeel makes no exceptions"),
    ("PPK", "post-quantum pre-shared keys (RFC 8784) are not there yet"),
    ("PPKIdentifier", "post-quantum pre-shared keys (RFC 8784) are not there yet"),
    ("PPKMandatory", "post-quantum pre-shared keys (RFC 8784) are not there yet"),
    ("AllowPostQuantumKeyExchangeFallback", "post-quantum key exchange is not there yet"),
    ("Password", "it is for a method that IKEv2 doesn't have"),
    ("ProviderBundleIdentifier", "it is for another program"),
    ("ProviderDesignatedRequirement", "it is for another program"),
];
