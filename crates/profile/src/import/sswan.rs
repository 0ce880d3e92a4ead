//! `.sswan`: the JSON profiles of strongSwan's Android client.
//!
//! <https://docs.strongswan.org/docs/latest/os/androidVpnClientProfiles.html>
use std::path::Path;

use base64ct::{Base64Unpadded, Encoding};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::draft::Draft;
use super::range::networks;
use crate::{
    Auth, Certificate, FileProblem, Loaded, MAX_FILE, Place, Problem, ProfileError, Proposal, Secret, pkcs12,
};

/// Keys of the file that say nothing that matters here.
const SILENT: [&str; 4] = ["uuid", "name", "type", "remote"];

/// Parses such a file. `file` is for messages only.
pub fn parse(file: &Path, bytes: &[u8], passphrase: Option<&Secret>) -> Result<Loaded, ProfileError> {
    let mut draft = Draft::new(file);
    if bytes.len() > MAX_FILE {
        return Err(draft.refuse("", Problem::Unreadable(FileProblem::TooLarge)));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let root: Value = serde_json::from_slice(bytes).map_err(|error| ProfileError {
        place: Some(Place { line: error.line(), column: error.column() }),
        ..draft.refuse("", Problem::Syntax { format: "JSON", message: without_place(&error) })
    })?;
    let root = root.as_object().ok_or_else(|| draft.refuse("", Problem::NotAProfile))?;
    let remote =
        object(&draft, root, "remote")?.ok_or_else(|| draft.refuse("remote", Problem::Missing("remote")))?;

    let address = text(&draft, remote, "remote", "addr")?
        .ok_or_else(|| draft.refuse("remote.addr", Problem::Missing("addr")))?;
    let gateway = draft.host("remote.addr", address)?;
    let foreign = text(&draft, root, "", "name")?.unwrap_or_default();
    let name = draft.name(foreign, &gateway)?;
    let remote_id = match text(&draft, remote, "remote", "id")? {
        Some(id) => draft.identity("remote.id", id)?,
        None => draft.identity("remote.addr", gateway.as_str())?,
    };
    let auth = authentication(&mut draft, root, remote, passphrase)?;
    the_rest_of_remote(&mut draft, remote)?;
    options(&mut draft, root)?;
    Ok(draft.finish(name, gateway, remote_id, auth))
}

fn authentication(
    draft: &mut Draft,
    root: &Map<String, Value>,
    remote: &Map<String, Value>,
    passphrase: Option<&Secret>,
) -> Result<Auth, ProfileError> {
    let kind =
        text(draft, root, "", "type")?.ok_or_else(|| draft.refuse("type", Problem::Missing("type")))?;
    let empty = Map::new();
    let local = object(draft, root, "local")?.unwrap_or(&empty);
    let ca = match text(draft, remote, "remote", "cert")? {
        None => Vec::new(),
        Some(encoded) => {
            let der = base64(draft, "remote.cert", encoded)?;
            Certificate::read_all(&der).map_err(|error| draft.wrong("remote.cert", error))?
        }
    };
    for key in local.keys().filter(|key| !["eap_id", "id", "p12", "rsa-pss"].contains(&key.as_str())) {
        draft.not_honoured(&format!("local.{key}"), "Evenkeel doesn't know it");
    }
    match kind {
        "ikev2-eap" => {
            let identity = text(draft, local, "local", "eap_id")?.ok_or_else(|| {
                let asks = "the file names no user (Android asks for it); allowed: \"local\": { \"eap_id\": \"NAME\" }";
                draft.wrong("local.eap_id", asks)
            })?;
            let identity = draft.identity("local.eap_id", identity)?;
            Ok(Auth::EapMschapv2 { identity, trust: draft.trust(ca) })
        }
        "ikev2-cert" => {
            if let Some(id) = text(draft, local, "local", "id")? {
                draft.local_id = Some(draft.identity("local.id", id)?);
            }
            let encoded = text(draft, local, "local", "p12")?.ok_or_else(|| {
                let without = "the file carries no certificate of yours (Android takes it from the device); allowed: \
                               \"local\": { \"p12\": PKCS#12 in base64 }, or a TOML profile with pkcs12 = \"FILE\"";
                draft.wrong("local.p12", without)
            })?;
            let bytes = base64(draft, "local.p12", encoded)?;
            let (chain, key) = pkcs12::open(&bytes, passphrase)
                .map_err(|error| draft.refuse("local.p12", Problem::Unreadable(error.into())))?;
            draft.secrets.private_key = Some(key);
            Ok(Auth::Certificate { chain, trust: draft.trust(ca) })
        }
        other => {
            let what =
                format!("{other:?} can't be done; allowed: \"ikev2-eap\" (EAP-MSCHAPv2), \"ikev2-cert\"");
            Err(draft.refuse("type", Problem::Unsupported(what)))
        }
    }
}

fn the_rest_of_remote(draft: &mut Draft, remote: &Map<String, Value>) -> Result<(), ProfileError> {
    if let Some(port) = number(draft, remote, "remote", "port")? {
        match u16::try_from(port) {
            // strongSwan sends to one port; 500 is its way to say nothing in particular.
            Ok(500) => {}
            Ok(port) if port > 0 => draft.gateway_ports.udp = Some(port),
            _ => return Err(draft.refuse("remote.port", Problem::Range { value: port, min: 1, max: 65_535 })),
        }
    }
    for (key, value) in remote {
        match key.as_str() {
            "addr" | "port" | "id" | "cert" => {}
            "certreq" if value == &Value::Bool(true) => {}
            "certreq" => draft.not_honoured("remote.certreq", "certificate requests are always sent"),
            "revocation" => draft.not_honoured("remote.revocation", "revocation is not checked"),
            other => draft.not_honoured(&format!("remote.{other}"), "Evenkeel doesn't know it"),
        }
    }
    Ok(())
}

fn options(draft: &mut Draft, root: &Map<String, Value>) -> Result<(), ProfileError> {
    for (key, value) in root {
        match key.as_str() {
            silent if SILENT.contains(&silent) => {}
            "local" => {}
            "ike-proposal" => draft.ike.proposals = proposal(draft, root, key)?,
            "esp-proposal" => draft.esp.proposals = proposal(draft, root, key)?,
            "mtu" => {
                if let Some(mtu) = number(draft, root, "", key)? {
                    draft.mtu(key, mtu);
                }
            }
            "nat-keepalive" => draft.not_honoured(key, "Evenkeel chooses the interval itself"),
            "split-tunneling" => split_tunneling(draft, root)?,
            "dns-servers" => {
                let servers = words(value);
                draft.dns(key, servers);
            }
            "apps" | "excluded-apps" => draft.not_honoured(key, "the tunnel serves every program"),
            "ipv6-transport" => draft.not_honoured(key, "IPv6 is used where both ends have it"),
            other => draft.not_honoured(other, "Evenkeel doesn't know it"),
        }
    }
    Ok(())
}

fn split_tunneling(draft: &mut Draft, root: &Map<String, Value>) -> Result<(), ProfileError> {
    let Some(split) = object(draft, root, "split-tunneling")? else { return Ok(()) };
    for (key, value) in split {
        let path = format!("split-tunneling.{key}");
        match key.as_str() {
            "subnets" => {
                let mut all = Vec::new();
                for text in words(value) {
                    let some = networks(&text).ok_or_else(|| {
                        draft.wrong(
                            &path,
                            format!("{text:?} is no network; allowed: ADDRESS/PREFIX or FIRST-LAST"),
                        )
                    })?;
                    all.extend(some);
                }
                draft.networks(&path, all)?;
            }
            "block-ipv4" | "block-ipv6" if value == &Value::Bool(false) => {}
            "block-ipv4" | "block-ipv6" => {
                draft.not_honoured(&path, "traffic outside the tunnel is not blocked")
            }
            "excluded" => draft.not_honoured(&path, "networks can't be excluded; name those to include"),
            _ => draft.not_honoured(&path, "Evenkeel doesn't know it"),
        }
    }
    Ok(())
}

fn proposal(draft: &mut Draft, root: &Map<String, Value>, key: &str) -> Result<Vec<Proposal>, ProfileError> {
    let Some(text) = text(draft, root, "", key)? else { return Ok(Vec::new()) };
    let proposal = Proposal::try_from(text.to_owned()).map_err(|error| draft.wrong(key, error))?;
    if proposal.as_str().split('-').any(|name| ["sha1", "prfsha1", "modp1024"].contains(&name)) {
        draft.legacy = true;
    }
    Ok(vec![proposal])
}

/// A list of texts, or one text with blanks or commas between.
fn words(value: &Value) -> Vec<String> {
    const MAX: usize = 256;
    let items: Vec<&str> = match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => text.split([' ', ',']).filter(|word| !word.is_empty()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    items.into_iter().take(MAX).map(str::to_owned).collect()
}

fn path(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// The text under a key; `None` if it is absent, null or empty.
fn text<'v>(
    draft: &Draft,
    map: &'v Map<String, Value>,
    parent: &str,
    key: &str,
) -> Result<Option<&'v str>, ProfileError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(draft.wrong(&path(parent, key), "wrong type; allowed: a string")),
    }
}

fn number(
    draft: &Draft,
    map: &Map<String, Value>,
    parent: &str,
    key: &str,
) -> Result<Option<u64>, ProfileError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().or_else(|| value.as_str().and_then(|s| s.parse().ok())) {
            Some(number) => Ok(Some(number)),
            None => Err(draft.wrong(&path(parent, key), "wrong type; allowed: a number")),
        },
    }
}

fn object<'v>(
    draft: &Draft,
    map: &'v Map<String, Value>,
    key: &str,
) -> Result<Option<&'v Map<String, Value>>, ProfileError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(draft.wrong(key, "wrong type; allowed: an object")),
    }
}

/// Base64 as Android takes it: line ends and missing padding are no matter.
fn base64(draft: &Draft, key: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, ProfileError> {
    let compact: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '=').collect());
    Base64Unpadded::decode_vec(&compact)
        .map(Zeroizing::new)
        .map_err(|_| draft.wrong(key, "this is not base64"))
}

/// serde_json's message without the place, which is told apart.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split_once(" at line ").map_or(message.clone(), |(what, _)| what.to_owned())
}

#[cfg(test)]
#[path = "sswan_tests.rs"]
mod tests;
