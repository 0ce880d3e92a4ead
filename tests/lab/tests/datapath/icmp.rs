//! ICMP about the outer packets: true, and made up.

use std::{
    io::IoSlice,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::ensure;
use etherparse::{Icmpv4Type, PacketBuilder, icmpv4::DestUnreachableHeader};
use evenkeel_datapath::{PlaneDrop, PlaneEvent};
use evenkeel_lab::{sandbox, traffic};
use evenkeel_platform::tun::{Offload, Tun, TunConfig};

use crate::path::{NarrowPath, Outer};
use crate::planes::{Kind, RIGHT};

/// Somebody who can send anything to the near end.
struct Forger(Tun);

impl Forger {
    fn new(path: &NarrowPath) -> anyhow::Result<Self> {
        let config = TunConfig { name: Some("forger".to_owned()), mtu: 1500, offload: false };
        let tun = path.one.run(|| Tun::open(&config))?;
        path.one.ip("addr add 100.64.0.1/24 dev forger")?;
        Ok(Self(tun))
    }

    /// "Fragmentation needed" about a datagram from the near end to the far one that begins with `payload`.
    fn tell(&self, mtu: u16, payload: &[u8]) -> anyhow::Result<()> {
        let mut quoted = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 1], 60)
            .udp(4500, 4500)
            .write(&mut quoted, &[payload, &[0; 1400]].concat())?;
        quoted.truncate(28 + payload.len());
        let mut message = Vec::new();
        let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
        PacketBuilder::ipv4([100, 64, 0, 9], [192, 0, 2, 1], 60)
            .icmpv4(Icmpv4Type::DestinationUnreachable(needed))
            .write(&mut message, &quoted)?;
        self.0.write(Offload::default(), &[IoSlice::new(&message)])?;
        Ok(())
    }
}

fn esp(spi: u32, sequence: u32) -> [u8; 8] {
    let mut header = [0; 8];
    header[..4].copy_from_slice(&spi.to_be_bytes());
    header[4..].copy_from_slice(&sequence.to_be_bytes());
    header
}

#[test]
fn only_a_message_that_quotes_a_recent_packet_counts_as_ours() {
    sandbox::run(|| {
        let path = NarrowPath::new(1500)?;
        let (left, right) = path.pair(Outer::V4, Kind::Offload)?;
        traffic::serve(&right.host)?;
        traffic::download(&left.host, RIGHT.v4.into(), 1 << 20)?;
        let forger = Forger::new(&path)?;
        let spi = right.spi_in.0;
        for (name, mtu, payload, ours) in [
            ("a packet of ours", 1401, &esp(spi, 3)[..], true),
            ("one that will be sent one day", 1402, &esp(spi, 4_000_000), false),
            ("somebody else's SPI", 1403, &esp(spi ^ 1, 3), false),
        ] {
            forger.tell(mtu, payload)?;
            let event = left.event(|event| matches!(event, PlaneEvent::IcmpTooBig { .. }))?;
            let PlaneEvent::IcmpTooBig { mtu: told, quoted_is_ours } = event else { unreachable!() };
            ensure!((told, quoted_is_ours) == (mtu, ours), "{name}: {told} {quoted_is_ours}");
        }
        // The least that a router has to quote says nothing; at most one such message a second is told.
        thread::sleep(Duration::from_secs(1));
        forger.tell(1404, &[])?;
        let event = left.event(|event| matches!(event, PlaneEvent::IcmpTooBig { .. }))?;
        ensure!(matches!(event, PlaneEvent::IcmpTooBig { mtu: 1404, quoted_is_ours: false }), "{event:?}");
        Ok(())
    });
}

#[test]
fn a_flood_of_made_up_messages_costs_no_packet() {
    sandbox::run(|| {
        let path = NarrowPath::new(1500)?;
        let (left, right) = path.pair(Outer::V4, Kind::Offload)?;
        traffic::serve(&right.host)?;
        let forger = Forger::new(&path)?;
        let done = AtomicBool::new(false);
        let told = thread::scope(|scope| -> anyhow::Result<u32> {
            let flood = scope.spawn(|| -> anyhow::Result<u32> {
                let mut told = 0;
                while !done.load(Ordering::Relaxed) {
                    forger.tell(576, &esp(right.spi_in.0 ^ 1, told))?;
                    told += 1;
                    thread::sleep(Duration::from_micros(200));
                }
                Ok(told)
            });
            let uploaded = traffic::upload(&left.host, RIGHT.v4.into(), 50 << 20);
            done.store(true, Ordering::Relaxed);
            uploaded?;
            flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        ensure!(told > 100, "only {told} messages");
        let stats = left.plane.snapshot();
        for reason in [PlaneDrop::TooBig, PlaneDrop::Send] {
            ensure!(stats.dropped(reason) == 0, "{}: {stats:?}", reason.name());
        }
        let events = left.events(|events| {
            events.iter().any(|event| matches!(event, PlaneEvent::IcmpTooBig { quoted_is_ours: false, .. }))
        })?;
        let believed =
            events.iter().any(|event| matches!(event, PlaneEvent::IcmpTooBig { quoted_is_ours: true, .. }));
        ensure!(!believed, "{events:?}");
        Ok(())
    });
}
