//! The inner network as a client sees it through its own TCP/IP stack.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::unwrap_in_result, reason = "a test may panic")]

mod support;

use std::time::Duration;

use aws_lc_rs::digest;
use evenkeel_gateway::inner::content;
use evenkeel_gateway::inner::http::DIGEST_HEADER;
use evenkeel_gateway::inner::{InnerConfig, InnerNet};
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, RCODE, TYPE};
use smoltcp::socket::tcp;

use self::support::{
    ClientStack, Conversation, GATEWAY_V4, GATEWAY_V6, HttpAnswer, Wire, inner_config, ip, read_available,
};

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: gateway.practice\r\n\r\n").into_bytes()
}

fn post(body: &[u8], extra: &str) -> Vec<u8> {
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: gateway.practice\r\nContent-Length: {}\r\n{extra}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn dns_query(name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(99);
    let name = Name::new(name).unwrap();
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().unwrap()
}

#[track_caller]
fn fetch(wire: &mut Wire, to: &str, request: &[u8]) -> HttpAnswer {
    let mut bytes = wire.exchange(ip(to), 80, request);
    let answer = HttpAnswer::take(&mut bytes).expect("a complete answer");
    assert!(bytes.is_empty(), "nothing after the answer");
    answer
}

#[test]
fn ping_is_answered_over_both_families_with_the_same_data() {
    let mut wire = Wire::new(inner_config());
    for (to, size) in [(GATEWAY_V4, 56), (GATEWAY_V6, 56), (GATEWAY_V6, 1300), (GATEWAY_V4, 8000)] {
        let data: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
        let handle = wire.client.ping(ip(to), &data);
        assert_eq!(wire.run(|client| client.pong(handle)), data, "{size} bytes to {to}");
        wire.client.sockets.remove(handle);
    }
}

#[test]
fn foreign_addresses_are_silent_unless_asked_for() {
    let mut wire = Wire::new(inner_config());
    let handle = wire.client.ping(ip("203.0.113.9"), b"anyone?");
    wire.pass(Duration::from_secs(3));
    assert_eq!(wire.client.pong(handle), None);

    let mut wire = Wire::new(InnerConfig { any_address: true, ..inner_config() });
    for to in ["203.0.113.9", "2001:db8::9"] {
        let handle = wire.client.ping(ip(to), b"anyone?");
        assert_eq!(wire.run(|client| client.pong(handle)), b"anyone?");
        wire.client.sockets.remove(handle);
    }
    assert_eq!(fetch(&mut wire, "203.0.113.9", &get("/")).status, 200);
}

#[test]
fn dns_is_answered_over_udp_and_over_tcp() {
    let mut wire = Wire::new(inner_config());
    let handle = wire.client.bind_udp();
    for server in [GATEWAY_V4, GATEWAY_V6] {
        wire.client.udp(handle).send_slice(&dns_query("gateway.practice"), (ip(server), 53)).unwrap();
        let (answer, from) = wire.run(|client| {
            let (data, meta) = client.udp(handle).recv().ok()?;
            Some((data.to_vec(), meta.endpoint))
        });
        assert_eq!((from.addr.into(), from.port), (ip(server), 53), "the address that was asked answers");
        assert_eq!(Packet::parse(&answer).unwrap().answers.len(), 1);
    }

    // Two messages in one segment, the second name outside the zone.
    let mut request = Vec::new();
    for query in [dns_query("gateway.practice"), dns_query("example.com")] {
        request.extend(u16::try_from(query.len()).unwrap().to_be_bytes());
        request.extend(query);
    }
    let answer = wire.exchange(ip(GATEWAY_V4), 53, &request);
    let (length, rest) = answer.split_first_chunk().unwrap();
    let (first, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
    let (_, second) = rest.split_first_chunk::<2>().unwrap();
    assert_eq!(Packet::parse(first).unwrap().answers.len(), 1);
    assert_eq!(Packet::parse(second).unwrap().rcode(), RCODE::NameError);
}

#[test]
fn echo_returns_what_was_sent_and_closes_after_it() {
    let mut wire = Wire::new(inner_config());
    let mut data = vec![0; 400_000];
    content::fill(0, &mut data);
    assert!(wire.exchange(ip(GATEWAY_V6), 7, &data) == data);

    let handle = wire.client.bind_udp();
    wire.client.udp(handle).send_slice(b"datagram", (ip(GATEWAY_V4), 7)).unwrap();
    let echoed = wire.run(|client| client.udp(handle).recv().ok().map(|(data, _)| data.to_vec()));
    assert_eq!(echoed, b"datagram");
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    let mut wire = Wire::new(inner_config());
    assert_eq!(wire.exchange(ip(GATEWAY_V4), 9, &vec![7; 500_000]), b"");
}

#[test]
fn the_page_and_its_head_are_served() {
    let mut wire = Wire::new(inner_config());
    let answer = fetch(&mut wire, GATEWAY_V4, &get("/"));
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8(answer.body).unwrap().contains("Not for production"));

    let bytes = wire.exchange(ip(GATEWAY_V4), 80, b"HEAD / HTTP/1.0\r\n\r\n");
    let head = String::from_utf8(bytes).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_download_carries_the_digest_of_exactly_its_bytes() {
    let mut wire = Wire::new(inner_config());
    for length in [0_u64, 1, 3_000_001] {
        let answer = fetch(&mut wire, GATEWAY_V4, &get(&format!("/bytes/{length}")));
        assert_eq!(answer.body.len() as u64, length);
        let digest = content::hex(&content::sha256(length));
        assert_eq!(answer.header(DIGEST_HEADER), Some(digest.as_str()));
        assert_eq!(digest::digest(&digest::SHA256, &answer.body).as_ref(), content::sha256(length));

        let answer = fetch(&mut wire, GATEWAY_V6, &get(&format!("/sha256/{length}")));
        assert_eq!(answer.body, format!("{digest}\n").into_bytes());
    }
}

#[test]
fn a_download_survives_loss() {
    let mut wire = Wire::new(inner_config());
    wire.drop_every = Some(23);
    let answer = fetch(&mut wire, GATEWAY_V4, &get("/bytes/400000"));
    assert_eq!(digest::digest(&digest::SHA256, &answer.body).as_ref(), content::sha256(400_000));
}

#[test]
fn an_upload_is_answered_with_its_length_and_digest() {
    let mut wire = Wire::new(inner_config());
    let mut body = vec![0; 700_000];
    content::fill(5, &mut body);
    let digest: content::Sha256 = digest::digest(&digest::SHA256, &body).as_ref().try_into().unwrap();
    let answer = fetch(&mut wire, GATEWAY_V4, &post(&body, ""));
    assert_eq!(answer.status, 200);
    assert_eq!(String::from_utf8(answer.body).unwrap(), format!("700000\n{}\n", content::hex(&digest)));

    let mut bytes = wire.exchange(ip(GATEWAY_V4), 80, &post(b"hello", "Expect: 100-continue\r\n"));
    assert_eq!(HttpAnswer::take(&mut bytes).unwrap().status, 100);
    assert_eq!(HttpAnswer::take(&mut bytes).unwrap().status, 200);
}

#[test]
fn one_connection_serves_requests_in_order() {
    let mut wire = Wire::new(inner_config());
    let requests =
        [get("/sha256/10"), post(b"abc", ""), get("/bytes/100000"), get("/nothing"), get("/")].concat();
    let mut bytes = wire.exchange(ip(GATEWAY_V4), 80, &requests);
    let answers: Vec<_> = std::iter::from_fn(|| HttpAnswer::take(&mut bytes)).collect();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 200, 404, 200]);
    assert_eq!(answers[2].body.len(), 100_000);
}

#[test]
fn requests_that_make_no_sense_are_refused_and_the_connection_closed() {
    let mut wire = Wire::new(inner_config());
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 30_000]].concat();
    for (request, status) in [
        (b"\x16\x03\x01\x00\xff".to_vec(), 400),
        (endless, 431),
        (b"DELETE / HTTP/1.1\r\n\r\n".to_vec(), 405),
        (b"GET /upload HTTP/1.1\r\n\r\n".to_vec(), 405),
        (b"POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), 411),
        (b"POST /upload HTTP/1.1\r\nContent-Length: many\r\n\r\n".to_vec(), 400),
        (get("/bytes/99999999999999"), 404),
        (get("/bytes/-1"), 404),
    ] {
        assert_eq!(fetch(&mut wire, GATEWAY_V4, &request).status, status);
    }
}

#[test]
fn many_connections_opened_in_the_same_instant_are_all_served() {
    let mut wire = Wire::new(inner_config());
    let mut conversations: Vec<_> = (0..200)
        .map(|index| {
            let handle = wire.client.connect(ip(GATEWAY_V4), 80);
            Some(Conversation::new(handle, &get(&format!("/sha256/{index}"))))
        })
        .collect();
    let mut answers = vec![Vec::new(); conversations.len()];
    wire.run(|client| {
        for (conversation, answer) in conversations.iter_mut().zip(&mut answers) {
            if let Some(running) = conversation
                && let Some(done) = running.drive(client)
            {
                *answer = done;
                *conversation = None;
            }
        }
        conversations.iter().all(Option::is_none).then_some(())
    });
    for (length, mut answer) in answers.into_iter().enumerate() {
        let expected = format!("{}\n", content::hex(&content::sha256(length as u64)));
        assert_eq!(HttpAnswer::take(&mut answer).unwrap().body, expected.into_bytes());
    }
}

#[test]
fn beyond_the_bound_the_connection_idle_for_longest_makes_room() {
    let mut wire = Wire::new(InnerConfig { max_connections: 3, ..inner_config() });
    let open = |wire: &mut Wire| {
        let handle = wire.client.connect(ip(GATEWAY_V4), 7);
        wire.run(|client| (client.tcp(handle).state() == tcp::State::Established).then_some(()));
        wire.pass(Duration::from_secs(2));
        handle
    };
    let handles = [open(&mut wire), open(&mut wire), open(&mut wire)];
    // The first speaks, so that the second is the quietest.
    wire.client.tcp(handles[0]).send_slice(b"still here").unwrap();
    wire.pass(Duration::from_secs(2));
    open(&mut wire);
    assert_eq!(wire.net.connections(), 3);

    let alive = |wire: &mut Wire, index: usize| {
        let socket = wire.client.tcp(handles[index]);
        let mut echoed = Vec::new();
        read_available(socket, &mut echoed);
        echoed.clear();
        if socket.send_slice(b"x").is_err() {
            return false;
        }
        wire.pass(Duration::from_secs(1));
        read_available(wire.client.tcp(handles[index]), &mut echoed);
        echoed == b"x"
    };
    assert!(alive(&mut wire, 0));
    assert!(!alive(&mut wire, 1), "the second had been quiet for longest");
    assert!(alive(&mut wire, 2));
}

#[test]
fn closed_connections_do_not_use_up_the_pool() {
    let mut wire = Wire::new(InnerConfig { max_connections: 4, ..inner_config() });
    for _ in 0..40 {
        assert_eq!(wire.exchange(ip(GATEWAY_V4), 7, b"again"), b"again");
    }
}

#[test]
fn a_port_without_a_service_refuses() {
    let mut wire = Wire::new(inner_config());
    let handle = wire.client.connect(ip(GATEWAY_V4), 22);
    wire.run(|client: &mut ClientStack| (client.tcp(handle).state() == tcp::State::Closed).then_some(()));
}

#[test]
fn no_packet_makes_the_network_panic() {
    let now = std::time::Instant::now();
    let mut net = InnerNet::new(inner_config(), 1, now);
    let mut seed = 0_u64;
    let mut packet = [0; 200];
    for length in (0..packet.len()).cycle().take(20_000) {
        content::fill(seed, &mut packet[..length]);
        seed += 200;
        // Half of them look like IP for one of our ports, so that the layers above are reached.
        if seed.is_multiple_of(400) && length >= 40 {
            let ports: [u8; 4] = [7, 9, 53, 80];
            packet[..20].copy_from_slice(&[
                0x45,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                64,
                [1, 6, 17, 58][length % 4],
                0,
                0,
                10,
                77,
                1,
                2,
                10,
                77,
                0,
                1,
            ]);
            packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            let sum: u32 =
                packet[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
            let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
            packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
            packet[22..24].copy_from_slice(&[0, ports[length % 4]]);
        }
        net.handle_packet(&packet[..length], now);
        net.poll(now);
        while net.poll_packet().is_some() {}
    }
}
