use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_ipc::{ApiOutcome, PortalEvidence};
use tokio::io::AsyncWriteExt;

use super::super::testing::{GATEWAY, Network, There, config, redirect, says, says_after, server};
use super::*;

/// A watch of a portal, its network, and the page that was found.
async fn watched(network: Network) -> (PortalWatch, Arc<Network>, PortalReport) {
    let network = Arc::new(network);
    let probe = Arc::new(PortalProbe::new(config(false), Arc::clone(&network)));
    let found = probe.probe().await;
    assert_eq!(found.verdict, PortalVerdict::Portal);
    (PortalWatch::start(probe, &found), network, found)
}

/// The next event, which must not take for ever.
async fn next(watch: &mut PortalWatch) -> Option<PortalEvent> {
    tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("no event")
}

/// How long after a login the portal is gone at most: the connection is promised within three seconds.
const PROMISED: Duration = Duration::from_millis(2500);

#[tokio::test(start_paused = true)]
async fn a_portal_that_lets_go_is_gone_in_time_and_one_that_moves_is_followed() {
    let first = says(redirect("http://login.hotel.example/"));
    let second = says(redirect("http://login.hotel.example/step2"));
    let (mut watch, network, _) = watched(Network::new().host(GATEWAY, 80, first)).await;

    network.put(GATEWAY, 80, second);
    let Some(PortalEvent::Moved(moved)) = next(&mut watch).await else { panic!("not moved") };
    assert_eq!(moved.url.map(String::from).as_deref(), Some("http://login.hotel.example/step2"));

    let login = Instant::now();
    network.put(GATEWAY, 80, There::Refuses);
    let Some(PortalEvent::Gone(gone)) = next(&mut watch).await else { panic!("not gone") };
    assert_eq!(gone.verdict, PortalVerdict::NoPortal);
    assert!(login.elapsed() < PROMISED, "{:?}", login.elapsed());
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_portal_that_falls_silent_is_gone_in_time_too() {
    let portal = says(redirect("http://login.hotel.example/"));
    let (mut watch, network, _) = watched(Network::new().host(GATEWAY, 80, portal)).await;
    let login = Instant::now();
    network.put(GATEWAY, 80, There::Silent);
    let Some(PortalEvent::Gone(gone)) = next(&mut watch).await else { panic!("not gone") };
    assert_eq!(gone.verdict, PortalVerdict::Inconclusive);
    assert!(login.elapsed() < PROMISED, "{:?}", login.elapsed());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_event_may_be_given_up_without_starting_over() {
    let portal = says(redirect("http://login.hotel.example/"));
    let (mut watch, network, _) = watched(Network::new().host(GATEWAY, 80, portal)).await;
    network.put(GATEWAY, 80, There::Refuses);
    let started = Instant::now();
    loop {
        // As an event loop does that has other things to do.
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(10), watch.next()).await {
            assert!(matches!(event, Some(PortalEvent::Gone(_))));
            break;
        }
        assert!(started.elapsed() < PROMISED, "never");
    }
}

#[tokio::test(start_paused = true)]
async fn a_portal_that_takes_more_than_a_second_to_answer_is_not_lost() {
    let slow = says_after(Duration::from_millis(1200), redirect("http://login.hotel.example/"));
    let (mut watch, network, _) = watched(Network::new().host(GATEWAY, 80, slow)).await;
    let event = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
    assert!(event.is_err(), "{event:?}");
    network.put(GATEWAY, 80, There::Refuses);
    assert!(matches!(next(&mut watch).await, Some(PortalEvent::Gone(_))));
}

#[tokio::test(start_paused = true)]
async fn one_question_that_is_lost_is_not_the_end_of_a_portal() {
    let portal = redirect("http://login.hotel.example/");
    let answered = AtomicUsize::new(0);
    // Every other connection is never heard of again.
    let half = server(move |mut stream| {
        let lost = !answered.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let portal = portal.clone();
        async move {
            if lost {
                std::future::pending::<()>().await;
            }
            // Who has seen enough may be gone.
            let _ = stream.write_all(portal.as_bytes()).await;
        }
    });
    let (mut watch, network, _) = watched(Network::new().host(GATEWAY, 80, half)).await;
    let event = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
    assert!(event.is_err(), "{event:?}");
    assert!(network.connections.load(Ordering::Relaxed) > 60, "it was not asked");
    // Nor is one that nobody could make anything of.
    let garbled = AtomicUsize::new(0);
    let half = server(move |mut stream| {
        let portal = redirect("http://login.hotel.example/");
        let odd = garbled.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        async move {
            let _ = stream.write_all(if odd { b"?" } else { portal.as_bytes() }).await;
        }
    });
    network.put(GATEWAY, 80, half);
    let event = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
    assert!(event.is_err(), "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_with_another_number_each_time_is_one_page() {
    let asked = AtomicUsize::new(0);
    let portal = server(move |mut stream| {
        let nonce = asked.fetch_add(1, Ordering::Relaxed);
        let answer = redirect(&format!("http://login.hotel.example/login?nonce={nonce}"));
        async move {
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let (mut watch, network, _) = watched(Network::new().host(GATEWAY, 80, portal)).await;
    let event = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
    assert!(event.is_err(), "{event:?}");
    assert!(network.connections.load(Ordering::Relaxed) > 20, "it was not asked");
}

#[test]
fn a_page_gives_way_to_another_but_the_apis_to_the_apis_only() {
    let report = |url: Option<&str>, api: Option<&str>| PortalReport {
        verdict: PortalVerdict::Portal,
        url: api.or(url).map(|url| url.parse().unwrap()),
        evidence: Vec::from_iter(api.map(|page| PortalEvidence::Api {
            url: "https://api.hotel.example/".parse().unwrap(),
            outcome: ApiOutcome::Answered {
                captive: true,
                user_portal_url: page.parse().ok(),
                venue_info_url: None,
                seconds_remaining: None,
            },
            took_ms: 1,
        })),
        took_ms: 1,
    };
    let mut page = Page::of(&report(None, None));
    for (url, api, replaces) in [
        (Some("http://a.example/login?1"), None, true),
        (Some("http://a.example/login?2"), None, false),
        (None, None, false),
        (Some("http://b.example/login"), None, true),
        (None, Some("https://c.example/login?1"), true),
        (Some("http://b.example/login"), None, false),
        (None, Some("https://c.example/login?2"), false),
        (None, Some("https://c.example/"), true),
    ] {
        assert_eq!(page.replaced_by(Page::of(&report(url, api))), replaces, "{url:?} {api:?}");
    }
}

#[test]
fn three_hundred_probes_are_sent_in_five_minutes_and_six_a_minute_after_that() {
    let started = Instant::now();
    let count = |minutes: u64| {
        let end = started + Duration::from_secs(60 * minutes);
        let mut due = started;
        let mut probes = 0;
        loop {
            due = next_after(started, due);
            if due > end {
                return probes;
            }
            probes += 1;
        }
    };
    assert_eq!(count(1), 60);
    assert_eq!(count(5), 300);
    assert_eq!(count(6), 306);
    assert_eq!(count(60), 300 + 55 * 6);
    // What a login has to wait for at most: the rest of one probe's turn, and the next one.
    assert!(SOON + BUDGET <= PROMISED);
}
