//! Single changes by rtnetlink.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder,
    packet_core::ErrorMessage,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
        link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage},
        route::{RouteMessage, RouteProtocol, RouteScope},
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};

use super::{
    super::RouteError,
    change::{Action, Change, Family, Found, Interface, LinkState, Prefix, Rule, Selector},
};

/// Marks routes and rules as ours. Any number that the kernel and `/etc/iproute2/rt_protos` do not use.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(231);

/// The kernel answers at once or never.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the kernel says of a thing to be removed that is not there.
const ABSENT: [i32; 5] = [libc::ENOENT, libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT];

#[derive(Debug)]
pub(super) struct Netlink {
    handle: Handle,
}

impl Netlink {
    pub(super) fn open() -> Result<Self, RouteError> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|source| RouteError::System { action: "opening netlink", source })?;
        // It ends with the last handle.
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// The interface of this name, and how it is.
    pub(super) async fn interface(&self, name: &str) -> Result<(Interface, Found), RouteError> {
        let link = self.link(name).await?.ok_or_else(|| RouteError::NoInterface(name.to_owned()))?;
        let index = link.header.index;
        let dump = self.handle.address().get().set_link_index_filter(index).execute();
        let messages: Vec<AddressMessage> =
            within("reading addresses", dump.try_collect()).await.map_err(Refused::error)?;
        let addresses = messages.iter().filter_map(address_of).collect();
        Ok((Interface { name: name.to_owned(), index }, Found { link: link_state(&link), addresses }))
    }

    pub(super) async fn is_there(&self, interface: &Interface) -> Result<bool, RouteError> {
        Ok(self.link(&interface.name).await?.is_some_and(|link| link.header.index == interface.index))
    }

    async fn link(&self, name: &str) -> Result<Option<LinkMessage>, RouteError> {
        let mut links = self.handle.link().get().match_name(name).execute();
        match within("reading the interface", links.try_next()).await {
            Ok(link) => Ok(link),
            Err(refused) if refused.is_absent() => Ok(None),
            Err(refused) => Err(refused.error()),
        }
    }

    pub(super) async fn set_mtu(&self, interface: &Interface, mtu: u32) -> Result<(), RouteError> {
        let message = LinkUnspec::new_with_index(interface.index).mtu(mtu).build();
        within("setting the MTU", self.handle.link().set(message).execute()).await.map_err(Refused::error)
    }

    pub(super) async fn make(&self, interface: &Interface, change: &Change) -> Result<(), RouteError> {
        let handle = &self.handle;
        match change {
            Change::Link { to, .. } => {
                let request = handle.link().set(link_message(interface, *to));
                within("configuring the interface", request.execute()).await
            }
            Change::Address(address) => {
                let prefix = Prefix::host(*address);
                let mut request = handle.address().add(interface.index, *address, prefix.length);
                // Nobody shares a tunnel's address: to wait for duplicates would only cost a second.
                request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
                within("adding an address", request.execute()).await
            }
            Change::Route { to, source, table } => {
                let request = handle.route().add(route_message(interface, *to, *source, *table));
                within("adding a route", request.execute()).await
            }
            Change::Rule(rule) => {
                let mut request = handle.rule().add();
                *request.message_mut() = rule_message(rule);
                within("adding a rule", request.execute()).await
            }
        }
        .map_err(Refused::error)
    }

    /// Makes a change; a route takes the place of another to the same prefix, without a moment between the two.
    pub(super) async fn put(&self, interface: &Interface, change: &Change) -> Result<(), RouteError> {
        let Change::Route { to, source, table } = change else { return self.make(interface, change).await };
        let request = self.handle.route().add(route_message(interface, *to, *source, *table)).replace();
        within("replacing a route", request.execute()).await.map_err(Refused::error)
    }

    /// Undoes a change; that it is undone already is no failure.
    pub(super) async fn unmake(&self, interface: &Interface, change: &Change) -> Result<(), RouteError> {
        let handle = &self.handle;
        let outcome = match change {
            Change::Link { from, .. } => {
                let request = handle.link().set(link_message(interface, *from));
                within("restoring the interface", request.execute()).await
            }
            Change::Address(address) => {
                let prefix = Prefix::host(*address);
                let message =
                    handle.address().add(interface.index, *address, prefix.length).message_mut().clone();
                within("removing an address", handle.address().del(message).execute()).await
            }
            Change::Route { to, source, table } => {
                let request = handle.route().del(route_message(interface, *to, *source, *table));
                within("removing a route", request.execute()).await
            }
            Change::Rule(rule) => {
                within("removing a rule", handle.rule().del(rule_message(rule)).execute()).await
            }
        };
        match outcome {
            Err(refused) if !refused.is_absent() => Err(refused.error()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// A request that did not succeed.
struct Refused {
    action: &'static str,
    source: io::Error,
}

impl Refused {
    fn is_absent(&self) -> bool {
        self.source.raw_os_error().is_some_and(|errno| ABSENT.contains(&errno))
    }

    fn error(self) -> RouteError {
        RouteError::System { action: self.action, source: self.source }
    }
}

async fn within<T>(
    action: &'static str,
    request: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, Refused> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(rtnetlink::Error::NetlinkError(error))) => Err(Refused { action, source: errno(&error) }),
        Ok(Err(error)) => Err(Refused { action, source: io::Error::other(error) }),
        Err(_) => Err(Refused { action, source: io::ErrorKind::TimedOut.into() }),
    }
}

fn errno(error: &ErrorMessage) -> io::Error {
    io::Error::from_raw_os_error(error.raw_code().saturating_abs())
}

fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    // Of a point-to-point IPv4 address, "local" is ours; IPv6 has "address" alone.
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    #[expect(clippy::wildcard_enum_match_arm, reason = "the attributes are open-ended")]
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    #[expect(clippy::wildcard_enum_match_arm, reason = "the attributes are open-ended")]
    let address = find(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    local.or(address)
}

fn link_state(link: &LinkMessage) -> LinkState {
    let mut state = LinkState { up: link.header.flags.contains(LinkFlags::Up), mtu: 0, addr_gen_mode: None };
    for attribute in &link.attributes {
        if let LinkAttribute::Mtu(mtu) = attribute {
            state.mtu = *mtu;
        }
        if let LinkAttribute::AfSpecUnspec(families) = attribute {
            state.addr_gen_mode = families.iter().find_map(addr_gen_mode);
        }
    }
    state
}

fn addr_gen_mode(family: &AfSpecUnspec) -> Option<u8> {
    let AfSpecUnspec::Inet6(attributes) = family else { return None };
    attributes.iter().find_map(|attribute| {
        if let AfSpecInet6::AddrGenMode(mode) = attribute { Some(u8::from(mode)) } else { None }
    })
}

fn link_message(interface: &Interface, state: LinkState) -> LinkMessage {
    let mut message = LinkUnspec::new_with_index(interface.index).mtu(state.mtu);
    message = if state.up { message.up() } else { message.down() };
    if let Some(mode) = state.addr_gen_mode {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::from(mode));
        let family = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
        message = message.append_extra_attribute(family);
    }
    message.build()
}

fn route_message(interface: &Interface, to: Prefix, source: Option<IpAddr>, table: u32) -> RouteMessage {
    match to.address {
        IpAddr::V4(network) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(network, to.length);
            let route = match source {
                Some(IpAddr::V4(source)) => route.pref_source(source),
                Some(IpAddr::V6(_)) | None => route,
            };
            // There is no next hop behind a TUN interface.
            route
                .scope(RouteScope::Link)
                .output_interface(interface.index)
                .table_id(table)
                .protocol(PROTOCOL)
                .build()
        }
        IpAddr::V6(network) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(network, to.length);
            let route = match source {
                Some(IpAddr::V6(source)) => route.pref_source(source),
                Some(IpAddr::V4(_)) | None => route,
            };
            route.output_interface(interface.index).table_id(table).protocol(PROTOCOL).build()
        }
    }
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Protocol(PROTOCOL));
    match rule.selector {
        Selector::Everything => {}
        Selector::Mark(mark) => {
            attributes.push(RuleAttribute::FwMark(mark));
            attributes.push(RuleAttribute::FwMask(u32::MAX));
        }
        // The kernel wants no address with an empty prefix: "all" is what no selector says.
        Selector::To(Prefix { length: 0, .. }) => {}
        Selector::To(prefix) => {
            message.header.dst_len = prefix.length;
            attributes.push(RuleAttribute::Destination(prefix.address));
        }
    }
    message.header.action = match rule.action {
        Action::Jump(target) => {
            attributes.push(RuleAttribute::Goto(target));
            RuleAction::Goto
        }
        Action::Land => RuleAction::Nop,
        Action::Lookup(table) => {
            attributes.push(RuleAttribute::Table(table));
            RuleAction::ToTable
        }
        Action::LookupLonger(table, length) => {
            attributes.push(RuleAttribute::Table(table));
            attributes.push(RuleAttribute::SuppressPrefixLen(length.into()));
            RuleAction::ToTable
        }
    };
    message
}
