use std::time::Duration;

use evenkeel_platform::net_events::{NetEvent, NetEvents};

use crate::network::{ip, isolated};

/// Reads on until `wanted` was seen; whatever else comes does not matter, as the kernel may say more.
async fn until(events: &mut NetEvents, wanted: impl Fn(&NetEvent) -> bool) -> NetEvent {
    let reading = async {
        loop {
            let event = events.next().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap()
}

#[test]
fn links_addresses_and_default_routes_are_seen_to_change() {
    isolated("net_events::links_addresses_and_default_routes_are_seen_to_change", || async {
        let mut events = NetEvents::open().unwrap();
        ip("link set eth0 down");
        let down = until(&mut events, |event| matches!(event, NetEvent::Link { .. })).await;
        assert!(matches!(down, NetEvent::Link { ref name, up: false, .. } if name == "eth0"), "{down:?}");
        ip("link set eth0 up");
        until(&mut events, |event| matches!(event, NetEvent::Link { name, up: true, .. } if name == "eth0"))
            .await;
        ip("addr add 192.168.1.51/24 dev eth0");
        until(&mut events, |event| matches!(event, NetEvent::Address { .. })).await;
        ip("route add default via 192.168.1.1 dev eth0");
        until(&mut events, |event| *event == NetEvent::DefaultRoute).await;
    });
}

#[test]
fn what_is_announced_again_is_no_event() {
    isolated("net_events::what_is_announced_again_is_no_event", || async {
        let mut events = NetEvents::open().unwrap();
        for _ in 0..10 {
            ip("addr replace 192.168.1.60/24 dev eth0 valid_lft 1000 preferred_lft 1000");
            ip("route add default dev eth0 table 77");
            ip("route del default dev eth0 table 77");
        }
        ip("route add default dev eth0 metric 9");
        let mut seen = Vec::new();
        while seen.last() != Some(&NetEvent::DefaultRoute) {
            let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap();
            seen.push(event.unwrap());
        }
        let addresses = seen.iter().filter(|event| matches!(event, NetEvent::Address { .. })).count();
        // Also one for each link-local address that the kernel makes meanwhile, at the most.
        assert!((1..=3).contains(&addresses), "{seen:?}");
        assert_eq!(seen.iter().filter(|event| **event == NetEvent::DefaultRoute).count(), 1);
    });
}
