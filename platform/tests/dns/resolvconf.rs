use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use evenkeel_platform::dns::{DnsBackend, DnsError, DnsOutcome};

use crate::{Machine, plan};

/// Installs a `resolvconf` that notes its arguments, and its input if it is to add something.
fn install(machine: &Machine, comment: &str, exit: u8) {
    let sbin = machine.root.path().join("usr/sbin");
    fs::create_dir_all(&sbin).unwrap();
    let program = sbin.join("resolvconf");
    let log = machine.root.path().join("log");
    let script = format!(
        "#!/bin/sh\n# {comment}\necho \"$@\" >> {log}\ncase \"$1\" in -a) cat >> {log};; esac\n\
         echo no luck >&2\nexit {exit}\n",
        log = log.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

fn log(machine: &Machine) -> String {
    fs::read_to_string(machine.root.path().join("log")).unwrap_or_default()
}

const ENTRY: &str = "nameserver 10.10.0.53\nnameserver 2001:db8::53\nsearch corp.example lab.example\n";

#[tokio::test]
async fn openresolv_gets_an_entry_with_the_best_metric_that_excludes_others_only_if_it_is_for_all() {
    let machine = Machine::new();
    install(&machine, "This file is part of openresolv", 0);
    let dns = machine.dns();
    for (all, exclusive) in [(true, " -x"), (false, "")] {
        let _ = fs::remove_file(machine.root.path().join("log"));
        let applied = dns.apply(&plan(all)).await.unwrap();
        assert_eq!(applied.backend(), DnsBackend::Resolvconf);
        assert_eq!(log(&machine), format!("-a tun.lo -m 0{exclusive}\n{ENTRY}"));
        assert_eq!(dns.revert(applied).await.unwrap(), DnsOutcome::Restored);
        assert!(log(&machine).ends_with("-f -d tun.lo\n"));
    }
}

#[tokio::test]
async fn debians_program_is_used_where_it_makes_the_file_and_only_there() {
    let machine = Machine::new();
    install(&machine, "Debian's", 0);
    fs::write(machine.etc("resolv.conf"), "nameserver 192.168.1.1\n").unwrap();
    let dns = machine.dns();
    let applied = dns.apply(&plan(true)).await.unwrap();
    assert_eq!(applied.backend(), DnsBackend::ResolvConfFile);
    dns.revert(applied).await.unwrap();

    fs::remove_file(machine.etc("resolv.conf")).unwrap();
    symlink("../run/resolvconf/resolv.conf", machine.etc("resolv.conf")).unwrap();
    let applied = dns.apply(&plan(true)).await.unwrap();
    assert_eq!(applied.backend(), DnsBackend::Resolvconf);
    assert_eq!(log(&machine), format!("-a tun.lo\n{ENTRY}"));
    dns.revert(applied).await.unwrap();
    assert!(log(&machine).ends_with("\n-d tun.lo\n"));
}

#[tokio::test]
async fn a_killed_daemons_entry_is_deleted_by_the_next_one() {
    let machine = Machine::new();
    install(&machine, "openresolv", 0);
    let _ = machine.dns().apply(&plan(true)).await.unwrap();
    assert_eq!(machine.dns().recover().await.unwrap(), DnsOutcome::Restored);
    assert!(log(&machine).ends_with("-f -d tun.lo\n"));
}

#[tokio::test]
async fn a_program_that_fails_is_named_with_what_it_said() {
    let machine = Machine::new();
    install(&machine, "openresolv", 3);
    match machine.dns().apply(&plan(true)).await {
        Err(DnsError::Helper { program, reason }) => {
            assert!(program.ends_with("usr/sbin/resolvconf"));
            assert!(reason.contains('3') && reason.contains("no luck"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn systemds_stand_in_is_not_taken_for_a_resolvconf() {
    let machine = Machine::new();
    install(&machine, "openresolv", 0);
    let sbin = machine.root.path().join("usr/sbin");
    fs::rename(sbin.join("resolvconf"), sbin.join("resolvectl")).unwrap();
    symlink("resolvectl", sbin.join("resolvconf")).unwrap();
    let applied = machine.dns().apply(&plan(true)).await.unwrap();
    assert_eq!(applied.backend(), DnsBackend::ResolvConfFile);
    assert_eq!(log(&machine), "");
}
