//! Captive portals: until a person is told, and from the login until the tunnel is there.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use evenkeel_ipc::State;
use evenkeel_lab::{
    Nat, Topology,
    client::Client,
    office::{ALICE_MAIL, Office, PSK},
    pki::Key,
    portal::{self, Mode, VPN},
    practice::PracticeGateway,
    profile::Profile,
};

use super::super::table::{Row, duration};

/// The kinds that are measured.
const PORTALS: [(&str, Mode); 5] = [
    ("redirects", Mode::Redirect),
    ("lies in DNS and redirects", Mode::NamesAndRedirect),
    ("answers with its page", Mode::Page),
    ("answers 511", Mode::Status511),
    ("has an API", Mode::Api),
];
/// Nobody signs in faster. The probes that see the portal go have their rhythm by then.
const PERSON: Duration = Duration::from_secs(4);
/// That rhythm. Logins are spread over it, or all would wait for the next probe equally long.
const RHYTHM: Duration = Duration::from_millis(1500);
/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(30);
const SHOWN: Duration = Duration::from_secs(2);
const CONNECTED: Duration = Duration::from_secs(3);

pub(super) fn run(rounds: usize) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (does, mode) in PORTALS {
        let (mut shown, mut connected) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let person = PERSON + RHYTHM.mul_f64(round as f64 / rounds as f64);
            let (seen, up) = stay(mode, person).with_context(|| format!("a portal that {does}"))?;
            println!("  {does}: shown {}, connected {} after the login", duration(seen), duration(up));
            shown.push(seen);
            connected.push(up);
        }
        rows.push(Row::time_within(format!("Portal that {does}: shown"), &shown, "< 2 s", SHOWN));
        let what = format!("Portal that {does}: login to connected");
        rows.push(Row::time_within(what, &connected, "< 3 s", CONNECTED));
    }
    Ok(rows)
}

/// One visit of somebody who signs in `person` after the portal was shown: until then, and from the login until the connection.
fn stay(mode: Mode, person: Duration) -> anyhow::Result<(Duration, Duration)> {
    let network = Topology::behind(Nat::preserving()).build()?;
    portal::install(&network, mode)?;
    let office = Office::new(Key::P256)?;
    let _gateway = PracticeGateway::of_office(&network.gateway, network.gateway_address(), &office, None)?;
    let client = Client::with_profile(network.client(), &Profile::psk(VPN, ALICE_MAIL))?;
    let mut watch = client.watch()?;
    let asked = Instant::now();
    let (shown, login) = thread::scope(|scope| {
        let connecting = scope.spawn(|| client.evenkeel(&["connect", "lab", "--password-stdin"], Some(PSK)));
        let (shown, _) = watch.wait_for("the portal", LIMIT, |status| status.portal.is_some())?;
        thread::sleep(person);
        network.client().run(portal::log_in_here)?;
        let login = Instant::now();
        let run = connecting.join().ok().context("evenkeel connect")??;
        ensure!(run.code == 0, "{run:?}");
        anyhow::Ok((shown, login))
    })?;
    let (up, _) = watch.wait_for("the connection", LIMIT, |status| status.state == State::Connected)?;
    ensure!(up > login, "connected before the login");
    client.disconnect()?;
    Ok((shown.saturating_duration_since(asked), up.saturating_duration_since(login)))
}
