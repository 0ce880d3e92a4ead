//! Requests about the networks that are remembered.

use evenkeel_ipc::{NetworkId, RememberedNetwork, RequestError};
use evenkeel_netprofile::memory::NetworkProfile;
use evenkeel_tunnel::{Command, TunnelState};
use tokio::sync::oneshot;

use super::{Connection, Control, Machine, knowledge};
use crate::access::{Action, Caller, permit};

impl<M: Machine> Control<M> {
    pub(super) fn networks(&self, caller: &Caller) -> Result<Vec<RememberedNetwork>, RequestError> {
        self.may_know_networks(caller)?;
        let here = self.place.present();
        let all = self.place.memory().list().into_iter();
        Ok(all.map(|(fingerprint, network)| knowledge::remembered(fingerprint, network, here)).collect())
    }

    pub(super) fn network(&self, caller: &Caller, id: NetworkId) -> Result<RememberedNetwork, RequestError> {
        self.may_know_networks(caller)?;
        let not_found = RequestError::NetworkNotFound { id };
        let fingerprint = knowledge::fingerprint(id).ok_or_else(|| not_found.clone())?;
        let network = self.place.memory().show(fingerprint).ok_or(not_found)?;
        Ok(knowledge::remembered(fingerprint, network, self.place.present()))
    }

    /// Forgets one network or all, and answers once that is on disk.
    pub(super) fn forget_networks(
        &mut self,
        caller: &Caller,
        which: Option<NetworkId>,
        reply: oneshot::Sender<Result<(), RequestError>>,
    ) {
        let fingerprint = which.map(|id| (id, knowledge::fingerprint(id)));
        let refused = self.may_know_networks(caller).err().or_else(|| {
            let (id, fingerprint) = fingerprint?;
            let memory = self.place.memory();
            let known = fingerprint.is_some_and(|known| memory.show(known).is_some());
            // What could not be taken from the disk may be asked for again.
            (!known && !memory.is_behind()).then_some(RequestError::NetworkNotFound { id })
        });
        if let Some(refused) = refused {
            return drop(reply.send(Err(refused)));
        }
        let fingerprint = fingerprint.and_then(|(_, fingerprint)| fingerprint);
        let here = self.place.present().and_then(|present| present.fingerprint);
        // What the connection knows would be kept again in a minute: it is to learn anew.
        if fingerprint.is_none() || fingerprint == here {
            self.tell_tunnel(Command::Network(Box::<NetworkProfile>::default()));
        }
        self.place.forget(
            |memory| match fingerprint {
                Some(fingerprint) => drop(memory.forget(fingerprint)),
                None => memory.forget_all(),
            },
            |is_written| {
                let failed = || RequestError::Internal { detail: "networks".to_owned() };
                drop(reply.send(is_written.then_some(()).ok_or_else(failed)));
            },
        );
    }

    /// A wish to connect makes nobody the one who carries the machine: anyone may have one, towards a gateway that is
    /// nowhere. A gateway must have let that user in, and the connection must not have failed since.
    fn may_know_networks(&self, caller: &Caller) -> Result<(), RequestError> {
        let connected = |connection: &&Connection| {
            connection.been_up && connection.tunnel.status().state != TunnelState::Failed
        };
        let user = self.connection.as_ref().filter(connected).map(|connection| &connection.user);
        permit(caller, Action::KnowNetworks(user)).map_err(|_| RequestError::NotPermitted)
    }
}
