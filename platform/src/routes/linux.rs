//! Addresses on the TUN interface, a routing table of our own, and policy rules that lead to it; all by
//! rtnetlink. The main table is never changed.
//!
//! For every prefix of TSr there are two rules: the first asks the main table, but takes its answer
//! only if it is *longer* than the prefix (`suppress_prefixlength`), the second asks our table. So a
//! more specific route of this machine (a printer's subnet inside `10.0.0.0/8`) keeps working, anything
//! else covered by TSr enters the tunnel, and nothing outside TSr notices. For `0.0.0.0/0` these are the
//! two rules that `wg-quick` made known.
//!
//! In front of them stand two jumps over the whole block: for packets that carry the daemon's mark and
//! for packets to the gateway's address. That pins the gateway better than a host route would: the rest
//! of the table stays in charge of the way there, so nothing goes stale when the uplink changes. The
//! jump by address also answers the reverse-path filter, which looks up the gateway without a mark: no
//! `src_valid_mark` is needed and no sysctl is touched.
//!
//! A plan takes another's place from behind: its rules stand in a block of priorities of their own before those of the other
//! go, routes are replaced in place, and addresses go last. So nothing that both lead into the tunnel is ever led elsewhere.
//!
//! Routes and rules carry a protocol number of ours and are removed by it: what another program has set
//! stays, even where it is alike.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};

use super::{Recovered, RouteError, RoutePlan};
use crate::journal::{Journal, JournalError};

#[path = "linux/change.rs"]
mod change;
#[path = "linux/netlink.rs"]
mod netlink;

use change::{Change, Found, Interface, Replacement};
use netlink::Netlink;

#[derive(Debug)]
pub(super) struct RouteManager {
    netlink: Netlink,
    journal: Journal,
    /// Whether the journal's changes are this process's and wanted. If not, they are a leftover.
    in_force: AtomicBool,
}

/// What was changed, in the order of the changes. Also the journal's form.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Applied {
    /// Tells this run of the kernel: with another one everything listed here is gone.
    boot: String,
    interface: Interface,
    changes: Vec<Change>,
}

impl RouteManager {
    pub(super) fn new(state_dir: PathBuf) -> Result<Self, RouteError> {
        let journal = Journal::new(&state_dir, "routes.journal");
        Ok(Self { netlink: Netlink::open()?, journal, in_force: AtomicBool::new(false) })
    }

    pub(super) async fn recover(&self) -> Result<Recovered, RouteError> {
        let left = match self.journal.read::<Applied>() {
            Ok(left) => left,
            Err(error @ JournalError::Malformed { .. }) => {
                self.journal.set_aside()?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        let Some(left) = left else { return Ok(Recovered::Nothing) };
        if left.boot == boot_id() {
            self.undo(&left.interface, &left.changes).await?;
        }
        self.journal.clear()?;
        Ok(Recovered::Undone)
    }

    pub(super) async fn apply(&self, plan: &RoutePlan) -> Result<Applied, RouteError> {
        if self.in_force.load(Ordering::Relaxed) {
            return Err(RouteError::AlreadyApplied);
        }
        self.recover().await?;
        let (interface, found) = self.netlink.interface(&plan.interface).await?;
        let changes = change::changes(plan, &found, change::FIRST_RULE)?;
        let applied = Applied { boot: boot_id(), interface, changes };
        self.journal.write(&applied)?;
        for (done, change) in applied.changes.iter().enumerate() {
            if let Err(error) = self.netlink.make(&applied.interface, change).await {
                let (made, _) = applied.changes.split_at(done);
                // The error to report is the first; should undoing fail too, the journal remains.
                if self.undo(&applied.interface, made).await.is_ok() {
                    self.journal.clear()?;
                }
                return Err(error);
            }
        }
        self.in_force.store(true, Ordering::Relaxed);
        Ok(applied)
    }

    pub(super) async fn replace(&self, applied: Applied, plan: &RoutePlan) -> Result<Applied, RouteError> {
        // Given up half way, it is a leftover.
        self.in_force.store(false, Ordering::Relaxed);
        let (interface, found) = match self.netlink.interface(&plan.interface).await {
            Ok(found) if found.0 == applied.interface => found,
            Ok(_) | Err(_) => {
                self.revert(applied).await?;
                return self.apply(plan).await;
            }
        };
        let mut all = applied;
        let outcome = self.change_over(&mut all, plan, &found).await;
        match outcome {
            Ok(changes) => {
                let applied = Applied { boot: all.boot, interface, changes };
                self.journal.write(&applied)?;
                self.in_force.store(true, Ordering::Relaxed);
                Ok(applied)
            }
            Err(error) => {
                // The error to report is the first; should undoing fail too, the journal remains.
                if self.undo(&all.interface, &all.changes).await.is_ok() {
                    self.journal.clear()?;
                }
                Err(error)
            }
        }
    }

    /// Goes over from what is in force, to which everything that is made is added. What is in force then.
    async fn change_over(
        &self,
        all: &mut Applied,
        plan: &RoutePlan,
        found: &Found,
    ) -> Result<Vec<Change>, RouteError> {
        let Replacement { next, make, unmake } = change::replacement(plan, &all.changes, found)?;
        all.changes.extend(make.iter().cloned());
        self.journal.write(all)?;
        for (done, change) in make.iter().enumerate() {
            if let Err(error) = self.netlink.put(&all.interface, change).await {
                // What was not made is not ours to unmake.
                all.changes.truncate(all.changes.len() - (make.len() - done));
                return Err(error);
            }
        }
        for change in &unmake {
            self.netlink.unmake(&all.interface, change).await?;
        }
        Ok(next)
    }

    pub(super) async fn set_mtu(&self, applied: &Applied, mtu: u32) -> Result<(), RouteError> {
        self.netlink.set_mtu(&applied.interface, mtu).await
    }

    pub(super) async fn revert(&self, applied: Applied) -> Result<(), RouteError> {
        self.in_force.store(false, Ordering::Relaxed);
        self.undo(&applied.interface, &applied.changes).await?;
        Ok(self.journal.clear()?)
    }

    /// Undoes everything that can be undone, last change first, and reports the first failure.
    async fn undo(&self, interface: &Interface, changes: &[Change]) -> Result<(), RouteError> {
        let still_there = self.netlink.is_there(interface).await?;
        let mut outcome = Ok(());
        for change in changes.iter().rev() {
            if change.lives_on_interface() && !still_there {
                continue;
            }
            let undone = self.netlink.unmake(interface, change).await;
            outcome = outcome.and(undone);
        }
        outcome
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
