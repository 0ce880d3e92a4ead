use super::super::testing::{GATEWAY, Network, There, config, redirect, says};
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

/// Three seconds, and what a busy machine may add to that.
const ON_A_BUSY_MACHINE: Duration = Duration::from_secs(3 + 8);

#[tokio::test]
async fn a_portal_that_lets_go_is_gone_within_three_seconds_and_one_that_moves_is_followed() {
    let first = says(redirect("http://login.hotel.example/")).await;
    let second = says(redirect("http://login.hotel.example/step2")).await;
    let (mut watch, network, _) = watched(Network::new().host(GATEWAY, 80, first)).await;

    network.put(GATEWAY, 80, second);
    let Some(PortalEvent::Moved(moved)) = next(&mut watch).await else { panic!("not moved") };
    assert_eq!(moved.url.map(String::from).as_deref(), Some("http://login.hotel.example/step2"));

    let login = Instant::now();
    network.put(GATEWAY, 80, There::Refuses);
    let Some(PortalEvent::Gone(gone)) = next(&mut watch).await else { panic!("not gone") };
    assert_eq!(gone.verdict, PortalVerdict::NoPortal);
    assert!(login.elapsed() < ON_A_BUSY_MACHINE, "{:?}", login.elapsed());
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_portal_that_falls_silent_is_gone_within_three_seconds_too() {
    let portal = says(redirect("http://login.hotel.example/")).await;
    let (mut watch, network, _) = watched(Network::new().host(GATEWAY, 80, portal)).await;
    let login = Instant::now();
    network.put(GATEWAY, 80, There::Silent);
    let Some(PortalEvent::Gone(gone)) = next(&mut watch).await else { panic!("not gone") };
    assert_eq!(gone.verdict, PortalVerdict::Inconclusive);
    assert!(login.elapsed() < ON_A_BUSY_MACHINE, "{:?}", login.elapsed());
}

#[tokio::test]
async fn waiting_for_an_event_may_be_given_up_without_starting_over() {
    let portal = says(redirect("http://login.hotel.example/")).await;
    let (mut watch, network, _) = watched(Network::new().host(GATEWAY, 80, portal)).await;
    network.put(GATEWAY, 80, There::Refuses);
    let started = Instant::now();
    loop {
        // As an event loop does that has other things to do.
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(10), watch.next()).await {
            assert!(matches!(event, Some(PortalEvent::Gone(_))));
            break;
        }
        assert!(started.elapsed() < ON_A_BUSY_MACHINE, "never");
    }
}

#[test]
fn two_hundred_probes_are_sent_in_five_minutes_and_six_a_minute_after_that() {
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
    assert_eq!(count(1), 40);
    assert_eq!(count(5), 200);
    assert_eq!(count(6), 206);
    assert_eq!(count(60), 200 + 55 * 6);
    // What a login has to wait for at most: the rest of one probe's turn, and the next one.
    assert!(SOON + BUDGET < Duration::from_secs(3));
}
