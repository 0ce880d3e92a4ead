use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use evenkeel_platform::dns::{DnsBackend, DnsError, DnsOutcome};
use nix::sys::stat::{Mode, umask};

use crate::{Machine, names, plan};

const HOME: &str = "nameserver 192.168.1.1\nsearch lan\n";

fn text(machine: &Machine) -> String {
    fs::read_to_string(machine.etc("resolv.conf")).unwrap()
}

#[tokio::test]
async fn a_plain_file_is_replaced_and_comes_back_as_the_same_inode() {
    let machine = Machine::new();
    let path = machine.etc("resolv.conf");
    fs::write(&path, HOME).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&path).unwrap();

    let dns = machine.dns();
    let applied = dns.apply(&plan(true)).await.unwrap();
    assert_eq!(applied.backend(), DnsBackend::ResolvConfFile);
    assert!(text(&machine).contains("\nnameserver 10.10.0.53\nnameserver 2001:db8::53\n"));
    assert!(!text(&machine).contains("192.168.1.1"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);

    assert_eq!(dns.revert(applied).await.unwrap(), DnsOutcome::Restored);
    let after = fs::metadata(&path).unwrap();
    assert_eq!(text(&machine), HOME);
    assert_eq!((after.ino(), after.mode(), after.mtime()), (before.ino(), before.mode(), before.mtime()));
    assert_eq!(names(&machine.etc("")), ["resolv.conf"]);
    assert_eq!(names(machine.state.path()), [""; 0]);
}

#[tokio::test]
async fn all_may_read_what_is_written_whatever_the_umask_is() {
    let machine = Machine::new();
    fs::write(machine.etc("resolv.conf"), HOME).unwrap();
    // Of the whole process; for the other tests it changes nothing that they look at.
    let before = umask(Mode::from_bits_truncate(0o077));
    let applied = machine.dns().apply(&plan(true)).await;
    umask(before);
    let _ = applied.unwrap();
    assert_eq!(fs::metadata(machine.etc("resolv.conf")).unwrap().mode() & 0o777, 0o644);
}

#[tokio::test]
async fn a_symbolic_link_is_replaced_and_comes_back_as_a_link_to_what_it_says_then() {
    let machine = Machine::new();
    let path = machine.etc("resolv.conf");
    let target = machine.root.path().join("run-resolv.conf");
    fs::write(&target, HOME).unwrap();
    symlink("../run-resolv.conf", &path).unwrap();

    let dns = machine.dns();
    let applied = dns.apply(&plan(false)).await.unwrap();
    assert!(text(&machine).contains("nameserver 192.168.1.1\n"), "stays behind ours");
    assert_eq!(fs::read_to_string(&target).unwrap(), HOME, "the target is not ours to write to");
    fs::write(&target, "nameserver 172.16.0.1\n").unwrap();

    assert_eq!(dns.revert(applied).await.unwrap(), DnsOutcome::Restored);
    assert_eq!(fs::read_link(&path).unwrap().to_str(), Some("../run-resolv.conf"));
    assert_eq!(text(&machine), "nameserver 172.16.0.1\n");
}

#[tokio::test]
async fn where_there_was_no_file_or_a_link_to_nowhere_it_is_so_again() {
    let machine = Machine::new();
    let dns = machine.dns();
    let applied = dns.apply(&plan(true)).await.unwrap();
    assert!(text(&machine).contains("10.10.0.53"));
    assert_eq!(dns.revert(applied).await.unwrap(), DnsOutcome::Restored);
    assert_eq!(names(&machine.etc("")), [""; 0]);

    symlink("nowhere", machine.etc("resolv.conf")).unwrap();
    let applied = dns.apply(&plan(true)).await.unwrap();
    assert!(text(&machine).contains("10.10.0.53"));
    assert_eq!(dns.revert(applied).await.unwrap(), DnsOutcome::Restored);
    assert_eq!(fs::read_link(machine.etc("resolv.conf")).unwrap().to_str(), Some("nowhere"));
    assert_eq!(names(&machine.etc("")), ["resolv.conf"]);
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_is_left_alone() {
    let machine = Machine::new();
    fs::write(machine.etc("resolv.conf"), HOME).unwrap();
    let dns = machine.dns();
    let applied = dns.apply(&plan(true)).await.unwrap();
    fs::write(machine.etc("theirs"), "nameserver 9.9.9.9\n").unwrap();
    fs::rename(machine.etc("theirs"), machine.etc("resolv.conf")).unwrap();
    assert_eq!(dns.revert(applied).await.unwrap(), DnsOutcome::ChangedByOthers);
    assert_eq!(text(&machine), "nameserver 9.9.9.9\n");
    assert_eq!(names(&machine.etc("")), ["resolv.conf"]);
}

#[tokio::test]
async fn what_a_killed_daemon_left_is_restored_by_the_next_one() {
    let machine = Machine::new();
    fs::write(machine.etc("resolv.conf"), HOME).unwrap();
    let killed = machine.dns();
    let _ = killed.apply(&plan(true)).await.unwrap();
    assert!(matches!(killed.apply(&plan(true)).await, Err(DnsError::AlreadyApplied)));

    let next = machine.dns();
    assert_eq!(next.recover().await.unwrap(), DnsOutcome::Restored);
    assert_eq!(text(&machine), HOME);
    assert_eq!(next.recover().await.unwrap(), DnsOutcome::Nothing);
    assert_eq!(names(&machine.etc("")), ["resolv.conf"]);

    // Without a recovery of its own, applying begins with one: what is remembered is what was there first.
    let _ = next.apply(&plan(true)).await.unwrap();
    let third = machine.dns();
    let applied = third.apply(&plan(false)).await.unwrap();
    third.revert(applied).await.unwrap();
    assert_eq!(text(&machine), HOME);
}

#[tokio::test]
async fn a_daemon_killed_between_its_journal_and_its_change_left_nothing_to_clobber() {
    let machine = Machine::new();
    fs::write(machine.etc("resolv.conf"), HOME).unwrap();
    let journal = machine.state.path().join("dns.journal");
    let dns = machine.dns();
    let applied = dns.apply(&plan(true)).await.unwrap();
    let written = fs::read(&journal).unwrap();
    dns.revert(applied).await.unwrap();

    for second_name in [false, true] {
        fs::write(&journal, &written).unwrap();
        if second_name {
            fs::hard_link(machine.etc("resolv.conf"), machine.etc(".resolv.conf.evenkeel-before")).unwrap();
            fs::write(machine.etc(".resolv.conf.evenkeel-new"), "nameserv").unwrap();
        }
        assert_eq!(machine.dns().recover().await.unwrap(), DnsOutcome::Restored);
        assert_eq!(text(&machine), HOME);
        assert_eq!(names(&machine.etc("")), ["resolv.conf"]);
    }
}

#[tokio::test]
async fn a_domain_that_is_none_is_refused_before_anything_is_changed() {
    let machine = Machine::new();
    fs::write(machine.etc("resolv.conf"), HOME).unwrap();
    let mut evil = plan(true);
    evil.domains.push("corp.example\nnameserver 203.0.113.66".into());
    assert!(matches!(machine.dns().apply(&evil).await, Err(DnsError::BadDomain(_))));
    assert_eq!(text(&machine), HOME);
}
