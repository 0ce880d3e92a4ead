//! The system's network: configured only once packets can flow, restored before the tunnel says that it is off.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Tunnel;
use crate::cause::ConfigureError;
use crate::event::Event;
use crate::inner::InnerNetwork;
use crate::phase::{Network, Phase};

impl Tunnel {
    /// Has the system's network match what is in use, if it does not yet.
    pub(super) fn configure(&mut self) {
        let (Some(sizes), overrides) = (self.sizing, &self.config.overrides) else { return };
        let known: Vec<IpAddr> = self.known.iter().chain(&self.peer_known).copied().collect();
        let wanted = if let Some(link) = self.phase.link() {
            let Some(child) = link.sending_child() else { return };
            let wanted = InnerNetwork::new(&link.assigned, child, &link.path, sizes, &known, overrides);
            match &self.network {
                Network::Applying(before) | Network::Applied(before) => wanted.keeping_limits_of(before),
                Network::Untouched | Network::Reverting => wanted,
            }
        } else if let (Some(peer), Some(network)) = (self.phase.peer(), &self.config.peer) {
            InnerNetwork::behind(network, &peer.path, sizes, &known, overrides)
        } else {
            return;
        };
        match &self.network {
            Network::Applying(inner) | Network::Applied(inner) if **inner == wanted => {}
            Network::Untouched | Network::Applying(_) | Network::Applied(_) | Network::Reverting => {
                let wanted = Arc::new(wanted);
                self.events.push_back(Event::Configure(Arc::clone(&wanted)));
                self.network = Network::Applying(wanted);
            }
        }
    }

    /// The owner has configured the network, or could not.
    pub(super) fn configured(&mut self, result: Result<(), ConfigureError>, now: Instant) {
        let Network::Applying(inner) = &self.network else { return };
        match result {
            Ok(()) => {
                self.network = Network::Applied(Arc::clone(inner));
                self.up_if_configured(now);
            }
            Err(error) => self.give_up(error.into(), now),
        }
    }

    /// Has the system's network restored, if this tunnel has changed it.
    pub(super) fn unconfigure(&mut self) {
        match self.network {
            Network::Untouched | Network::Reverting => {}
            Network::Applying(_) | Network::Applied(_) => {
                self.events.push_back(Event::Unconfigure);
                self.network = Network::Reverting;
            }
        }
    }

    /// The owner has restored the network.
    pub(super) fn unconfigured(&mut self) {
        if !matches!(self.network, Network::Reverting) {
            return;
        }
        self.network = Network::Untouched;
        if let Phase::ExpectAddresses { asked } = &mut self.phase
            && !*asked
        {
            *asked = true;
            self.ask_for_addresses();
        }
    }
}
