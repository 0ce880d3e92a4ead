//! `swanctl.conf` as types.

use std::fmt::{self, Write};

use crate::pki::Identity;

/// Everything that `swanctl --load-all` loads.
#[derive(Clone, Default)]
pub struct Config {
    /// Who may connect, and how.
    pub connections: Vec<Connection>,
    /// Addresses to give out.
    pub pools: Vec<Pool>,
    /// Pre-shared keys, each with the identities that share it (none: everybody).
    pub psks: Vec<(Vec<String>, String)>,
    /// EAP users and their passwords.
    pub users: Vec<(String, String)>,
    /// Certificate authorities that are trusted, in PEM.
    pub authorities: Vec<String>,
    /// Certificates of our own, each stored as `IDENTITY-NUMBER.pem`.
    pub identities: Vec<Identity>,
}

/// One `connections` section with one child.
#[derive(Clone)]
pub struct Connection {
    /// Its name; the child's is `net`.
    pub name: String,
    /// How this end proves who it is.
    pub local: Auth,
    /// This end's identity.
    pub local_id: String,
    /// What is asked of the peer.
    pub remote: Auth,
    /// The peer's identity, or `%any`.
    pub remote_id: String,
    /// Where the peer is; a gateway takes `%any`.
    pub remote_addrs: String,
    /// Pools to answer configuration requests from.
    pub pools: Vec<String>,
    /// Addresses to ask for: `0.0.0.0` and `::` for any. Makes the connection a client's.
    pub vips: Vec<String>,
    /// IKE proposals, in strongSwan's notation.
    pub proposals: String,
    /// ESP proposals, in strongSwan's notation.
    pub esp_proposals: String,
    /// This end's traffic selectors.
    pub local_ts: String,
    /// The peer's, or `dynamic` for the address that it was given.
    pub remote_ts: String,
    /// Seconds after which this end rekeys the IKE SA; 0: never.
    pub rekey_ike: u32,
    /// Seconds after which this end rekeys the CHILD SA; 0: never.
    pub rekey_child: u32,
    /// Seconds after which peers must re-authenticate; 0: never.
    pub reauth: u32,
    /// Seconds by which a peer may overstay `rekey_ike` or `reauth` before this end closes the IKE SA.
    pub over: u32,
    /// Seconds of silence after which this end asks whether the peer lives; 0: never.
    pub dpd: u32,
    /// Settings beyond these, of the connection.
    pub extra: Vec<(String, String)>,
}

/// How an end authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// With a pre-shared key.
    Psk,
    /// With a certificate: the number of ours, or none for the peer's. The scheme is strongSwan's, such as `pubkey`,
    /// `rsa-pss` or `ecdsa-sha256`.
    Certificate(Option<usize>, &'static str),
    /// With EAP-MSCHAPv2.
    EapMschapv2,
}

/// A range of virtual addresses.
#[derive(Clone)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// A subnet or a range.
    pub addresses: String,
    /// Attributes to hand out, such as `dns`.
    pub attributes: Vec<(String, String)>,
}

impl Connection {
    /// A gateway for the office network that proves itself with `local` and asks `remote` of everybody.
    pub fn gateway(local: Auth, remote: Auth) -> Self {
        Self {
            name: "rw".to_owned(),
            local,
            local_id: "vpn.lab.example".to_owned(),
            remote,
            remote_id: "%any".to_owned(),
            remote_addrs: "%any".to_owned(),
            pools: vec!["v4".to_owned()],
            vips: Vec::new(),
            proposals: "aes256gcm16-prfsha256-x25519".to_owned(),
            esp_proposals: "aes256gcm16".to_owned(),
            local_ts: "10.10.0.0/16".to_owned(),
            remote_ts: "dynamic".to_owned(),
            rekey_ike: 0,
            rekey_child: 0,
            reauth: 0,
            over: 3600,
            dpd: 0,
            extra: Vec::new(),
        }
    }

    /// A client of such a gateway.
    pub fn client(local: Auth, remote: Auth, gateway: &str, local_id: &str) -> Self {
        Self {
            name: "home".to_owned(),
            local_id: local_id.to_owned(),
            remote_id: "vpn.lab.example".to_owned(),
            remote_addrs: gateway.to_owned(),
            pools: Vec::new(),
            vips: vec!["0.0.0.0".to_owned()],
            local_ts: "dynamic".to_owned(),
            remote_ts: "10.10.0.0/16".to_owned(),
            ..Self::gateway(local, remote)
        }
    }
}

impl Pool {
    /// The IPv4 pool `v4`, with the office's DNS server.
    pub fn v4() -> Self {
        Self {
            name: "v4".to_owned(),
            addresses: "10.20.0.1-10.20.0.250".to_owned(),
            attributes: vec![("dns".to_owned(), "10.10.0.53".to_owned())],
        }
    }

    /// The IPv6 pool `v6`.
    pub fn v6() -> Self {
        Self {
            name: "v6".to_owned(),
            addresses: "fd10:20::1-fd10:20::fa".to_owned(),
            attributes: vec![("dns".to_owned(), "fd10:10::53".to_owned())],
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Sections::default();
        text.section("connections", |text| self.connections.iter().for_each(|one| one.render(text)));
        text.section("pools", |text| {
            for pool in &self.pools {
                text.section(&pool.name, |text| {
                    text.setting("addrs", &pool.addresses);
                    pool.attributes.iter().for_each(|(name, value)| text.setting(name, value));
                });
            }
        });
        text.section("secrets", |text| {
            for (number, (ids, secret)) in self.psks.iter().enumerate() {
                text.section(&format!("ike-{number}"), |text| {
                    ids.iter().enumerate().for_each(|(at, id)| text.setting(&format!("id-{at}"), id));
                    text.setting("secret", secret);
                });
            }
            for (number, (user, password)) in self.users.iter().enumerate() {
                text.section(&format!("eap-{number}"), |text| {
                    text.setting("id", user);
                    text.setting("secret", password);
                });
            }
        });
        f.write_str(&text.text)
    }
}

impl Connection {
    fn render(&self, text: &mut Sections) {
        text.section(&self.name, |text| {
            text.setting("version", "2");
            text.setting("remote_addrs", &self.remote_addrs);
            text.setting("proposals", &self.proposals);
            text.setting("fragmentation", "yes");
            text.setting("unique", "never");
            text.setting("send_cert", "always");
            text.seconds("rekey_time", self.rekey_ike);
            text.seconds("reauth_time", self.reauth);
            // Without this, strongSwan adds a random 10 % and closes SAs at times that no test expects.
            text.seconds("over_time", if self.rekey_ike == 0 && self.reauth == 0 { 0 } else { self.over });
            text.seconds("rand_time", 0);
            text.seconds("dpd_delay", self.dpd);
            if !self.pools.is_empty() {
                text.setting("pools", &self.pools.join(","));
            }
            if !self.vips.is_empty() {
                text.setting("vips", &self.vips.join(","));
            }
            self.extra.iter().for_each(|(name, value)| text.setting(name, value));
            text.section("local", |text| self.local.render(text, &self.local_id));
            text.section("remote", |text| self.remote.render(text, &self.remote_id));
            text.section("children", |text| {
                text.section("net", |text| {
                    text.setting("esp_proposals", &self.esp_proposals);
                    text.setting("local_ts", &self.local_ts);
                    text.setting("remote_ts", &self.remote_ts);
                    text.seconds("rekey_time", self.rekey_child);
                    text.seconds("life_time", if self.rekey_child == 0 { 0 } else { 3600 });
                    text.seconds("rand_time", 0);
                    text.setting("dpd_action", "clear");
                });
            });
        });
    }
}

impl Auth {
    fn render(&self, text: &mut Sections, id: &str) {
        match self {
            Self::Psk => {
                text.setting("auth", "psk");
                text.setting("id", id);
            }
            Self::Certificate(which, scheme) => {
                text.setting("auth", scheme);
                text.setting("id", id);
                if let Some(number) = which {
                    text.setting("certs", &format!("identity-{number}.pem"));
                }
            }
            Self::EapMschapv2 => {
                text.setting("auth", "eap-mschapv2");
                text.setting("eap_id", id);
            }
        }
    }
}

/// Nested sections with one setting a line, which is all that `swanctl.conf` takes.
#[derive(Default)]
struct Sections {
    text: String,
    depth: usize,
}

impl Sections {
    fn section(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.line(&format!("{name} {{"));
        self.depth += 1;
        content(self);
        self.depth -= 1;
        self.line("}");
    }

    fn setting(&mut self, name: &str, value: &str) {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        self.line(&format!("{name} = \"{value}\""));
    }

    fn seconds(&mut self, name: &str, seconds: u32) {
        self.line(&format!("{name} = {seconds}s"));
    }

    fn line(&mut self, line: &str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.text, "{:indent$}{line}", "", indent = self.depth * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_stands_on_a_line_of_its_own_and_is_quoted() {
        let config =
            Config { users: vec![("alice".to_owned(), "pass\"word".to_owned())], ..Config::default() };
        let text = config.to_string();
        assert!(text.contains("\n    secret = \"pass\\\"word\"\n"), "{text}");
    }
}
