//! `legacy = true` with the real daemon: a gateway from another age is refused without it, and reached with it, not silently.

#![cfg(target_os = "linux")]

use anyhow::ensure;
use evenkeel_ipc::Cause;
use evenkeel_lab::{
    Nat, Topology,
    client::{Client, Run},
    office::{ALICE_MAIL, PSK, psk_gateway},
    profile::Profile,
    sandbox,
    strongswan::{Charon, Config},
    topology::SERVER_V4,
    traffic,
};

/// What `evenkeel --help` promises to scripts for a profile that does not fit the gateway.
const CONFIGURATION: i32 = 5;
/// All that is broken or close to it in what the gateway of another age chooses.
const LEGACY: [&str; 3] = ["HMAC_SHA1_96", "PRF_HMAC_SHA1", "MODP_1024"];

/// A gateway that knows nothing but this for the IKE SA, and this for CHILD SAs.
fn gateway_of_another_age(ike: &str, esp: &str) -> Config {
    let mut gateway = psk_gateway();
    gateway.connections[0].proposals = ike.to_owned();
    gateway.connections[0].esp_proposals = esp.to_owned();
    gateway
}

fn names_all(text: &str) -> bool {
    LEGACY.iter().all(|name| text.contains(name))
}

#[test]
fn sha_1_and_group_2_work_only_when_allowed_and_are_warned_about() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        let host = network.client();
        traffic::serve(&network.server)?;
        let mut charon =
            Charon::start(&network.gateway, gateway_of_another_age("aes128-sha1-modp1024", "aes128-sha1"))?;
        let client = Client::start(host)?;
        let profile = || Profile::psk(network.gateway_address(), ALICE_MAIL);
        let import = |profile: &Profile| -> anyhow::Result<Run> {
            let file = host.folder().join("legacy.toml");
            std::fs::write(&file, profile.to_string())?;
            client.evenkeel(&["profile", "import", &file.display().to_string()], None)
        };

        let run = import(&profile())?;
        ensure!(run.code == 0 && !run.stderr.contains("warning"), "{run:?}");
        let (code, cause) = client.refused(Some(PSK))?;
        ensure!(matches!(cause, Cause::NoCommonIkeProposal) && code == CONFIGURATION, "{code}: {cause:?}");
        client.disconnect()?;
        // A gateway that is modern for IKE and not for ESP.
        charon.reconfigure(gateway_of_another_age("aes256-sha256-x25519", "aes128-sha1"))?;
        let (code, cause) = client.refused(Some(PSK))?;
        ensure!(matches!(cause, Cause::NoCommonEspProposal) && code == CONFIGURATION, "{code}: {cause:?}");
        client.disconnect()?;
        client.remove()?;

        charon.reconfigure(gateway_of_another_age("aes128-sha1-modp1024", "aes128-sha1"))?;
        let run = import(&profile().legacy())?;
        ensure!(
            run.code == 0 && run.stderr.contains("legacy = true lets this connection use SHA-1"),
            "{run:?}"
        );
        let run = client.try_connect(Some(PSK))?;
        ensure!(run.code == 0 && run.stderr.contains("warning:") && names_all(&run.stderr), "{run:?}");
        traffic::download(host, SERVER_V4.into(), 1_000_000)?;
        traffic::upload(host, SERVER_V4.into(), 1_000_000)?;
        let status = client.status()?;
        ensure!(status.legacy == LEGACY, "{status:?}");
        let shown = client.evenkeel(&["status"], None)?.stdout;
        ensure!(shown.contains("Warning") && LEGACY.iter().all(|name| shown.contains(name)), "{shown}");
        let log = client.evenkeel(&["log"], None)?.stdout;
        let warns = |line: &str| line.contains("WARN") && line.contains("HMAC_SHA1_96");
        ensure!(log.lines().any(warns), "{log}");
        println!("{shown}{}", log.lines().find(|line| warns(line)).unwrap_or_default());
        client.disconnect()?;

        // The same profile takes a modern gateway's modern algorithms, and is quiet about those.
        charon.reconfigure(psk_gateway())?;
        let run = client.try_connect(Some(PSK))?;
        ensure!(run.code == 0 && !run.stderr.contains("warning"), "{run:?}");
        ensure!(client.status()?.legacy.is_empty(), "{:?}", client.status()?);
        client.disconnect()
    });
}
