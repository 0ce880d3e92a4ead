use super::*;
use evenkeel_ipsec::wire::NotifyType;

const LEAST: &str = "[identity]\nid = 'gateway.practice'\n[clients]\npsk = [{ secret = 'correct horse' }]\n";

fn parse(text: &str) -> Result<GatewayConfig, ConfigError> {
    GatewayConfig::from_toml(text, Path::new("/nowhere/gateway.toml"))
}

#[track_caller]
fn accepted(text: &str) -> GatewayConfig {
    match parse(text) {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn refused(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn inconsistent(text: &str) -> Inconsistency {
    match parse(text) {
        Err(ConfigError::Inconsistent { problem, .. }) => problem,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted: {text}"),
    }
}

#[test]
fn the_least_file_is_enough() {
    let config = accepted(LEAST);
    assert_eq!(config.id, Id::Fqdn("gateway.practice".into()));
    assert_eq!((config.listen.ike_port, config.listen.nat_port), (500, 4500));
    assert!(config.listen.tcp_ports.is_empty(), "streams are a choice");
    assert!(matches!(config.credential, Credential::Psk));
    assert!(
        matches!(config.clients.psk.as_slice(), [(None, secret)] if secret.as_bytes() == b"correct horse")
    );
    assert_eq!(config.assign.local_ts, [TrafficSelector::any_v4(), TrafficSelector::any_v6()]);
    assert_eq!(config.timers.dpd_after, Some(Duration::from_secs(30)));
    assert_eq!(config.timers.child_rekey, None);
    assert_eq!(config.faults, Faults::default());
}

#[test]
fn every_table_is_taken() {
    let config = accepted(&format!(
        "{LEAST}
        [listen]
        addresses = ['127.0.0.1', '::1']
        ike_port = 10500
        nat_port = 14500
        tcp_ports = [14500, 14443]
        control = 'gateway.sock'
        [assign]
        v4 = '10.77.1.0/24'
        v6 = 'fd77::1:0/112'
        dns = ['10.77.0.1']
        domains = ['practice']
        subnets = ['10.77.0.0/16']
        local_ts = ['10.77.0.0/16', 'fd77::/64']
        [proposals]
        ike = ['aes256gcm16-prfsha256-x25519']
        esp = ['chacha20poly1305-x25519', 'aes128gcm16']
        [timers]
        child_rekey_s = 10
        ike_rekey_s = 20
        dpd_s = 0
        auth_lifetime_s = 600
        [inner]
        addresses = ['10.77.0.1', 'fd77::1']
        any_address = true
        mtu = 1400
        max_connections = 9
        [faults.link]
        drop_percent = 5
        [faults.ike]
        reject_child_rekey = 'TEMPORARY_FAILURE'"
    ));
    assert_eq!(config.listen.control.as_deref(), Some(Path::new("/nowhere/gateway.sock")));
    assert_eq!((config.listen.tcp_ports.as_slice(), config.listen.tcp_tls), (&[14_500, 14_443][..], false));
    assert_eq!(config.assign.v4, Some(("10.77.1.1".parse().unwrap(), 254)));
    assert_eq!(config.assign.v6, Some(("fd77::1:1".parse().unwrap(), 65_535)));
    assert_eq!(config.assign.subnets, [("10.77.0.0".parse().unwrap(), 16)]);
    assert_eq!(config.assign.local_ts.len(), 2);
    assert_eq!((config.ike.0.len(), config.esp.0.len()), (1, 2));
    assert_eq!(config.timers.dpd_after, None);
    assert_eq!(config.timers.auth_lifetime, Some(Duration::from_secs(600)));
    assert_eq!(config.inner.addresses.len(), 2);
    assert_eq!(config.faults.link.drop_percent, 5);
    assert_eq!(config.faults.ike.reject_child_rekey, Some(ErrorNotify(NotifyType::TemporaryFailure)));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_what_is_allowed() {
    let error = refused(&format!("{LEAST}\n[listen]\nport = 500\n"));
    assert!(error.starts_with("/nowhere/gateway.toml: "), "{error}");
    for part in ["line 7", "unknown field `port`", "`ike_port`"] {
        assert!(error.contains(part), "{part} in: {error}");
    }
    for (table, allowed) in [
        ("[nonsense]", "`listen`"),
        ("[faults]\nnonsense = 1", "`link`"),
        ("[faults.link]\nnonsense = 1", "`drop_percent`"),
        ("[faults.ike]\nnonsense = 1", "`ignore_dpd`"),
    ] {
        let error = refused(&format!("{LEAST}\n{table}\n"));
        assert!(error.contains("`nonsense`") && error.contains(allowed), "{error}");
    }
}

#[test]
fn a_value_that_cannot_be_is_refused_with_its_line() {
    for (value, part) in [
        ("[assign]\nv4 = '10.77.1.1/24'", "did you mean 10.77.1.0"),
        ("[assign]\nv4 = 'ten'", "such as 10.77.0.0/16"),
        ("[assign]\ndns = ['gateway.practice']", "invalid"),
        ("[proposals]\nike = ['aes256gcm16-md5']", "unknown algorithm \"md5\""),
        ("[timers]\ndpd_s = -1", "invalid value"),
        ("[faults.link]\ndrop_percent = 'all'", "invalid type"),
        ("[faults.link]\ndrop_percent = 101", "0 to 100"),
        ("[faults.ike]\nreject_ike_rekey = 'NOPE'", "NO_PROPOSAL_CHOSEN"),
    ] {
        let error = refused(&format!("{LEAST}\n{value}\n"));
        assert!(error.contains("line 7") && error.contains(part), "{part} in: {error}");
    }
    let error = refused("[identity]\nid = 'a'\n[clients]\npsk = [{ secret = '' }]\n");
    assert!(error.contains("line 4") && error.contains("empty secret"), "{error}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let identity = "[identity]\nid = 'gateway.practice'\n";
    let eap = "eap = [{ name = 'alice', password = 'secret' }]";
    assert_eq!(inconsistent(&format!("{identity}[clients]\n")), Inconsistency::NoClients);
    assert_eq!(inconsistent(&format!("{identity}[clients]\n{eap}")), Inconsistency::MethodNeedsCertificate);
    assert_eq!(
        inconsistent(&format!("{identity}key = 'gateway.key'\n[clients]\n{eap}")),
        Inconsistency::CertificateWithoutKey
    );
    assert_eq!(inconsistent(&format!("{LEAST}[assign]\nv4 = 'fd77::/64'")), Inconsistency::PoolFamily);
    assert_eq!(
        inconsistent(&format!("{LEAST}[assign]\nv4 = '10.77.0.0/16'\n[inner]\naddresses = ['10.77.0.1']")),
        Inconsistency::InnerAddressInPool("10.77.0.1".parse().unwrap())
    );
    for (key, problem) in [
        ("mtu = 0", Inconsistency::InnerMtu(0)),
        ("addresses = ['224.0.0.1']", Inconsistency::InnerAddressNotUnicast("224.0.0.1".parse().unwrap())),
        ("addresses = ['255.255.255.255']", Inconsistency::InnerAddressNotUnicast([255; 4].into())),
    ] {
        assert_eq!(inconsistent(&format!("{LEAST}[inner]\n{key}")), problem);
    }
    assert_eq!(inconsistent(&format!("{LEAST}[listen]\nike_port = 4500")), Inconsistency::SamePort);
    assert_eq!(inconsistent(&format!("{LEAST}[listen]\ntcp_tls = true")), Inconsistency::TlsNeedsCertificate);
}

#[test]
fn files_that_are_missing_or_hold_something_else_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    let text = "[identity]\nid = 'a'\ncertificate = 'a.crt'\nkey = 'a.key'\n[clients]\nca = ['a.crt']\n";
    std::fs::write(&path, text).unwrap();
    let error = |path| match GatewayConfig::load(path) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    assert!(error(&path).contains("a.crt"), "{}", error(&path));
    std::fs::write(dir.path().join("a.crt"), "nothing").unwrap();
    assert!(error(&path).contains("no PEM certificate"), "{}", error(&path));
    assert!(error(&dir.path().join("none.toml")).contains("none.toml"));
}
