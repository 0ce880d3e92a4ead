//! The router's name server.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::Arc,
    thread,
};

use anyhow::Context;
use simple_dns::{
    CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE,
    rdata::{A, RData},
};

use super::{Gate, Mode, ROUTER, WORLD};
use crate::Host;

pub(super) fn serve(router: &Host, mode: Mode, gate: Arc<Gate>) -> anyhow::Result<()> {
    let socket =
        router.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))).context("the name server's port")?;
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let lie = mode == Mode::NamesAndRedirect && !gate.is_open(from.ip());
            if let Some(reply) = answer(&buffer[..length], lie) {
                // Who is gone needs no answer.
                let _ = socket.send_to(&reply, from);
            }
        }
    });
    Ok(())
}

fn answer(query: &[u8], lie: bool) -> Option<Vec<u8>> {
    let query = Packet::parse(query).ok()?;
    let question = query.questions.first()?;
    let name = question.qname.to_string().to_ascii_lowercase();
    let truth = WORLD.iter().find(|(known, _)| *known == name).map(|(_, address)| *address);
    let address = if lie { Some(ROUTER) } else { truth };
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    match address {
        None => *reply.rcode_mut() = RCODE::NameError,
        Some(address) if question.qtype == QTYPE::TYPE(TYPE::A) => {
            let record = RData::A(A { address: address.to_bits() });
            reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 0, record));
        }
        Some(_) => {}
    }
    reply.questions.push(question.clone());
    reply.build_bytes_vec().ok()
}
