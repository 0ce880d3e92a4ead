//! A captive portal on the clients' router, as hotels have it, and two things that are none.
//!
//! Until somebody has logged in (`POST /login`), the router drops everything of theirs but what it answers itself:
//! names, by a server of its own that may lie; port 80, whoever it is meant for; and its API. A login opens the gate for
//! that one address.

mod names;
mod web;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{
    Host, Network, exec,
    pki::{Authority, Key, Leaf},
    topology::GATEWAY_V4,
};

/// The portal's own name, by which its pages are known.
pub const PORTAL: &str = "portal.hotel.example";
/// Its address: the router's.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
/// Where people log in.
pub const LOGIN_PAGE: &str = "http://portal.hotel.example/login";
/// The same as the portal's API says it.
pub const SECURE_LOGIN_PAGE: &str = "https://portal.hotel.example/login";
/// Its API, as DHCP would say (RFC 8910).
pub const API: &str = "https://portal.hotel.example/api";

/// The VPN gateway's name.
pub const VPN: &str = "vpn.lab.example";
/// A page in the Internet whose answer is known.
pub const PAGE: &str = "http://page.world.example/";
/// That answer.
pub const ANSWER: &str = "success";
/// The page's host; it is the core router's address.
const PAGE_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Every name of the lab's world and its true address.
const WORLD: [(&str, Ipv4Addr); 3] =
    [(VPN, GATEWAY_V4), ("page.world.example", PAGE_ADDRESS), (PORTAL, ROUTER)];

/// The port that what clients send to port 80 is redirected to.
const WEB: u16 = 8080;

/// No read or write of the portal's may hang longer.
const STALL: Duration = Duration::from_secs(10);

/// What the router does with those who have not logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Answers port 80 in everybody's name with a redirect to its page.
    Redirect,
    /// Says that every name has its own address, and redirects from there.
    NamesAndRedirect,
    /// Answers port 80 with its page, status 200.
    Page,
    /// Answers port 80 with status 511 (RFC 6585 §6).
    Status511,
    /// Drops port 80 too; only its API (RFC 8908) says why.
    Api,
    /// No portal: lets everything pass, port 80 through a proxy that leaves its name in each answer.
    Proxy,
    /// No portal: lets everything pass.
    Open,
}

impl Mode {
    fn is_gate(self) -> bool {
        !matches!(self, Self::Proxy | Self::Open)
    }
}

/// Makes the clients' router a portal. The page in the Internet answers from here on. Needs a topology with a
/// translator; lasts until the test's process ends.
pub fn install(network: &Network, mode: Mode) -> anyhow::Result<()> {
    let router = network.nat.as_ref().context("a portal needs a router of the clients' own")?;
    let root = Authority::root("Evenkeel Lab Portal Root", Key::P256)?;
    let identity = root.issue(&Leaf::gateway(PORTAL)?.key(Key::P256))?;
    web::serve_page(&network.core, &format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{ANSWER}\n"))?;
    let gate = Arc::new(Gate::default());
    names::serve(router, mode, Arc::clone(&gate))?;
    web::serve_portal(router, mode, Arc::clone(&gate))?;
    web::serve_api(router, mode, &identity, gate)?;
    router.nft(&rules(mode))?;
    for client in &network.clients {
        prepare(client, mode, &root.certificate())?;
    }
    Ok(())
}

/// Makes a host answer every request on port 80 with "404 Not Found", as many gateways do.
pub fn answer_not_found(host: &Host) -> anyhow::Result<()> {
    let page = "<html><title>404 Not Found</title></html>";
    let head = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html";
    web::serve_page(host, &format!("{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len()))
}

/// Logs in as a person does: fetches the login page, and sends its form. Call it on the client ([`Host::run`]).
pub fn log_in_here() -> anyhow::Result<()> {
    let page = ask("GET", "/login")?;
    ensure!(page.contains("<form method=\"post\" action=\"/login\">"), "no form in {page:?}");
    let welcome = ask("POST", "/login")?;
    ensure!(welcome.starts_with("HTTP/1.1 200 "), "not let in: {welcome:?}");
    Ok(())
}

fn ask(method: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&(ROUTER, 80).into(), STALL).context("the portal's page")?;
    stream.set_read_timeout(Some(STALL))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {PORTAL}\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the portal's answer")?;
    Ok(answer)
}

/// What the router lets pass and what it takes for itself.
fn rules(mode: Mode) -> String {
    let gate = if mode.is_gate() { "iifname inside ip saddr != @open drop" } else { "" };
    let take_web = match mode {
        Mode::Api | Mode::Open => String::new(),
        Mode::Proxy => format!("iifname inside tcp dport 80 redirect to :{WEB}"),
        Mode::Redirect | Mode::NamesAndRedirect | Mode::Page | Mode::Status511 => {
            format!("iifname inside ip saddr != @open tcp dport 80 redirect to :{WEB}")
        }
    };
    format!(
        "table ip portal {{
           set open {{ type ipv4_addr ; }}
           chain taken {{
             type nat hook prerouting priority -100
             iifname inside ip daddr {ROUTER} tcp dport 80 redirect to :{WEB}
             iifname inside ip saddr != @open udp dport 53 redirect to :53
             {take_web}
           }}
           chain through {{
             type filter hook forward priority 0
             {gate}
           }}
         }}"
    )
}

/// Who has logged in.
#[derive(Default)]
struct Gate(Mutex<BTreeSet<IpAddr>>);

impl Gate {
    /// Lets a client through. Call it on the router.
    fn open(&self, client: IpAddr) -> anyhow::Result<()> {
        let element = format!("add element ip portal open {{ {client} }}");
        exec::output(Command::new("nft").arg(element))?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(client);
        Ok(())
    }

    fn is_open(&self, client: IpAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&client)
    }
}

/// Gives a client what its DHCP client would have written down, and the portal's authority to trust, as a public one.
fn prepare(client: &Host, mode: Mode, root: &str) -> anyhow::Result<()> {
    let trusted = client.folder().join("ssl");
    fs::create_dir_all(trusted.join("certs")).context("a folder for certificates")?;
    fs::write(trusted.join("certs/ca-certificates.crt"), root).context("the portal's authority")?;
    client.link_etc("ssl", &trusted)?;
    client
        .run(|| -> anyhow::Result<()> {
            fs::write("/etc/resolv.conf", format!("nameserver {ROUTER}\noptions timeout:1\n"))?;
            if mode == Mode::Api {
                let links = Path::new("/run/systemd/netif/links");
                fs::create_dir_all(links)?;
                fs::write(links.join("2"), format!("OPER_STATE=routable\nCAPTIVE_PORTAL={API}\n"))?;
            }
            Ok(())
        })
        .context("preparing a client")
}
