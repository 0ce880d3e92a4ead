//! How many connections there may be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_platform::user::UserId;

use crate::access::Caller;

/// Connections of one user: an app, a few terminals, and room.
const PER_USER: usize = 8;
/// Connections of all users who don't administer the machine. Administrators are not counted here: a machine full of
/// clients must stay in their hands.
const OF_ALL: usize = 64;

/// Counts connections by user.
#[derive(Clone, Default)]
pub(super) struct Quota(Arc<Mutex<BTreeMap<UserId, usize>>>);

/// One connection's place; given back when dropped.
pub(super) struct Place {
    quota: Quota,
    user: UserId,
}

impl Quota {
    /// A place for one more connection of this caller, if there is one.
    pub(super) fn take(&self, caller: &Caller) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&caller.user).copied().unwrap_or(0);
        if own >= PER_USER || (all >= OF_ALL && !caller.administrator) {
            return None;
        }
        taken.insert(caller.user.clone(), own + 1);
        Some(Place { quota: self.clone(), user: caller.user.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.quota.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32) -> Caller {
        Caller { user: UserId::Uid(uid), administrator: uid == 0 }
    }

    #[test]
    fn one_user_cannot_keep_others_out() {
        let quota = Quota::default();
        let held: Vec<Place> = std::iter::from_fn(|| quota.take(&user(1000))).collect();
        assert_eq!(held.len(), PER_USER);
        assert!(quota.take(&user(1001)).is_some());
        drop(held);
        assert!(quota.take(&user(1000)).is_some());
    }

    #[test]
    fn all_users_together_cannot_keep_an_administrator_out() {
        let quota = Quota::default();
        let held: Vec<Place> = (1000..2000).filter_map(|uid| quota.take(&user(uid))).collect();
        assert_eq!(held.len(), OF_ALL);
        assert!(quota.take(&user(5000)).is_none());
        assert!(quota.take(&user(0)).is_some());
    }
}
