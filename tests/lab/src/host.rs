//! A host: a network namespace and a mount namespace, held open by file descriptors.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd, unix::fs::symlink},
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::Context;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

use crate::{exec, sandbox};

/// A machine of the lab. It is gone when it is dropped and its last process has ended.
pub struct Host {
    name: String,
    folder: PathBuf,
    network: File,
    mounts: File,
}

impl Host {
    /// A host with nothing but a loopback interface. `/run` is empty and its own, so that two of one daemon do not meet.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let folder = Path::new(sandbox::STATE).join(name);
        // What a host of the same name left that was there before.
        if folder.exists() {
            fs::remove_dir_all(&folder).context("clearing the host's folder")?;
        }
        fs::create_dir_all(&folder).context("creating the host's folder")?;

        let made = thread::scope(|scope| {
            let namespaces = scope.spawn(|| -> anyhow::Result<(File, File)> {
                unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("new namespaces")?;
                mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                    .context("making mounts private")?;
                mount(Some("lab"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
                    .context("mounting /run")?;
                furnish_etc()?;
                // Programs look for their interfaces here; a kernel that hides parts of sysfs refuses, and then it stays.
                let _ = mount(Some("lab"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>);
                let network =
                    File::open("/proc/thread-self/ns/net").context("opening the network namespace")?;
                let mounts = File::open("/proc/thread-self/ns/mnt").context("opening the mount namespace")?;
                Ok((network, mounts))
            });
            namespaces.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        let (network, mounts) = made.with_context(|| format!("making host {name}"))?;
        let host = Self { name: name.to_owned(), folder, network, mounts };
        host.ip("link set lo up")?;
        // Nobody else is there to have the same address, and looking takes seconds.
        for scope in ["all", "default"] {
            host.sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        Ok(host)
    }

    /// This machine itself, which takes privileges. What is written goes to `folder`.
    pub fn this_machine(folder: PathBuf) -> anyhow::Result<Self> {
        let network = File::open("/proc/self/ns/net").context("opening the network namespace")?;
        let mounts = File::open("/proc/self/ns/mnt").context("opening the mount namespace")?;
        Ok(Self { name: "this machine".to_owned(), folder, network, mounts })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder for configuration, state and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Does `work` on this host: sockets that it opens, programs that it starts and files that it names are this host's.
    ///
    /// # Panics
    /// When `work` panics, or when the kernel refuses to let us in, which it does not after having made the host.
    #[expect(clippy::expect_used, reason = "the namespaces are ours and held open")]
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                // setns(2): a thread that shares its root and working directory may not change its mount namespace.
                unshare(CloneFlags::CLONE_FS).expect("a root directory of our own");
                setns(&self.network, CloneFlags::CLONE_NEWNET).expect("entering the network namespace");
                setns(&self.mounts, CloneFlags::CLONE_NEWNS).expect("entering the mount namespace");
                work()
            });
            there.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a program here and returns its standard output.
    pub fn output(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        self.run(|| exec::output(Command::new(program).args(args)))
            .with_context(|| format!("on host {}", self.name))
    }

    /// Runs lines of `ip`, one command each.
    pub fn ip(&self, commands: &str) -> anyhow::Result<String> {
        self.run(|| exec::output_of_input(Command::new("ip").args(["-batch", "-"]), commands))
            .with_context(|| format!("on host {}", self.name))
    }

    /// Loads an nftables script.
    pub fn nft(&self, script: &str) -> anyhow::Result<()> {
        self.run(|| exec::output_of_input(Command::new("nft").args(["-f", "-"]), script))
            .with_context(|| format!("on host {}", self.name))?;
        Ok(())
    }

    /// Sets a kernel setting of this host's network, by its path below `/proc/sys/net`.
    pub fn sysctl(&self, path: &str, value: &str) -> anyhow::Result<()> {
        let file = Path::new("/proc/sys/net").join(path);
        self.run(|| fs::write(&file, value))
            .with_context(|| format!("on host {}: setting {} to {value}", self.name, file.display()))
    }

    /// No IPv6 on what this host will have: a kernel reports its multicast groups on every new device, and such reports fit
    /// no SA. Without them nothing but the test's own packets reaches the tunnel, so that one drop is one too many.
    pub fn without_ipv6(&self) -> anyhow::Result<()> {
        self.sysctl("ipv6/conf/default/disable_ipv6", "1")
    }

    /// Makes `/etc/NAME` on this host a link to `target`.
    pub fn link_etc(&self, name: &str, target: &Path) -> anyhow::Result<()> {
        let link = Path::new("/etc").join(name);
        self.run(|| -> anyhow::Result<()> {
            if link.is_symlink() {
                fs::remove_file(&link).context("removing the machine's own")?;
            }
            symlink(target, &link).context("linking")
        })
        .with_context(|| format!("{} on host {}", link.display(), self.name))
    }

    /// A name for this host's network namespace that `ip link ... netns` understands.
    fn network_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.network.as_raw_fd())
    }

    /// Lays a cable: interface `here` on this host, interface `there` on `other`.
    pub fn connect(&self, here: &str, other: &Self, there: &str) -> anyhow::Result<()> {
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.network_path()))?;
        self.ip(&format!("link set {here} up"))?;
        other.ip(&format!("link set {there} up"))?;
        Ok(())
    }
}

/// Gives the calling thread's mount namespace an `/etc` that may be written to: the machine's files behind links, and a
/// `resolv.conf` that is a real file, which programs replace by renaming.
fn furnish_etc() -> anyhow::Result<()> {
    mount(Some("lab"), "/etc", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .context("mounting /etc")?;
    for entry in fs::read_dir(sandbox::ETC).context("reading the machine's /etc")? {
        let entry = entry.context("reading the machine's /etc")?;
        if entry.file_name() != "resolv.conf" {
            symlink(entry.path(), Path::new("/etc").join(entry.file_name())).context("linking into /etc")?;
        }
    }
    fs::write("/etc/resolv.conf", "# The lab resolves nothing.\n").context("writing /etc/resolv.conf")
}
