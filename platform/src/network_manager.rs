//! NetworkManager over D-Bus.

use std::{collections::HashMap, time::Duration};

use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, connection::Builder, names::BusName};

/// Its name on the bus, and that of the interface of [`ROOT`].
pub(crate) const SERVICE: &str = "org.freedesktop.NetworkManager";
/// The object that stands for all of it.
pub(crate) const ROOT: &str = "/org/freedesktop/NetworkManager";

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// One that runs. Whatever it does not answer, or not as expected, is `None`.
pub(crate) struct NetworkManager {
    bus: Connection,
}

impl NetworkManager {
    /// Looks on the bus with this address, or the system's without one; no answer is awaited for longer than `patience`.
    pub(crate) async fn find(bus: Option<&str>, patience: Duration) -> Option<Self> {
        let builder = bus.map_or_else(Builder::system, Builder::address);
        let bus = builder.method_timeout(patience).build().await.ok()?;
        let dbus = zbus::fdo::DBusProxy::new(&bus).await.ok()?;
        // Asking a service that does not run would start it.
        let runs = dbus.name_has_owner(BusName::try_from(SERVICE).ok()?).await.ok()?;
        runs.then_some(Self { bus })
    }

    /// The device with this network interface.
    pub(crate) async fn device(&self, interface: &str) -> Option<OwnedObjectPath> {
        let root = ObjectPath::try_from(ROOT).ok()?;
        let answer = self
            .bus
            .call_method(Some(SERVICE), root, Some(SERVICE), "GetDeviceByIpIface", &(interface,))
            .await
            .ok()?;
        answer.body().deserialize().ok()
    }

    /// One property of an object.
    pub(crate) async fn property(&self, object: &str, interface: &str, name: &str) -> Option<OwnedVariant> {
        let object = ObjectPath::try_from(object).ok()?;
        let answer = self
            .bus
            .call_method(Some(SERVICE), object, Some(PROPERTIES), "Get", &(interface, name))
            .await
            .ok()?;
        answer.body().deserialize().ok()
    }

    /// All properties of an object, by name.
    pub(crate) async fn properties(
        &self,
        object: &str,
        interface: &str,
    ) -> Option<HashMap<String, OwnedVariant>> {
        let object = ObjectPath::try_from(object).ok()?;
        let answer = self
            .bus
            .call_method(Some(SERVICE), object, Some(PROPERTIES), "GetAll", &(interface,))
            .await
            .ok()?;
        answer.body().deserialize().ok()
    }
}

/// The object that a property names: "/" is NetworkManager's word for none.
pub(crate) fn named(property: OwnedVariant) -> Option<OwnedObjectPath> {
    let path: OwnedObjectPath = property.try_into().ok()?;
    (path.as_str() != "/").then_some(path)
}
