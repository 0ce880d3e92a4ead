use std::{fs, process::Command};

use evenkeel_platform::dns::{DnsManager, DnsOutcome, DnsPlan, DnsSystem};

use crate::network::isolated;

const HOME: &str = "nameserver 192.168.1.1\nsearch lan\n";

#[test]
fn a_bind_mount_is_written_in_place_and_restored_even_if_the_write_was_torn() {
    isolated("dns::a_bind_mount_is_written_in_place_and_restored_even_if_the_write_was_torn", || async {
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (outside, etc) = (root.path().join("outside"), root.path().join("etc"));
        fs::create_dir(&etc).unwrap();
        fs::write(&outside, HOME).unwrap();
        fs::write(etc.join("resolv.conf"), "").unwrap();
        let mount = Command::new("mount").arg("--bind").arg(&outside).arg(etc.join("resolv.conf")).status();
        assert!(mount.unwrap().success());

        let system = DnsSystem { root: root.path().to_owned(), bus: None };
        let dns = DnsManager::new(state.path(), system);
        let plan = DnsPlan {
            interface: "tun0".into(),
            servers: vec!["10.10.0.53".parse().unwrap()],
            domains: Vec::new(),
            all: true,
        };
        let applied = dns.apply(&plan).await.unwrap();
        assert!(fs::read_to_string(&outside).unwrap().contains("10.10.0.53"));
        assert_eq!(dns.revert(applied).await.unwrap(), DnsOutcome::Restored);
        assert_eq!(fs::read_to_string(&outside).unwrap(), HOME);
        assert_eq!(fs::read_dir(&etc).unwrap().count(), 1);

        let _ = dns.apply(&plan).await.unwrap();
        let written = fs::read(&outside).unwrap();
        fs::write(&outside, written.get(..written.len() / 2).unwrap()).unwrap();
        assert_eq!(dns.recover().await.unwrap(), DnsOutcome::Restored);
        assert_eq!(fs::read_to_string(&outside).unwrap(), HOME);
    });
}
