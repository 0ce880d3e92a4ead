//! Files as Apple Configurator and strongSwan's documentation write them.
use base64ct::{Base64, Encoding};

use super::*;
use crate::Method;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).expect(name)
}

/// A whole file: what stands in the IKEv2 dictionary, what beside it, and further payloads.
fn file(ike: &str, beside: &str, payloads: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadType</key><string>Configuration</string>
<key>PayloadContent</key><array>
<dict>
<key>PayloadType</key><string>com.apple.vpn.managed</string>
<key>UserDefinedName</key><string>Office</string>
<key>VPNType</key><string>IKEv2</string>
<key>IKEv2</key><dict>
<key>RemoteAddress</key><string>vpn.example.com</string>
<key>RemoteIdentifier</key><string>gw.example.com</string>
{ike}
</dict>
{beside}
</dict>
{payloads}
</array></dict></plist>"#
    )
}

const EAP: &str = "<key>AuthenticationMethod</key><string>None</string><key>ExtendedAuthEnabled</key><integer>1</integer>\
                   <key>AuthName</key><string>alice</string>";

fn root_payload() -> String {
    let ca = Base64::encode_string(&certificate_der("ca.crt"));
    format!(
        "<dict><key>PayloadType</key><string>com.apple.security.root</string><key>PayloadContent</key><data>{ca}</data></dict>"
    )
}

fn certificate_der(name: &str) -> Vec<u8> {
    crate::Certificate::read_all(&data(name)).expect("certificate").remove(0).as_der().to_vec()
}

fn read(text: &str, passphrase: Option<&str>) -> Result<Loaded, ProfileError> {
    parse(Path::new("x.mobileconfig"), text.as_bytes(), passphrase.map(Secret::new).as_ref())
}

fn taken(text: &str) -> Loaded {
    read(text, None).unwrap_or_else(|e| panic!("{e}"))
}

fn refusal(text: &str) -> String {
    read(text, None).err().expect("refused").to_string()
}

fn left_out(loaded: &Loaded) -> Vec<&str> {
    loaded
        .warnings
        .iter()
        .filter_map(|w| if let Warning::NotHonoured { key, .. } = w { key.rsplit('.').next() } else { None })
        .collect()
}

#[test]
fn user_name_and_password_with_a_root_certificate() {
    let loaded = taken(&file(EAP, "", &root_payload()));
    assert_eq!(loaded.profile.name.as_str(), "Office");
    assert_eq!(loaded.profile.gateway.as_str(), "vpn.example.com");
    assert_eq!(loaded.profile.remote_id.as_str(), "gw.example.com");
    assert_eq!(loaded.profile.method(), Method::EapMschapv2);
    assert_eq!(loaded.profile.auth.trust().map(|t| (t.ca().len(), t.system())), Some((1, false)));
    assert_eq!(loaded.warnings, []);
    assert!(loaded.secrets.is_empty());
}

#[test]
fn without_a_root_certificate_the_system_is_trusted_and_that_is_said() {
    let loaded = taken(&file(EAP, "", ""));
    assert_eq!(loaded.profile.auth.trust().map(|t| (t.ca().len(), t.system())), Some((0, true)));
    assert_eq!(loaded.warnings, [Warning::SystemTrust]);
}

#[test]
fn a_pre_shared_key_is_a_secret_and_not_in_the_profile() {
    let psk = "<key>AuthenticationMethod</key><string>SharedSecret</string><key>SharedSecret</key><string>sesame</string>";
    let loaded = taken(&file(psk, "", ""));
    assert_eq!(loaded.profile.method(), Method::Psk);
    assert_eq!(loaded.secrets.psk.as_ref().map(Secret::expose), Some("sesame"));
    assert!(!serde_json::to_string(&loaded.profile).expect("serialises").contains("sesame"));
    assert_eq!(loaded.warnings, [Warning::SecretInFile]);
}

#[test]
fn a_certificate_opens_with_the_passphrase_of_the_file_or_of_the_caller() {
    let ike = "<key>AuthenticationMethod</key><string>Certificate</string>\
               <key>PayloadCertificateUUID</key><string>ABCD-1</string>";
    let payload = |password: &str| {
        let p12 = Base64::encode_string(&data("alice-sesame.p12"));
        format!(
            "<dict><key>PayloadType</key><string>com.apple.security.pkcs12</string><key>PayloadUUID</key>\
             <string>abcd-1</string>{password}<key>PayloadContent</key><data>{p12}</data></dict>{}",
            root_payload()
        )
    };
    let with = file(ike, "", &payload("<key>Password</key><string>sesame</string>"));
    assert!(taken(&with).secrets.private_key.is_some());
    let without = file(ike, "", &payload(""));
    let asked = read(&without, None).err().expect("asks");
    assert!(asked.problem.needs_passphrase(), "{asked}");
    assert!(read(&without, Some("sesame")).is_ok());
    assert!(refusal(&file(ike, "", "")).contains("no com.apple.security.pkcs12 payload with UUID"));
}

#[test]
fn algorithms_lifetimes_and_the_rest_are_honoured() {
    let ike = format!(
        "{EAP}<key>IKESecurityAssociationParameters</key><dict>\
         <key>EncryptionAlgorithm</key><string>AES-256-GCM</string><key>IntegrityAlgorithm</key><string>SHA2-384</string>\
         <key>DiffieHellmanGroup</key><integer>20</integer><key>LifeTimeInMinutes</key><integer>480</integer></dict>\
         <key>ChildSecurityAssociationParameters</key><dict>\
         <key>EncryptionAlgorithm</key><string>AES-128</string><key>IntegrityAlgorithm</key><string>SHA2-256</string>\
         <key>DiffieHellmanGroup</key><integer>19</integer><key>LifeTimeInMinutes</key><integer>60</integer></dict>\
         <key>EnablePFS</key><true/><key>MTU</key><integer>1300</integer>\
         <key>DeadPeerDetectionRate</key><string>High</string><key>LocalIdentifier</key><string>laptop</string>"
    );
    let dns = "<key>DNS</key><dict><key>ServerAddresses</key><array><string>10.0.0.1</string></array>\
               <key>SupplementalMatchDomains</key><array><string>corp.example</string><string></string></array></dict>";
    let loaded = taken(&file(&ike, dns, &root_payload()));
    let profile = &loaded.profile;
    assert_eq!(
        profile.ike.proposals.first().map(crate::Proposal::as_str),
        Some("aes256gcm16-prfsha384-ecp384")
    );
    assert_eq!(profile.esp.proposals.first().map(crate::Proposal::as_str), Some("aes128-sha256-ecp256"));
    assert_eq!(profile.esp.pfs, Some(true));
    assert_eq!((profile.timers.ike_rekey_s, profile.timers.child_rekey_s), (Some(28_800), Some(3600)));
    assert_eq!((profile.timers.dpd_s, profile.tunnel.mtu), (Some(60), Some(1300)));
    assert_eq!(profile.local_id.as_ref().map(crate::Identity::as_str), Some("laptop"));
    assert_eq!(profile.tunnel.dns.len(), 1);
    assert_eq!(profile.tunnel.domains.len(), 1);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn what_can_not_be_honoured_is_listed() {
    let ike = format!(
        "{EAP}<key>OnDemandEnabled</key><integer>1</integer><key>DisconnectOnIdle</key><integer>0</integer>\
         <key>IncludeAllNetworks</key><true/><key>FancyNewKey</key><string>x</string>\
         <key>ServerCertificateCommonName</key><string>other.example.com</string>\
         <key>IKESecurityAssociationParameters</key><dict><key>EncryptionAlgorithm</key><string>3DES</string></dict>"
    );
    let proxies = "<key>Proxies</key><dict><key>HTTPEnable</key><integer>1</integer></dict>";
    let loaded = taken(&file(&ike, proxies, &root_payload()));
    let mut keys = left_out(&loaded);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(
        keys,
        [
            "EncryptionAlgorithm",
            "FancyNewKey",
            "IncludeAllNetworks",
            "OnDemandEnabled",
            "Proxies",
            "ServerCertificateCommonName",
        ]
    );
    assert!(loaded.profile.ike.proposals.is_empty());
}

#[test]
fn weak_algorithms_are_marked_as_legacy() {
    let ike = format!(
        "{EAP}<key>IKESecurityAssociationParameters</key><dict><key>IntegrityAlgorithm</key><string>SHA1-96</string>\
         <key>DiffieHellmanGroup</key><integer>2</integer></dict>"
    );
    let loaded = taken(&file(&ike, "", &root_payload()));
    assert!(loaded.profile.legacy);
    assert_eq!(loaded.warnings, [Warning::Legacy]);
}

#[test]
fn a_signed_file_is_unwrapped_with_a_warning() {
    let loaded = parse(Path::new("x"), &data("signed.mobileconfig"), None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings, [Warning::SignatureNotChecked, Warning::SystemTrust]);
    let indefinite = [0x30, 0x80, 0x06, 0x09];
    let error = parse(Path::new("x"), &indefinite, None).err().expect("refused");
    assert!(error.to_string().contains("openssl smime -verify"), "{error}");
}

#[test]
fn a_binary_file_reads_like_the_xml_one() {
    let xml = file(EAP, "", &root_payload());
    let tree = Value::from_reader_xml(xml.as_bytes()).expect("parses");
    let mut binary = Vec::new();
    tree.to_writer_binary(&mut binary).expect("written");
    let loaded = parse(Path::new("x"), &binary, None).unwrap_or_else(|e| panic!("{e}"));
    assert!(loaded.profile == taken(&xml).profile);
}

#[test]
fn refusals_name_the_key() {
    let said = |ike: &str| refusal(&file(ike, "", ""));
    let eap_tls = format!("{EAP}<key>PayloadCertificateUUID</key><string>1</string>");
    assert!(said(&eap_tls).contains("IKEv2.AuthenticationMethod: EAP with a certificate (EAP-TLS)"));
    assert!(said(&EAP.replace("AuthName", "Nobody")).contains("IKEv2.AuthName: the file names no user"));
    assert!(
        said("<key>AuthenticationMethod</key><integer>1</integer>").contains("wrong type; allowed: a string")
    );
    assert!(refusal("<plist><dict/></plist>").contains("PayloadContent: the file has no IKEv2 connection"));
    let l2tp = file(EAP, "", "").replace("<string>IKEv2</string>", "<string>L2TP</string>");
    assert!(refusal(&l2tp).contains("(this one has \"L2TP\")"));
    assert!(
        refusal("<plist><dict><key>EncryptedPayloadContent</key><data></data></dict></plist>")
            .contains("encrypted")
    );
}
