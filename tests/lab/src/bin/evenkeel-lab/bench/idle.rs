//! What the daemon costs while it is connected and nothing moves.

use std::{thread, time::Duration};

use anyhow::ensure;
use evenkeel_lab::{
    Nat, Topology,
    client::Client,
    practice::{INNER, PracticeGateway},
    traffic,
};

use super::{process, table::Row};

/// Traffic before, so that every buffer has been in use.
const BUSY: Duration = Duration::from_secs(2);
/// For what a stream leaves behind: acknowledgements, and the kernel's own questions on a new interface.
const SETTLING: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(30);

pub(super) fn run() -> anyhow::Result<[Row; 2]> {
    println!("idle daemon: a connection, {BUSY:?} of traffic each way, {WATCHED:?} of nothing");
    let network = Topology::behind(Nat::preserving()).build()?;
    traffic::serve(&network.gateway)?;
    let gateway = PracticeGateway::demo_with_tun(&network.gateway, network.gateway_address())?;
    let client = Client::start(network.client())?;
    client.import_file(&gateway.profile())?;
    let run = client.evenkeel(&["connect", "practice", "--wait", "20"], None)?;
    ensure!(run.code == 0, "connecting failed: {run:?}");
    traffic::upload_rate(network.client(), INNER, BUSY)?;
    traffic::download_rate(network.client(), INNER, BUSY)?;
    thread::sleep(SETTLING);
    let before = process::sleeps(client.pid())?;
    thread::sleep(WATCHED);
    let woken = (process::sleeps(client.pid())? - before) as f64 / WATCHED.as_secs_f64();
    let resident = process::resident(client.pid())? as f64 / 1024.0;
    Ok([
        Row::new("Idle daemon: resident memory after traffic", format!("{resident:.1} MB"))
            .goal("< 25 MB", resident < 25.0),
        Row::new("Idle daemon: wake-ups a second, all threads", format!("{woken:.2}"))
            .goal("<= 1", woken <= 1.0),
    ])
}
