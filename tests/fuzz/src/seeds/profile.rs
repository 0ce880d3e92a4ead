//! Profiles of all three formats.

use super::Seed;

const CERTIFICATE: &[u8] = include_bytes!("../../../../crates/profile/tests/data/alice.crt");
const KEY: &[u8] = include_bytes!("../../../../crates/profile/tests/data/alice.key");
const ENCRYPTED_KEY: &[u8] = include_bytes!("../../../../crates/profile/tests/data/ed25519-sesame.key");
const PKCS12: &[u8] = include_bytes!("../../../../crates/profile/tests/data/alice-sesame.p12");

pub(super) fn add(seeds: &mut Vec<Seed>) {
    let certificate_and_key = [CERTIFICATE, KEY].concat();
    let certificate_and_encrypted_key = [CERTIFICATE, ENCRYPTED_KEY].concat();
    for (name, text, referenced) in [
        ("eap", EAP, CERTIFICATE),
        ("certificate", WITH_CERTIFICATE, &certificate_and_key),
        ("encrypted_key", WITH_CERTIFICATE, &certificate_and_encrypted_key),
        ("pkcs12", WITH_PKCS12, PKCS12),
        ("psk", PSK, &[]),
        ("everything", EVERYTHING, CERTIFICATE),
        ("unknown_key", "name = \"x\"\nentrance = \"192.0.2.1\"\n", &[]),
        ("wrong_type", "name = 7\n", &[]),
    ] {
        seeds.push(Seed::new("profile_toml", name, [text.as_bytes(), &[0], referenced].concat()));
    }
    seeds.push(Seed::new("profile_mobileconfig", "eap", MOBILECONFIG.into()));
    seeds.push(Seed::new("profile_sswan", "eap", SSWAN.into()));
}

const EAP: &str = r#"name = "Lab"
gateway = "198.51.100.10"
remote_id = "vpn.lab.example"
[auth]
method = "eap-mschapv2"
identity = "alice"
[trust]
ca = ["ca.crt"]
[tunnel]
remote_ts = ["10.10.0.0/16"]
"#;

const WITH_CERTIFICATE: &str = r#"name = "Lab"
gateway = "vpn.lab.example"
local_id = "CN=alice, O=Lab"
[auth]
method = "certificate"
certificate = "alice.crt"
key = "alice.key"
[trust]
ca = ["ca.crt"]
"#;

const WITH_PKCS12: &str = r#"name = "Lab"
gateway = "2001:db8::10"
[auth]
method = "certificate"
pkcs12 = "alice.p12"
[trust]
system = true
"#;

const PSK: &str = r#"name = "Lab"
gateway = "198.51.100.10"
local_id = "keyid:group"
[auth]
method = "psk"
secret = "a long and random one"
"#;

const EVERYTHING: &str = r#"name = "Lab"
gateway = "198.51.100.10"
remote_id = "vpn.lab.example"
local_id = "alice@lab.example"
legacy = true
[gateway_ports]
udp = 4500
tcp = 443
[auth]
method = "eap-mschapv2"
identity = "alice"
[trust]
ca = ["ca.crt"]
system = true
[tunnel]
remote_ts = ["10.10.0.0/16", "fd00::/8"]
[ike]
proposals = ["aes256gcm16-prfsha256-x25519", "aes128-sha256-modp2048"]
[esp]
proposals = ["aes256gcm16"]
[timers]
dpd_s = 30
"#;

const MOBILECONFIG: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadType</key><string>Configuration</string>
<key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>example.lab</string>
<key>PayloadUUID</key><string>6F6A2D0C-0D7C-4F0B-9D86-0C2A0E7F1A11</string>
<key>PayloadDisplayName</key><string>Lab</string>
<key>PayloadContent</key><array><dict>
<key>PayloadType</key><string>com.apple.vpn.managed</string>
<key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>example.lab.vpn</string>
<key>PayloadUUID</key><string>6F6A2D0C-0D7C-4F0B-9D86-0C2A0E7F1A12</string>
<key>UserDefinedName</key><string>Lab</string>
<key>VPNType</key><string>IKEv2</string>
<key>IKEv2</key><dict>
<key>RemoteAddress</key><string>198.51.100.10</string>
<key>RemoteIdentifier</key><string>vpn.lab.example</string>
<key>LocalIdentifier</key><string>alice</string>
<key>AuthenticationMethod</key><string>None</string>
<key>ExtendedAuthEnabled</key><integer>1</integer>
<key>AuthName</key><string>alice</string>
<key>DeadPeerDetectionRate</key><string>Medium</string>
<key>IKESecurityAssociationParameters</key><dict>
<key>EncryptionAlgorithm</key><string>AES-256-GCM</string>
<key>IntegrityAlgorithm</key><string>SHA2-256</string>
<key>DiffieHellmanGroup</key><integer>19</integer>
<key>LifeTimeInMinutes</key><integer>1440</integer>
</dict>
</dict></dict></array>
</dict></plist>
"#;

const SSWAN: &str = r#"{
  "uuid": "6f6a2d0c-0d7c-4f0b-9d86-0c2a0e7f1a11",
  "name": "Lab",
  "type": "ikev2-eap",
  "remote": { "addr": "vpn.lab.example", "id": "vpn.lab.example", "port": 500 },
  "local": { "eap_id": "alice" },
  "split-tunneling": { "subnets": ["10.10.0.0/16"], "block-ipv6": true },
  "ike-proposal": "aes256gcm16-prfsha256-ecp256",
  "esp-proposal": "aes256gcm16",
  "mtu": 1400,
  "nat-keepalive": 20
}
"#;
