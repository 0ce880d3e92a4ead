//! What the importers share: the file they read, what they warn of, and typed values out of untyped ones.
use std::path::{Path, PathBuf};

use crate::{
    Auth, Certificate, Cidr, EspOptions, Fallback, GatewayPorts, Host, Identity, IkeOptions, Loaded, Portal,
    Problem, Profile, ProfileError, ProfileName, Secrets, Timers, Trust, Tunnel, Warning,
};

/// An import under way.
pub(super) struct Draft {
    file: PathBuf,
    pub(super) warnings: Vec<Warning>,
    pub(super) secrets: Secrets,
    pub(super) gateway_ports: GatewayPorts,
    pub(super) local_id: Option<Identity>,
    pub(super) tunnel: Tunnel,
    pub(super) ike: IkeOptions,
    pub(super) esp: EspOptions,
    pub(super) legacy: bool,
    pub(super) timers: Timers,
}

impl Draft {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            warnings: Vec::new(),
            secrets: Secrets::default(),
            gateway_ports: GatewayPorts::default(),
            local_id: None,
            tunnel: Tunnel::default(),
            ike: IkeOptions::default(),
            esp: EspOptions::default(),
            legacy: false,
            timers: Timers::default(),
        }
    }

    /// The refusal of the file because of a key.
    pub(super) fn refuse(&self, key: &str, problem: Problem) -> ProfileError {
        let key = (!key.is_empty()).then(|| key.to_owned());
        ProfileError { file: self.file.clone(), place: None, key, problem }
    }

    /// The refusal of a value, with the words of its own check.
    pub(super) fn wrong(&self, key: &str, error: impl ToString) -> ProfileError {
        self.refuse(key, Problem::Value(error.to_string()))
    }

    pub(super) fn not_honoured(&mut self, key: &str, why: impl Into<String>) {
        self.warnings.push(Warning::NotHonoured { key: key.to_owned(), why: why.into() });
    }

    /// A name for the profile from one that follows no rules of ours.
    pub(super) fn name(&mut self, foreign: &str, gateway: &Host) -> Result<ProfileName, ProfileError> {
        if let Ok(name) = foreign.parse() {
            return Ok(name);
        }
        let name = ProfileName::from_foreign(foreign).or_else(|| ProfileName::from_foreign(gateway.as_str()));
        let name = name.ok_or_else(|| self.refuse("", Problem::Name(crate::NameError::Empty)))?;
        self.warnings.push(Warning::Renamed { from: foreign.to_owned(), to: name.clone() });
        Ok(name)
    }

    pub(super) fn host(&self, key: &str, text: &str) -> Result<Host, ProfileError> {
        text.parse().map_err(|error| self.wrong(key, error as crate::HostError))
    }

    pub(super) fn identity(&self, key: &str, text: &str) -> Result<Identity, ProfileError> {
        text.parse().map_err(|error| self.wrong(key, error as crate::IdentityError))
    }

    /// Takes an MTU, if it is one.
    pub(super) fn mtu(&mut self, key: &str, mtu: u64) {
        match u16::try_from(mtu) {
            Ok(mtu @ 576..=9000) => self.tunnel.mtu = Some(mtu),
            _ => self.not_honoured(key, format!("{mtu} is no MTU; allowed: 576 to 9000")),
        }
    }

    /// Takes the addresses of DNS servers.
    pub(super) fn dns(&mut self, key: &str, servers: impl IntoIterator<Item = String>) {
        for server in servers {
            match server.parse() {
                Ok(ip) if self.tunnel.dns.len() < 8 => self.tunnel.dns.push(ip),
                Ok(_) => {
                    self.not_honoured(key, format!("{server:?} is one DNS server too many; 8 are allowed"))
                }
                Err(_) => self.not_honoured(key, format!("{server:?} is no IP address")),
            }
        }
    }

    /// Trust in these authorities, or in the system's if the file names none.
    pub(super) fn trust(&mut self, ca: Vec<Certificate>) -> Trust {
        let named = Trust::new(ca, false);
        named.unwrap_or_else(|| {
            self.warnings.push(Warning::SystemTrust);
            Trust::in_system()
        })
    }

    /// Networks to ask the gateway for.
    pub(super) fn networks(&mut self, key: &str, networks: Vec<Cidr>) -> Result<(), ProfileError> {
        const MAX: usize = 64;
        if networks.len() > MAX {
            return Err(self.refuse(key, Problem::TooMany { count: networks.len(), max: MAX }));
        }
        self.tunnel.remote_ts = networks;
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        name: ProfileName,
        gateway: Host,
        remote_id: Identity,
        auth: Auth,
    ) -> Loaded {
        if self.legacy {
            self.warnings.push(Warning::Legacy);
        }
        if self.secrets.password.is_some() || self.secrets.psk.is_some() {
            self.warnings.push(Warning::SecretInFile);
        }
        let Self { gateway_ports, local_id, tunnel, ike, esp, legacy, timers, .. } = self;
        let profile = Profile {
            name,
            gateway,
            gateway_ports,
            remote_id,
            local_id,
            auth,
            tunnel,
            ike,
            esp,
            legacy,
            timers,
            portal: Portal::default(),
            fallback: Fallback::default(),
            wireguard: None,
        };
        Loaded { profile, secrets: self.secrets, warnings: self.warnings }
    }
}
