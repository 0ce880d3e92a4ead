//! A gateway under the fuzzer's control. It goes through IKE_SA_INIT, and if asked IKE_AUTH, as it should, and then
//! sends whatever it is told to, properly sealed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_ipsec::crypto::{
    Encr, EspProposal, EspProposals, Group, IkeProposal, IkeProposals, KeyBits, KeyExchange, Prf, Rng,
    Secret, SkKey, UnixTime,
};
use evenkeel_ipsec::ike::{
    ClientConfig, Event, Framing, LocalAuth, Path, PeerAuth, Session, Timers, Transmit,
};
use evenkeel_ipsec::wire::{
    Body, Envelope, EspSpi, Exchange, Header, Id, IkeSpi, MessageId, NON_ESP_MARKER, Notify, NotifyType,
    Payload, Proposal, Spi, TrafficSelector, encode_message, encode_payloads, encode_sk_prefix,
    encode_skf_prefix,
};

const PSK: &[u8] = b"correct horse battery staple";
const PRF: Prf = Prf::HmacSha256;
const ENCR: Encr = Encr::AesGcm16(KeyBits::Bits256);
const GROUP: Group = Group::X25519;
const SPI_R: IkeSpi = IkeSpi(0x1112_1314_1516_1718);
const NONCE_R: [u8; 32] = [0x44; 32];
/// Method 2: shared key message integrity code (RFC 7296 §3.8).
const METHOD_SHARED_KEY: u8 = 2;

/// A client session, and the gateway that it is connected to.
pub(crate) struct Gateway {
    session: Session,
    now: Instant,
    spi_i: IkeSpi,
    init_response: Vec<u8>,
    nonce_i: Vec<u8>,
    sk_pr: Secret,
    seal: SkKey,
    rng: Rng,
    /// How often the session said that it ended.
    ended: usize,
}

/// What a session did with what it was given.
#[derive(Default)]
pub(crate) struct Reaction {
    /// What it sent.
    pub(crate) transmits: Vec<Transmit>,
    /// What it told its owner.
    pub(crate) events: Vec<Event>,
}

/// The parts of a protected message's header that the fuzzer chooses.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    pub(crate) exchange: Exchange,
    pub(crate) response: bool,
    pub(crate) message_id: MessageId,
    /// Type of the first payload inside.
    pub(crate) first: u8,
}

impl Gateway {
    /// The state after IKE_SA_INIT: the client's IKE_AUTH request is under way.
    pub(crate) fn after_init() -> Self {
        let now = Instant::now();
        let mut session = Session::connect(
            Arc::new(config()),
            path(500, Framing::Bare),
            path(4500, Framing::NonEspMarker),
            [1; 32],
            UnixTime(1_790_000_000),
            now,
        );
        let request = session.poll_transmit().expect("IKE_SA_INIT is sent").payload;
        let envelope = Envelope::parse(&request).expect("our own request");
        let spi_i = envelope.header.spi_i;
        let Body::Clear(body) = envelope.body else { panic!("IKE_SA_INIT is in the clear") };
        let (mut nonce_i, mut public_i) = (Vec::new(), Vec::new());
        for payload in body.payloads().expect("our own request") {
            if let Payload::Nonce(nonce) = payload {
                nonce_i = nonce;
            } else if let Payload::Ke { data, .. } = payload {
                public_i = data;
            }
        }

        let key = KeyExchange::from_private_value(GROUP, &[5; 32]).expect("a private value");
        let shared = key.agree(&public_i).expect("our own public value");
        let init_response = init_response(spi_i, key.public());
        session.handle_datagram(path(500, Framing::Bare), &init_response, now);

        let skeyseed = PRF.mac(&[&nonce_i[..], &NONCE_R].concat(), &[shared.as_bytes()]);
        let spis = [spi_i.0.to_be_bytes(), SPI_R.0.to_be_bytes()].concat();
        let (prf_len, encr_len) = (PRF.output_len(), ENCR.key_len());
        let keymat = PRF.plus(skeyseed.as_bytes(), &[&nonce_i, &NONCE_R, &spis], 3 * prf_len + 2 * encr_len);
        // SK_d | SK_ei | SK_er | SK_pi | SK_pr, an AEAD having no SK_a (RFC 7296 §2.14).
        let part =
            |from: usize, len: usize| keymat.as_bytes().get(from..from + len).expect("keymat is as long");
        let sk_er = part(prf_len + encr_len, encr_len);
        let sk_pr = Secret::new(part(2 * prf_len + 2 * encr_len, prf_len));
        let seal = SkKey::new(ENCR, None, sk_er, &[]).expect("a key of the right length");
        let mut gateway = Self {
            session,
            now,
            spi_i,
            init_response,
            nonce_i,
            sk_pr,
            seal,
            rng: Rng::from_seed([2; 32]),
            ended: 0,
        };
        let reaction = gateway.drain();
        assert_eq!(reaction.transmits.len(), 1, "the IKE_AUTH request; {:?}", reaction.events);
        gateway
    }

    /// The state after IKE_AUTH: an IKE SA and a CHILD SA.
    pub(crate) fn established() -> Self {
        let mut gateway = Self::after_init();
        let (message, content) = gateway.auth_response();
        let reaction = gateway.send(message, &content);
        let installed = reaction.events.iter().any(|event| matches!(event, Event::ChildInstalled(_)));
        assert!(installed, "{:?}", reaction.events);
        gateway
    }

    /// What authenticates the gateway.
    pub(crate) fn auth_response(&self) -> (Message, Vec<u8>) {
        let id = Id::Fqdn("gateway.example".to_owned());
        let maced = PRF.mac(self.sk_pr.as_bytes(), &[&id.to_payload_body()]);
        let padded = PRF.mac(PSK, &[b"Key Pad for IKEv2"]);
        let auth = PRF.mac(padded.as_bytes(), &[&self.init_response, &self.nonce_i, maced.as_bytes()]);
        let payloads = [
            Payload::IdR(id),
            Payload::Auth { method: METHOD_SHARED_KEY, data: auth.as_bytes().to_vec() },
            Payload::Sa(esp().to_wire_without_ke(Spi::Esp(EspSpi(0xc0de_0001)))),
            Payload::TsI(vec![TrafficSelector::any_v4()]),
            Payload::TsR(vec![TrafficSelector::any_v4()]),
        ];
        let (first, content) = encode_payloads(&payloads);
        let message =
            Message { exchange: Exchange::IkeAuth, response: true, message_id: MessageId(1), first };
        (message, content)
    }

    /// An SA payload's content for a CHILD SA.
    pub(crate) fn esp_offer() -> Vec<Proposal> {
        esp().to_wire(Spi::Esp(EspSpi(0xc0de_0002)))
    }

    /// An SA payload's content for an IKE SA in CREATE_CHILD_SA.
    pub(crate) fn ike_offer() -> Vec<Proposal> {
        ike().to_wire(Spi::Ike(IkeSpi(0x2122_2324_2526_2728)))
    }

    /// Sends a message in one SK payload.
    pub(crate) fn send(&mut self, message: Message, content: &[u8]) -> Reaction {
        let sealed_len = self.seal.sealed_len(content.len());
        let prefix = encode_sk_prefix(&self.header(message), message.first, sealed_len);
        self.seal_and_send(&prefix, content)
    }

    /// Sends a fragment in an SKF payload.
    pub(crate) fn send_fragment(
        &mut self,
        message: Message,
        number: u16,
        total: u16,
        content: &[u8],
    ) -> Reaction {
        let sealed_len = self.seal.sealed_len(content.len());
        let header = self.header(message);
        let prefix = encode_skf_prefix(&header, message.first, number, total, sealed_len);
        self.seal_and_send(&prefix, content)
    }

    /// Sends a datagram as it is, without the marker.
    pub(crate) fn send_datagram(&mut self, datagram: &[u8]) -> Reaction {
        self.session.handle_datagram(path(4500, Framing::NonEspMarker), datagram, self.now);
        self.drain()
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, time: Duration) -> Reaction {
        self.now += time;
        self.session.handle_timeout(self.now);
        self.drain()
    }

    fn header(&self, message: Message) -> Header {
        Header {
            spi_i: self.spi_i,
            spi_r: SPI_R,
            exchange: message.exchange,
            initiator: false,
            response: message.response,
            message_id: message.message_id,
        }
    }

    fn seal_and_send(&mut self, prefix: &[u8], content: &[u8]) -> Reaction {
        match self.seal.seal(prefix, content, &mut self.rng) {
            Ok(datagram) => self.send_datagram(&datagram),
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes out everything that the session has to say, and serves its timers as an event loop would.
    fn drain(&mut self) -> Reaction {
        let mut reaction = Reaction::default();
        for _ in 0..20 {
            self.poll(&mut reaction);
            match self.session.poll_timeout() {
                Some((at, _)) if at <= self.now => self.session.handle_timeout(self.now),
                Some(_) | None => return reaction,
            }
        }
        panic!("a timer is always due: an event loop would spin");
    }

    fn poll(&mut self, reaction: &mut Reaction) {
        while let Some(transmit) = self.session.poll_transmit() {
            assert!(reaction.transmits.len() < 100, "one input makes the session send without end");
            reaction.transmits.push(transmit);
        }
        while let Some(event) = self.session.poll_event() {
            assert!(reaction.events.len() < 100, "one input makes the session report without end");
            assert!(!format!("{event:?}").is_empty());
            self.ended += usize::from(matches!(event, Event::Closed(_)));
            reaction.events.push(event);
        }
        let is_closed = self.session.is_closed();
        assert_eq!(
            self.ended,
            usize::from(is_closed),
            "a session ends once, and says so: {:?}",
            reaction.events
        );
        assert!(!is_closed || self.session.poll_timeout().is_none(), "a closed session waits for nothing");
    }
}

fn path(port: u16, framing: Framing) -> Path {
    let (local, remote) = ([10, 0, 0, 2], [192, 0, 2, 1]);
    Path { local: SocketAddr::from((local, port)), remote: SocketAddr::from((remote, port)), framing }
}

/// A sent datagram's IKE message.
pub(crate) fn message_of(transmit: &Transmit) -> &[u8] {
    transmit.payload.strip_prefix(&NON_ESP_MARKER).unwrap_or(&transmit.payload)
}

fn ike() -> IkeProposals {
    IkeProposals(vec![IkeProposal { encr: vec![ENCR], integ: vec![], prf: vec![PRF], groups: vec![GROUP] }])
}

fn esp() -> EspProposals {
    EspProposals(vec![EspProposal { encr: vec![ENCR], integ: vec![], groups: vec![], esn: vec![false] }])
}

fn config() -> ClientConfig {
    ClientConfig {
        local_id: Id::Fqdn("client.example".to_owned()),
        remote_id: None,
        auth: LocalAuth::Psk(Secret::new(PSK)),
        peer_auth: PeerAuth::Psk(Secret::new(PSK)),
        ike: ike(),
        esp: esp(),
        ts_local: vec![TrafficSelector::any_v4()],
        ts_remote: vec![TrafficSelector::any_v4()],
        request_ipv4: false,
        request_ipv6: false,
        addresses: Vec::new(),
        initial_contact: false,
        mobike: true,
        timers: Timers::default(),
        fragment_size: 1280,
        legacy_sha1: false,
    }
}

fn init_response(spi_i: IkeSpi, public: &[u8]) -> Vec<u8> {
    let header = Header {
        spi_i,
        spi_r: SPI_R,
        exchange: Exchange::IkeSaInit,
        initiator: false,
        response: true,
        message_id: MessageId(0),
    };
    let notify = |kind, data: &[u8]| Payload::Notify(Notify::new(kind, data.to_vec()));
    let payloads = [
        Payload::Sa(ike().to_wire(Spi::None)),
        Payload::Ke { group: GROUP.id(), data: public.to_vec() },
        Payload::Nonce(NONCE_R.to_vec()),
        // Nobody's addresses: there is a NAT at both ends.
        notify(NotifyType::NatDetectionSourceIp, &[1; 20]),
        notify(NotifyType::NatDetectionDestinationIp, &[2; 20]),
        notify(NotifyType::Ikev2FragmentationSupported, &[]),
    ];
    encode_message(&header, &payloads)
}
