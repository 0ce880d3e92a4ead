//! Two sockets on the loopback interface.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;

use super::*;

fn pair(options: &UdpOptions, local: IpAddr) -> (UdpSocket, UdpSocket) {
    let a = UdpSocket::bind((local, 0).into(), options).unwrap();
    let b = UdpSocket::bind((local, 0).into(), options).unwrap();
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    (a, b)
}

/// Datagrams in order of arrival; waits for at least `bytes` of them.
fn receive(socket: &UdpSocket, bytes: usize) -> Vec<Vec<u8>> {
    let (wakeup, mut batch) = (Wakeup::new().unwrap(), ReceiveBatch::new());
    let mut datagrams = Vec::new();
    while datagrams.iter().map(Vec::len).sum::<usize>() < bytes {
        assert!(socket.wait_readable(&wakeup).unwrap());
        socket.try_receive(&mut batch).unwrap();
        let (received, storage) = batch.parts();
        for train in received {
            datagrams.extend(storage[train.range.clone()].chunks(train.stride).map(<[u8]>::to_vec));
        }
    }
    datagrams
}

#[test]
fn trains_arrive_as_they_were_cut_with_and_without_offload() {
    let payload: Vec<u8> = (0..44u32 * 1000 + 17).map(|n| (n / 1000) as u8).collect();
    for local in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        for (offload, coalesce) in [(true, true), (true, false), (false, false)] {
            let (a, b) = pair(&UdpOptions { offload, ..UdpOptions::default() }, local);
            if coalesce {
                b.coalesce_received();
            }
            let wakeup = Wakeup::new().unwrap();
            a.send_train(&payload, 1000, None, &wakeup).unwrap();
            let datagrams = receive(&b, payload.len());
            let expected: Vec<_> = payload.chunks(1000).map(<[u8]>::to_vec).collect();
            assert_eq!(datagrams, expected, "{local} offload {offload} coalesce {coalesce}");
        }
    }
}

#[test]
fn an_unconnected_socket_says_who_sent_and_answers_there() {
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    let server = UdpSocket::bind(local, &UdpOptions::default()).unwrap();
    let client = UdpSocket::bind(local, &UdpOptions::default()).unwrap();
    let (wakeup, mut batch) = (Wakeup::new().unwrap(), ReceiveBatch::new());
    client.send(b"hello", Some(server.local_addr().unwrap())).unwrap();
    server.wait_readable(&wakeup).unwrap();
    server.try_receive(&mut batch).unwrap();
    let from = batch.parts().0[0].from;
    assert_eq!(from, client.local_addr().unwrap());
    server.send_train(b"aabbc", 2, Some(from), &wakeup).unwrap();
    assert_eq!(receive(&client, 5), [b"aa".to_vec(), b"bb".to_vec(), b"c".to_vec()]);
}

#[test]
fn a_wake_ends_the_wait_of_another_thread() {
    let (a, _b) = pair(&UdpOptions::default(), Ipv4Addr::LOCALHOST.into());
    let wakeup = Wakeup::new().unwrap();
    let waiting = thread::spawn({
        let wakeup = wakeup.clone();
        move || a.wait_readable(&wakeup).unwrap()
    });
    wakeup.wake();
    assert!(!waiting.join().unwrap());
}

#[test]
fn an_icmp_error_about_an_earlier_datagram_is_no_error() {
    let (a, b) = pair(&UdpOptions::default(), Ipv4Addr::LOCALHOST.into());
    let (wakeup, mut batch) = (Wakeup::new().unwrap(), ReceiveBatch::new());
    drop(b);
    for _ in 0..3 {
        a.send_train(b"into the void", 13, None, &wakeup).unwrap();
        a.try_receive(&mut batch).unwrap();
        assert!(batch.is_empty());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_icmp_message_is_kept_with_what_it_quotes_and_ends_the_wait_until_it_is_taken() {
    for local in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let (a, b) = pair(&UdpOptions::default(), local);
        let (wakeup, mut batch) = (Wakeup::new().unwrap(), ReceiveBatch::new());
        let gone = b.local_addr().unwrap();
        drop(b);
        a.keep_icmp();
        assert_eq!(a.take_icmp().unwrap(), None);
        for datagram in [&b"0123456789abcdefghij"[..], b"short"] {
            a.send(datagram, None).unwrap();
            assert!(a.wait_readable(&wakeup).unwrap());
            a.try_receive(&mut batch).unwrap();
            assert!(batch.is_empty());
            let error = a.take_icmp().unwrap().unwrap();
            assert_eq!((error.mtu, error.to), (None, gone));
            assert_eq!(error.quoted(), &datagram[..datagram.len().min(16)]);
            assert_eq!(a.take_icmp().unwrap(), None);
        }
        // Nothing is left that would end a wait.
        wakeup.wake();
        assert!(!a.wait_readable(&wakeup).unwrap());
        // What the system refuses by itself is an answer to the sender, not a message.
        assert!(is_too_big(&a.send(&[0; 65_600], None).unwrap_err()));
        assert_eq!(a.take_icmp().unwrap(), None);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_connected_socket_knows_its_paths_mtu() {
    let (a, _b) = pair(&UdpOptions::default(), Ipv4Addr::LOCALHOST.into());
    assert_eq!(a.path_mtu(), Some(65_535));
    let unconnected = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), &UdpOptions::default()).unwrap();
    assert_eq!(unconnected.path_mtu(), None);
}

#[test]
fn a_datagram_above_the_mtu_is_too_big() {
    let (a, _b) = pair(&UdpOptions::default(), Ipv4Addr::LOCALHOST.into());
    let error = a.send_train(&vec![0; 65_536], 65_536, None, &Wakeup::new().unwrap()).unwrap_err();
    assert!(is_too_big(&error), "{error}");
}

#[test]
fn the_granted_buffers_are_told() {
    let (a, _b) = pair(&UdpOptions { buffer: 100_000, ..UdpOptions::default() }, Ipv4Addr::LOCALHOST.into());
    let abilities = a.abilities();
    assert!(abilities.receive_buffer >= 100_000 && abilities.send_buffer >= 100_000, "{abilities:?}");
}
