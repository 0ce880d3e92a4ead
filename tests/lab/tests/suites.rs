//! Every algorithm that we offer, against strongSwan: negotiated alone, and carrying data both ways.

#![cfg(target_os = "linux")]

use evenkeel_ipsec::crypto::{EspProposals, IkeProposals};
use evenkeel_lab::{
    Nat, Topology,
    engine::{EngineClient, psk_config},
    sandbox,
    strongswan::{Auth, Charon, Config, Connection, Pool},
    topology::SERVER_V4,
    traffic,
};

const PSK: &str = "a secret of the lab";

/// Sizes around each cipher's block, and the largest that fits without fragments.
const SIZES: [usize; 8] = [0, 1, 13, 14, 15, 16, 17, 1300];

const IKE: &[&str] = &[
    "aes128gcm16-prfsha256-x25519",
    "aes256gcm16-prfsha256-x25519",
    "aes256gcm16-prfsha384-x25519",
    "aes256gcm16-prfsha512-x25519",
    "chacha20poly1305-prfsha256-x25519",
    "aes128-sha256-x25519",
    "aes256-sha256-x25519",
    "aes256-sha384-x25519",
    "aes256-sha512-x25519",
    // Every group, with the same cipher.
    "aes256gcm16-prfsha256-ecp256",
    "aes256gcm16-prfsha256-ecp384",
    "aes256gcm16-prfsha256-ecp521",
    "aes256gcm16-prfsha256-modp2048",
    "aes256gcm16-prfsha256-modp3072",
    "aes256gcm16-prfsha256-modp4096",
];

/// strongSwan in user space has no extended sequence numbers, so those are tested against our own responder.
const ESP: &[&str] = &[
    "aes128gcm16",
    "aes256gcm16",
    "chacha20poly1305",
    "aes128-sha256",
    "aes256-sha256",
    "aes256-sha384",
    "aes256-sha512",
];

fn gateway(ike: &[&str], esp: &[&str]) -> Config {
    let connection = Connection {
        proposals: ike.join(","),
        esp_proposals: esp.join(","),
        ..Connection::gateway(Auth::Psk, Auth::Psk)
    };
    Config {
        connections: vec![connection],
        pools: vec![Pool::v4()],
        psks: vec![(Vec::new(), PSK.to_owned())],
        ..Config::default()
    }
}

#[test]
fn every_ike_suite_and_group_is_agreed_with_strongswan() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        traffic::serve(&network.server)?;
        let charon = Charon::start(&network.gateway, gateway(IKE, &["aes256gcm16"]))?;
        for proposal in IKE {
            let mut config = psk_config("alice@lab.example", PSK)?;
            config.ike = IkeProposals(vec![proposal.parse()?]);
            let mut client =
                EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
            client.exchange(SERVER_V4.into(), &[100])?;
            client.close()?;
        }
        drop(charon);
        Ok(())
    });
}

#[test]
fn every_esp_suite_carries_data_to_and_from_strongswan() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        traffic::serve(&network.server)?;
        let charon = Charon::start(&network.gateway, gateway(&["aes256gcm16-prfsha256-x25519"], ESP))?;
        for proposal in ESP {
            let mut config = psk_config("alice@lab.example", PSK)?;
            config.esp = EspProposals(vec![proposal.parse()?]);
            let mut client =
                EngineClient::connect(network.client(), network.gateway_address(), config, None)?;
            client.exchange(SERVER_V4.into(), &SIZES)?;
            client.close()?;
        }
        drop(charon);
        Ok(())
    });
}
