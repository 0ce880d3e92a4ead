use super::*;

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

fn gateway() -> Page {
    Page::of_gateway(&host("vpn.corp.example"), vec![host("remote.other.example")]).unwrap()
}

fn profile(answer: ProbeAnswer) -> Page {
    Page::of_profile(&ProbePage::new("http://probe.example/x".parse().unwrap(), answer).unwrap())
}

fn system(response: &str) -> Page {
    Page::of_system(&ConnectivityCheck {
        uri: "http://check.example/nm".to_owned(),
        response: response.to_owned(),
        connectivity: evenkeel_platform::network_hints::Connectivity::Unknown,
    })
    .unwrap()
}

/// What a whole response is.
fn judged(page: &Page, response: &str) -> HttpOutcome {
    let mut arrived = Response::default();
    arrived.push(response.as_bytes()).unwrap();
    if let Some(outcome) = page.judge(&arrived) {
        return outcome;
    }
    arrived.end().unwrap();
    page.judge(&arrived).expect("all is there")
}

fn towards(page: &Page, location: &str) -> (Redirection, Option<String>) {
    let outcome = judged(page, &format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n"));
    let HttpOutcome::Redirect { to, towards, .. } = outcome else { panic!("{outcome:?}") };
    (towards, to.map(String::from))
}

#[test]
fn a_request_says_nothing_about_who_asks() {
    assert_eq!(
        profile(ProbeAnswer::Status(204)).request(),
        "GET /x HTTP/1.1\r\nHost: probe.example\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    assert!(
        gateway().request().starts_with("GET /connectivity-check HTTP/1.1\r\nHost: vpn.corp.example\r\n")
    );
}

#[test]
fn redirects_are_told_apart_by_where_they_lead() {
    let gateway = gateway();
    for (location, expected) in [
        ("https://vpn.corp.example/", Redirection::SameHostSecure),
        ("https://VPN.corp.example:8443/login", Redirection::SameHostSecure),
        ("/login", Redirection::SameHost),
        ("login", Redirection::SameHost),
        ("https://www.corp.example/", Redirection::Related),
        ("https://corp.example/", Redirection::Related),
        ("https://remote.other.example/", Redirection::Related),
        ("http://login.hotel.example/?mac=x", Redirection::Elsewhere),
        ("http://192.168.1.1/portal", Redirection::Elsewhere),
        ("http://notcorp.example/", Redirection::Elsewhere),
        ("javascript:alert(1)", Redirection::Unusable),
        ("file:///etc/passwd", Redirection::Unusable),
        ("http://vpn.corp.example@evil.example/", Redirection::Unusable),
    ] {
        let (towards, to) = towards(&gateway, location);
        assert_eq!(towards, expected, "{location}");
        assert_eq!(to.is_none(), expected == Redirection::Unusable, "{location}");
    }
    let long = format!("http://login.hotel.example/{}", "x".repeat(10_000));
    assert_eq!(towards(&gateway, &long), (Redirection::Unusable, None));
    let nowhere = judged(&gateway, "HTTP/1.1 302 Found\r\n\r\n");
    assert_eq!(nowhere, HttpOutcome::Redirect { status: 302, to: None, towards: Redirection::Unusable });
}

#[test]
fn domains_are_shared_below_the_top_level_only() {
    for (one, other, shared) in [
        ("vpn.corp.example", "www.corp.example", true),
        ("vpn.corp.example", "a.b.corp.example", true),
        ("a.b.corp.example", "corp.example", false),
        ("b.corp.example", "corp.example", true),
        ("vpn.example", "www.example", false),
        ("vpn", "www", false),
        ("vpn.corp.example", "evilcorp.example", false),
        ("192.0.2.1", "192.0.2.2", false),
    ] {
        assert_eq!(share_domain(&host(one), &host(other)), shared, "{one} {other}");
        assert_eq!(share_domain(&host(other), &host(one)), shared, "{other} {one}");
    }
}

#[test]
fn a_gateway_named_by_its_address_may_redirect_to_its_name() {
    let page = Page::of_gateway(&host("198.51.100.10"), vec![host("vpn.corp.example")]).unwrap();
    assert_eq!(towards(&page, "https://vpn.corp.example/").0, Redirection::Related);
    assert_eq!(towards(&page, "https://198.51.100.10/").0, Redirection::SameHostSecure);
    assert_eq!(towards(&page, "https://198.51.100.11/").0, Redirection::Elsewhere);
}

#[test]
fn the_expected_answer_is_known_whatever_proxy_carried_it() {
    let body = profile(ProbeAnswer::Body("success".to_owned()));
    let no_content = profile(ProbeAnswer::Status(204));
    for (page, response, status) in [
        (&no_content, "HTTP/1.1 204 No Content\r\n\r\n", 204),
        (&no_content, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (
            &body,
            "HTTP/1.1 200 OK\r\nVia: 1.1 proxy (squid/5.7)\r\nX-Cache: HIT\r\nContent-Length: 8\r\n\r\nsuccess\n",
            200,
        ),
        (&body, "HTTP/1.0 200 OK\r\n\r\n success \r\n", 200),
        (&system("OK"), "HTTP/1.1 200 OK\r\n\r\nOK and more", 200),
        (&system("OK"), "HTTP/1.1 204 No Content\r\n\r\n", 204),
        (&system("OK"), "HTTP/1.1 200 OK\r\nX-NetworkManager-Status: online\r\n\r\n", 200),
        (&system(""), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    ] {
        assert_eq!(judged(page, response), HttpOutcome::Expected { status }, "{response:?}");
    }
}

#[test]
fn another_success_is_a_page_and_anything_else_a_status() {
    let body = profile(ProbeAnswer::Body("success".to_owned()));
    let no_content = profile(ProbeAnswer::Status(204));
    let page = |html| HttpOutcome::Page { status: 200, html };
    for (asked, response, outcome) in [
        (&no_content, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", page(true)),
        (&body, "HTTP/1.1 200 OK\r\n\r\n <!DOCTYPE html>", page(true)),
        (&body, "HTTP/1.1 200 OK\r\n\r\nsuccess! now log in", page(false)),
        (&body, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsuc", page(false)),
        (&body, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nsuccess", page(false)),
        (&body, "HTTP/1.1 204 No\r\n\r\n", HttpOutcome::Page { status: 204, html: false }),
        (&system("OK"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nNO", page(false)),
        (&system(""), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nNO", page(false)),
        (&gateway(), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n<", page(false)),
        (&gateway(), "HTTP/1.1 200 OK\r\n\r\n<html>", page(true)),
        (&gateway(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", page(false)),
        (&body, "HTTP/1.1 511 X\r\n\r\n", HttpOutcome::AuthenticationRequired),
        (&gateway(), "HTTP/1.1 511 X\r\nVia: squid\r\n\r\n", HttpOutcome::AuthenticationRequired),
        (&body, "HTTP/1.1 404 Not Found\r\n\r\n", HttpOutcome::Status { status: 404 }),
        (&body, "HTTP/1.1 407 Proxy\r\n\r\n", HttpOutcome::Status { status: 407 }),
        (&body, "HTTP/1.1 304 Not Modified\r\n\r\n", HttpOutcome::Status { status: 304 }),
        (&gateway(), "HTTP/1.1 503 Busy\r\n\r\n", HttpOutcome::Status { status: 503 }),
    ] {
        assert_eq!(judged(asked, response), outcome, "{response:?}");
    }
}

#[test]
fn a_body_that_is_not_over_decides_nothing_until_it_differs() {
    let page = profile(ProbeAnswer::Body("success".to_owned()));
    let mut response = Response::default();
    response.push(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").unwrap();
    for byte in b"success" {
        assert_eq!(page.judge(&response), None);
        response.push(&[*byte]).unwrap();
    }
    assert_eq!(page.judge(&response), None);
    assert_eq!(page.judge_unfinished(&response), HttpOutcome::Silent);
    response.push(b"ion").unwrap();
    assert_eq!(page.judge(&response), Some(HttpOutcome::Page { status: 200, html: false }));

    let mut unfinished = Response::default();
    assert_eq!(gateway().judge_unfinished(&unfinished), HttpOutcome::Silent);
    unfinished.push(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").unwrap();
    assert_eq!(gateway().judge(&unfinished), None);
    assert_eq!(gateway().judge_unfinished(&unfinished), HttpOutcome::Page { status: 200, html: false });
}

#[test]
fn a_check_that_a_portal_could_not_answer_is_left_out() {
    for uri in ["", "https://check.example/", "ftp://check.example/"] {
        let check = ConnectivityCheck {
            uri: uri.to_owned(),
            response: String::new(),
            connectivity: evenkeel_platform::network_hints::Connectivity::Full,
        };
        assert!(Page::of_system(&check).is_none(), "{uri}");
    }
}
