//! The real daemon and the real command line against a gateway that goes wrong on purpose: each fault has its typed cause
//! and the exit code of its kind, and nothing of the attempt stays.

#![cfg(target_os = "linux")]

use anyhow::{Context, ensure};
use evenkeel_ipc::{Cause, State};
use evenkeel_lab::{
    Nat, Topology,
    client::Client,
    http,
    practice::{INNER, PracticeGateway},
    sandbox, snapshot,
};
use serde_json::{Value, json};

/// Exit codes that `evenkeel --help` promises to scripts.
const AUTHENTICATION: i32 = 3;
const CONFIGURATION: i32 = 5;
const REFUSED: i32 = 6;

/// What goes wrong, and what must come of it.
struct Case {
    what: &'static str,
    faults: Value,
    /// What is added to the profile.
    profile: &'static str,
    expected: fn(&Cause) -> bool,
    code: i32,
}

impl Case {
    fn fault(what: &'static str, faults: Value, expected: fn(&Cause) -> bool, code: i32) -> Self {
        Self { what, faults, profile: "", expected, code }
    }

    fn profile(what: &'static str, profile: &'static str, expected: fn(&Cause) -> bool, code: i32) -> Self {
        Self { what, faults: json!({}), profile, expected, code }
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::fault(
            "a spoilt AUTH of the gateway's",
            json!({ "bad_auth": true }),
            |cause| matches!(cause, Cause::GatewayAuthInvalid),
            AUTHENTICATION,
        ),
        Case::fault(
            "traffic selectors wider than what was asked for",
            json!({ "wrong_ts": true }),
            |cause| matches!(cause, Cause::GatewayProtocol { .. }),
            REFUSED,
        ),
        Case::fault(
            "TS_UNACCEPTABLE",
            json!({ "reject_child": "TS_UNACCEPTABLE" }),
            |cause| matches!(cause, Cause::TrafficSelectorsRefused),
            REFUSED,
        ),
        Case::fault(
            "INTERNAL_ADDRESS_FAILURE",
            json!({ "reject_child": "INTERNAL_ADDRESS_FAILURE" }),
            |cause| matches!(cause, Cause::NoAddressAssigned),
            REFUSED,
        ),
        Case::fault(
            "FAILED_CP_REQUIRED",
            json!({ "reject_child": "FAILED_CP_REQUIRED" }),
            |cause| matches!(cause, Cause::ConfigurationRequired),
            REFUSED,
        ),
        Case::fault(
            "NO_PROPOSAL_CHOSEN for the CHILD SA",
            json!({ "reject_child": "NO_PROPOSAL_CHOSEN" }),
            |cause| matches!(cause, Cause::NoCommonEspProposal),
            CONFIGURATION,
        ),
        Case::profile(
            "no IKE proposal in common",
            "[ike]\nproposals = [\"aes128-sha512-modp4096\"]\n",
            |cause| matches!(cause, Cause::NoCommonIkeProposal),
            CONFIGURATION,
        ),
        Case::profile(
            "no ESP proposal in common",
            "[esp]\nproposals = [\"aes128-sha512\"]\n",
            |cause| matches!(cause, Cause::NoCommonEspProposal),
            CONFIGURATION,
        ),
    ]
}

/// The gateway takes only this, so that the profiles above have nothing in common with it.
const PROPOSALS: &str = "\n[proposals]\nike = [\"aes256gcm16-prfsha256-x25519\"]\nesp = [\"aes256gcm16\"]\n";

#[test]
fn what_a_gateway_does_wrong_has_a_typed_cause_and_an_exit_code() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        let host = network.client();
        let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
        let gateway = gateway.restart(|config| config + PROPOSALS)?;
        let client = Client::start(host)?;
        let before = snapshot::take(host)?;
        for case in cases() {
            gateway.misbehave(&case.faults)?;
            client.import_file(&gateway.client_profile(|text| format!("{text}\n{}", case.profile))?)?;
            let (code, cause) = client.refused(None).context(case.what)?;
            println!("{}: exit code {code}, {}", case.what, serde_json::to_string(&cause)?);
            ensure!((case.expected)(&cause), "{}: {cause:?}", case.what);
            ensure!(code == case.code, "{}: exit code {code} with {cause:?}", case.what);
            let status = client.status()?;
            ensure!(
                status.state == State::Failed && status.ike_sa.is_none() && status.child_sas.is_empty(),
                "{}: {status:?}",
                case.what
            );
            client.disconnect()?;
            client.remove()?;
            let after = snapshot::take(host)?;
            ensure!(after == before, "{}: {}", case.what, snapshot::difference(&before, &after));
        }
        // The same gateway and the same profile work once nothing is wrong.
        gateway.misbehave(&json!({}))?;
        client.import_file(&gateway.client_profile(|text| text)?)?;
        client.connect(None)?;
        http::fetch(host, INNER, "/")?;
        client.disconnect()
    });
}

#[test]
fn a_gateway_whose_name_is_not_in_its_certificate_is_refused() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).build()?;
        let gateway = PracticeGateway::demo(&network.gateway, network.gateway_address())?;
        let client = Client::start(network.client())?;
        let refused = |gateway: &PracticeGateway<'_>| -> anyhow::Result<Cause> {
            let renamed = |text: String| text.replace("gateway.practice", "other.practice");
            client.import_file(&gateway.client_profile(renamed)?)?;
            let (code, cause) = client.refused(None)?;
            println!("exit code {code}, {}", serde_json::to_string(&cause)?);
            ensure!(code == AUTHENTICATION, "exit code {code} with {cause:?}");
            client.disconnect()?;
            client.remove()?;
            Ok(cause)
        };
        let cause = refused(&gateway)?;
        ensure!(
            matches!(&cause, Cause::GatewayIdentity { expected, presented }
                if expected == "other.practice" && presented == "gateway.practice"),
            "a gateway with another IDr: {cause:?}"
        );
        let gateway = gateway.restart(|config| config.replace("gateway.practice", "other.practice"))?;
        let cause = refused(&gateway)?;
        ensure!(
            matches!(&cause, Cause::GatewayCertificateName { expected, presented }
                if expected == "other.practice" && presented.iter().any(|name| name.contains("gateway.practice"))),
            "the right IDr over a certificate for another name: {cause:?}"
        );
        Ok(())
    });
}
