use super::*;

const SHORTLY: Duration = Duration::from_millis(1);

fn report(verdict: PortalVerdict) -> PortalReport {
    let url = (verdict == PortalVerdict::Portal).then(|| "http://portal.hotel.example/".parse().unwrap());
    PortalReport { verdict, url, evidence: Vec::new(), took_ms: 1 }
}

fn steps(search: &mut PortalSearch) -> Vec<Step> {
    std::iter::from_fn(|| search.poll_step()).collect()
}

/// A search for which the gateway has not answered since `asked`.
fn asking(asked: Instant) -> PortalSearch {
    let mut search = PortalSearch::new();
    assert_eq!(steps(&mut search), [Step::Outlast(true)]);
    search.observe(Standing::Asking, asked);
    assert_eq!(steps(&mut search), []);
    search
}

/// One that looks.
fn looking(asked: Instant) -> PortalSearch {
    let mut search = asking(asked);
    search.observe(Standing::Asking, asked + UNANSWERED);
    assert_eq!(steps(&mut search), [Step::Look]);
    search
}

/// One that has found a portal.
fn held(asked: Instant) -> PortalSearch {
    let mut search = looking(asked);
    search.handle_report(&report(PortalVerdict::Portal), asked + UNANSWERED);
    assert!(search.found().is_some());
    assert_eq!(steps(&mut search), []);
    search
}

#[test]
fn a_gateway_that_answers_in_time_leaves_nobody_asked() {
    let now = Instant::now();
    let mut search = asking(now);
    assert_eq!(search.poll_timeout(), Some(now + UNANSWERED));
    search.observe(Standing::Asking, now + UNANSWERED - SHORTLY);
    search.observe(Standing::Settled, now + UNANSWERED - SHORTLY);
    assert_eq!((steps(&mut search), search.poll_timeout()), (vec![], None));
}

#[test]
fn what_fails_sooner_is_looked_into_sooner() {
    let now = Instant::now();
    let mut search = asking(now);
    search.observe(Standing::Pausing, now + SHORTLY);
    assert_eq!(steps(&mut search), [Step::Look]);
    let mut search = PortalSearch::new();
    search.observe(Standing::Pausing, now);
    assert_eq!(steps(&mut search), [Step::Outlast(true), Step::Look]);
}

#[test]
fn without_a_portal_the_wish_outlasts_nothing_any_more() {
    let now = Instant::now();
    for verdict in [PortalVerdict::NoPortal, PortalVerdict::Inconclusive] {
        let mut search = looking(now);
        search.handle_report(&report(verdict), now);
        assert_eq!(steps(&mut search), [Step::Forget, Step::Outlast(false)]);
        assert_eq!(search.poll_timeout(), None);
    }
}

#[test]
fn a_look_that_never_ends_is_ended() {
    let now = Instant::now();
    let mut search = looking(now);
    let due = search.poll_timeout().unwrap();
    assert_eq!(due, now + UNANSWERED + PATIENCE);
    search.observe(Standing::Pausing, due);
    assert_eq!(steps(&mut search), [Step::Forget, Step::Outlast(false)]);
}

#[test]
fn there_is_one_look_an_attempt() {
    let now = Instant::now();
    let mut search = looking(now);
    search.handle_report(&report(PortalVerdict::NoPortal), now);
    steps(&mut search);
    search.observe(Standing::Asking, now);
    assert_eq!(search.poll_timeout(), None, "the same attempt is looked into twice");
    search.observe(Standing::Pausing, now);
    search.observe(Standing::Asking, now);
    assert_eq!(search.poll_timeout(), Some(now + UNANSWERED));
}

#[test]
fn a_portal_is_there_until_its_watch_says_otherwise_and_then_the_gateway_is_tried() {
    let now = Instant::now();
    let mut search = held(now);
    search.observe(Standing::Pausing, now);
    search.observe(Standing::Asking, now + 100 * PATIENCE);
    assert_eq!(steps(&mut search), []);
    assert_eq!(search.found().unwrap().since, now + UNANSWERED);
    let moved = PortalReport { url: None, ..report(PortalVerdict::Portal) };
    search.handle_report(&moved, now + 100 * PATIENCE);
    let expected = Found { url: None, since: now + UNANSWERED };
    assert_eq!((search.found().cloned(), steps(&mut search)), (Some(expected), vec![]));
    search.handle_report(&report(PortalVerdict::NoPortal), now);
    assert_eq!((search.found().cloned(), steps(&mut search)), (None, vec![Step::Forget, Step::StartOver]));
}

#[test]
fn whatever_the_gateway_answers_there_is_no_portal() {
    let now = Instant::now();
    for mut search in [looking(now), held(now)] {
        search.observe(Standing::Settled, now);
        assert_eq!((search.found().cloned(), steps(&mut search)), (None, vec![Step::Forget]));
        // What was on its way says nothing any more.
        search.handle_report(&report(PortalVerdict::Portal), now);
        assert_eq!(search.found(), None);
    }
}

#[test]
fn on_another_network_everything_begins_anew() {
    let now = Instant::now();
    let mut search = held(now);
    search.handle_network_change();
    assert_eq!((search.found().cloned(), steps(&mut search)), (None, vec![Step::Forget, Step::StartOver]));
    search.observe(Standing::Asking, now);
    assert_eq!(search.poll_timeout(), Some(now + UNANSWERED));
    // A network that keeps changing does not keep the look from beginning.
    search.handle_network_change();
    search.observe(Standing::Asking, now + UNANSWERED);
    assert_eq!(steps(&mut search), [Step::Look]);
    search.handle_network_change();
    assert_eq!(steps(&mut search), [Step::Forget]);
}

#[test]
fn another_network_is_looked_at_before_the_wish_ends() {
    let now = Instant::now();
    for paused in [false, true] {
        let mut search = looking(now);
        search.handle_report(&report(PortalVerdict::NoPortal), now);
        assert_eq!(steps(&mut search), [Step::Forget, Step::Outlast(false)]);
        if paused {
            // The next attempt, which has not been silent for long.
            search.observe(Standing::Pausing, now);
            search.observe(Standing::Asking, now);
        }
        search.handle_network_change();
        assert_eq!(steps(&mut search), [Step::Outlast(true)]);
        // What fails at once is looked into.
        search.observe(Standing::Pausing, now);
        assert_eq!(steps(&mut search), [Step::Look]);
        search.handle_report(&report(PortalVerdict::NoPortal), now);
        assert_eq!(steps(&mut search), [Step::Forget, Step::Outlast(false)]);
    }
}

#[test]
fn a_portal_found_later_is_outlasted_too() {
    let now = Instant::now();
    let mut search = looking(now);
    search.handle_report(&report(PortalVerdict::NoPortal), now);
    search.observe(Standing::Settled, now);
    search.observe(Standing::Pausing, now);
    steps(&mut search);
    search.handle_report(&report(PortalVerdict::Portal), now);
    assert_eq!(steps(&mut search), [Step::Outlast(true)]);
}
