//! The whole product at work: daemon and command line, against a practice gateway behind a NAT or against one's own.

mod screen;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use evenkeel_lab::{
    Host, Nat, Topology,
    client::Client,
    http,
    practice::{INNER, PracticeGateway},
};

use super::interrupt::Interrupt;
use screen::Screen;

/// Bytes that the demo fetches every second, so that there is something to see.
const LOAD: u32 = 200_000;

/// How long to show.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// End by itself after so many seconds; otherwise Ctrl-C ends it
    #[arg(long)]
    seconds: Option<u64>,
}

/// A gateway of one's own.
#[derive(clap::Args)]
pub(crate) struct OwnArgs {
    /// The profile to connect with
    #[arg(long)]
    profile: PathBuf,
    #[command(flatten)]
    show: Args,
}

/// Everything in a private network. Runs inside a sandbox.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let interrupt = Interrupt::catch()?;
    println!("building a private network: client - NAT - internet - gateway");
    let network = Topology::behind(Nat::preserving()).build()?;
    println!("starting the practice gateway (never for production) at {}", network.gateway_address());
    let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
    println!("starting evenkeeld, importing the profile, connecting");
    let client = Client::start(network.client())?;
    client.import_file(&gateway.profile())?;
    let page = |host: &Host| -> anyhow::Result<String> {
        let page = http::fetch(host, INNER, "/")?;
        http::fetch(host, INNER, &format!("/bytes/{LOAD}"))?;
        Ok(headline(&String::from_utf8_lossy(&page)))
    };
    let fetched = || Some(page(network.client()));
    watch(&client, "practice", fetched, args, &interrupt)?;
    println!("disconnected; the daemon, the gateway and their networks end with this program");
    Ok(())
}

/// The real daemon on this machine, which must be allowed to change routes and DNS.
pub(crate) fn run_own(args: &OwnArgs) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "connecting this machine changes its routes and DNS: that takes root, so run this through sudo"
        );
    }
    let interrupt = Interrupt::catch()?;
    let profile =
        args.profile.canonicalize().with_context(|| format!("finding {}", args.profile.display()))?;
    let folder = Folder::create()?;
    let host = Host::this_machine(folder.0.clone())?;
    println!("starting evenkeeld on this machine; what it logs is in {}", folder.0.display());
    let client = Client::start(&host)?;
    client.import_file(&profile)?;
    let listed = client.evenkeel(&["profile", "list", "--json"], None)?;
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).context("the list of profiles")?;
    let name = listed.pointer("/0/name").and_then(serde_json::Value::as_str).context("the profile's name")?;
    watch(&client, name, || None, &args.show, &interrupt)?;
    println!("disconnected; the daemon ends with this program");
    Ok(())
}

/// Connects, shows the status until it is enough, disconnects.
fn watch(
    client: &Client<'_>,
    profile: &str,
    page: impl Fn() -> Option<anyhow::Result<String>>,
    args: &Args,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let run = client.evenkeel(&["connect", profile, "--wait", "20"], None)?;
    if run.code != 0 {
        bail!("evenkeel connect: {}{}\n{}", run.stdout, run.stderr, client.log());
    }
    let until = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut screen = Screen::new();
    loop {
        let fetched = page();
        screen.show(&client.status()?, fetched.as_ref());
        let over = until.is_some_and(|until| Instant::now() >= until);
        if over || interrupt.within(Duration::from_secs(1)) {
            break;
        }
    }
    println!("\ndisconnecting");
    client.disconnect()
}

/// What the page says first.
fn headline(page: &str) -> String {
    let inner = page.split_once("<h1>").and_then(|(_, rest)| rest.split_once("</h1>"));
    inner.map_or_else(|| page.lines().next().unwrap_or_default(), |(text, _)| text).to_owned()
}

/// A folder below `/run` that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn create() -> anyhow::Result<Self> {
        let folder = Path::new("/run").join(format!("evenkeel-run-{}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is gone at the next boot in any case.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
