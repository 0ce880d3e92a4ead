//! What names the network that the default route leads to, as far as this machine knows it already: nothing is sent to
//! find out.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::Unsupported;

#[cfg_attr(target_os = "linux", path = "network_identity/linux.rs")]
#[cfg_attr(any(target_os = "macos", windows), path = "network_identity/elsewhere.rs")]
mod sys;

/// The longest SSID (IEEE 802.11 §9.4.2.2), in bytes.
pub const MAX_SSID: usize = 32;

/// The longest domain name (RFC 1035 §2.3.4), in bytes of text.
pub const MAX_DOMAIN: usize = 253;

/// What names a network. Anyone who runs a network can choose all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkIdentity {
    /// Address of the default gateway; none on a point-to-point link.
    pub gateway: Option<IpAddr>,
    /// Its hardware address, if the system has spoken with it.
    pub gateway_mac: Option<[u8; 6]>,
    /// Our own address there with its prefix length.
    pub subnet: Option<(IpAddr, u8)>,
    /// Name of the wireless network, any bytes.
    pub ssid: Option<Vec<u8>>,
    /// The domain that DHCP named.
    pub dhcp_domain: Option<String>,
}

impl NetworkIdentity {
    /// Whether the gateway's hardware address is still to be learned by the system: it will be as soon as anything is sent.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.gateway.is_some() && self.gateway_mac.is_none()
    }

    /// Whether this is what was known of the same network before, with more known now and nothing different.
    #[must_use]
    pub fn completes(&self, before: &Self) -> bool {
        fn adds<T: PartialEq>(now: Option<&T>, before: Option<&T>) -> bool {
            before.is_none() || now == before
        }
        // A gateway that comes to be known may be any network's.
        self.gateway == before.gateway
            && self.subnet == before.subnet
            && adds(self.gateway_mac.as_ref(), before.gateway_mac.as_ref())
            && adds(self.ssid.as_ref(), before.ssid.as_ref())
            && adds(self.dhcp_domain.as_ref(), before.dhcp_domain.as_ref())
    }
}

/// Local services and files answer in milliseconds, or not in time to matter.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where to look; another place in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySystem {
    /// The root directory.
    pub root: PathBuf,
    /// The message bus's address; the system's own without one.
    pub bus: Option<String>,
    /// How long each source of knowledge is waited for.
    pub patience: Duration,
}

impl Default for IdentitySystem {
    fn default() -> Self {
        Self { root: PathBuf::from("/"), bus: None, patience: PATIENCE }
    }
}

/// Looks, at the routes other than those through the interface `own`. `None` where no route leads out. Of two families
/// IPv4's route counts, since a router's IPv6 announcements come and go. The kernel, and then
/// whoever gives names, are waited for as long as `system` has patience, half a second by default; what is not known by then
/// is left out. Cancel safe.
///
/// # Errors
/// On systems of which nothing can be learned.
pub async fn read(
    system: &IdentitySystem,
    own: Option<&str>,
) -> Result<Option<NetworkIdentity>, Unsupported> {
    sys::read(system, own).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_of_the_same_network_is_told_from_another_one() {
        let whole = NetworkIdentity {
            gateway: "192.168.1.1".parse().ok(),
            gateway_mac: Some([2, 0, 0, 0, 0, 1]),
            subnet: Some(("192.168.1.5".parse().unwrap(), 24)),
            ssid: Some(b"Cafe".to_vec()),
            dhcp_domain: None,
        };
        let partial = NetworkIdentity { gateway_mac: None, ssid: None, ..whole.clone() };
        assert!(whole.completes(&partial) && whole.completes(&whole));
        assert!(!partial.completes(&whole), "the machine may have moved meanwhile");
        let elsewhere =
            NetworkIdentity { subnet: Some(("192.168.1.9".parse().unwrap(), 24)), ..whole.clone() };
        assert!(!elsewhere.completes(&partial) && !whole.completes(&NetworkIdentity::default()));
        assert!(!NetworkIdentity { ssid: Some(b"Hotel".to_vec()), ..whole.clone() }.completes(&whole));
    }
}
