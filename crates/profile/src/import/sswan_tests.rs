//! Files as strongSwan's Android client takes them.
use serde_json::json;

use super::*;
use crate::{Method, Pkcs12Error, Warning};

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).expect(name)
}

fn base64_of(name: &str) -> String {
    base64ct::Base64::encode_string(&data(name))
}

fn read(value: &Value, passphrase: Option<&str>) -> Result<Loaded, ProfileError> {
    parse(Path::new("x.sswan"), value.to_string().as_bytes(), passphrase.map(Secret::new).as_ref())
}

fn refusal(value: &Value) -> String {
    read(value, None).err().expect("refused").to_string()
}

fn eap() -> Value {
    json!({
        "uuid": "2a7f3c6e-5d3c-4b36-9a2e-0a1b2c3d4e5f",
        "name": "Office",
        "type": "ikev2-eap",
        "remote": { "addr": "vpn.example.com" },
        "local": { "eap_id": "alice" }
    })
}

#[test]
fn a_plain_eap_profile_imports() {
    let loaded = read(&eap(), None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.profile.name.as_str(), "Office");
    assert_eq!(loaded.profile.method(), Method::EapMschapv2);
    assert_eq!(loaded.profile.remote_id.as_str(), "vpn.example.com");
    assert_eq!(loaded.warnings, [Warning::SystemTrust]);
}

#[test]
fn everything_that_can_be_honoured_is() {
    let mut file = eap();
    file["remote"]["id"] = json!("gw.example.com");
    file["remote"]["port"] = json!(4510);
    file["remote"]["cert"] = json!(base64_of("ca.crt"));
    file["mtu"] = json!(1350);
    file["ike-proposal"] = json!("aes256-sha256-modp2048");
    file["esp-proposal"] = json!("aes256-sha1");
    file["split-tunneling"] = json!({ "subnets": ["10.0.0.0/8", "192.168.0.0 - 192.168.1.255"] });
    file["dns-servers"] = json!("10.0.0.1 10.0.0.2");
    let loaded = read(&file, None).unwrap_or_else(|e| panic!("{e}"));
    let profile = loaded.profile;
    assert_eq!(profile.remote_id.as_str(), "gw.example.com");
    assert_eq!(profile.gateway_ports.udp, Some(4510));
    assert_eq!(profile.auth.trust().map(|t| (t.ca().len(), t.system())), Some((1, false)));
    assert_eq!(profile.tunnel.mtu, Some(1350));
    assert_eq!(profile.tunnel.dns.len(), 2);
    let networks: Vec<_> = profile.tunnel.remote_ts.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.168.0.0/23"]);
    assert!(profile.legacy, "the file asks for SHA-1");
    assert_eq!(loaded.warnings, [Warning::Legacy]);
}

#[test]
fn what_can_not_be_honoured_is_listed() {
    let mut file = eap();
    file["nat-keepalive"] = json!(20);
    file["apps"] = json!(["com.example"]);
    file["split-tunneling"] = json!({ "excluded": "10.0.0.0/8", "block-ipv6": true, "block-ipv4": false });
    file["remote"]["certreq"] = json!(false);
    file["remote"]["revocation"] = json!({ "strict": true });
    file["new-thing"] = json!(1);
    let loaded = read(&file, None).unwrap_or_else(|e| panic!("{e}"));
    let mut keys: Vec<_> = loaded
        .warnings
        .iter()
        .filter_map(|w| if let Warning::NotHonoured { key, .. } = w { Some(key.as_str()) } else { None })
        .collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "apps",
            "nat-keepalive",
            "new-thing",
            "remote.certreq",
            "remote.revocation",
            "split-tunneling.block-ipv6",
            "split-tunneling.excluded",
        ]
    );
}

#[test]
fn a_certificate_comes_with_its_passphrase() {
    let mut file = eap();
    file["type"] = json!("ikev2-cert");
    file["local"] = json!({ "p12": base64_of("alice-sesame.p12"), "id": "alice@example.com" });
    let asked = read(&file, None).err().expect("asks");
    assert!(asked.problem.needs_passphrase(), "{asked}");
    let wrong = read(&file, Some("x")).err().expect("wrong");
    assert_eq!(wrong.problem, Problem::Unreadable(FileProblem::Pkcs12(Pkcs12Error::NotOpened)));
    let loaded = read(&file, Some("sesame")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.profile.local_id.map(String::from).as_deref(), Some("alice@example.com"));
    assert!(loaded.secrets.private_key.is_some());
}

#[test]
fn refusals_name_the_key() {
    let broken = |edit: &dyn Fn(&mut Value)| {
        let mut file = eap();
        edit(&mut file);
        refusal(&file)
    };
    assert!(
        broken(&|f| f["type"] = json!("ikev2-byod-eap")).starts_with("x.sswan: type: \"ikev2-byod-eap\"")
    );
    assert!(broken(&|f| f["local"] = json!({})).contains("local.eap_id"));
    assert!(broken(&|f| f["remote"] = json!("x")).contains("remote: wrong type; allowed: an object"));
    assert!(broken(&|f| f["remote"] = json!({})).contains("remote.addr"));
    assert!(broken(&|f| f["remote"]["port"] = json!(70_000)).contains("remote.port: 70000 is out of range"));
    assert!(broken(&|f| f["remote"]["cert"] = json!("!!")).contains("remote.cert: this is not base64"));
    assert!(broken(&|f| f["ike-proposal"] = json!("a b")).contains("ike-proposal"));
    assert!(
        broken(&|f| f["split-tunneling"] = json!({ "subnets": "x" })).contains("split-tunneling.subnets")
    );
}

#[test]
fn syntax_errors_have_line_and_column() {
    let error = parse(Path::new("x.sswan"), b"{\n  \"name\": }", None).err().expect("refused");
    assert_eq!(error.to_string(), "x.sswan:2:11: not valid JSON: expected value");
}
