use std::fs;

use evenkeel_netprofile::memory::{LearnedMtu, NatPresence};
use tempfile::TempDir;

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const DAY: u64 = 86_400;

pub(crate) fn cafe() -> NetworkIdentity {
    NetworkIdentity {
        gateway: "192.168.1.1".parse().ok(),
        gateway_mac: Some([2, 0, 0, 0, 0, 1]),
        subnet: Some(("192.168.1.50".parse().unwrap(), 24)),
        ssid: Some(b"Cafe".to_vec()),
        dhcp_domain: None,
    }
}

fn learned() -> NetworkProfile {
    NetworkProfile {
        nat: Some(NatPresence { present: true, at: NOW }),
        uplink: Some(LearnedMtu { size: 1400, at: NOW }),
        ..NetworkProfile::default()
    }
}

/// A memory that has been to the café and is on disk.
fn been_there() -> (TempDir, Present) {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::open(folder.path(), NOW);
    let (present, profile) = memory.visit(&cafe(), NOW);
    assert_eq!(profile, NetworkProfile::default());
    memory.learn(&present, &learned(), NOW);
    assert!(memory.unsaved().unwrap().write());
    (folder, present)
}

#[test]
fn what_was_learned_is_known_on_the_next_visit_after_a_restart() {
    let (folder, present) = been_there();
    let mut memory = Memory::open(folder.path(), NOW);
    let (again, profile) = memory.visit(&cafe(), UnixSeconds(NOW.0 + DAY));
    assert_eq!((again, profile), (present.clone(), learned()));
    assert_eq!(present.label.as_str(), "Cafe");
    let elsewhere = NetworkIdentity { gateway_mac: Some([2, 0, 0, 0, 0, 9]), ..cafe() };
    assert_eq!(memory.visit(&elsewhere, NOW).1, NetworkProfile::default());
    assert_eq!(memory.list().len(), 1, "a network of which nothing was learned is not kept");
}

#[test]
fn what_is_old_is_not_used() {
    let (folder, _) = been_there();
    let mut memory = Memory::open(folder.path(), NOW);
    assert_eq!(memory.visit(&cafe(), UnixSeconds(NOW.0 + 365 * DAY)).1, NetworkProfile::default());
}

#[test]
fn a_subnet_alone_is_no_network_to_remember() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::open(folder.path(), NOW);
    let unmet = NetworkIdentity { gateway_mac: None, ..cafe() };
    assert_eq!(memory.visit(&unmet, NOW).0.fingerprint, None);
    let nameless = NetworkIdentity { gateway: None, gateway_mac: None, ssid: None, ..cafe() };
    let (present, _) = memory.visit(&nameless, NOW);
    assert_eq!((present.fingerprint, present.label.as_str()), (None, "192.168.1.0/24"));
    memory.learn(&present, &learned(), NOW);
    assert!(memory.list().is_empty() && memory.unsaved().is_none());
}

#[test]
fn a_forgotten_network_stays_forgotten() {
    let (folder, present) = been_there();
    let mut memory = Memory::open(folder.path(), NOW);
    assert!(memory.forget(present.fingerprint.unwrap()));
    assert!(!memory.forget(present.fingerprint.unwrap()));
    assert!(memory.unsaved().unwrap().write());
    assert!(Memory::open(folder.path(), NOW).list().is_empty());
}

#[test]
fn an_unreadable_file_is_kept_aside_and_harms_nobody() {
    let (folder, _) = been_there();
    let file = folder.path().join("networks.json");
    fs::write(&file, "{\"version\":1,").unwrap();
    let mut memory = Memory::open(folder.path(), NOW);
    assert!(memory.list().is_empty());
    assert_eq!(fs::read(folder.path().join("networks.json.broken")).unwrap(), b"{\"version\":1,");
    let (present, _) = memory.visit(&cafe(), NOW);
    memory.learn(&present, &learned(), NOW);
    assert!(memory.unsaved().unwrap().write());
    assert_eq!(Memory::open(folder.path(), NOW).list().len(), 1);
}

#[test]
fn who_forgets_all_networks_forgets_those_that_were_set_aside() {
    let (folder, _) = been_there();
    let (file, aside) = ("networks.json", "networks.json.broken");
    fs::write(folder.path().join(file), "{\"label\":\"Cafe\"").unwrap();
    let mut memory = Memory::open(folder.path(), NOW);
    let (present, _) = memory.visit(&cafe(), NOW);
    memory.learn(&present, &learned(), NOW);
    assert!(memory.unsaved().unwrap().write());
    assert!(folder.path().join(aside).exists(), "whoever has to find out why may still want it");
    memory.forget_all();
    assert!(memory.unsaved().unwrap().write());
    let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    assert!(left.into_iter().all(|path| !fs::read_to_string(path).unwrap_or_default().contains("Cafe")));
    assert!(!folder.path().join(aside).exists());
}

#[test]
fn a_single_broken_entry_costs_itself_alone() {
    let (folder, present) = been_there();
    let file = folder.path().join("networks.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let entries = json["networks"].as_object_mut().unwrap();
    entries.insert("0123456789abcdef".to_owned(), serde_json::json!({ "label": 7 }));
    fs::write(&file, json.to_string()).unwrap();
    let memory = Memory::open(folder.path(), NOW);
    let kept: Vec<Fingerprint> = memory.list().iter().map(|(fingerprint, _)| *fingerprint).collect();
    assert_eq!(kept, [present.fingerprint.unwrap()]);
}

#[test]
fn a_lost_salt_is_drawn_anew_and_what_it_named_is_set_aside() {
    let (folder, present) = been_there();
    let salt = folder.path().join("networks.salt");
    assert_eq!(fs::read(&salt).unwrap().len(), 32);
    for broken in [None, Some([7; 31].as_slice()), Some([7; 33].as_slice())] {
        match broken {
            None => fs::remove_file(&salt).unwrap(),
            Some(bytes) => fs::write(&salt, bytes).unwrap(),
        }
        let mut memory = Memory::open(folder.path(), NOW);
        assert!(memory.list().is_empty());
        assert_ne!(memory.visit(&cafe(), NOW).0.fingerprint, present.fingerprint);
        assert_eq!(fs::read(&salt).unwrap().len(), 32);
    }
    assert!(folder.path().join("networks.json.broken").exists());
}

#[test]
fn what_is_overtaken_on_its_way_to_the_disk_does_not_undo_what_is_newer() {
    let (folder, present) = been_there();
    let mut memory = Memory::open(folder.path(), NOW);
    memory.learn(&present, &NetworkProfile { uplink: None, ..learned() }, NOW);
    let older = memory.unsaved().unwrap();
    memory.forget_all();
    assert!(memory.unsaved().unwrap().write());
    assert!(older.write());
    assert!(Memory::open(folder.path(), NOW).list().is_empty());
    assert!(memory.unsaved().is_none(), "nothing has changed since");
}

#[test]
fn a_folder_that_nothing_can_be_kept_in_costs_only_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory::open(&folder.path().join("absent"), NOW);
    let (present, profile) = memory.visit(&cafe(), NOW);
    assert_eq!((present.label.as_str(), profile), ("Cafe", NetworkProfile::default()));
    memory.learn(&present, &learned(), NOW);
    assert!(memory.unsaved().is_none());
}
