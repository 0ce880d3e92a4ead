//! Everything that a VPN client may change on a host, as text, to be compared before and after.

use crate::Host;

/// What to ask, and of which program.
const QUESTIONS: &[(&str, &[&str])] = &[
    ("ip", &["-4", "rule", "show"]),
    ("ip", &["-6", "rule", "show"]),
    ("ip", &["-4", "route", "show", "table", "all"]),
    ("ip", &["-6", "route", "show", "table", "all"]),
    ("ip", &["-brief", "address", "show"]),
    ("nft", &["list", "ruleset"]),
    ("cat", &["/etc/resolv.conf"]),
    ("stat", &["--format", "%N %F %a", "/etc/resolv.conf"]),
    (
        "sysctl",
        &[
            "net.ipv4.conf.all.rp_filter",
            "net.ipv4.conf.default.rp_filter",
            "net.ipv4.conf.all.src_valid_mark",
            "net.ipv4.conf.eth0.rp_filter",
            "net.ipv4.ip_forward",
            "net.ipv6.conf.all.disable_ipv6",
        ],
    ),
];

/// The state of `host`'s network configuration.
pub fn take(host: &Host) -> anyhow::Result<String> {
    let mut text = String::new();
    for (program, args) in QUESTIONS {
        text.push_str(&format!("$ {program} {}\n", args.join(" ")));
        text.push_str(&host.output(program, args)?);
    }
    Ok(text)
}

/// The lines in which two states differ, for people.
pub fn difference(before: &str, after: &str) -> String {
    let gone = before.lines().filter(|line| !after.lines().any(|other| other == *line));
    let new = after.lines().filter(|line| !before.lines().any(|other| other == *line));
    gone.map(|line| format!("- {line}\n")).chain(new.map(|line| format!("+ {line}\n"))).collect()
}
