//! Relays over real TCP on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use evenkeel_ipsec::wire::{NON_ESP_MARKER, frame};
use evenkeel_platform::socket::{UdpSocket, carry_packets};
use evenkeel_platform::wakeup::Wakeup;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::backlog::BACKLOG;
use crate::pair;
use crate::testing::receive;

const PATIENCE: Duration = Duration::from_secs(20);

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (opened, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (opened, accepted) = (opened.unwrap(), accepted.unwrap().0);
    carry_packets(&opened).unwrap();
    carry_packets(&accepted).unwrap();
    (opened, accepted)
}

/// A relay that runs, with the socket in front of it.
struct Running {
    plane: UdpSocket,
    counters: Arc<RelayCounters>,
    task: JoinHandle<Ended>,
}

impl Running {
    fn originator(mut stream: TcpStream) -> Self {
        let (plane, socket) = pair().unwrap();
        let counters = Arc::<RelayCounters>::default();
        let mut relay = Relay::originator(socket, Arc::clone(&counters));
        let task = tokio::spawn(async move { relay.run(&mut stream).await });
        Self { plane, counters, task }
    }

    fn responder(mut stream: TcpStream) -> Self {
        let (plane, socket) = pair().unwrap();
        let counters = Arc::<RelayCounters>::default();
        let counting = Arc::clone(&counters);
        let task = tokio::spawn(async move {
            match Begun::wait(&mut stream).await {
                Ok(begun) => Relay::responder(begun, socket, counting).run(&mut stream).await,
                Err(ended) => ended,
            }
        });
        Self { plane, counters, task }
    }

    async fn ended(self) -> Ended {
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

/// Datagrams of the given lengths, told apart by their octets.
fn datagrams(lengths: &[usize]) -> Vec<Vec<u8>> {
    lengths.iter().zip(1_u8..).map(|(length, octet)| vec![octet; *length]).collect()
}

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for message in messages {
        assert!(frame(message, &mut stream));
    }
    stream
}

#[tokio::test]
async fn datagrams_cross_both_ways_in_order_and_with_their_boundaries() {
    let (near, far) = connection().await;
    let near = Running::originator(near);
    let far = Running::responder(far);
    let sent = datagrams(&[1400, 1400, 1400, 900, 1400, 1, 40, 40, 40, 65_000, 1400]);
    for datagram in &sent {
        near.plane.send(datagram, None).unwrap();
    }
    assert_eq!(receive(&far.plane, sent.len()).await, sent);
    for datagram in sent.iter().rev() {
        far.plane.send(datagram, None).unwrap();
    }
    let reversed: Vec<_> = sent.iter().rev().cloned().collect();
    assert_eq!(receive(&near.plane, sent.len()).await, reversed);
    // The relay counts a train after it has sent it.
    while far.counters.snapshot().received < sent.len() as u64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(far.counters.snapshot().sent, sent.len() as u64);
}

#[tokio::test]
async fn trains_cross_as_trains() {
    let (near, far) = connection().await;
    let near = Running::originator(near);
    let far = Running::responder(far);
    let train: Vec<u8> = (0..44_u32 * 1400 + 100).map(|n| (n / 1400) as u8).collect();
    for _ in 0..20 {
        near.plane.send_train(&train, 1400, None, &Wakeup::new().unwrap()).unwrap();
        let expected: Vec<_> = train.chunks(1400).map(<[u8]>::to_vec).collect();
        assert_eq!(receive(&far.plane, 45).await, expected);
    }
}

#[tokio::test]
async fn the_prefix_comes_first_and_once() {
    let (near, mut far) = connection().await;
    let near = Running::originator(near);
    let mut prefix = [0; 6];
    far.read_exact(&mut prefix).await.unwrap();
    assert_eq!(prefix, STREAM_PREFIX, "even before there is anything to say");
    near.plane.send(b"hello", None).unwrap();
    let mut hello = [0; 7];
    far.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"\0\x07hello");
}

#[tokio::test]
async fn keepalives_never_reach_the_stream_and_never_leave_it() {
    let (near, mut far) = connection().await;
    let near = Running::originator(near);
    for datagram in [&[0xff_u8][..], b"after", &[0xff]] {
        near.plane.send(datagram, None).unwrap();
    }
    let mut received = [0; 6 + 7];
    far.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"IKETCP\0\x07after");
    far.write_all(b"\0\x03\xff\0\x02\0\x04ok").await.unwrap();
    assert_eq!(receive(&near.plane, 1).await, [b"ok"]);
    while near.counters.snapshot().keepalives < 3 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_costs_datagrams_and_no_memory() {
    let (near, mut far) = connection().await;
    let near = Running::originator(near);
    let datagram = vec![7; 1400];
    // Sent one after another, until the relay drops.
    let mut sent = 0_u64;
    while near.counters.snapshot().congested < 1000 {
        near.plane.send(&datagram, None).unwrap();
        sent += 1;
        tokio::task::yield_now().await;
    }
    // IKE has room left.
    let goodbye = [&NON_ESP_MARKER[..], b"goodbye"].concat();
    near.plane.send(&goodbye, None).unwrap();
    let stalled = near.counters.snapshot();
    assert!(stalled.sent + stalled.congested <= sent);

    // Once it takes again, whole frames come, those that waited first, and the stream goes on.
    let mut decoder = StreamDecoder::responder();
    let mut esp = 0_u64;
    'all: loop {
        let length = far.read(decoder.spare()).await.unwrap();
        assert!(length > 0);
        decoder.received(length);
        while let Some(message) = decoder.next_frame().unwrap() {
            if message == goodbye {
                break 'all;
            }
            assert_eq!(message, datagram);
            esp += 1;
        }
    }
    let after = near.counters.snapshot();
    assert_eq!(esp + 1, after.sent, "what counts as sent is what arrives");
    assert!(after.congested >= 1000);
}

#[tokio::test]
async fn what_waits_is_bounded_by_the_backlog_alone() {
    // A stream that holds nothing itself.
    let (mut stream, _peer) = tokio::io::duplex(1);
    let (plane, socket) = pair().unwrap();
    let counters = Arc::<RelayCounters>::default();
    let mut relay =
        Relay::new(socket, StreamDecoder::originator(), Backlog::default(), Arc::clone(&counters));
    let sending = async {
        while counters.snapshot().congested < 500 {
            plane.send(&[7; 1400], None).unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = relay.run(&mut stream) => panic!("{ended}"),
        () = sending => {}
    }
    let kept = counters.snapshot().sent;
    assert!(kept * 1402 <= BACKLOG as u64 + 1402, "{kept} datagrams");
}

#[tokio::test]
async fn every_end_has_its_reason() {
    let end = async |octets: &[u8], reset: bool| {
        let (near, mut far) = connection().await;
        let near = Running::responder(near);
        far.write_all(octets).await.unwrap();
        if reset {
            far.set_zero_linger().unwrap();
        }
        drop(far);
        near.ended().await
    };
    assert!(matches!(end(b"IKETCP\0\x03A", false).await, Ended::PeerClosed));
    let ended = end(b"GET / HTTP/1.1\r\n", false).await;
    assert!(matches!(ended, Ended::BadFrame(StreamError::BadPrefix)), "{ended}");
    let ended = end(b"IKETCP\0\x03A\0\x01", false).await;
    assert!(matches!(ended, Ended::BadFrame(StreamError::BadLength(1))), "{ended}");
    let ended = end(b"IKETCP\0\x09half", false).await;
    assert!(matches!(ended, Ended::BadFrame(StreamError::Truncated { received: 6 })), "{ended}");
    let ended = end(b"", true).await;
    assert!(
        matches!(&ended, Ended::Failed(error) if error.kind() == io::ErrorKind::ConnectionReset),
        "{ended}"
    );
}

#[tokio::test]
async fn good_frames_before_a_bad_one_are_delivered() {
    let (near, mut far) = connection().await;
    let near = Running::responder(near);
    let messages = datagrams(&[1400, 1400, 20]);
    let stream = [&STREAM_PREFIX[..], &framed(&messages), &[0, 0]].concat();
    far.write_all(&stream).await.unwrap();
    assert_eq!(receive(&near.plane, 3).await, messages);
    assert!(matches!(near.ended().await, Ended::BadFrame(StreamError::BadLength(0))));
}

#[tokio::test]
async fn a_frame_that_no_datagram_can_hold_is_dropped_alone() {
    let (near, mut far) = connection().await;
    let near = Running::responder(near);
    let messages = datagrams(&[65_533, 65_507, 3]);
    let stream = [&STREAM_PREFIX[..], &framed(&messages)].concat();
    far.write_all(&stream).await.unwrap();
    assert_eq!(receive(&near.plane, 2).await, &messages[1..]);
    assert_eq!(near.counters.snapshot().unfit, 1);
}

#[tokio::test]
async fn closing_sends_what_waits_and_then_the_end() {
    let (mut near, mut far) = connection().await;
    let (plane, socket) = pair().unwrap();
    let mut relay = Relay::originator(socket, Arc::default());
    plane.send(b"goodbye", None).unwrap();
    relay.finish(&mut near).await;
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"IKETCP\0\x09goodbye");
}

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_turn_ends_for_the_other_direction_and_asks_for_the_next_one() {
    let wakes = Arc::<Wakes>::default();
    let waker = Arc::clone(&wakes).into();
    let mut cx = Context::from_waker(&waker);
    let mut turn = |last: Poll<Result<(), Ended>>| {
        let mut rounds = 0;
        let mut last = Some(last);
        poll_turn(&mut cx, |_| {
            rounds += 1;
            // In the second round, which is not the last of a turn.
            if rounds == 2 { last.take().unwrap() } else { Poll::Ready(Ok(())) }
        })
        .map(|ended| matches!(ended, Ended::PeerClosed))
    };
    assert!(turn(Poll::Ready(Ok(()))).is_pending());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "more waits: it must be asked again");
    assert!(turn(Poll::Pending).is_pending());
    assert_eq!(turn(Poll::Ready(Err(Ended::PeerClosed))), Poll::Ready(true));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "nothing waits: somebody else wakes it");
}
