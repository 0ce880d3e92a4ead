//! What the person asks for, and giving up.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::Tunnel;
use crate::cause::{Cause, PathError};
use crate::defaults;
use crate::event::PathEvent;
use crate::link::Link;
use crate::moving::Moving;
use crate::phase::{Carrier, Leaving, Network, Phase, Reauthentication};
use crate::state::TargetState;

impl Tunnel {
    pub(super) fn connect(&mut self, now: Instant) {
        self.target = TargetState::Up;
        match self.phase {
            Phase::Off | Phase::Failed => {
                self.backoff.reset();
                self.known.clear();
                self.peer_known.clear();
                self.ever_up = false;
                self.cause = None;
                self.start_round(now);
            }
            Phase::ExpectRetry { .. } => self.start_round(now),
            // Under way or up; or going down, and then `settle` starts anew once it is down.
            Phase::ExpectAddresses { .. }
            | Phase::Racing(_)
            | Phase::ExpectChild(..)
            | Phase::ExpectConfigured(_)
            | Phase::Up(_)
            | Phase::ExpectClosed => {}
        }
    }

    pub(super) fn disconnect(&mut self, now: Instant) {
        self.target = TargetState::Down;
        self.cause = None;
        self.take_down(Phase::ExpectClosed, now);
    }

    /// Whether to go on without an answer from here on.
    pub(super) fn outlast(&mut self, outlasts: bool, now: Instant) {
        self.outlasts = outlasts;
        if !outlasts && !self.ever_up && matches!(self.phase, Phase::ExpectRetry { .. }) {
            // The cause of the last attempt is the one that it gives up for.
            self.take_down(Phase::Failed, now);
        }
    }

    /// Begins anew where nobody has answered.
    pub(super) fn start_over(&mut self, now: Instant) {
        match self.phase {
            Phase::ExpectAddresses { asked: true } | Phase::Racing(_) | Phase::ExpectRetry { .. } => {
                self.backoff.reset();
                // Whoever stood in between may have lied about the name. Addresses that have worked are kept while
                // the network is configured: traffic would leave outside the tunnel during the look-up.
                if matches!(self.network, Network::Untouched) {
                    self.known.clear();
                    self.peer_known.clear();
                }
                self.start_round(now);
            }
            Phase::ExpectConfigured(_) | Phase::Up(_) if self.moving.is_roaming() => {
                self.handle_path_event(PathEvent::NetworkChanged, now);
            }
            Phase::Off
            | Phase::ExpectAddresses { asked: false }
            | Phase::ExpectChild(..)
            | Phase::ExpectConfigured(_)
            | Phase::Up(_)
            | Phase::ExpectClosed
            | Phase::Failed => {}
        }
    }

    /// There is nothing to put packets into any more.
    pub(super) fn data_plane_lost(&mut self, now: Instant) {
        match self.phase {
            Phase::Off | Phase::ExpectClosed | Phase::Failed => {}
            Phase::ExpectAddresses { .. }
            | Phase::Racing(_)
            | Phase::ExpectChild(..)
            | Phase::ExpectConfigured(_)
            | Phase::Up(_)
            | Phase::ExpectRetry { .. } => self.give_up(PathError::NoDataPlane.into(), now),
        }
    }

    /// Stops trying; the cause stays visible.
    pub(super) fn give_up(&mut self, cause: Cause, now: Instant) {
        self.cause = Some(Arc::new(cause));
        self.take_down(Phase::Failed, now);
    }

    /// Closes every session, has the network restored, and goes on with `next`.
    fn take_down(&mut self, next: Phase, now: Instant) {
        self.moving = Moving::Still;
        self.retest = None;
        self.attempt_began = None;
        self.stop_learning();
        match mem::replace(&mut self.phase, next) {
            Phase::ExpectChild(_, link)
            | Phase::ExpectConfigured(Carrier::Session(link))
            | Phase::Up(Carrier::Session(link)) => self.leave(*link, now),
            Phase::ExpectConfigured(Carrier::Peer(_))
            | Phase::Up(Carrier::Peer(_))
            | Phase::Off
            | Phase::ExpectAddresses { .. }
            | Phase::Racing(_)
            | Phase::ExpectRetry { .. }
            | Phase::ExpectClosed
            | Phase::Failed => {}
        }
        if let Reauthentication::ExpectChild(successor) =
            mem::replace(&mut self.reauthentication, Reauthentication::NotDue)
        {
            self.leave(*successor, now);
        }
        self.unconfigure();
    }

    /// Says goodbye to the gateway, without waiting for it longer than a moment.
    pub(super) fn leave(&mut self, mut link: Link, now: Instant) {
        link.session.close(now);
        self.leaving.push(Leaving { link, until: now + defaults::CLOSE_GRACE });
    }
}
