use std::sync::atomic::Ordering;

use evenkeel_ipc::{PortalPage, PortalVerdict, Redirection};

use super::testing::{
    API, CHECK, GATEWAY, Network, PROBE, There, config, listen, ok, redirect, says, server,
};
use super::*;

type Probe = PortalProbe<Arc<Network>>;

/// Probes and checks what holds for every probe whatever comes back.
async fn probe(config: PortalConfig, network: Network) -> (PortalReport, Arc<Network>) {
    let network = Arc::new(network);
    let report = Probe::new(config, Arc::clone(&network)).probe().await;
    assert!(report.took_ms <= 2_000, "{report:?}");
    assert!(network.connections.load(Ordering::Relaxed) <= Probe::MAX_CONNECTIONS);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<PortalReport>(&json).unwrap(), report);
    (report, network)
}

async fn verdict(config: PortalConfig, network: Network) -> (PortalVerdict, Option<String>) {
    let report = probe(config, network).await.0;
    (report.verdict, report.url.map(String::from))
}

fn outcome_of(report: &PortalReport, wanted: PortalPage) -> Option<HttpOutcome> {
    report.evidence.iter().find_map(|one| {
        let PortalEvidence::Http { page, outcome, .. } = one else { return None };
        (*page == wanted).then(|| outcome.clone())
    })
}

#[tokio::test(start_paused = true)]
async fn a_portal_that_redirects_everything_is_found_with_its_page() {
    let portal = says(redirect("http://login.hotel.example/?room=1"));
    let network = Network::new().host(GATEWAY, 80, portal);
    let (report, _) = probe(config(false), network).await;
    assert_eq!(report.verdict, PortalVerdict::Portal);
    assert_eq!(report.url.map(String::from).as_deref(), Some("http://login.hotel.example/?room=1"));
}

#[tokio::test(start_paused = true)]
async fn a_false_page_and_511_are_portals_at_the_page_that_was_asked_for() {
    for answer in [ok("<html>Welcome"), "HTTP/1.1 511 Network Authentication Required\r\n\r\n<a>".to_owned()]
    {
        let network = Network::new().host(PROBE, 80, says(answer.clone()));
        let found = verdict(config(true), network).await;
        assert_eq!(found, (PortalVerdict::Portal, Some("http://probe.example/x".to_owned())), "{answer}");
        let network = Network::new().host(GATEWAY, 80, says(answer.clone()));
        let found = verdict(config(false), network).await;
        let page = "http://vpn.corp.example/connectivity-check".to_owned();
        assert_eq!(found, (PortalVerdict::Portal, Some(page)), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_gateways_and_proxies_answer_is_no_portal() {
    for answer in [
        redirect("https://vpn.corp.example/"),
        redirect("https://www.corp.example/remote"),
        redirect("/login"),
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n<html>no such page".to_owned(),
        "HTTP/1.1 403 Forbidden\r\nVia: 1.1 proxy (squid/5.7)\r\n\r\n".to_owned(),
        "HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n<html>".to_owned(),
    ] {
        let network = Network::new().host(GATEWAY, 80, says(answer.clone()));
        assert_eq!(verdict(config(false), network).await, (PortalVerdict::NoPortal, None), "{answer}");
    }
    let network = Network::new().host(GATEWAY, 80, There::Refuses);
    assert_eq!(verdict(config(false), network).await.0, PortalVerdict::NoPortal);
}

#[tokio::test(start_paused = true)]
async fn the_right_answer_through_a_proxy_clears_a_gateway_that_leads_elsewhere() {
    let squid = "HTTP/1.1 200 OK\r\nVia: 1.1 proxy (squid/5.7)\r\nX-Cache: HIT from proxy\r\nContent-Length: 8\r\n\r\nsuccess\n";
    let network = Network::new().host(PROBE, 80, says(squid)).host(
        GATEWAY,
        80,
        says(redirect("https://group.example.org/")),
    );
    let (report, _) = probe(config(true), network).await;
    assert_eq!(report.verdict, PortalVerdict::NoPortal);
    let proxied = |one: &PortalEvidence| matches!(one, PortalEvidence::Http { proxied: true, .. });
    assert!(report.evidence.iter().any(proxied), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_inconclusive_and_takes_no_more_than_the_budget() {
    let (report, _) = probe(config(true), Network::new()).await;
    assert_eq!(report.verdict, PortalVerdict::Inconclusive);
    assert!(report.took_ms >= 1500, "{report:?}");
    for page in [PortalPage::Gateway, PortalPage::Profile] {
        assert_eq!(outcome_of(&report, page), Some(HttpOutcome::Silent), "{page:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn settled_matters_are_not_waited_for() {
    // The gateway's port 80 is silent, as filters make it.
    let network = Network::new().host(PROBE, 80, says(ok("success")));
    let (report, _) = probe(config(true), network).await;
    assert_eq!(report.verdict, PortalVerdict::NoPortal);
    assert!(report.took_ms < 1_000, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn the_systems_check_is_asked_unless_the_profile_names_a_page() {
    let online = "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\nNetworkManager is online\n";
    let network = Network::new().check(Connectivity::Portal).host(CHECK, 80, says(online));
    let (report, _) = probe(config(false), network).await;
    assert_eq!(outcome_of(&report, PortalPage::System), Some(HttpOutcome::Expected { status: 200 }));
    let memory = PortalEvidence::System { connectivity: SystemConnectivity::Portal };
    assert!(report.evidence.contains(&memory));
    assert_eq!(report.verdict, PortalVerdict::NoPortal, "what is seen goes before what is remembered");

    let network = Network::new().check(Connectivity::Full).host(CHECK, 80, says(online));
    let (report, network) = probe(config(true), network).await;
    assert_eq!(outcome_of(&report, PortalPage::System), None);
    let check: IpAddr = CHECK.parse().unwrap();
    assert!(network.asked.lock().unwrap().iter().all(|remote| remote.ip() != check), "asked all the same");
}

#[tokio::test(start_paused = true)]
async fn hostile_answers_neither_hang_nor_grow() {
    async fn pour(mut stream: tokio::io::DuplexStream, start: &'static str, piece: &'static [u8]) {
        if stream.write_all(start.as_bytes()).await.is_ok() {
            while stream.write_all(piece).await.is_ok() {}
        }
    }
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xed\xc1\x01\x0d\x00\x00\x00\xc2\xa0\xf7Om\x0e7\xa0";
    let not_http = [PortalVerdict::Inconclusive];
    let portal = [PortalVerdict::Portal];
    let body = server(|stream| pour(stream, "HTTP/1.1 200 OK\r\n\r\n", b"success success "));
    let spaces = server(|stream| pour(stream, "HTTP/1.1 200 OK\r\n\r\n", b"                "));
    let head =
        server(|stream| pour(stream, "HTTP/1.1 200 OK\r\n", b"X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"));
    let field = server(|stream| {
        pour(stream, "HTTP/1.1 302 Found\r\nLocation: http://a.example/", b"aaaaaaaaaaaaaaa")
    });
    let bomb = server(move |stream| pour(stream, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", gzip));
    let chunks = says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nsuccess\r\n");
    let interim = server(|stream| pour(stream, "", b"HTTP/1.1 100 Continue\r\n\r\n"));
    let binary = says([0xff; 4000]);
    for (what, there, allowed) in [
        ("an endless body", body, portal),
        ("endless white space", spaces, portal),
        ("a gzip bomb", bomb, portal),
        ("endless fields", head, not_http),
        ("an endless field", field, not_http),
        ("endless interim responses", interim, not_http),
        ("broken chunks", chunks, not_http),
        ("bytes", binary.clone(), not_http),
        ("a control character", says(redirect("http://login.hotel.example/\u{1b}[2J")), not_http),
        ("nothing", says(""), not_http),
    ] {
        // The gateway says nothing that tells anything, at once.
        let network = Network::new().host(PROBE, 80, there).host(GATEWAY, 80, binary.clone());
        let (report, _) = probe(config(true), network).await;
        assert!(allowed.contains(&report.verdict), "{what}: {report:?}");
        let outcome = outcome_of(&report, PortalPage::Profile).unwrap();
        assert_eq!(outcome == HttpOutcome::NotHttp, allowed == not_http, "{what}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_drip_ends_with_the_budget() {
    let drip = server(|mut stream| async move {
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            .iter()
            .cycle()
        {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let network = Network::new().host(PROBE, 80, drip).host(GATEWAY, 80, There::Silent);
    let (report, _) = probe(config(true), network).await;
    assert_eq!(report.verdict, PortalVerdict::Inconclusive);
    assert_eq!(outcome_of(&report, PortalPage::Profile), Some(HttpOutcome::Silent));
}

#[tokio::test(start_paused = true)]
async fn a_redirect_that_may_not_be_opened_is_a_portal_whose_page_is_the_one_asked_for() {
    let long = format!("http://login.hotel.example/{}", "x".repeat(10_000));
    for location in ["javascript:alert(1)", "file:///etc/passwd", &long, "http://a@b.example/"] {
        let network = Network::new().host(PROBE, 80, says(redirect(location)));
        let found = verdict(config(true), network).await;
        assert_eq!(found, (PortalVerdict::Portal, Some("http://probe.example/x".to_owned())), "{location}");
    }
    let mut invalid = redirect("http://login.hotel.example/").into_bytes();
    invalid["HTTP/1.1 302 Found\r\nLocation: http://".len()] = 0xff;
    let network = Network::new().host(PROBE, 80, says(invalid));
    let (report, _) = probe(config(true), network).await;
    let outcome = outcome_of(&report, PortalPage::Profile);
    let unusable = HttpOutcome::Redirect { status: 302, to: None, towards: Redirection::Unusable };
    assert_eq!(outcome, Some(unusable));
}

#[tokio::test(start_paused = true)]
async fn a_lying_resolver_leads_neither_to_this_machine_nor_into_the_tunnel_nor_to_a_thousand_hosts() {
    let config = config(true).never_asking(["10.10.0.7".parse().unwrap()]);
    let network = Network::new()
        .name("vpn.corp.example", &["127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1", "10.10.0.7"])
        .name("probe.example", &[]);
    let (report, network) = probe(config.clone(), network).await;
    assert_eq!(report.verdict, PortalVerdict::Inconclusive);
    assert_eq!(outcome_of(&report, PortalPage::Gateway), Some(HttpOutcome::NoAddress));
    assert_eq!(outcome_of(&report, PortalPage::Profile), Some(HttpOutcome::NoAddress));
    assert!(network.asked.lock().unwrap().is_empty());

    let many: Vec<String> = (0..1000).map(|n| format!("10.{}.{}.1", n / 250, n % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let network = Network::new().name("vpn.corp.example", &many).name("probe.example", &many);
    let (report, network) = probe(config, network).await;
    assert_eq!(report.verdict, PortalVerdict::Inconclusive);
    assert_eq!(network.connections.load(Ordering::Relaxed), 2 * address::MAX_ADDRESSES);
    let counted = |one: &PortalEvidence| {
        matches!(
            one,
            PortalEvidence::Dns { outcome: DnsOutcome::Addresses { count: 1000, private: true, .. }, .. }
        )
    };
    assert!(report.evidence.iter().any(counted), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn one_address_for_unrelated_names_is_seen_as_a_hijack() {
    let portal = says(redirect("/login"));
    let network = Network::new()
        .name("vpn.corp.example", &["10.0.0.1"])
        .name("check.example.net", &["10.0.0.1"])
        .check(Connectivity::Unknown)
        .host("10.0.0.1", 80, portal);
    let (report, _) = probe(config(false), network).await;
    assert_eq!(report.verdict, PortalVerdict::Portal);
    assert!(report.evidence.contains(&PortalEvidence::DnsHijack { address: "10.0.0.1".parse().unwrap() }));
    assert_eq!(report.url.map(String::from).as_deref(), Some("http://check.example.net/login"));
}

#[tokio::test(start_paused = true)]
async fn the_next_address_is_tried_beside_one_that_is_silent() {
    let network = Network::new()
        .name("probe.example", &["192.0.2.1", "192.0.2.2", PROBE])
        .host("192.0.2.2", 80, There::Refuses)
        .host(PROBE, 80, says(ok("success")));
    let (report, _) = probe(config(true), network).await;
    assert_eq!(outcome_of(&report, PortalPage::Profile), Some(HttpOutcome::Expected { status: 200 }));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_exist_is_told_from_one_that_nobody_knows() {
    let (report, _) = probe(config(true), Network::new().without("probe.example")).await;
    assert_eq!(outcome_of(&report, PortalPage::Profile), Some(HttpOutcome::NoAddress));
    let missing =
        PortalEvidence::Dns { host: "probe.example".parse().unwrap(), outcome: DnsOutcome::NotFound };
    assert!(report.evidence.contains(&missing));
}

/// An API by https that takes `delay` to answer, and its certificate.
fn api(host: &str, delay: Duration, answer: &'static str) -> (There, Vec<u8>) {
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;

    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (mut listener, there) = listen();
    tokio::spawn(async move {
        while let Some(stream) = listener.recv().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut asked = vec![0; 1024];
            let count = stream.read(&mut asked).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..count]).into_owned();
            let right = asked.starts_with("GET /api?x HTTP/1.1\r\n")
                && asked.contains("Accept: application/captive+json");
            let body = if right { answer } else { "wrong request" };
            tokio::time::sleep(delay).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/captive+json\r\nContent-Length";
            let _ = stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (there, certificate.to_vec())
}

fn api_outcome(report: &PortalReport) -> Option<&ApiOutcome> {
    report.evidence.iter().find_map(|one| {
        let PortalEvidence::Api { outcome, .. } = one else { return None };
        Some(outcome)
    })
}

#[tokio::test(start_paused = true)]
async fn the_networks_api_is_asked_and_its_page_goes_before_the_redirects() {
    let answer = r#"{"captive":true,"user-portal-url":"https://login.hotel.example/room"}"#;
    let (there, root) = api("api.hotel.example", Duration::ZERO, answer);
    let network = Network::new().api("https://api.hotel.example/api?x", root).host(API, 443, there).host(
        PROBE,
        80,
        says(redirect("http://192.168.1.1/")),
    );
    let (report, _) = probe(config(true), network).await;
    assert_eq!(report.verdict, PortalVerdict::Portal, "{report:?}");
    assert_eq!(
        report.url.clone().map(String::from).as_deref(),
        Some("https://login.hotel.example/room"),
        "{report:?}"
    );
}

/// A network that redirects, and has an API that answers so long after the system has named it, which takes its time.
fn hotel(delay: Duration) -> Network {
    let answer = r#"{"captive":true,"user-portal-url":"https://login.hotel.example/room"}"#;
    let (there, root) = api("api.hotel.example", delay, answer);
    let network = Network::new().api("https://api.hotel.example/api?x", root).host(API, 443, there);
    network.host(PROBE, 80, says(redirect("http://192.168.1.1/"))).hints_after(Duration::from_millis(450))
}

#[tokio::test(start_paused = true)]
async fn an_api_has_its_time_although_a_redirect_has_settled_the_matter() {
    let (report, _) = probe(config(true), hotel(Duration::from_millis(700))).await;
    let page = report.url.clone().map(String::from);
    assert_eq!(page.as_deref(), Some("https://login.hotel.example/room"), "{report:?}");
    // With the half second before a look, within two seconds of Connect.
    assert!(report.took_ms < 1_500, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn an_api_that_takes_too_long_leaves_the_redirects_page() {
    let (report, _) = probe(config(true), hotel(Duration::from_secs(60))).await;
    assert_eq!(report.url.clone().map(String::from).as_deref(), Some("http://192.168.1.1/"), "{report:?}");
    assert!(report.took_ms < 1_500, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn where_no_api_is_named_a_redirect_is_told_at_once() {
    // The gateway's port 80 is silent.
    let network = Network::new().host(PROBE, 80, says(redirect("http://192.168.1.1/")));
    let (report, _) = probe(config(true), network).await;
    assert_eq!(report.verdict, PortalVerdict::Portal);
    assert!(report.took_ms <= 200, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_a_profile_names_is_not_asked_for_on_the_link_alone() {
    let local = ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1"];
    let network = Network::new().name("probe.example", &local);
    let (report, network) = probe(config(true), network).await;
    assert_eq!(outcome_of(&report, PortalPage::Profile), Some(HttpOutcome::NoAddress));
    let gateway: IpAddr = GATEWAY.parse().unwrap();
    assert!(network.asked.lock().unwrap().iter().all(|remote| remote.ip() == gateway));
    // A portal may be there, and answer in the gateway's name.
    let there = says(redirect("http://login.hotel.example/"));
    let network = Network::new().name("vpn.corp.example", &["169.254.1.1"]).host("169.254.1.1", 80, there);
    assert_eq!(verdict(config(false), network).await.0, PortalVerdict::Portal);
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_somebody_else_is_not_believed() {
    let (there, root) = api("other.hotel.example", Duration::ZERO, r#"{"captive":true}"#);
    let network = Network::new().api("https://api.hotel.example/api?x", root).host(API, 443, there);
    let (report, _) = probe(config(false), network).await;
    assert_eq!(api_outcome(&report), Some(&ApiOutcome::Untrusted));
    assert_eq!(report.verdict, PortalVerdict::Inconclusive);

    // Nobody is asked who could not be believed.
    let network = Network::new().api("http://api.hotel.example/api?x", Vec::new());
    let (report, _) = probe(config(false), network).await;
    assert_eq!(api_outcome(&report), None);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_says_it_has_no_portal_is_heard() {
    let network = Network::new().api(api::UNRESTRICTED, Vec::new());
    let (report, _) = probe(config(false), network).await;
    assert!(report.evidence.contains(&PortalEvidence::Unrestricted));
    assert_eq!(report.verdict, PortalVerdict::NoPortal);
}

#[test]
fn a_profile_that_says_not_to_look_makes_no_probe() {
    let text = "name = \"P\"\ngateway = \"vpn.corp.example\"\nremote_id = \"gw.corp.example\"\n[auth]\nmethod = \"psk\"\n";
    let profile = |more: &str| {
        let text = format!("{text}{more}");
        let loaded =
            evenkeel_profile::parse_toml("p".as_ref(), text.as_bytes(), None, &mut |_| unreachable!());
        loaded.map(|loaded| loaded.profile).unwrap_or_else(|error| panic!("{error}"))
    };
    assert!(PortalConfig::new(&profile("[portal]\ndetect = false\n")).is_none());
    let config = PortalConfig::new(&profile("")).unwrap();
    assert_eq!(config.names, ["gw.corp.example".parse().unwrap()]);
    assert_eq!(config.page, None);
}
