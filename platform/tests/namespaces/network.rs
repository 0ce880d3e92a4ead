//! A machine with one uplink, in namespaces.

use std::{
    env,
    future::Future,
    process::Command,
    time::{Duration, Instant},
};

/// Longer than any test here takes on a busy machine.
const LIMIT_S: &str = "60";
/// How long the kernel's own follow-up work may take.
const PATIENCE: Duration = Duration::from_secs(5);
const INSIDE: &str = "EVENKEEL_INSIDE_NAMESPACES";

/// Runs `body` in fresh namespaces, in a process of its own: a process with several threads (this one)
/// cannot enter a user namespace. `name` is the test's full name.
pub(crate) fn isolated<F: Future<Output = ()>>(name: &str, body: impl FnOnce() -> F) {
    if env::var_os(INSIDE).is_some() {
        set_up();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(body());
    }
    let status = Command::new("timeout")
        .args(["--kill-after=5", LIMIT_S, "unshare", "--user", "--map-root-user", "--net", "--mount"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .env("RUST_BACKTRACE", "0")
        .status()
        .expect("unshare (util-linux) and timeout (coreutils) are needed");
    assert!(status.success(), "in namespaces: {status}");
}

/// `eth0` with a LAN and a default route of both families; `tun0` as a driver would hand it over. A veth
/// pair stands in for a TUN: routing does not see the difference, and no device node is needed.
fn set_up() {
    for command in [
        "link set lo up",
        "link add eth0 type veth peer name router",
        "addr add 192.168.1.50/24 dev eth0",
        "-6 addr add 2001:db8:1::50/64 dev eth0 nodad",
        "link set router up",
        "link set eth0 up",
        "route add default via 192.168.1.1 dev eth0",
        "-6 route add default via 2001:db8:1::1 dev eth0",
    ] {
        ip(command);
    }
    add_tun();
    // Its first time up gives an interface a queue that stays.
    ip("link set tun0 up");
    ip("link set tun0 down");
    std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap();
    // The kernel notices a carrier, and makes the IPv6 routes that depend on it, in its own time.
    let settled = || {
        ip("link show dev eth0").contains("state UP")
            && ip("-6 route show table local").contains("local 2001:db8:1::50")
    };
    let deadline = Instant::now() + PATIENCE;
    while !settled() {
        assert!(Instant::now() < deadline, "eth0 did not come up");
    }
}

pub(crate) fn add_tun() {
    ip("link add tun0 type veth peer name tun0-far");
    ip("link set tun0-far up");
}

/// Runs `ip` and returns what it prints.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is needed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The interface through which a packet would leave.
pub(crate) fn way_to(destination: &str) -> String {
    let route = ip(&format!("route get {destination}"));
    let mut words = route.split_whitespace().skip_while(|word| *word != "dev");
    words.nth(1).unwrap_or_default().to_owned()
}

/// Everything that is to be as it was.
pub(crate) struct Dump(Vec<(&'static str, Vec<String>)>);

impl Dump {
    pub(crate) fn take() -> Self {
        let dump =
            |what| (what, ip(what).lines().map(str::to_owned).filter(|line| !is_transient(line)).collect());
        Self(
            [
                "route show table all",
                "-6 route show table all",
                "rule show",
                "-6 rule show",
                "-o addr show",
                "-d link show dev tun0",
            ]
            .into_iter()
            .map(dump)
            .collect(),
        )
    }

    /// Fails, naming the lines, unless everything is as it was or becomes so while the kernel catches up.
    #[track_caller]
    pub(crate) fn assert_restored(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let differences = self.differences();
            if differences.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{}", differences.join("\n"));
        }
    }

    /// The lines that are gone or new.
    pub(crate) fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        for ((what, before), (_, after)) in self.0.iter().zip(&Self::take().0) {
            let gone =
                before.iter().filter(|line| !after.contains(line)).map(|line| format!("{what}: - {line}"));
            let new =
                after.iter().filter(|line| !before.contains(line)).map(|line| format!("{what}: + {line}"));
            differences.extend(gone.chain(new));
        }
        differences
    }
}

/// Link-local addresses of the veth pairs are made by the kernel in its own time.
fn is_transient(line: &str) -> bool {
    line.contains("fe80::") || line.contains("ff00::/8")
}
