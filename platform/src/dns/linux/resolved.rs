//! systemd-resolved over D-Bus, `org.freedesktop.resolve1(5)`: settings of one link, which it divides
//! by domain and forgets with the link.

use std::{net::IpAddr, time::Duration};

use nix::net::if_::if_nametoindex;
use serde::{Deserialize, Serialize};
use zbus::{Connection, connection::Builder, names::BusName, zvariant::DynamicType};

use super::super::{DnsError, DnsPlan};

const SERVICE: &str = "org.freedesktop.resolve1";
const PATH: &str = "/org/freedesktop/resolve1";
const INTERFACE: &str = "org.freedesktop.resolve1.Manager";

/// A local service that has not answered by then does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// `AF_INET` and `AF_INET6` as D-Bus callers give them.
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

/// The link whose settings are ours.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LinkSettings {
    interface: String,
    index: i32,
}

#[derive(Debug)]
pub(super) struct Resolved {
    bus: Connection,
}

impl LinkSettings {
    pub(super) fn of(interface: &str) -> Result<Self, DnsError> {
        let index = if_nametoindex(interface).ok().and_then(|index| i32::try_from(index).ok());
        let index = index.ok_or_else(|| DnsError::NoInterface(interface.to_owned()))?;
        Ok(Self { interface: interface.to_owned(), index })
    }

    /// Whether the link is still the one that was set: its index may have been given to another.
    fn is_there(&self) -> bool {
        Self::of(&self.interface).is_ok_and(|now| now.index == self.index)
    }
}

impl Resolved {
    /// The service, if it runs or can be started by the bus.
    pub(super) async fn find(address: Option<&str>) -> Option<Self> {
        let builder = match address {
            Some(address) => Builder::address(address),
            None => Builder::system(),
        };
        let connecting = builder.method_timeout(PATIENCE).build();
        let bus = tokio::time::timeout(PATIENCE, connecting).await.ok()?.ok()?;
        let dbus = zbus::fdo::DBusProxy::new(&bus).await.ok()?;
        let name = BusName::try_from(SERVICE).ok()?;
        if !dbus.name_has_owner(name).await.ok()? {
            let startable = dbus.list_activatable_names().await.ok()?;
            startable.iter().find(|name| name.as_str() == SERVICE)?;
        }
        Some(Self { bus })
    }

    pub(super) async fn set(&self, link: &LinkSettings, plan: &DnsPlan) -> Result<(), DnsError> {
        let servers: Vec<_> = plan.servers.iter().copied().map(server).collect();
        self.call("SetLinkDNS", &(link.index, servers)).await?;
        // "Routing only" domains are not searched. "." stands for all of them.
        let searched = plan.domains.iter().map(|domain| (domain.as_str(), false));
        let domains: Vec<_> = searched.chain(plan.all.then_some((".", true))).collect();
        // Without a domain of its own the link would be asked nothing at all.
        let default_route = domains.is_empty() || plan.all;
        self.call("SetLinkDomains", &(link.index, domains)).await?;
        self.call("SetLinkDefaultRoute", &(link.index, default_route)).await?;
        // Names that did not exist outside may exist inside. A failure costs a few minutes of that.
        if let Err(error) = self.call("FlushCaches", &()).await {
            tracing::debug!(%error, "name cache not flushed");
        }
        Ok(())
    }

    pub(super) async fn revert(&self, link: &LinkSettings) -> Result<(), DnsError> {
        if !link.is_there() {
            return Ok(());
        }
        self.call("RevertLink", &(link.index,)).await
    }

    async fn call<B: Serialize + DynamicType>(&self, call: &'static str, body: &B) -> Result<(), DnsError> {
        let answer = self.bus.call_method(Some(SERVICE), PATH, Some(INTERFACE), call, body).await;
        answer.map(|_| ()).map_err(|error| DnsError::Resolved { call, reason: error.to_string() })
    }
}

impl DnsError {
    /// The service was there a moment ago.
    pub(super) fn no_bus() -> Self {
        Self::Resolved { call: "connecting", reason: "the bus is gone".to_owned() }
    }
}

fn server(address: IpAddr) -> (i32, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    }
}
