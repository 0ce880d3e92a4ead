//! The program itself: what scripts rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::unwrap_in_result, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};

use evenkeel_gateway::control;
use evenkeel_platform::ipc_transport::endpoint_in;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_evenkeel-gateway");

/// A child process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fails(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(!status.success(), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

#[tokio::test]
async fn it_says_when_it_is_ready_warns_against_production_and_stops_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    std::fs::write(&config, "[identity]\nid = 'a'\n[clients]\npsk = [{ secret = 'b' }]\n").unwrap();
    let control = endpoint_in(dir.path(), "control.sock");
    let mut running = Running(
        Command::new(PROGRAM)
            .arg("--config")
            .arg(&config)
            .args(["--listen", "127.0.0.1", "--ike-port", "0", "--nat-port", "0", "--log-format", "json"])
            .arg("--control")
            .arg(&control)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["pid"], running.0.id());
    assert_ne!(ready["nat"][0], "127.0.0.1:0");
    assert_eq!(ready["tcp"], Value::Array(Vec::new()));

    let answer = control::send(&control, r#"{"command":"stop"}"#).await.unwrap();
    assert_eq!(answer, r#"{"ok":{}}"#);
    assert!(running.0.wait().unwrap().success());
    let mut log = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("NOT FOR PRODUCTION"), "{log}");
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}");
}

#[test]
fn mistakes_are_told_in_one_line_each() {
    assert!(fails(&["--config", "/nowhere/gateway.toml"]).contains("/nowhere/gateway.toml: "));
    let dir = tempfile::tempdir().unwrap();
    let demo = dir.path().join("demo");
    let error = fails(&["--demo", demo.to_str().unwrap(), "--listen", "0.0.0.0"]);
    assert!(error.contains("which the client can connect to"), "{error}");
    assert!(!demo.exists(), "nothing is written before the arguments are known to be good");
}
