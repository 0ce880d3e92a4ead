//! What was learned of each network, kept across restarts.
//!
//! `networks.json` in the state folder holds the profiles by fingerprint, `networks.salt` the secret without which a
//! fingerprint can't be undone. Neither is worth a start that fails: what can't be read is set aside and begun anew, and
//! what can't be written is remembered until the daemon ends.

mod files;

use std::path::Path;

use evenkeel_netprofile::memory::{
    Fingerprint, Identity, Label, Network, NetworkProfile, Networks, Salt, Subnet,
};
use evenkeel_netprofile::time::UnixSeconds;
use evenkeel_platform::network_identity::NetworkIdentity;

use files::Files;
pub use files::Save;

/// Every remembered network.
pub struct Memory {
    /// `None` where the system has no randomness: then no network is recognised.
    salt: Option<Salt>,
    networks: Networks,
    /// `None` where nothing can be kept.
    files: Option<Files>,
    changed: bool,
}

/// The network that we are on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Present {
    /// Its name among the remembered ones; `None` if too little is known to tell it from others.
    pub fingerprint: Option<Fingerprint>,
    /// What to call it.
    pub label: Label,
}

impl Memory {
    /// Reads what is there, or begins anew. What goes wrong is logged.
    #[must_use]
    pub fn open(state_dir: &Path, now: UnixSeconds) -> Self {
        let files = Files::new(state_dir);
        match files.salt() {
            Ok((salt, is_new)) => match files.networks(is_new, now) {
                Ok(networks) => {
                    Self { salt: Some(Salt::new(salt)), networks, files: Some(files), changed: false }
                }
                Err(error) => {
                    tracing::error!(%error, "the remembered networks can't be read; what is learned is not kept");
                    Self {
                        salt: Some(Salt::new(salt)),
                        networks: Networks::default(),
                        files: None,
                        changed: false,
                    }
                }
            },
            Err(error) => {
                tracing::error!(%error, "networks can't be told apart; what is learned is not kept");
                Self { salt: None, networks: Networks::default(), files: None, changed: false }
            }
        }
    }

    /// We are on this network: its name, and what is known of it, aged. One whose gateway the system has yet to speak with
    /// may turn out to be any.
    pub fn visit(&mut self, identity: &NetworkIdentity, now: UnixSeconds) -> (Present, NetworkProfile) {
        let is_partial = identity.is_partial();
        let identity = as_identity(identity);
        let fingerprint = if is_partial { None } else { self.fingerprint(&identity) };
        let present = Present { fingerprint, label: Label::of(&identity) };
        let known = present.fingerprint.filter(|fingerprint| self.networks.show(*fingerprint).is_some());
        let profile = known.map(|fingerprint| {
            self.changed = true;
            self.networks.visit(fingerprint, present.label.clone(), now).clone()
        });
        (present, profile.unwrap_or_default())
    }

    /// A network is recognised by what only it has. A subnet is no such thing: half the world's is 192.168.1.0/24.
    fn fingerprint(&self, identity: &Identity<'_>) -> Option<Fingerprint> {
        let own = identity.gateway_mac.is_some() || identity.ssid.is_some() || identity.dhcp_domain.is_some();
        self.salt.as_ref().filter(|_| own).and_then(|salt| Fingerprint::of(identity, salt))
    }

    /// Keeps what was learned on a network, in place of what was known of it.
    pub fn learn(&mut self, present: &Present, learned: &NetworkProfile, now: UnixSeconds) {
        let Some(fingerprint) = present.fingerprint else { return };
        let is_known = self.networks.show(fingerprint).is_some_and(|network| network.profile == *learned);
        if is_known || *learned == NetworkProfile::default() {
            return;
        }
        *self.networks.visit(fingerprint, present.label.clone(), now) = learned.clone();
        self.changed = true;
    }

    /// The networks, the last visited first.
    #[must_use]
    pub fn list(&self) -> Vec<(Fingerprint, &Network)> {
        self.networks.list()
    }

    /// One network.
    #[must_use]
    pub fn show(&self, fingerprint: Fingerprint) -> Option<&Network> {
        self.networks.show(fingerprint)
    }

    /// Forgets one network; whether it was known.
    pub fn forget(&mut self, fingerprint: Fingerprint) -> bool {
        let known = self.networks.forget(fingerprint);
        self.changed |= known;
        known
    }

    /// Forgets all networks, those in a file that was set aside included.
    pub fn forget_all(&mut self) {
        self.networks.forget_all();
        if let Some(files) = &self.files {
            files.forget_aside();
        }
        self.changed = true;
    }

    /// A network has another name, since more is known of it. What is remembered by the new name stays.
    pub fn rename(&mut self, before: &Present, present: &Present, now: UnixSeconds) {
        let (Some(old), Some(new)) = (before.fingerprint, present.fingerprint) else { return };
        if old == new {
            return;
        }
        let Some(profile) = self.networks.show(old).map(|network| network.profile.clone()) else { return };
        self.forget(old);
        if self.networks.show(new).is_none() {
            *self.networks.visit(new, present.label.clone(), now) = profile;
        }
    }

    /// Whether the disk holds something older than this, because it could not be written.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.files.as_ref().is_some_and(Files::has_failed)
    }

    /// What is to be written, if anything has changed since it was asked for last, or could not be written then.
    #[must_use]
    pub fn unsaved(&mut self) -> Option<Save> {
        let files = self.files.as_mut()?;
        (std::mem::take(&mut self.changed) || files.has_failed()).then(|| files.save(self.networks.to_json()))
    }
}

fn as_identity(identity: &NetworkIdentity) -> Identity<'_> {
    Identity {
        gateway_mac: identity.gateway_mac,
        ssid: identity.ssid.as_deref(),
        subnet: identity.subnet.map(|(address, prefix)| Subnet { address, prefix }),
        dhcp_domain: identity.dhcp_domain.as_deref(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
