//! What must not work, each with its own typed cause.

#![cfg(target_os = "linux")]

use anyhow::{Context, ensure};
use evenkeel_ipsec::{
    crypto::{CertificateError, EspProposals, IkeProposals, Secret, SigningKey},
    eap::{EapError, MschapCode},
    ike::{ClientConfig, Failure, LocalAuth, PeerAuthFailure},
    wire::TrafficSelector,
};
use evenkeel_lab::{
    Nat, Network, Topology,
    engine::{EngineClient, psk_config},
    office::{ALICE_MAIL, Office, PASSWORD, PSK, psk_gateway, trust},
    pki::{Authority, Key, Leaf, Usage, Validity},
    sandbox,
    strongswan::{Auth, Charon, Config},
};

/// A gateway, and a client that it or that client must refuse.
struct Case {
    what: &'static str,
    gateway: Config,
    client: ClientConfig,
    key: Option<SigningKey>,
    expected: fn(&Failure) -> bool,
}

impl Case {
    fn new(
        what: &'static str,
        gateway: Config,
        client: ClientConfig,
        expected: fn(&Failure) -> bool,
    ) -> Self {
        Self { what, gateway, client, key: None, expected }
    }
}

/// Tries every case against one charon.
fn all_are_refused(network: &Network, cases: Vec<Case>) -> anyhow::Result<()> {
    let mut charon = Charon::start(&network.gateway, Config::default())?;
    for case in cases {
        charon.reconfigure(case.gateway)?;
        let failure =
            EngineClient::refused(network.client(), network.gateway_address(), case.client, case.key)
                .with_context(|| format!("{} was not refused", case.what))?;
        ensure!((case.expected)(&failure), "{}: {failure:?}", case.what);
    }
    Ok(())
}

fn network() -> anyhow::Result<Network> {
    Topology::behind(Nat::preserving()).build()
}

#[test]
fn wrong_secrets_are_refused() {
    sandbox::run(|| {
        let office = Office::new(Key::P256)?;
        let gateway = || -> anyhow::Result<Config> { Ok(office.eap_gateway(office.gateway(Key::P256)?)) };
        let rejected = |failure: &Failure| matches!(failure, Failure::AuthenticationRejected);
        let wrong_password = |failure: &Failure| {
            matches!(failure, Failure::Eap(EapError::Failure { mschap: Some(error) })
                if error.code == MschapCode::AuthenticationFailure)
        };
        let mut unknown_user = office.eap_client(PASSWORD)?;
        unknown_user.auth =
            LocalAuth::EapMschapv2 { identity: "mallory".to_owned(), password: Secret::new(PASSWORD) };
        let mut someone = psk_gateway();
        someone.psks = vec![(vec!["bob@lab.example".to_owned()], PSK.to_owned())];
        all_are_refused(
            &network()?,
            vec![
                Case::new("a wrong PSK", psk_gateway(), psk_config(ALICE_MAIL, "wrong")?, rejected),
                Case::new("a PSK of somebody else's", someone, psk_config(ALICE_MAIL, PSK)?, rejected),
                Case::new("a wrong password", gateway()?, office.eap_client("wrong")?, wrong_password),
                Case::new("an unknown user", gateway()?, unknown_user, |failure| {
                    matches!(failure, Failure::Eap(EapError::Failure { .. }))
                }),
            ],
        )
    });
}

#[test]
fn gateways_with_bad_certificates_are_refused() {
    sandbox::run(|| {
        let office = Office::new(Key::P256)?;
        let shows =
            |leaf: Leaf| -> anyhow::Result<Config> { Ok(office.eap_gateway(office.root.issue(&leaf)?)) };
        let good = || Leaf::gateway("vpn.lab.example");
        let mut stranger = office.eap_client(PASSWORD)?;
        stranger.peer_auth = trust(&Authority::root("Somebody Else's Root", Key::P256)?)?;
        let client = || office.eap_client(PASSWORD);
        let mut wants_certificate = psk_config(ALICE_MAIL, PSK)?;
        wants_certificate.peer_auth = office.trust()?;
        all_are_refused(
            &network()?,
            vec![
                Case::new("an unknown CA", shows(good()?)?, stranger, |failure| {
                    certificate(failure) == Some(&CertificateError::UnknownIssuer)
                }),
                Case::new(
                    "an expired certificate",
                    shows(good()?.validity(Validity::Expired))?,
                    client()?,
                    |failure| matches!(certificate(failure), Some(CertificateError::Expired { .. })),
                ),
                Case::new(
                    "a certificate from the future",
                    shows(good()?.validity(Validity::Future))?,
                    client()?,
                    |failure| matches!(certificate(failure), Some(CertificateError::NotYetValid { .. })),
                ),
                Case::new(
                    "a certificate for signing code",
                    shows(good()?.usage(Usage::CodeSigning))?,
                    client()?,
                    |failure| certificate(failure) == Some(&CertificateError::WrongUsage),
                ),
                Case::new(
                    "a client's certificate",
                    shows(good()?.usage(Usage::Client))?,
                    client()?,
                    |failure| certificate(failure) == Some(&CertificateError::WrongUsage),
                ),
                Case::new("a PSK instead of a certificate", psk_gateway(), wants_certificate, |failure| {
                    matches!(failure, Failure::PeerAuth(PeerAuthFailure::MethodMismatch { method: 2 }))
                }),
            ],
        )
    });
}

#[test]
fn gateways_that_are_somebody_else_are_refused() {
    sandbox::run(|| {
        let office = Office::new(Key::P256)?;
        let other = Leaf::gateway("other.lab.example")?;
        let mut gateway = office.eap_gateway(office.root.issue(&other)?);
        // charon answers with an identity of its own when it is asked for one that it can't prove.
        gateway.connections[0].local_id = "other.lab.example".to_owned();
        let mut unasked = office.eap_client(PASSWORD)?;
        unasked.remote_id = Some("vpn.lab.example".parse()?);
        all_are_refused(
            &network()?,
            vec![Case::new("another gateway", gateway, unasked, |failure| {
                matches!(failure, Failure::AuthenticationRejected)
                    || matches!(failure, Failure::PeerAuth(PeerAuthFailure::WrongIdentity { .. }))
            })],
        )
    });
}

#[test]
fn clients_with_bad_certificates_are_refused() {
    sandbox::run(|| {
        let office = Office::new(Key::P256)?;
        let gateway =
            || -> anyhow::Result<Config> { Ok(office.certificate_gateway(office.gateway(Key::P256)?)) };
        let rejected = |failure: &Failure| matches!(failure, Failure::AuthenticationRejected);
        let mut cases = Vec::new();
        let stranger = Authority::root("Somebody Else's Root", Key::P256)?;
        let alice = || Leaf::client(ALICE_MAIL);
        for (what, identity) in [
            ("a certificate of an unknown CA", stranger.issue(&alice()?)?),
            ("an expired certificate", office.root.issue(&alice()?.validity(Validity::Expired))?),
        ] {
            let (client, key) = office.certificate_client(&identity)?;
            cases.push(Case { key: Some(key), ..Case::new(what, gateway()?, client, rejected) });
        }
        // A certificate that is good, with a key that is another's: the signature can't be verified.
        let (client, _key) = office.certificate_client(&office.alice(Key::P256)?)?;
        let (_, other) = office.certificate_client(&office.alice(Key::P256)?)?;
        let case = Case::new("a key that is not the certificate's", gateway()?, client, rejected);
        cases.push(Case { key: Some(other), ..case });
        let (client, _key) = office.certificate_client(&office.alice(Key::P256)?)?;
        cases.push(Case::new("a key that can't be used", gateway()?, client, |failure| {
            matches!(failure, Failure::SignatureUnavailable)
        }));
        all_are_refused(&network()?, cases)
    });
}

#[test]
fn what_does_not_fit_together_is_refused() {
    sandbox::run(|| {
        let client = || psk_config(ALICE_MAIL, PSK);
        let mut other_ike = client()?;
        other_ike.ike = IkeProposals(vec!["aes128-sha256-modp2048".parse()?]);
        let mut other_group = client()?;
        other_group.ike = IkeProposals(vec!["aes256gcm16-prfsha256-ecp256".parse()?]);
        let mut other_esp = client()?;
        other_esp.esp = EspProposals(vec!["aes128-sha256".parse()?]);
        let mut other_network = client()?;
        other_network.ts_remote = TrafficSelector::from_cidr("172.16.0.0".parse()?, 12).into_iter().collect();
        let mut no_address = client()?;
        (no_address.request_ipv4, no_address.request_ipv6) = (false, false);
        let mut wants_eap = psk_gateway();
        wants_eap.connections[0].remote = Auth::EapMschapv2;
        all_are_refused(
            &network()?,
            vec![
                Case::new("no common IKE cipher", psk_gateway(), other_ike, |failure| {
                    matches!(failure, Failure::NoProposalChosen)
                }),
                Case::new("no common group", psk_gateway(), other_group, |failure| {
                    matches!(failure, Failure::NoProposalChosen | Failure::InvalidKe(_))
                }),
                Case::new("no common ESP cipher", psk_gateway(), other_esp, |failure| {
                    matches!(failure, Failure::ChildNoProposal)
                }),
                Case::new("no common network", psk_gateway(), other_network, |failure| {
                    matches!(failure, Failure::TsUnacceptable)
                }),
                Case::new("asking for no address", psk_gateway(), no_address, |failure| {
                    matches!(failure, Failure::FailedCpRequired | Failure::TsUnacceptable)
                }),
                Case::new("a PSK where a password is wanted", wants_eap, client()?, |failure| {
                    matches!(failure, Failure::AuthenticationRejected)
                }),
            ],
        )
    });
}

#[test]
fn a_gateway_without_a_free_address_is_reported_as_such() {
    sandbox::run(|| {
        let network = Topology::behind(Nat::preserving()).clients(2).build()?;
        let mut gateway = psk_gateway();
        gateway.pools[0].addresses = "10.20.0.1-10.20.0.1".to_owned();
        let _charon = Charon::start(&network.gateway, gateway)?;
        let at = network.gateway_address();
        let _first =
            EngineClient::connect(&network.clients[0], at, psk_config("one@lab.example", PSK)?, None)?;
        let second = psk_config("two@lab.example", PSK)?;
        let failure = EngineClient::refused(&network.clients[1], at, second, None)?;
        ensure!(matches!(failure, Failure::InternalAddressFailure), "{failure:?}");
        Ok(())
    });
}

fn certificate(failure: &Failure) -> Option<&CertificateError> {
    if let Failure::PeerAuth(PeerAuthFailure::Certificate(error)) = failure { Some(error) } else { None }
}
