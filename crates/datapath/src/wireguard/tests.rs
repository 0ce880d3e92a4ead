//! Handshakes over loopback, without a device.

use std::net::{Ipv4Addr, UdpSocket as StdSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use evenkeel_platform::socket::{UdpOptions, UdpSocket};
use zeroize::Zeroizing;

use super::session::{Kind, LEAST_ROOM, Sealed, Session};
use super::shared::Shared;
use super::timers;
use super::{AllowedIps, Answer, Handshake, PeerConfig, WireGuardEvent};

const OURS: [u8; 32] = [0x11; 32];
const THEIRS: [u8; 32] = [0x22; 32];

fn config(preshared: Option<u8>) -> PeerConfig {
    PeerConfig {
        private_key: Zeroizing::new(OURS),
        public_key: PublicKey::from(&StaticSecret::from(THEIRS)).to_bytes(),
        preshared_key: preshared.map(|byte| Zeroizing::new([byte; 32])),
        allowed_ips: AllowedIps::default(),
        keepalive: None,
        index: 1,
    }
}

/// The other side: a socket and a state machine.
struct Responder {
    socket: StdSocket,
    tunn: Tunn,
}

impl Responder {
    fn new(preshared: Option<u8>) -> (Self, UdpSocket) {
        let socket = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let ours = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), &UdpOptions::default()).unwrap();
        ours.connect(socket.local_addr().unwrap()).unwrap();
        socket.connect(ours.local_addr().unwrap()).unwrap();
        let public = PublicKey::from(&StaticSecret::from(OURS));
        let tunn = Tunn::new(THEIRS.into(), public, preshared.map(|byte| [byte; 32]), None, 2, None);
        (Self { socket, tunn }, ours)
    }

    fn receive(&self) -> Vec<u8> {
        let mut datagram = vec![0; 2000];
        let len = self.socket.recv(&mut datagram).unwrap();
        datagram.truncate(len);
        datagram
    }

    /// Its answer to the next datagram.
    fn answer(&mut self) -> Option<Vec<u8>> {
        let (datagram, mut room) = (self.receive(), [0; 2000]);
        match self.tunn.decapsulate(None, &datagram, &mut room) {
            TunnResult::WriteToNetwork(answer) => Some(answer.to_vec()),
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => None,
        }
    }
}

#[test]
fn a_handshake_is_established_by_its_answer_and_confirmed_at_once() {
    for preshared in [None, Some(7)] {
        let (mut responder, socket) = Responder::new(preshared);
        let mut handshake = Handshake::new(config(preshared), socket);
        handshake.initiate().unwrap();
        let answer = responder.answer().unwrap();
        assert_eq!(handshake.handle_datagram(&answer), Answer::Established);
        // The first packet, empty.
        assert_eq!(responder.receive().len(), 32);
        assert!(handshake.establish().is_some());
    }
}

#[test]
fn only_the_latest_initiation_counts_and_its_answer_only_once() {
    let (mut responder, socket) = Responder::new(None);
    let mut handshake = Handshake::new(config(None), socket);
    handshake.initiate().unwrap();
    handshake.initiate().unwrap();
    let (_first, second) = (responder.answer(), responder.answer().unwrap());
    let mut damaged = second.clone();
    damaged[70] ^= 1;
    for (name, datagram) in
        [("nothing", &[][..]), ("a runt", &[2, 0, 0]), ("damaged", &damaged), ("cut", &second[..91])]
    {
        assert_eq!(handshake.handle_datagram(datagram), Answer::Ignored, "{name}");
    }
    assert_eq!(handshake.handle_datagram(&second), Answer::Established);
    assert_eq!(handshake.handle_datagram(&second), Answer::Ignored, "replayed");
}

#[test]
fn another_preshared_key_is_seen_in_the_answer_and_another_peer_is_silent() {
    let (mut responder, socket) = Responder::new(Some(8));
    let mut handshake = Handshake::new(config(Some(7)), socket.clone());
    handshake.initiate().unwrap();
    let answer = responder.answer().unwrap();
    assert_eq!(handshake.handle_datagram(&answer), Answer::Unfit);
    assert!(handshake.establish().is_none());

    let other = PeerConfig { public_key: [0x33; 32], ..config(Some(8)) };
    Handshake::new(other, socket).initiate().unwrap();
    assert_eq!(responder.answer(), None);
}

#[test]
fn packets_wait_for_a_handshake_up_to_a_bound_and_then_leave() {
    let (mut responder, socket) = Responder::new(None);
    let mut session = Session::new(&config(None), socket);
    let (packet, mut slot) = ([0x45; 100], [0; 100 + 32 + LEAST_ROOM]);
    let waits = (0..300).filter(|_| session.seal(&packet, &mut slot) == Sealed::Waits).count();
    assert_eq!(waits, 256);
    assert_eq!(session.seal(&packet, &mut slot), Sealed::Dropped);
    let answer = responder.answer().unwrap();
    let mut room = [0; LEAST_ROOM];
    assert!(matches!(session.tunn.decapsulate(None, &answer, &mut room), TunnResult::WriteToNetwork(_)));
    assert_eq!(session.flush(), (256, 25_600));
    assert_eq!(responder.receive().len(), 132);
    assert_eq!(session.seal(&packet, &mut slot), Sealed::Datagram(132));
}

/// A session whose timers' thread runs, and the events that it tells.
struct Timed {
    shared: Arc<Shared>,
    events: Arc<Mutex<Vec<String>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Timed {
    fn new(session: Session) -> Self {
        let events = Arc::<Mutex<Vec<String>>>::default();
        let told = Arc::clone(&events);
        let sink = Box::new(move |event: WireGuardEvent| told.lock().unwrap().push(format!("{event:?}")));
        let shared = Arc::new(Shared::new(session, sink));
        let running = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || timers::run(&running)));
        Self { shared, events, thread }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let thread = self.thread.take().unwrap();
        thread.thread().unpark();
        thread.join().unwrap();
    }
}

/// A session that the responder has confirmed.
fn established(responder: &mut Responder, socket: UdpSocket, keepalive: Option<u16>) -> Session {
    let mut session = Session::new(&PeerConfig { keepalive, ..config(None) }, socket);
    session.initiate().unwrap();
    let (answer, mut room) = (responder.answer().unwrap(), [0; LEAST_ROOM]);
    assert!(matches!(session.tunn.decapsulate(None, &answer, &mut room), TunnResult::WriteToNetwork(_)));
    session.flush();
    session
}

#[test]
fn an_idle_session_sends_keepalives_in_time_and_nothing_else() {
    let (mut responder, socket) = Responder::new(None);
    let session = established(&mut responder, socket, Some(1));
    let timed = Timed::new(session);
    let mut last = Instant::now();
    for number in 0..4 {
        let datagram = responder.receive();
        assert_eq!((Kind::of(&datagram), datagram.len()), (Some(Kind::Data), 32));
        let gap = std::mem::replace(&mut last, Instant::now()).elapsed();
        // A busy machine may be late; early would be a packet too many.
        assert!(number == 0 || (900..3000).contains(&gap.as_millis()), "{gap:?}");
    }
    assert!(timed.events.lock().unwrap().is_empty());
}

#[test]
fn an_idle_session_without_keepalives_sleeps_until_there_is_data() {
    let (mut responder, socket) = Responder::new(None);
    let session = established(&mut responder, socket, None);
    let timed = Timed::new(session);
    responder.socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    assert!(responder.socket.recv(&mut [0; 200]).is_err(), "sent something");
    assert!(!timed.shared.is_awake());
    timed.shared.data_sent.set(Instant::now());
    timed.shared.stir();
    assert!(timed.shared.is_awake());
}

/// Takes three minutes of real time: boringtun reads the clock itself. Its feature `mock-instant` would stop that clock
/// in every program that is built together with these tests.
#[test]
fn a_keepalive_renews_a_session_that_is_too_old_to_send_with() {
    let (mut responder, socket) = Responder::new(None);
    let session = established(&mut responder, socket, Some(25));
    let started = Instant::now();
    let _timed = Timed::new(session);
    responder.socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut keepalives = 0;
    while Kind::of(&responder.receive()) != Some(Kind::Initiation) {
        keepalives += 1;
    }
    // One every 25 s before 180 s are over. The next is due at 200 s.
    assert_eq!(keepalives, 7);
    assert!((180..210).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}
