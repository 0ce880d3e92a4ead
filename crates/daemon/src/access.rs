//! Who may do what: one pure function over who asks, what for and whose it is.
//!
//! The kernel vouches for the peer of each connection, and this table is asked again for every request on it. A
//! check made once, when a connection or a profile was created, is how one user came to connect with another's
//! private key in CVE-2025-9615. `docs/security.md` has the table in words.

use evenkeel_platform::ipc_transport::Peer;
use evenkeel_platform::user::UserId;
use serde::{Deserialize, Serialize};

/// Who is asking, as the operating system says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// Whether this user administers the machine.
    pub administrator: bool,
}

impl From<Peer> for Caller {
    fn from(peer: Peer) -> Self {
        Self { user: peer.user, administrator: peer.is_admin }
    }
}

impl Caller {
    /// Whether what belongs to `owner` is this caller's to see in full and to end.
    #[must_use]
    pub fn may_act_for(&self, owner: &UserId) -> bool {
        self.administrator || self.user == *owner
    }
}

/// Whose a profile is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ownership {
    /// The organisation's: every local user may use it, administrators alone may change it.
    Managed,
    /// One user's own: nobody else may use it, see it or change it.
    User(UserId),
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action<'a> {
    /// See that a profile exists and what it says. Secrets are never shown, to anyone.
    See(&'a Ownership),
    /// Connect with a profile, which uses its secrets.
    Use(&'a Ownership),
    /// Create, replace or remove a profile.
    Change(&'a Ownership),
    /// End a connection that this user made, or put another in its place.
    EndConnectionOf(&'a UserId),
    /// See and forget which networks this machine has been on, while the connection is this user's or nobody's.
    KnowNetworks(Option<&'a UserId>),
    /// See a connection's identities, addresses, SPIs and counters, not just that there is one.
    InspectConnectionOf(&'a UserId),
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// The profile is another user's. Said to the caller as "no such profile".
    #[error("the profile belongs to another user")]
    NotYours,
    /// Only an administrator may.
    #[error("only an administrator may do this")]
    NeedsAdministrator,
    /// The connection is another user's.
    #[error("the connection belongs to another user")]
    ConnectionInUse,
}

/// Decides one request.
///
/// An administrator may see in lists what profiles there are, but neither use nor change another user's: its secrets are
/// that user's identity towards the gateway, and what it says is what that user trusts.
///
/// # Errors
/// The reason for which it is refused.
pub fn permit(caller: &Caller, action: Action<'_>) -> Result<(), Denied> {
    match action {
        Action::See(Ownership::Managed) | Action::Use(Ownership::Managed) => Ok(()),
        Action::Change(Ownership::Managed) => ensure(caller.administrator, Denied::NeedsAdministrator),
        Action::See(Ownership::User(owner)) => ensure(caller.may_act_for(owner), Denied::NotYours),
        Action::Use(Ownership::User(owner)) | Action::Change(Ownership::User(owner)) => {
            ensure(caller.user == *owner, Denied::NotYours)
        }
        // Where a machine has been is private to who uses it; without a connection that can't be told.
        Action::KnowNetworks(None) => ensure(caller.administrator, Denied::NeedsAdministrator),
        Action::KnowNetworks(Some(owner)) => ensure(caller.may_act_for(owner), Denied::ConnectionInUse),
        Action::EndConnectionOf(owner) | Action::InspectConnectionOf(owner) => {
            ensure(caller.may_act_for(owner), Denied::ConnectionInUse)
        }
    }
}

fn ensure(holds: bool, otherwise: Denied) -> Result<(), Denied> {
    if holds { Ok(()) } else { Err(otherwise) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_permissions_holds_for_every_cell() {
        let alice = UserId::Uid(1000);
        let callers = [
            ("owner", Caller { user: alice.clone(), administrator: false }),
            ("other", Caller { user: UserId::Uid(1001), administrator: false }),
            ("admin", Caller { user: UserId::Uid(0), administrator: true }),
        ];
        let own = Ownership::User(alice.clone());
        let managed = Ownership::Managed;
        let (ok, not_yours) = (Ok(()), Err(Denied::NotYours));
        let (admin_only, in_use) = (Err(Denied::NeedsAdministrator), Err(Denied::ConnectionInUse));
        //                                          owner       other       admin
        let table = [
            (Action::See(&own), [ok, not_yours, ok]),
            (Action::Use(&own), [ok, not_yours, not_yours]),
            (Action::Change(&own), [ok, not_yours, not_yours]),
            (Action::See(&managed), [ok, ok, ok]),
            (Action::Use(&managed), [ok, ok, ok]),
            (Action::Change(&managed), [admin_only, admin_only, ok]),
            (Action::EndConnectionOf(&alice), [ok, in_use, ok]),
            (Action::InspectConnectionOf(&alice), [ok, in_use, ok]),
            (Action::KnowNetworks(Some(&alice)), [ok, in_use, ok]),
            (Action::KnowNetworks(None), [admin_only, admin_only, ok]),
        ];
        for (action, expected) in table {
            for ((name, caller), expected) in callers.iter().zip(expected) {
                assert_eq!(permit(caller, action), expected, "{name}: {action:?}");
            }
        }
    }
}
