//! Whole files through the loader.
use std::fs;

use super::*;
use crate::{Auth, Method, ProbeAnswer};

const LEAST: &str = r#"name = "Lab"
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

fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).expect(name)
}

fn parse_with(text: &str, passphrase: Option<&str>) -> Result<Loaded, ProfileError> {
    let passphrase = passphrase.map(Secret::new);
    parse_toml(Path::new("lab.toml"), text.as_bytes(), passphrase.as_ref(), &mut |name| {
        let known = ["ca.crt", "alice.crt", "alice.key", "alice-sesame.p12", "ed25519-sesame.key"];
        let contents = if known.contains(&name) {
            Ok(data(name))
        } else {
            Err(FileProblem::Io(std::io::ErrorKind::NotFound))
        };
        (name.into(), contents)
    })
}

fn parse(text: &str) -> Result<Loaded, ProfileError> {
    parse_with(text, None)
}

fn refusal(text: &str) -> String {
    parse(text).err().expect("refused").to_string()
}

#[track_caller]
fn assert_refused(text: &str, expected: &str) {
    let said = refusal(text);
    assert!(said.contains(expected), "\n  said {said}\n  not  {expected}");
}

#[test]
fn the_least_profile_loads() {
    let loaded = parse(LEAST).unwrap_or_else(|e| panic!("{e}"));
    let profile = loaded.profile;
    assert_eq!(profile.name.as_str(), "Lab");
    assert_eq!(profile.remote_id.as_str(), "vpn.lab.example");
    assert_eq!(profile.method(), Method::EapMschapv2);
    assert_eq!(profile.local_identity().map(crate::Identity::as_str), Some("alice"));
    assert_eq!(profile.auth.trust().map(|t| (t.ca().len(), t.system())), Some((1, false)));
    assert!(loaded.secrets.is_empty());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_profile_survives_json_both_ways() {
    for text in [
        LEAST.to_owned(),
        LEAST
            .replace("identity = \"alice\"", "")
            .replace("eap-mschapv2", "certificate")
            .replace("[trust]", "pkcs12 = \"alice-sesame.p12\"\nsecret = \"sesame\"\n[trust]"),
        "name = \"P\"\ngateway = \"gw\"\n[auth]\nmethod = \"psk\"\n[timers]\ndpd_s = 5\n".to_owned(),
        format!("{LEAST}[fallback]\ntcp = false\n"),
        format!("{LEAST}[fallback]\ntcp_ports = [443]\ntls = true\n"),
        format!("{LEAST}{WIREGUARD}dns = [\"10.9.0.1\"]\n"),
    ] {
        let profile = parse(&text).unwrap_or_else(|e| panic!("{e}")).profile;
        let json = serde_json::to_string(&profile).expect("serialises");
        assert_eq!(serde_json::from_str::<Profile>(&json).expect("parses"), profile);
    }
}

#[test]
fn a_profile_that_trusts_nobody_does_not_even_deserialise() {
    let profile = parse(LEAST).unwrap_or_else(|e| panic!("{e}")).profile;
    let mut json = serde_json::to_value(&profile).expect("serialises");
    *json.pointer_mut("/auth/trust/ca").expect("there") = serde_json::json!([]);
    assert!(serde_json::from_value::<Profile>(json).is_err());
}

#[test]
fn a_profile_with_impossible_ports_does_not_deserialise_and_one_without_fallback_does() {
    let profile = parse(LEAST).unwrap_or_else(|e| panic!("{e}")).profile;
    let mut json = serde_json::to_value(&profile).expect("serialises");
    assert!(json.get("fallback").is_none(), "what is default is not written: older documents are the same");
    json["fallback"] = serde_json::json!({ "tcp": [443, 0] });
    assert!(serde_json::from_value::<Profile>(json).is_err());
}

#[test]
fn certificates_come_from_files_or_pkcs12() {
    let text = LEAST.replace("identity = \"alice\"", "certificate = \"alice.crt\"\nkey = \"alice.key\"");
    let from_files = parse(&text.replace("eap-mschapv2", "certificate")).unwrap_or_else(|e| panic!("{e}"));
    let text = LEAST.replace("identity = \"alice\"", "pkcs12 = \"alice-sesame.p12\"");
    let text = text.replace("eap-mschapv2", "certificate");
    let asked = parse(&text).err().expect("needs a passphrase");
    assert!(asked.problem.needs_passphrase(), "{asked}");
    let from_pkcs12 = parse_with(&text, Some("sesame")).unwrap_or_else(|e| panic!("{e}"));
    assert!(from_pkcs12.secrets.private_key.is_some());
    let leaf = |loaded: &Loaded| match &loaded.profile.auth {
        Auth::Certificate { chain, .. } => chain.as_slice().first().map(crate::Certificate::subject),
        Auth::EapMschapv2 { .. } | Auth::Psk => None,
    };
    assert_eq!(leaf(&from_files), Some("CN=alice".to_owned()));
    assert_eq!(leaf(&from_files), leaf(&from_pkcs12));
}

#[test]
fn every_refusal_names_file_line_key_and_what_is_allowed() {
    let cases: &[(&str, &str, &str)] = &[
        ("remote_id", "remoteid", "lab.toml:3:1: remoteid: unknown key `remoteid`; allowed: name, gateway"),
        ("\"alice\"", "7", "lab.toml:6:12: auth.identity: wrong type: integer `7`; allowed: a string"),
        (
            "eap-mschapv2",
            "eap-tls",
            "lab.toml:5:10: auth.method: unknown value `eap-tls`; allowed: eap-mschapv2, ",
        ),
        (
            "198.51.100.10",
            "198.51.100.10:500",
            "lab.toml:2:11: gateway: this carries a port or brackets; allowed: ",
        ),
        ("10.10.0.0/16", "10.10.0.1/16", "lab.toml:10:14: tunnel.remote_ts[0]: the address has bits set"),
        ("ca = [\"ca.crt\"]", "ca = []", "lab.toml:7:1: trust: who may vouch"),
        ("ca.crt", "other.crt", "lab.toml:8:7: trust.ca[0]: other.crt: can't be read: there is no such file"),
        ("ca.crt", "alice.key", "lab.toml:8:7: trust.ca[0]: alice.key: holds no certificate; allowed: PEM"),
        ("identity = \"alice\"", "", "lab.toml:5:10: auth.method: method \"eap-mschapv2\" needs 'identity'"),
        ("gateway = \"198.51.100.10\"", "", "gateway: this key is missing"),
        (
            "identity = \"alice\"",
            "identity = \"alice\"\nkey = \"k\"",
            "lab.toml:7:7: auth.key: 'key' belongs to method",
        ),
        ("[trust]", "[trust", "lab.toml:7:"),
        (
            "[tunnel]",
            "[tunnel]\nmtu = 20",
            "lab.toml:10:7: tunnel.mtu: 20 is out of range; allowed: 576 to 9000",
        ),
        (
            "[tunnel]",
            "[tunnel]\nmtu = 99999",
            "lab.toml:10:7: tunnel.mtu: wrong value: integer `99999`; allowed: u16",
        ),
    ];
    for (old, new, expected) in cases {
        assert_refused(&LEAST.replacen(old, new, 1), expected);
    }
}

#[test]
fn impossible_combinations_are_refused() {
    let base = "name = \"P\"\ngateway = \"gw\"\n[auth]\n";
    for (rest, expected) in [
        ("method = \"psk\"\n[trust]\nsystem = true\n", "[trust] must be left out"),
        ("method = \"psk\"\nidentity = \"a\"\n", "local_id"),
        ("method = \"psk\"\npkcs12 = \"a\"\n", "'pkcs12' belongs to method \"certificate\" only"),
        (
            "method = \"certificate\"\n[trust]\nsystem = true\n",
            "needs either 'certificate' and 'key', or 'pkcs12'",
        ),
        ("method = \"certificate\"\ncertificate = \"a\"\n", "'certificate' needs the 'key'"),
        ("method = \"certificate\"\nkey = \"a\"\n", "'key' needs the 'certificate'"),
        ("method = \"certificate\"\nkey = \"a\"\npkcs12 = \"b\"\n", "already holds certificate and key"),
        ("method = \"eap-mschapv2\"\nidentity = \"a\"\n", "who may vouch for the gateway?"),
    ] {
        assert_refused(&format!("{base}{rest}"), expected);
    }
}

#[test]
fn fallbacks_are_tried_on_the_ports_that_the_profile_names() {
    let ports = |rest: &str| {
        let loaded = parse(&format!("{LEAST}{rest}")).unwrap_or_else(|e| panic!("{e}"));
        (loaded.profile.tcp_ports(), loaded.profile.fallback.is_tls(443))
    };
    assert_eq!(ports(""), (vec![4500, 443], false));
    assert_eq!(ports("[fallback]\n"), (vec![4500, 443], false));
    assert_eq!(ports("[fallback]\ntcp = true\ntls = true\n"), (vec![4500, 443], true));
    // What is shown is what is tried.
    assert_eq!(ports("[fallback]\ntcp_ports = [443, 8443, 4500]\n"), (vec![8443, 443], false));
    assert_eq!(ports("[fallback]\ntcp = false\n"), (vec![], false));
    assert_eq!(ports("[fallback]\ntcp_ports = [443, 14500]\n"), (vec![14_500, 443], false));
    assert_eq!(ports("[gateway_ports]\ntcp = 14500\n"), (vec![14_500], false));
    assert_eq!(ports("[gateway_ports]\ntcp = 443\n[fallback]\ntls = true\n"), (vec![443], true));
    assert_eq!(ports("[gateway_ports]\nudp = 14500\n"), (vec![4500, 443], false));
}

#[test]
fn fallbacks_that_make_no_sense_are_refused() {
    for (rest, expected) in [
        ("[fallback]\ntcp = false\ntcp_ports = [4500]\n", "fallback.tcp_ports: fallback.tcp = false means"),
        (
            "[gateway_ports]\ntcp = 1\n[fallback]\ntcp = false\n",
            "gateway_ports.tcp: fallback.tcp = false means",
        ),
        (
            "[gateway_ports]\ntcp = 1\n[fallback]\ntcp_ports = [2]\n",
            "fallback.tcp_ports: gateway_ports.tcp names",
        ),
        ("[fallback]\ntcp_ports = []\n", "fallback.tcp_ports: no port at all"),
        ("[fallback]\ntcp_ports = [443, 0]\n", "fallback.tcp_ports: 0 is no port; allowed: 1 to 65535"),
        ("[fallback]\ntcp_ports = [443, 443]\n", "fallback.tcp_ports: port 443 is named twice"),
        ("[fallback]\ntcp_ports = [1,2,3,4,5,6,7,8,9]\n", "9 ports are too many; allowed: at most 8"),
        ("[fallback]\ntcp_ports = [4500]\ntls = true\n", "fallback.tls: fallback.tls wraps"),
        ("[fallback]\ntcp = false\ntls = true\n", "fallback.tls: fallback.tls wraps"),
        ("[fallback]\nudp = true\n", "unknown key `udp`; allowed: tcp, tcp_ports, tls"),
    ] {
        assert_refused(&format!("{LEAST}{rest}"), expected);
    }
}

#[test]
fn weak_choices_are_taken_with_a_warning() {
    let text = "name = \"P\"\ngateway = \"gw\"\nlegacy = true\n[auth]\nmethod = \"psk\"\nsecret = \"s\"\n";
    let loaded = parse(text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings, [Warning::Legacy, Warning::SecretInFile]);
    assert!(loaded.secrets.psk.is_some());
    assert!(loaded.profile.legacy);
}

#[test]
fn references_are_relative_to_the_profile() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("lab.toml");
    fs::write(&path, LEAST).expect("written");
    fs::write(folder.path().join("ca.crt"), data("ca.crt")).expect("written");
    let named = ImportOptions { name: Some("Other".parse().expect("name")), ..Default::default() };
    assert_eq!(load(&path, &named).unwrap_or_else(|e| panic!("{e}")).profile.name.as_str(), "Other");
}

#[test]
fn folders_and_huge_files_are_not_read() {
    let folder = tempfile::tempdir().expect("folder");
    let problem = |path: &Path| load(path, &ImportOptions::default()).err().expect("refused").problem;
    assert_eq!(problem(folder.path()), Problem::Unreadable(FileProblem::NotAFile));
    let huge = folder.path().join("huge.toml");
    fs::write(&huge, vec![b'#'; MAX_FILE + 1]).expect("written");
    assert_eq!(problem(&huge), Problem::Unreadable(FileProblem::TooLarge));
}

#[test]
fn a_portal_page_is_taken_with_the_answer_that_it_is_known_for() {
    let page = |rest: &str| {
        let portal =
            parse(&format!("{LEAST}[portal]\n{rest}")).unwrap_or_else(|e| panic!("{e}")).profile.portal;
        let page = portal.page.map(|page| (page.url().to_string(), page.answer().clone()));
        (portal.detect, page)
    };
    let url = "http://probe.example.com/x";
    assert_eq!(page(""), (true, None));
    assert_eq!(page("detect = false"), (false, None));
    let named = |answer| (true, Some((url.to_owned(), answer)));
    assert_eq!(page(&format!("url = \"{url}\"")), named(ProbeAnswer::Status(204)));
    assert_eq!(page(&format!("url = \"{url}\"\nexpect_status = 202")), named(ProbeAnswer::Status(202)));
    let body = format!("url = \"{url}\"\nexpect_body = \"success\"");
    assert_eq!(page(&body), named(ProbeAnswer::Body("success".to_owned())));

    let profile = parse(&format!("{LEAST}[portal]\n{body}")).unwrap_or_else(|e| panic!("{e}")).profile;
    let mut json = serde_json::to_value(&profile).expect("serialises");
    assert_eq!(serde_json::from_value::<Profile>(json.clone()).expect("parses"), profile);
    *json.pointer_mut("/portal/page/url").expect("there") = serde_json::json!("https://probe.example.com/");
    assert!(serde_json::from_value::<Profile>(json).is_err());
}

#[test]
fn a_portal_page_that_could_tell_nothing_is_refused() {
    for (rest, expected) in [
        ("url = \"https://a.example/\"", "portal.url: a portal can't answer https"),
        ("url = \"file:///etc/passwd\"", "portal.url: this is no web address"),
        ("expect_status = 204", "portal.expect_status: an answer needs the 'url'"),
        ("url = \"http://a.example/\"\nexpect_status = 200", "portal.expect_status: this is no status"),
        ("url = \"http://a.example/\"\nexpect_body = \" \"", "portal.expect_body: this is no body"),
        (
            "url = \"http://a.example/\"\nexpect_body = \"x\"\nexpect_status = 200",
            "portal.expect_body: allowed: either",
        ),
    ] {
        assert_refused(&format!("{LEAST}[portal]\n{rest}\n"), expected);
    }
}

const PEER_KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const OWN_KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const WIREGUARD: &str = r#"[wireguard]
endpoint = "198.51.100.10:51820"
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
private_key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
addresses = ["10.9.0.2/32"]
"#;

#[test]
fn a_wireguard_peer_is_for_what_the_tunnel_is_for() {
    let peer = |text: &str| {
        let profile = parse(text).unwrap_or_else(|e| panic!("{e}")).profile;
        let peer = profile.wireguard.expect("a peer");
        let text = |list: &[crate::Cidr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        (text(peer.allowed_ips()), peer.dns().to_vec(), peer.keepalive_s())
    };
    let office = vec!["10.10.0.0/16".to_owned()];
    assert_eq!(peer(&format!("{LEAST}{WIREGUARD}")), (office.clone(), vec![], 25));
    let everything = LEAST.replace("remote_ts = [\"10.10.0.0/16\"]", "dns = [\"10.10.0.53\"]");
    let dns = "10.10.0.53".parse().expect("an address");
    assert_eq!(peer(&format!("{everything}{WIREGUARD}")), (vec!["0.0.0.0/0".to_owned()], vec![dns], 25));
    let both = WIREGUARD.replace("10.9.0.2/32", "10.9.0.2/24\", \"fd10:9::2");
    let all = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    assert_eq!(peer(&format!("{everything}{both}")), (all, vec![dns], 25));
    let own = format!(
        "{everything}{WIREGUARD}allowed_ips = [\"10.10.0.0/16\"]\ndns = [\"10.9.0.1\"]\nkeepalive_s = 0\n"
    );
    assert_eq!(peer(&own), (office, vec!["10.9.0.1".parse().expect("an address")], 0));
}

#[test]
fn the_secrets_of_a_wireguard_peer_are_in_no_profile() {
    let text = format!("{LEAST}{WIREGUARD}preshared_key = \"{}\"\n", "ab".repeat(21) + "A=");
    let loaded = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings, [Warning::SecretInFile]);
    assert!(loaded.secrets.wireguard_private_key.as_ref().is_some_and(|key| key.expose() == OWN_KEY));
    assert!(loaded.secrets.wireguard_preshared_key.is_some() && !loaded.secrets.is_empty());
    let profile = serde_json::to_string(&loaded.profile).expect("serialises");
    let debug = format!("{:?}", loaded.profile);
    for shown in [&profile, &debug] {
        assert!(shown.contains(PEER_KEY), "{shown}");
        assert!(!shown.contains(OWN_KEY) && !shown.contains("abab"), "{shown}");
    }
    let wrong = refusal(&text.replace(OWN_KEY, "yAnz5TF"));
    assert!(
        wrong.contains("wireguard.private_key: this is no WireGuard key") && !wrong.contains("yAnz5TF"),
        "{wrong}"
    );
}

#[test]
fn wireguard_peers_that_make_no_sense_are_refused() {
    for (old, new, expected) in [
        (":51820", "", "lab.toml:12:12: wireguard.endpoint: this is no HOST:PORT"),
        ("endpoint", "#", "wireguard.endpoint: this key is missing"),
        ("private_key", "#", "wireguard.private_key: this key is missing"),
        (PEER_KEY, "x", "lab.toml:13:14: wireguard.public_key: this is no WireGuard key"),
        (OWN_KEY, PEER_KEY, "lab.toml:14:15: wireguard.private_key: this is the same as 'public_key'"),
        ("\"10.9.0.2/32\"", "", "wireguard.addresses: WireGuard assigns no addresses; allowed: 1 to 8"),
        ("10.9.0.2/32", "10.9.0.2/33", "lab.toml:15:14: wireguard.addresses[0]: \"10.9.0.2/33\" can't be"),
        ("10.9.0.2/32", "0.0.0.0", "wireguard.addresses[0]: \"0.0.0.0\" can't be an address of ours"),
        ("10.9.0.2/32", "fd10:9::2", "wireguard.addresses: nothing is reached with these addresses"),
        (
            "[\"10.9",
            "[\"1.1.1.1\",\"1.1.1.1\",\"1.1.1.1\",\"1.1.1.1\",\"1.1.1.1\",\"1.1.1.1\",\"1.1.1.1\",\"1.1.1.1\",\"10.9",
            "9 entries are too many; allowed: at most 8",
        ),
        (
            "addresses",
            "allowed_ips = [\"::/0\"]\naddresses",
            "wireguard.allowed_ips: a network here is of a family",
        ),
        (
            "addresses",
            "allowed_ips = [\"10.9.0.1/24\"]\naddresses",
            "wireguard.allowed_ips[0]: the address has bits set",
        ),
        ("addresses", "dns = [\"::\"]\naddresses", "wireguard.dns[0]: \"::\" can't be a DNS server"),
        (
            "addresses",
            "listen_port = 1\naddresses",
            "wireguard.listen_port: unknown key `listen_port`; allowed: endpoint",
        ),
    ] {
        assert_refused(&format!("{LEAST}{}", WIREGUARD.replacen(old, new, 1)), expected);
    }
    let profile = parse(&format!("{LEAST}{WIREGUARD}")).unwrap_or_else(|e| panic!("{e}")).profile;
    let mut json = serde_json::to_value(&profile).expect("serialises");
    *json.pointer_mut("/wireguard/allowed_ips").expect("there") = serde_json::json!(["::/0"]);
    assert!(serde_json::from_value::<Profile>(json).is_err());
}
