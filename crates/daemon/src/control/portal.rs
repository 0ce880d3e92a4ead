//! Captive portals and the connection: the search follows the tunnel, the tunnel what is found.

mod search;

use std::time::Instant;

use evenkeel_ipc::{Portal, PortalReport, PortalVerdict};
use evenkeel_tunnel::{Command, Tunnel, TunnelState};

use super::status::Moment;
use super::{Connection, Control, Machine};
use crate::portal::PortalConfig;
pub(super) use search::PortalSearch;
use search::{Standing, Step};

impl<M: Machine> Control<M> {
    /// A look for a portal has had a result.
    pub(super) fn handle_portal(&mut self, report: &PortalReport) {
        if let Some(search) = self.connection.as_mut().and_then(|connection| connection.portal.as_mut()) {
            search.handle_report(report, Instant::now());
            if report.verdict == PortalVerdict::Portal && search.found().is_some() {
                self.tell_tunnel(Command::PortalSeen);
            }
        }
        self.settle();
        // Nobody watching is no error.
        let _ = self.changes.send(());
    }

    /// Tells the search how the connection is, and does what it says. Whether there was anything to do.
    pub(super) fn follow_portal(&mut self) -> bool {
        let Some(Connection { tunnel, record, portal: Some(search), .. }) = &mut self.connection else {
            return false;
        };
        let now = Instant::now();
        search.observe(standing(tunnel), now);
        let mut moved = false;
        while let Some(step) = search.poll_step() {
            moved = true;
            match step {
                Step::Look => {
                    if let Some(config) = PortalConfig::new(&record.profile) {
                        let own = tunnel.inner_network().into_iter().flat_map(|inner| &inner.addresses);
                        let config = config.never_asking(own.map(|(address, _)| *address));
                        self.machine.look_for_portal(config);
                    }
                }
                Step::Forget => self.machine.forget_portal(),
                Step::Outlast(outlasts) => tunnel.handle_command(Command::Outlast(outlasts), now),
                Step::StartOver => tunnel.handle_command(Command::StartOver, now),
            }
        }
        moved
    }
}

/// The portal that holds a connection back, for its status.
pub(super) fn of_search(search: Option<&PortalSearch>, moment: Moment) -> Option<Portal> {
    let found = search?.found()?;
    Some(Portal { url: found.url.clone(), since: moment.wall_at(found.since) })
}

fn standing(tunnel: &Tunnel) -> Standing {
    if !tunnel.is_unanswered() {
        Standing::Settled
    } else if matches!(tunnel.status().state, TunnelState::Waiting { .. }) {
        Standing::Pausing
    } else {
        Standing::Asking
    }
}
