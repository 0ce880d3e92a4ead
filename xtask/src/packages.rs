//! Packages of the system, installed only when something they bring is missing, and never silently.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::bail;

use crate::process::{Step, find_program};

/// A thing that must be there, and the Debian packages that bring it.
pub(crate) struct Need {
    pub(crate) what: What,
    pub(crate) packages: &'static [&'static str],
    pub(crate) why: &'static str,
}

/// How to see whether a need is met.
pub(crate) enum What {
    Program(&'static str),
    File(&'static str),
}

impl Need {
    fn is_met(&self) -> bool {
        match self.what {
            What::Program(name) => find_program(name).is_some(),
            What::File(path) => Path::new(path).exists(),
        }
    }
}

/// What building needs: aws-lc is C and assembly.
pub(crate) const BUILD: &[Need] = &[
    Need { what: What::Program("cc"), packages: &["build-essential"], why: "the cryptography library is C" },
    Need { what: What::Program("git"), packages: &["git"], why: "checks read the list of files" },
];

/// What tests of single crates need.
pub(crate) const UNIT: &[Need] = &[Need {
    what: What::Program("dbus-daemon"),
    packages: &["dbus"],
    why: "a private message bus, to stand in for the one that systemd-resolved is on",
}];

/// What private networks need.
pub(crate) const NETWORK: &[Need] = &[
    Need { what: What::Program("ip"), packages: &["iproute2"], why: "private networks" },
    Need { what: What::Program("nft"), packages: &["nftables"], why: "the NAT in private networks" },
    Need { what: What::Program("unshare"), packages: &["util-linux"], why: "private networks" },
];

/// What the lab needs beyond that: the other sides.
pub(crate) const PEERS: &[Need] = &[
    Need {
        what: What::Program("swanctl"),
        packages: &["strongswan-swanctl", "strongswan-charon"],
        why: "the gateway that the lab tests against",
    },
    Need {
        what: What::File("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"),
        packages: &["libcharon-extra-plugins", "libstrongswan-extra-plugins"],
        why: "strongSwan's data path without kernel IPsec, and its newer ciphers",
    },
    Need {
        what: What::File("/usr/lib/ipsec/plugins/libstrongswan-eap-mschapv2.so"),
        packages: &["libcharon-extauth-plugins", "libstrongswan-standard-plugins"],
        why: "strongSwan's EAP-MSCHAPv2",
    },
    Need {
        what: What::Program("wireguard-go"),
        packages: &["wireguard-go"],
        why: "the WireGuard peer that the lab tests against",
    },
    Need { what: What::Program("wg"), packages: &["wireguard-tools"], why: "its configuration" },
];

/// Installs what is missing of `needs`, saying what and why.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages = Vec::new();
    for need in &missing {
        println!("installing {}: {}", need.packages.join(" "), need.why);
        packages.extend_from_slice(need.packages);
    }
    if find_program("apt-get").is_none() {
        bail!("this is no Debian or Ubuntu: install what corresponds to {}", packages.join(" "));
    }
    // A fresh machine may hold no package lists, or old ones that name files which are gone.
    as_root("apt-get").args(["update", "-q"]).run()?;
    as_root("apt-get").args(["install", "-y", "-q", "--no-install-recommends"]).args(&packages).run()?;
    match missing.iter().find(|need| !need.is_met()) {
        Some(need) => bail!("{} did not bring what was missing ({})", need.packages.join(" "), need.why),
        None => Ok(()),
    }
}

/// A step that runs with privileges: as it is for root, through sudo otherwise.
fn as_root(program: &str) -> Step {
    let step = if is_root() { Step::new(program) } else { Step::new("sudo").args([program]).interactive() };
    step.env("DEBIAN_FRONTEND", "noninteractive")
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").stdin(Stdio::null()).output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
