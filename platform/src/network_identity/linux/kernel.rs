//! What the kernel knows.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's attributes are open-ended")]

use std::net::IpAddr;

use futures_util::TryStreamExt;
use nix::net::if_::if_indextoname;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressMessage, AddressScope},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia},
    },
};

use super::{super::NetworkIdentity, Way};

/// The way out and what names it, but for names.
pub(super) async fn read(own: Option<&str>) -> Option<(Way, NetworkIdentity)> {
    let (connection, handle, _) = rtnetlink::new_connection().ok()?;
    // It ends with the last handle.
    tokio::spawn(connection);
    let way = match way_out(&handle, RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(), own).await {
        Some(way) => way,
        None => way_out(&handle, RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(), own).await?,
    };
    let gateway_mac = match way.gateway {
        Some(gateway) => mac_of(&handle, way.interface, gateway).await,
        None => None,
    };
    let subnet = subnet(&handle, &way).await;
    let identity =
        NetworkIdentity { gateway: way.gateway, gateway_mac, subnet, ssid: None, dhcp_domain: None };
    Some((way, identity))
}

/// The default route of the main table that the kernel prefers.
async fn way_out(handle: &Handle, filter: RouteMessage, own: Option<&str>) -> Option<Way> {
    let mut routes = handle.route().get(filter).execute();
    let mut best: Option<Way> = None;
    while let Some(route) = routes.try_next().await.ok()? {
        if let Some(way) = default_way(&route).and_then(named)
            && own != Some(&way.name)
            && best.as_ref().is_none_or(|best| way.metric < best.metric)
        {
            best = Some(way);
        }
    }
    best
}

fn named(way: Way) -> Option<Way> {
    let name = if_indextoname(way.interface).ok()?.into_string().ok()?;
    Some(Way { name, ..way })
}

/// Where a message's route leads, if it is a default route.
fn default_way(route: &RouteMessage) -> Option<Way> {
    let mut way = Way { interface: 0, name: String::new(), gateway: None, metric: 0 };
    let mut table = u32::from(route.header.table);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(metric) => way.metric = *metric,
            RouteAttribute::Oif(index) => way.interface = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => way.gateway = Some((*address).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => way.gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => way.gateway = Some((*address).into()),
            // The first of several equal ways.
            RouteAttribute::MultiPath(hops) => {
                let hop = hops.first()?;
                way.interface = hop.interface_index;
                way.gateway = hop.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some((*address).into()),
                    RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some((*address).into()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let is_default = route.header.destination_prefix_length == 0
        && route.header.kind == RouteType::Unicast
        && table == u32::from(RouteHeader::RT_TABLE_MAIN);
    (is_default && way.interface != 0).then_some(way)
}

/// The neighbour's hardware address, if it is one of Ethernet's kind.
async fn mac_of(handle: &Handle, interface: u32, neighbour: IpAddr) -> Option<[u8; 6]> {
    let family = if neighbour.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let request = handle.neighbours().get().set_address_family(family);
    let mut entries = request.execute();
    let mut found = None;
    // Read to the end even so: the kernel sends the rest anyway.
    while let Some(entry) = entries.try_next().await.ok()? {
        if entry.header.ifindex == interface && address_of(&entry) == Some(neighbour) {
            found = entry.attributes.iter().find_map(mac);
        }
    }
    found
}

fn address_of(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

fn mac(attribute: &NeighbourAttribute) -> Option<[u8; 6]> {
    let NeighbourAttribute::LinkLayerAddress(bytes) = attribute else { return None };
    // While it is being asked for, or where a link has none, it is zero.
    <[u8; 6]>::try_from(&bytes[..]).ok().filter(|mac| *mac != [0; 6])
}

/// Our address beside the gateway; else the first one that is not of this link alone.
async fn subnet(handle: &Handle, way: &Way) -> Option<(IpAddr, u8)> {
    let dump = handle.address().get().set_link_index_filter(way.interface).execute();
    let messages: Vec<AddressMessage> = dump.try_collect().await.ok()?;
    let ours: Vec<(IpAddr, u8)> = messages.iter().filter_map(own_address).collect();
    let family = |address: &IpAddr| way.gateway.is_none_or(|gateway| gateway.is_ipv4() == address.is_ipv4());
    let beside = |(address, prefix): &(IpAddr, u8)| {
        way.gateway.is_some_and(|gateway| shares_prefix(*address, gateway, *prefix))
    };
    let first = || ours.iter().find(|(address, _)| family(address));
    ours.iter().find(|own| beside(own)).or_else(first).copied()
}

fn own_address(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    if message.header.scope == AddressScope::Link {
        return None;
    }
    // Of a point-to-point IPv4 address, "local" is ours; IPv6 has "address" alone.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Some((local.or(address)?, message.header.prefix_len))
}

fn shares_prefix(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let differs = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u32::from(one) ^ u32::from(other)).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (u128::from(one) ^ u128::from(other)).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differs >= u32::from(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_shared_to_its_last_bit() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(shares_prefix(address("10.1.2.3"), address("10.1.2.255"), 24));
        assert!(!shares_prefix(address("10.1.2.3"), address("10.1.3.3"), 24));
        assert!(shares_prefix(address("10.1.2.3"), address("203.0.113.1"), 0));
        assert!(shares_prefix(address("2001:db8::1"), address("2001:db8::1"), 128));
        assert!(!shares_prefix(address("::"), address("0.0.0.0"), 0));
    }

    #[test]
    fn a_hardware_address_that_is_none_is_not_taken_for_one() {
        let of = |bytes: &[u8]| mac(&NeighbourAttribute::LinkLayerAddress(bytes.to_vec()));
        assert_eq!(of(&[2, 0, 0, 0, 0, 1]), Some([2, 0, 0, 0, 0, 1]));
        assert_eq!((of(&[0; 6]), of(&[1; 20]), of(&[])), (None, None, None));
    }
}
