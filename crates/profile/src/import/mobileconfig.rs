//! `.mobileconfig`: Apple's configuration profiles, their IKEv2 payload and the certificates beside it.
//!
//! <https://developer.apple.com/documentation/devicemanagement/vpn/ikev2-data.dictionary>
use std::path::Path;

use plist::Value;

use super::draft::Draft;
use super::{plist_tree, signed};
use crate::{Auth, FileProblem, Loaded, MAX_FILE, Problem, ProfileError, Secret, Trust, Warning};

mod algorithms;
mod certificates;
mod entry;
mod options;

use certificates::Certificates;
use entry::Entry;

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
    options::tuning(&mut draft, &ike, &gateway)?;
    options::dns(&mut draft, &payload.entry("DNS"))?;
    options::surroundings(&mut draft, payload);
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

#[cfg(test)]
#[path = "mobileconfig_tests.rs"]
mod tests;
