//! Path MTUs as the daemon finds them.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{Network, client::Client, office::ALICE_MAIL, profile::Profile, topology::IcmpErrors, wait};

/// Two round trips are a few milliseconds in the lab; what takes longer is a lost probe, or the machine.
pub const SOON: Duration = Duration::from_secs(5);

/// What fits back, outside, through the device that both gateways hand packets out by: its MTU is 1400.
const GATEWAY_DEVICE: u16 = 1460;

/// What a gateway does with packets that ICMP says are too long outside.
#[derive(Clone, Copy)]
pub enum Outside {
    /// It goes on sending them whole.
    Whole,
    /// It sends fragments, as strongSwan's data path in user space does: then what comes back may be longer than the path's
    /// MTU.
    Cut,
}

/// A daemon with a profile for both gateways that asks for the networks that the practice gateway answers from too.
pub fn client(network: &Network) -> anyhow::Result<Client<'_>> {
    let profile = Profile::psk(network.gateway_address(), ALICE_MAIL);
    Client::with_profile(network.client(), &profile.remote_ts(&["10.10.0.0/16", "10.77.0.0/16"]))
}

/// The largest packet inside of a path MTU, with AES-GCM in UDP over IPv4.
pub fn inner(outer: u16) -> u16 {
    let esp = outer - 28 - 8 - 8 - 16;
    esp - esp % 4 - 2
}

/// The sizes that are found on a path of this MTU, towards the gateway and back.
pub fn measured(mtu: u16) -> (u16, u16) {
    (mtu, mtu.min(GATEWAY_DEVICE))
}

/// What the daemon knows of the path: the last sizes that it has logged, towards the gateway and back.
pub fn sizes(client: &Client<'_>) -> Option<(u16, u16)> {
    let log = client.log();
    let line = log.lines().rev().find(|line| line.contains("path MTU wanted="))?;
    let number = |name: &str| {
        let rest = line.split_once(name)?.1;
        rest.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
    };
    Some((number("uplink: ")?, number("downlink: ")?))
}

/// Waits for the sizes, and for the interface's MTU in the status; how long that took.
pub fn wait_for(client: &Client<'_>, wanted: (u16, u16)) -> anyhow::Result<Duration> {
    let started = Instant::now();
    wait::until(&format!("sizes {wanted:?}"), SOON, || (sizes(client) == Some(wanted)).then_some(()))
        .with_context(|| format!("they are {:?}", sizes(client)))?;
    let took = started.elapsed();
    wait_for_interface(client, wanted.0)?;
    Ok(took)
}

/// Waits for the size towards the gateway alone.
fn wait_for_uplink(client: &Client<'_>, mtu: u16) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let right = || sizes(client).filter(|(uplink, downlink)| *uplink == mtu && *downlink >= mtu.min(1280));
    wait::until(&format!("size {mtu}"), SOON, right)
        .with_context(|| format!("they are {:?}", sizes(client)))?;
    let took = started.elapsed();
    wait_for_interface(client, mtu)?;
    Ok(took)
}

/// Waits for what is found on a path of this MTU, both ways.
pub fn wait_for_path(
    client: &Client<'_>,
    gateway: Outside,
    mtu: u16,
    errors: IcmpErrors,
) -> anyhow::Result<Duration> {
    match (gateway, errors) {
        (Outside::Cut, IcmpErrors::Sent) => wait_for_uplink(client, mtu),
        (Outside::Cut | Outside::Whole, _) => wait_for(client, measured(mtu)),
    }
}

/// The interface's MTU is never less than what IPv6 needs; what is longer than the path is cut.
fn wait_for_interface(client: &Client<'_>, uplink: u16) -> anyhow::Result<()> {
    let mtu = inner(uplink).max(1280);
    client.wait_for("the interface's MTU", |status| status.mtu == Some(mtu)).map(drop)
}
