//! `.mobileconfig`: Apple's configuration profiles, their IKEv2 payload and the certificates beside it.
//!
//! <https://developer.apple.com/documentation/devicemanagement/vpn/ikev2-data.dictionary>
use std::path::Path;

use plist::{Dictionary, Value};

use super::draft::Draft;
use super::{plist_tree, signed};
use crate::{Auth, FileProblem, Host, Loaded, MAX_FILE, Problem, ProfileError, Secret, Trust, Warning};

mod algorithms;
mod certificates;

use certificates::Certificates;

/// Parses such a file. `file` is for messages only.
pub fn parse(file: &Path, bytes: &[u8], passphrase: Option<&Secret>) -> Result<Loaded, ProfileError> {
    let mut draft = Draft::new(file);
    if bytes.len() > MAX_FILE {
        return Err(draft.refuse("", Problem::Unreadable(FileProblem::TooLarge)));
    }
    let plist = if signed::looks_signed(bytes) {
        draft.warnings.push(Warning::SignatureNotChecked);
        signed::contents(bytes)
            .ok_or_else(|| draft.refuse("", Problem::Unsupported(CANT_UNWRAP.to_owned())))?
    } else {
        bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
    };
    let root = plist_tree::parse(plist)
        .map_err(|(place, problem)| ProfileError { place, ..draft.refuse("", problem) })?;
    let root = Entry { key: String::new(), dictionary: root.as_dictionary() };
    if root.has("EncryptedPayloadContent") {
        return Err(draft.refuse("EncryptedPayloadContent", Problem::Unsupported(ENCRYPTED.to_owned())));
    }
    let payloads = payloads(&root);
    let vpn = ikev2(&mut draft, &payloads)?;
    let certificates = Certificates::collect(&mut draft, &payloads)?;
    vpn_profile(draft, &vpn, &certificates, passphrase)
}

const CANT_UNWRAP: &str = "the file is signed in a form that can't be taken apart here; allowed: the file without its \
                           signature, which `openssl smime -verify -noverify -inform der -in OLD -out NEW` writes";
const ENCRYPTED: &str =
    "the file is encrypted for one device; allowed: an unencrypted one, from whoever made it";
const NO_IKEV2: &str =
    "the file has no IKEv2 connection; allowed: a payload com.apple.vpn.managed with VPNType IKEv2";

/// A dictionary and where it stands in the file. One that is absent has no keys.
#[derive(Clone)]
struct Entry<'v> {
    key: String,
    dictionary: Option<&'v Dictionary>,
}

impl<'v> Entry<'v> {
    fn path(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) }
    }

    fn value(&self, key: &str) -> Option<&'v Value> {
        self.dictionary?.get(key)
    }

    fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    fn entry(&self, key: &str) -> Self {
        Self { key: self.path(key), dictionary: self.value(key).and_then(Value::as_dictionary) }
    }

    /// The text under a key, unless it is empty.
    fn text(&self, draft: &Draft, key: &str) -> Result<Option<&'v str>, ProfileError> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.as_string() {
                Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
                None => Err(draft.wrong(&self.path(key), "wrong type; allowed: a string")),
            },
        }
    }

    /// A number, or a truth value as 0 or 1: both are in use.
    fn number(&self, draft: &Draft, key: &str) -> Result<Option<u64>, ProfileError> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => match value.as_unsigned_integer().or_else(|| value.as_boolean().map(u64::from)) {
                Some(number) => Ok(Some(number)),
                None => Err(draft.wrong(&self.path(key), "wrong type; allowed: a number")),
            },
        }
    }

    fn flag(&self, draft: &Draft, key: &str) -> Result<bool, ProfileError> {
        Ok(self.number(draft, key)?.is_some_and(|n| n != 0))
    }

    /// The texts of a list.
    fn list(&self, key: &str) -> Vec<String> {
        let items = self.value(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_string).map(str::to_owned).collect()
    }

    /// Data, or text taken as bytes.
    fn bytes(&self, key: &str) -> Option<&'v [u8]> {
        let value = self.value(key)?;
        value.as_data().or_else(|| value.as_string().map(str::as_bytes))
    }
}

fn payloads<'v>(root: &Entry<'v>) -> Vec<Entry<'v>> {
    let items = root.value("PayloadContent").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let entry = |(i, v): (usize, &'v Value)| Entry {
        key: format!("PayloadContent[{i}]"),
        dictionary: v.as_dictionary(),
    };
    items.iter().enumerate().map(entry).collect()
}

/// The first IKEv2 payload; further ones are pointed out.
fn ikev2<'v>(draft: &mut Draft, payloads: &[Entry<'v>]) -> Result<Entry<'v>, ProfileError> {
    let mut found: Option<Entry<'v>> = None;
    let mut others = Vec::new();
    for payload in payloads {
        let kind = payload.text(draft, "PayloadType")?.unwrap_or_default();
        if kind != "com.apple.vpn.managed" && kind != "com.apple.vpn.managed.appmapping" {
            continue;
        }
        let vpn_type = payload.text(draft, "VPNType")?.unwrap_or_default();
        if vpn_type != "IKEv2" || payload.entry("IKEv2").dictionary.is_none() {
            others.push(format!("{vpn_type:?}"));
        } else if found.is_none() {
            found = Some(payload.clone());
        } else {
            draft.not_honoured(&payload.key, "it is a second IKEv2 connection; import one file for each");
        }
    }
    found.ok_or_else(|| {
        let what = if others.is_empty() {
            NO_IKEV2.to_owned()
        } else {
            format!("{NO_IKEV2} (this one has {})", others.join(", "))
        };
        draft.refuse("PayloadContent", Problem::Unsupported(what))
    })
}

fn vpn_profile(
    mut draft: Draft,
    payload: &Entry<'_>,
    certificates: &Certificates<'_>,
    passphrase: Option<&Secret>,
) -> Result<Loaded, ProfileError> {
    let ike = payload.entry("IKEv2");
    let address = ike
        .text(&draft, "RemoteAddress")?
        .ok_or_else(|| draft.refuse(&ike.path("RemoteAddress"), Problem::Missing("RemoteAddress")))?;
    let gateway = draft.host(&ike.path("RemoteAddress"), address)?;
    let name = match payload.text(&draft, "UserDefinedName")? {
        Some(name) => Some(name),
        None => payload.text(&draft, "PayloadDisplayName")?,
    };
    let name = draft.name(name.unwrap_or_default(), &gateway)?;
    let remote_id = ike.text(&draft, "RemoteIdentifier")?.unwrap_or(gateway.as_str());
    let remote_id = draft.identity(&ike.path("RemoteIdentifier"), remote_id)?;
    if let Some(local) = ike.text(&draft, "LocalIdentifier")? {
        draft.local_id = Some(draft.identity(&ike.path("LocalIdentifier"), local)?);
    }
    let auth = authentication(&mut draft, &ike, certificates, passphrase)?;
    algorithms::import(&mut draft, &ike)?;
    tuning(&mut draft, &ike, &gateway)?;
    dns(&mut draft, &payload.entry("DNS"))?;
    surroundings(&mut draft, payload);
    Ok(draft.finish(name, gateway, remote_id, auth))
}

fn authentication(
    draft: &mut Draft,
    ike: &Entry<'_>,
    certificates: &Certificates<'_>,
    passphrase: Option<&Secret>,
) -> Result<Auth, ProfileError> {
    let method = ike.text(draft, "AuthenticationMethod")?.unwrap_or("None");
    let extended = ike.flag(draft, "ExtendedAuthEnabled")?;
    let identity = ike.text(draft, "PayloadCertificateUUID")?;
    match (method, extended, identity) {
        ("None" | "Certificate", true, None) => {
            let key = ike.path("AuthName");
            let user = ike.text(draft, "AuthName")?.ok_or_else(|| {
                draft.wrong(
                    &key,
                    "the file names no user (Apple's systems ask for it); allowed: the user's name here",
                )
            })?;
            let user = draft.identity(&key, user)?;
            draft.secrets.password = ike.text(draft, "AuthPassword")?.map(Secret::new);
            Ok(Auth::EapMschapv2 { identity: user, trust: trust(draft, certificates) })
        }
        ("None" | "Certificate", true, Some(_)) => Err(unsupported(
            draft,
            ike,
            "EAP with a certificate (EAP-TLS) can't be done; allowed: ExtendedAuthEnabled 0 with the certificate, or 1 \
             with AuthName and without PayloadCertificateUUID",
        )),
        ("Certificate", false, Some(uuid)) => {
            let (chain, key) =
                certificates.identity(draft, &ike.path("PayloadCertificateUUID"), uuid, passphrase)?;
            draft.secrets.private_key = Some(key);
            Ok(Auth::Certificate { chain, trust: trust(draft, certificates) })
        }
        ("Certificate", false, None) => Err(unsupported(
            draft,
            ike,
            "method Certificate needs the PayloadCertificateUUID of a com.apple.security.pkcs12 payload",
        )),
        // "If None and ExtendedAuthEnabled isn't set, this defaults to SharedSecret", says Apple.
        ("SharedSecret" | "None", false, _) => {
            let secret = ike.bytes("SharedSecret").and_then(|bytes| std::str::from_utf8(bytes).ok());
            draft.secrets.psk = secret.filter(|text| !text.is_empty()).map(Secret::new);
            Ok(Auth::Psk)
        }
        ("SharedSecret", true, _) => Err(unsupported(
            draft,
            ike,
            "a pre-shared key together with EAP can't be done; allowed: one of them",
        )),
        (other, ..) => {
            let what = format!("{other:?} is unknown; allowed: None, SharedSecret, Certificate");
            Err(unsupported(draft, ike, &what))
        }
    }
}

fn unsupported(draft: &Draft, ike: &Entry<'_>, what: &str) -> ProfileError {
    draft.refuse(&ike.path("AuthenticationMethod"), Problem::Unsupported(what.to_owned()))
}

fn trust(draft: &mut Draft, certificates: &Certificates<'_>) -> Trust {
    draft.trust(certificates.authorities.clone())
}

/// Everything else that the IKEv2 dictionary may say.
fn tuning(draft: &mut Draft, ike: &Entry<'_>, gateway: &Host) -> Result<(), ProfileError> {
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

fn dns(draft: &mut Draft, dns: &Entry<'_>) -> Result<(), ProfileError> {
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
fn surroundings(draft: &mut Draft, payload: &Entry<'_>) {
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

#[cfg(test)]
#[path = "mobileconfig_tests.rs"]
mod tests;
