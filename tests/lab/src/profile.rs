//! Profiles as people write them.

use std::fmt;

use crate::pki::Identity;

/// A profile named `lab`, and the files beside it.
#[derive(Clone)]
pub struct Profile {
    gateway: String,
    remote_id: String,
    local_id: Option<String>,
    auth: Auth,
    authority: Option<String>,
    remote_ts: Vec<String>,
    legacy: bool,
    sections: Vec<(&'static str, String)>,
}

#[derive(Clone)]
enum Auth {
    Psk,
    EapMschapv2 { identity: String },
    Certificate { identity: Identity },
}

impl Profile {
    /// For a gateway with a pre-shared key.
    pub fn psk(gateway: impl ToString, local_id: &str) -> Self {
        Self {
            gateway: gateway.to_string(),
            remote_id: "vpn.lab.example".to_owned(),
            local_id: Some(local_id.to_owned()),
            auth: Auth::Psk,
            authority: None,
            remote_ts: vec!["10.10.0.0/16".to_owned()],
            legacy: false,
            sections: Vec::new(),
        }
    }

    /// For a gateway with a certificate from `authority` that asks for a user name and a password.
    pub fn eap(gateway: impl ToString, identity: &str, authority: &str) -> Self {
        Self {
            auth: Auth::EapMschapv2 { identity: identity.to_owned() },
            authority: Some(authority.to_owned()),
            local_id: None,
            ..Self::psk(gateway, "")
        }
    }

    /// For a gateway with a certificate from an authority of the system that asks for a user name and a password.
    pub fn eap_by_system(gateway: impl ToString, identity: &str) -> Self {
        Self { authority: None, ..Self::eap(gateway, identity, "") }.section("trust", "system = true")
    }

    /// For a gateway with a certificate from `authority` that asks for a certificate.
    pub fn certificate(gateway: impl ToString, local_id: &str, identity: Identity, authority: &str) -> Self {
        Self {
            auth: Auth::Certificate { identity },
            authority: Some(authority.to_owned()),
            ..Self::psk(gateway, local_id)
        }
    }

    /// Expects the gateway to be somebody else.
    pub fn remote_id(mut self, id: &str) -> Self {
        self.remote_id = id.to_owned();
        self
    }

    /// Asks for these networks; none: for all that the gateway offers.
    pub fn remote_ts(mut self, networks: &[&str]) -> Self {
        self.remote_ts = networks.iter().map(|network| (*network).to_owned()).collect();
        self
    }

    /// Allows SHA-1 and group 2.
    pub fn legacy(mut self) -> Self {
        self.legacy = true;
        self
    }

    /// More lines for a section: `("ike", "proposals = [...]")`.
    pub fn section(mut self, name: &'static str, lines: &str) -> Self {
        self.sections.push((name, lines.to_owned()));
        self
    }

    /// The files that it refers to.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let mut files: Vec<_> = self.authority.iter().map(|ca| ("ca.crt", ca.clone())).collect();
        if let Auth::Certificate { identity } = &self.auth {
            let chain = std::iter::once(&identity.certificate).chain(&identity.intermediates);
            files.push(("client.crt", chain.cloned().collect()));
            files.push(("client.key", identity.key.clone()));
        }
        files
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name = \"lab\"")?;
        writeln!(f, "gateway = {:?}", self.gateway)?;
        writeln!(f, "remote_id = {:?}", self.remote_id)?;
        if self.legacy {
            writeln!(f, "legacy = true")?;
        }
        writeln!(f, "[auth]")?;
        if let Some(local_id) = &self.local_id {
            writeln!(f, "local_id = {local_id:?}")?;
        }
        match &self.auth {
            Auth::Psk => writeln!(f, "method = \"psk\"")?,
            Auth::EapMschapv2 { identity } => {
                writeln!(f, "method = \"eap-mschapv2\"\nidentity = {identity:?}")?;
            }
            Auth::Certificate { .. } => {
                writeln!(f, "method = \"certificate\"\ncertificate = \"client.crt\"\nkey = \"client.key\"")?;
            }
        }
        if self.authority.is_some() {
            writeln!(f, "[trust]\nca = [\"ca.crt\"]")?;
        }
        if !self.remote_ts.is_empty() {
            writeln!(f, "[tunnel]\nremote_ts = {:?}", self.remote_ts)?;
        }
        for (name, lines) in &self.sections {
            writeln!(f, "[{name}]\n{lines}")?;
        }
        Ok(())
    }
}
