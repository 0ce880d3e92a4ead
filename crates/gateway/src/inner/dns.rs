//! A name server for one small zone. Every name outside it does not exist (NXDOMAIN rather than REFUSED, so that
//! resolvers stop at once instead of trying elsewhere).

use std::collections::BTreeMap;
use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, OPT, RData, SOA};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

/// How long answers may be kept: short, since a practice gateway is restarted often.
const TTL: u32 = 30;
/// UDP payload size that we announce; our answers stay far below it.
const UDP_SIZE: u16 = 1232;

/// Names and their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Lower case, without the final dot.
    origin: String,
    /// By full name, lower case, without the final dot.
    hosts: BTreeMap<String, Vec<IpAddr>>,
}

impl Zone {
    /// A zone with the given hosts, by full name. Names are compared without regard to case.
    #[must_use]
    pub fn new(origin: &str, hosts: impl IntoIterator<Item = (String, Vec<IpAddr>)>) -> Self {
        let normal = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
        Self {
            origin: normal(origin),
            hosts: hosts.into_iter().map(|(name, addresses)| (normal(&name), addresses)).collect(),
        }
    }

    /// The zone `practice`, whose few names (`gateway.practice`, `www.practice` ...) all mean the gateway.
    #[must_use]
    pub fn practice(addresses: &[IpAddr]) -> Self {
        let hosts =
            ["gateway", "www", "dns", "echo"].map(|label| (format!("{label}.practice"), addresses.to_vec()));
        Self::new("practice", hosts)
    }

    /// Answers one DNS message; `None` for what deserves no answer (not a query, or too short to have a header).
    #[must_use]
    pub fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        let id = u16::from_be_bytes(*message.first_chunk()?);
        // The QR bit: answering an answer could start two servers talking to each other for ever.
        if message.get(2)? & 0x80 != 0 || message.len() < 12 {
            return None;
        }
        let reply = match Packet::parse(message) {
            Ok(query) => self.reply_to(id, &query),
            Err(_) => failure(id, RCODE::FormatError),
        };
        reply.build_bytes_vec_compressed().ok()
    }

    fn reply_to<'a>(&'a self, id: u16, query: &Packet<'a>) -> Packet<'a> {
        if query.opcode() != OPCODE::StandardQuery {
            return failure(id, RCODE::NotImplemented);
        }
        // RFC 9619: a query has exactly one question.
        let [question] = query.questions.as_slice() else { return failure(id, RCODE::FormatError) };

        let mut reply = Packet::new_reply(id);
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        if query.has_flags(PacketFlag::RECURSION_DESIRED) {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        // RFC 6891 §6.1.1: an OPT record is answered with one.
        if query.opt().is_some() {
            *reply.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: UDP_SIZE, version: 0 });
        }
        let name = question.qname.to_string().to_ascii_lowercase();
        match self.hosts.get(&name) {
            Some(addresses) if matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY) => {
                reply.answers = addresses
                    .iter()
                    .filter(|address| wanted(question.qtype, address))
                    .map(|address| {
                        ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, address_record(*address))
                    })
                    .collect();
            }
            Some(_) => {}
            None if name == self.origin => {}
            None => *reply.rcode_mut() = RCODE::NameError,
        }
        if reply.answers.is_empty() {
            // RFC 2308 §2: the SOA record tells how long the absence may be remembered.
            reply.name_servers.extend(self.soa());
        }
        reply.questions.push(question.clone());
        reply
    }

    fn soa(&self) -> Option<ResourceRecord<'_>> {
        let origin = Name::new(&self.origin).ok()?;
        let soa = SOA {
            mname: origin.clone(),
            rname: origin.clone(),
            serial: 1,
            refresh: 3600,
            retry: 600,
            expire: 86_400,
            minimum: TTL,
        };
        Some(ResourceRecord::new(origin, CLASS::IN, TTL, RData::SOA(soa)))
    }
}

fn failure<'a>(id: u16, code: RCODE) -> Packet<'a> {
    let mut reply = Packet::new_reply(id);
    *reply.rcode_mut() = code;
    reply
}

fn wanted(qtype: QTYPE, address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => matches!(qtype, QTYPE::TYPE(TYPE::A) | QTYPE::ANY),
        IpAddr::V6(_) => matches!(qtype, QTYPE::TYPE(TYPE::AAAA) | QTYPE::ANY),
    }
}

fn address_record<'a>(address: IpAddr) -> RData<'a> {
    match address {
        IpAddr::V4(v4) => RData::A(A { address: v4.into() }),
        IpAddr::V6(v6) => RData::AAAA(AAAA { address: v6.into() }),
    }
}

#[cfg(test)]
mod tests {
    use simple_dns::Question;

    use super::*;

    fn zone() -> Zone {
        Zone::practice(&["10.77.0.1".parse().unwrap(), "fd77::1".parse().unwrap()])
    }

    fn query(name: &str, qtype: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(0x1234);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(name).unwrap();
        packet.questions.push(Question::new(name, QTYPE::TYPE(qtype), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn a_name_of_the_zone_has_its_address_of_each_family_whatever_its_case() {
        let answer = zone().answer(&query("Gateway.Practice", TYPE::A)).unwrap();
        let answer = Packet::parse(&answer).unwrap();
        assert_eq!((answer.id(), answer.rcode()), (0x1234, RCODE::NoError));
        assert!(answer.has_flags(PacketFlag::RESPONSE | PacketFlag::AUTHORITATIVE_ANSWER));
        let [record] = answer.answers.as_slice() else { panic!("one record") };
        assert_eq!(record.rdata, address_record("10.77.0.1".parse().unwrap()));

        let answer = zone().answer(&query("www.practice", TYPE::AAAA)).unwrap();
        let answer = Packet::parse(&answer).unwrap();
        assert_eq!(answer.answers[0].rdata, address_record("fd77::1".parse().unwrap()));
    }

    #[test]
    fn another_type_of_an_existing_name_is_no_data_with_the_soa() {
        let answer = zone().answer(&query("gateway.practice", TYPE::MX)).unwrap();
        let answer = Packet::parse(&answer).unwrap();
        assert_eq!((answer.rcode(), answer.answers.len()), (RCODE::NoError, 0));
        assert!(matches!(answer.name_servers[0].rdata, RData::SOA(_)));
    }

    #[test]
    fn names_outside_the_zone_do_not_exist() {
        for name in ["example.com", "nothing.practice", "practice.example"] {
            let answer = zone().answer(&query(name, TYPE::A)).unwrap();
            assert_eq!(Packet::parse(&answer).unwrap().rcode(), RCODE::NameError, "{name}");
        }
    }

    #[test]
    fn garbage_gets_a_format_error_and_answers_get_nothing() {
        let mut garbage = query("gateway.practice", TYPE::A);
        garbage.truncate(20);
        let answer = zone().answer(&garbage).unwrap();
        let answer = Packet::parse(&answer).unwrap();
        assert_eq!((answer.id(), answer.rcode()), (0x1234, RCODE::FormatError));

        assert_eq!(zone().answer(&[]), None);
        assert_eq!(zone().answer(&[0x12, 0x34, 0]), None);
        let own_answer = zone().answer(&query("gateway.practice", TYPE::A)).unwrap();
        assert_eq!(zone().answer(&own_answer), None);
    }

    #[test]
    fn an_edns_query_gets_an_edns_answer() {
        let mut packet = Packet::new_query(7);
        let name = Name::new("gateway.practice").unwrap();
        packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
        *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: 4096, version: 0 });
        let answer = zone().answer(&packet.build_bytes_vec().unwrap()).unwrap();
        let answer = Packet::parse(&answer).unwrap();
        assert_eq!(answer.opt().map(|opt| opt.udp_packet_size), Some(UDP_SIZE));
        assert_eq!(answer.answers.len(), 1);
    }
}
