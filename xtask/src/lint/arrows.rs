//! Which crate may depend on which. The drawing is in `docs/architecture.md`; this is what enforces it.

use std::collections::BTreeSet;

use anyhow::bail;

use crate::workspace::Graph;

/// Each of our crates and the ones of ours that it may name as dependencies.
const ALLOWED: &[(&str, &[&str])] = &[
    ("evenkeel-ipsec", &[]),
    ("evenkeel-netprofile", &[]),
    ("evenkeel-profile", &[]),
    ("evenkeel-platform", &[]),
    ("evenkeel-tunnel", &["evenkeel-ipsec", "evenkeel-netprofile"]),
    ("evenkeel-ipc", &["evenkeel-profile"]),
    ("evenkeel-datapath", &["evenkeel-ipsec", "evenkeel-platform"]),
    ("evenkeel-reframer", &["evenkeel-ipsec", "evenkeel-platform"]),
    (
        "evenkeel-daemon",
        &[
            "evenkeel-tunnel",
            "evenkeel-ipc",
            "evenkeel-profile",
            "evenkeel-platform",
            "evenkeel-datapath",
            "evenkeel-reframer",
            // Names that `tunnel` hands through: failures and suites, and the MTU's arithmetic.
            "evenkeel-ipsec",
            "evenkeel-netprofile",
        ],
    ),
    ("evenkeel-cli", &["evenkeel-ipc", "evenkeel-profile", "evenkeel-platform"]),
    ("evenkeel-gateway", &["evenkeel-ipsec", "evenkeel-datapath", "evenkeel-reframer", "evenkeel-platform"]),
    ("evenkeel-lab", &["evenkeel-ipsec", "evenkeel-ipc", "evenkeel-profile", "evenkeel-platform"]),
    ("evenkeel-fuzz", &["evenkeel-ipsec", "evenkeel-profile"]),
    ("xtask", &[]),
];

/// Crates that take time, randomness and datagrams as arguments.
const SANS_IO: &[&str] = &["evenkeel-ipsec", "evenkeel-netprofile", "evenkeel-tunnel"];

/// What a sans-IO crate must not even be able to reach.
const IO: &[&str] =
    &["tokio", "mio", "async-io", "socket2", "quinn-udp", "nix", "rustix", "tun-rs", "evenkeel-platform"];

/// What must stay out of the process that runs as root.
const WEBVIEW: &[&str] = &["tauri", "wry", "tao", "webkit2gtk", "webview2-com"];

pub(super) fn check() -> anyhow::Result<()> {
    let graph = Graph::load()?;
    let mut wrong = Vec::new();
    for member in graph.members() {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == member) else {
            wrong.push(format!("{member} is not in the list of arrows: say what it may depend on"));
            continue;
        };
        for dependency in graph.own_dependencies(member) {
            if !allowed.contains(&dependency) {
                wrong.push(format!("{member} -> {dependency} is not one of the arrows"));
            }
        }
    }
    let reach = |from: &[&str], banned: &[&str]| -> Vec<String> {
        let banned: BTreeSet<&str> = banned.iter().copied().collect();
        from.iter()
            .flat_map(|package| {
                let hit: Vec<String> = graph
                    .closure(package)
                    .intersection(&banned)
                    .map(|name| format!("{package} reaches {name}, which it must not"))
                    .collect();
                hit
            })
            .collect()
    };
    wrong.extend(reach(SANS_IO, IO));
    wrong.extend(reach(&["evenkeel-daemon"], WEBVIEW));
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}
