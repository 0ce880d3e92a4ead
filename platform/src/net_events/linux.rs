//! rtnetlink's multicast groups, without the repetitions: the kernel announces an address each time a
//! router renews it, and a wireless link each time anything about it is measured.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use futures_util::{StreamExt, stream::BoxStream};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage},
        link::{LinkAttribute, LinkFlags, LinkMessage},
        route::{RouteAttribute, RouteHeader, RouteMessage, RouteType},
    },
};

use super::{NetEvent, NetEventsError};

const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

pub(super) struct NetEvents {
    messages: BoxStream<'static, NetlinkPayload<RouteNetlinkMessage>>,
    seen: Seen,
    /// The connection ends with its last handle.
    _handle: Handle,
}

impl fmt::Debug for NetEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetEvents").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl NetEvents {
    pub(super) fn open() -> Result<Self, NetEventsError> {
        let (connection, handle, messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
        tokio::spawn(connection);
        let messages = messages.map(|(message, _)| message.payload).boxed();
        Ok(Self { messages, seen: Seen::default(), _handle: handle })
    }

    pub(super) async fn next(&mut self) -> Option<NetEvent> {
        loop {
            let payload = self.messages.next().await?;
            if let Some(event) = self.seen.event(&payload) {
                return Some(event);
            }
        }
    }
}

/// What was said last, to tell a change from a repetition.
#[derive(Debug, Default)]
struct Seen {
    links: BTreeMap<u32, bool>,
    addresses: BTreeSet<(u32, IpAddr)>,
}

impl Seen {
    fn event(&mut self, payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<NetEvent> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's messages are open-ended")]
        match payload {
            NetlinkPayload::Overrun(_) => {
                *self = Self::default();
                Some(NetEvent::Overrun)
            }
            NetlinkPayload::InnerMessage(message) => match message {
                RouteNetlinkMessage::NewLink(link) => self.link(link, carries(link)),
                RouteNetlinkMessage::DelLink(link) => {
                    self.addresses.retain(|(index, _)| *index != link.header.index);
                    let gone = self.link(link, false);
                    self.links.remove(&link.header.index);
                    gone
                }
                RouteNetlinkMessage::NewAddress(address) => self.address(address, true),
                RouteNetlinkMessage::DelAddress(address) => self.address(address, false),
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                    is_default(route).then_some(NetEvent::DefaultRoute)
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn link(&mut self, link: &LinkMessage, up: bool) -> Option<NetEvent> {
        let index = link.header.index;
        if self.links.insert(index, up) == Some(up) {
            return None;
        }
        let name = link.attributes.iter().find_map(|attribute| {
            if let LinkAttribute::IfName(name) = attribute { Some(name.clone()) } else { None }
        });
        Some(NetEvent::Link { index, name: name.unwrap_or_default(), up })
    }

    fn address(&mut self, message: &AddressMessage, added: bool) -> Option<NetEvent> {
        let index = message.header.index;
        let address = message.attributes.iter().find_map(|attribute| {
            if let AddressAttribute::Address(address) = attribute { Some(*address) } else { None }
        })?;
        let changed = if added {
            self.addresses.insert((index, address))
        } else {
            // One from before the watch began is news when it goes.
            self.addresses.remove(&(index, address));
            true
        };
        changed.then_some(NetEvent::Address { index })
    }
}

/// `LOWER_UP` is the carrier, `UP` the administrator's wish.
fn carries(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
}

/// Of the main table: what a tunnel of ours leads elsewhere is in a table of its own.
fn is_default(route: &RouteMessage) -> bool {
    let table = route
        .attributes
        .iter()
        .find_map(|attribute| if let RouteAttribute::Table(table) = attribute { Some(*table) } else { None });
    route.header.destination_prefix_length == 0
        && route.header.kind == RouteType::Unicast
        && table.unwrap_or(route.header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN)
}
