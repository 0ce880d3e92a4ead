//! Finding an address of the gateway that answers.

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_ipsec::ike::ClientConfig;
use evenkeel_ipsec::wire::Id;

use super::Tunnel;
use crate::cause::{Cause, PathError, Remedy, ResolveError};
use crate::defaults;
use crate::event::{Event, LinkId, OpenedPath};
use crate::keepalive::Keepalive;
use crate::link::Link;
use crate::phase::{Candidates, Network, Phase};

impl Tunnel {
    /// One round over the gateway's addresses, which are looked up first when none is known or they have failed too
    /// often.
    pub(super) fn start_round(&mut self, now: Instant) {
        if !self.known.is_empty() && self.backoff.rounds() < defaults::ROUNDS_ON_KNOWN_ADDRESSES {
            self.next_candidate(Candidates::new(&self.known), now);
            return;
        }
        self.unconfigure();
        let asked = matches!(self.network, Network::Untouched);
        if asked {
            self.events.push_back(Event::ResolveGateway);
        }
        self.phase = Phase::ExpectAddresses { asked };
    }

    pub(super) fn resolved(&mut self, result: Result<Vec<IpAddr>, ResolveError>, now: Instant) {
        if !matches!(self.phase, Phase::ExpectAddresses { asked: true }) {
            return;
        }
        match result {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.truncate(defaults::MAX_ADDRESSES);
                self.known = addresses;
            }
            Ok(_) | Err(_) if !self.known.is_empty() => {
                tracing::info!("the gateway's name gave no address; keeping those that are known");
            }
            Ok(_) => return self.connecting_failed(ResolveError::NotFound.into(), Candidates::new(&[]), now),
            Err(error) => return self.connecting_failed(error.into(), Candidates::new(&[]), now),
        }
        self.next_candidate(Candidates::new(&self.known), now);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other phase stays as it is")]
    pub(super) fn path_opened(&mut self, result: Result<OpenedPath, PathError>, now: Instant) {
        let candidates = match mem::replace(&mut self.phase, Phase::Off) {
            Phase::ExpectPath(candidates) => candidates,
            other => {
                self.phase = other;
                return;
            }
        };
        match result {
            Ok(path) => {
                self.keepalive = Keepalive::new(now);
                let link = self.start_link(path, now);
                self.phase = Phase::ExpectChild(candidates, link);
            }
            Err(error) => self.connecting_failed(error.into(), candidates, now),
        }
    }

    pub(super) fn start_link(&mut self, path: OpenedPath, now: Instant) -> Box<Link> {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let mut client = Arc::clone(&self.config.client);
        if self.config.identify_by_address {
            let local_id = match path.nat.local.ip() {
                IpAddr::V4(address) => Id::Ipv4(address),
                IpAddr::V6(address) => Id::Ipv6(address),
            };
            client = Arc::new(ClientConfig { local_id, ..(*client).clone() });
        }
        Box::new(Link::connect(id, &client, path, self.rng.fork(), now))
    }

    /// An attempt has failed before there was a CHILD SA.
    pub(super) fn connecting_failed(&mut self, cause: Cause, mut candidates: Candidates, now: Instant) {
        tracing::info!(%cause, "could not connect");
        let remedy = cause.remedy();
        candidates.advance();
        if remedy == Remedy::NextAddress && candidates.current().is_some() {
            self.cause = Some(Arc::new(cause));
            self.next_candidate(candidates, now);
        } else if remedy == Remedy::GiveUp || !self.ever_up {
            self.give_up(cause, now);
        } else {
            self.cause = Some(Arc::new(cause));
            self.pause(now);
        }
    }

    fn next_candidate(&mut self, candidates: Candidates, now: Instant) {
        match candidates.current() {
            Some(gateway) => {
                self.tried = Some(gateway);
                self.events.push_back(Event::OpenPath { gateway });
                self.phase = Phase::ExpectPath(candidates);
            }
            None => self.pause(now),
        }
    }

    pub(super) fn pause(&mut self, now: Instant) {
        self.phase = Phase::ExpectRetry { at: now + self.backoff.next(&mut self.rng) };
    }
}
