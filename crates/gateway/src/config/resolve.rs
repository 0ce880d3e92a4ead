//! From the file's tables to the configuration: what they name is read, what does not go together is refused.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_ipsec::crypto::{EspProposals, IkeProposals, Secret};
use evenkeel_ipsec::wire::TrafficSelector;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::file::{
    AssignTable, ClientsTable, File, IdentityTable, InnerTable, ProposalsTable, Text, TimersTable,
};
use super::network::Network;
use super::{
    Assign, Clients, ConfigError, Credential, GatewayConfig, GatewayTimers, Inconsistency, Listen,
    TunSettings,
};
use crate::inner::dns::Zone;
use crate::inner::{self, InnerConfig, MAX_ADDRESSES};

/// Turns what the file says into what the gateway uses.
pub(super) struct Resolver<'a> {
    pub(super) path: &'a Path,
}

impl Resolver<'_> {
    pub(super) fn resolve(&self, file: File) -> Result<GatewayConfig, ConfigError> {
        let listen = file.listen;
        if listen.ike_port == listen.nat_port && listen.ike_port != 0 {
            return Err(self.inconsistent(Inconsistency::SamePort));
        }
        let credential = self.credential(&file.identity)?;
        if listen.tcp_tls && matches!(credential, Credential::Psk) {
            return Err(self.inconsistent(Inconsistency::TlsNeedsCertificate));
        }
        let clients = self.clients(file.clients, &credential)?;
        let inner = self.inner(file.inner, &file.assign)?;
        Ok(GatewayConfig {
            listen: Listen {
                addresses: listen.addresses,
                ike_port: listen.ike_port,
                nat_port: listen.nat_port,
                tcp_ports: listen.tcp_ports,
                tcp_tls: listen.tcp_tls,
                control: listen.control.map(|socket| self.beside(&socket)),
            },
            id: file.identity.id.0,
            credential,
            clients,
            assign: self.assign(file.assign)?,
            ike: ike_proposals(&file.proposals),
            esp: esp_proposals(&file.proposals),
            timers: timers(&file.timers),
            inner,
            tun: file
                .tun
                .map(|tun| TunSettings { name: tun.name, mtu: tun.mtu.unwrap_or(TunSettings::DEFAULT_MTU) }),
            faults: file.faults,
        })
    }

    fn credential(&self, identity: &IdentityTable) -> Result<Credential, ConfigError> {
        match (&identity.certificate, &identity.key) {
            (Some(certificate), Some(key)) => Ok(Credential::Certificate {
                chain: self.certificates(certificate)?,
                key_pem: Secret::new(self.read(key)?),
            }),
            (None, None) => Ok(Credential::Psk),
            (Some(_), None) | (None, Some(_)) => Err(self.inconsistent(Inconsistency::CertificateWithoutKey)),
        }
    }

    fn clients(&self, table: ClientsTable, credential: &Credential) -> Result<Clients, ConfigError> {
        let mut anchors = Vec::new();
        for ca in &table.ca {
            anchors.extend(self.certificates(ca)?);
        }
        let needs_certificate = !table.eap.is_empty() || !anchors.is_empty();
        if needs_certificate && matches!(credential, Credential::Psk) {
            return Err(self.inconsistent(Inconsistency::MethodNeedsCertificate));
        }
        if !needs_certificate && table.psk.is_empty() {
            return Err(self.inconsistent(Inconsistency::NoClients));
        }
        Ok(Clients {
            anchors,
            eap: table.eap.into_iter().map(|user| (user.name, user.password.0)).collect(),
            psk: table.psk.into_iter().map(|key| (key.id.map(|id| id.0), key.secret.0)).collect(),
        })
    }

    fn assign(&self, table: AssignTable) -> Result<Assign, ConfigError> {
        let wrong_family = || self.inconsistent(Inconsistency::PoolFamily);
        let v4 = table.v4.map(|pool| pool.0.hosts_v4().ok_or_else(wrong_family)).transpose()?;
        let v6 = table.v6.map(|pool| pool.0.hosts_v6().ok_or_else(wrong_family)).transpose()?;
        let local_ts: Vec<_> = table
            .local_ts
            .iter()
            .filter_map(|Text(network)| TrafficSelector::from_cidr(network.address, network.prefix))
            .collect();
        let everything = || vec![TrafficSelector::any_v4(), TrafficSelector::any_v6()];
        Ok(Assign {
            v4,
            v6,
            dns: table.dns,
            domains: table.domains,
            subnets: table.subnets.iter().map(|Text(network)| (network.address, network.prefix)).collect(),
            local_ts: if local_ts.is_empty() { everything() } else { local_ts },
        })
    }

    fn inner(&self, table: InnerTable, assign: &AssignTable) -> Result<InnerConfig, ConfigError> {
        if table.addresses.len() > MAX_ADDRESSES {
            return Err(self.inconsistent(Inconsistency::TooManyInnerAddresses));
        }
        if !(1280..=9000).contains(&table.mtu) {
            return Err(self.inconsistent(Inconsistency::InnerMtu(table.mtu)));
        }
        if let Some(address) = table.addresses.iter().find(|address| !inner::is_unicast(**address)) {
            return Err(self.inconsistent(Inconsistency::InnerAddressNotUnicast(*address)));
        }
        let pools: Vec<Network> = assign.v4.iter().chain(&assign.v6).map(|pool| pool.0).collect();
        let taken = |address: &&IpAddr| pools.iter().any(|pool| pool.contains(**address));
        if let Some(address) = table.addresses.iter().find(taken) {
            return Err(self.inconsistent(Inconsistency::InnerAddressInPool(*address)));
        }
        Ok(InnerConfig {
            zone: Zone::practice(&table.addresses),
            addresses: table.addresses,
            any_address: table.any_address,
            mtu: table.mtu,
            max_connections: table.max_connections,
        })
    }

    fn certificates(&self, file: &Path) -> Result<Vec<Vec<u8>>, ConfigError> {
        let pem = self.read(file)?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match certificates {
            Ok(found) if !found.is_empty() => Ok(found.iter().map(|der| der.to_vec()).collect()),
            Ok(_) | Err(_) => Err(ConfigError::NoCertificate(self.beside(file))),
        }
    }

    fn read(&self, file: &Path) -> Result<Vec<u8>, ConfigError> {
        let path = self.beside(file);
        std::fs::read(&path).map_err(|reason| ConfigError::Unreadable { path, reason })
    }

    /// A file that the configuration names, relative to the configuration's own folder.
    fn beside(&self, file: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| file.to_owned(), |folder| folder.join(file))
    }

    fn inconsistent(&self, problem: Inconsistency) -> ConfigError {
        ConfigError::Inconsistent { path: self.path.to_owned(), problem }
    }
}

fn ike_proposals(table: &ProposalsTable) -> IkeProposals {
    if !table.ike.is_empty() {
        IkeProposals(table.ike.iter().map(|Text(proposal)| proposal.clone()).collect())
    } else if table.legacy {
        IkeProposals::with_legacy()
    } else {
        IkeProposals::modern()
    }
}

fn esp_proposals(table: &ProposalsTable) -> EspProposals {
    if !table.esp.is_empty() {
        EspProposals(table.esp.iter().map(|Text(proposal)| proposal.clone()).collect())
    } else if table.legacy {
        EspProposals::with_legacy()
    } else {
        EspProposals::modern()
    }
}

fn timers(table: &TimersTable) -> GatewayTimers {
    let seconds = |value: Option<u32>| value.filter(|&s| s != 0).map(|s| Duration::from_secs(s.into()));
    GatewayTimers {
        ike_rekey: seconds(table.ike_rekey_s),
        child_rekey: seconds(table.child_rekey_s),
        dpd_after: seconds(table.dpd_s.or(Some(30))),
        auth_lifetime: seconds(table.auth_lifetime_s),
    }
}
