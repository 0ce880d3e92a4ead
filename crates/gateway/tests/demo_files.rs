//! Who can read the files of a demo, by their modes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use evenkeel_gateway::demo::{self, DemoOptions};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn nobody_else_can_read_the_demo() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("demo");
    let options = DemoOptions {
        address: "198.51.100.10".parse().unwrap(),
        ike_port: 500,
        nat_port: 4500,
        tcp_ports: Vec::new(),
    };
    demo::write(&folder, &options).unwrap();
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 5);
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
