//! Which network the machine is on, and when a change of it is told.

use std::future::pending;
use std::time::{Duration, Instant};

use evenkeel_platform::network_identity::{self, IdentitySystem, NetworkIdentity};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::timer::until;

/// A change of the network waits so long for the network's name, so that what is known there is known from the first
/// packet. A person waits for it too.
const WAIT_FOR_NAME: Duration = Duration::from_millis(50);

/// Pauses before it is looked again while the gateway's hardware address is not known: the system learns it with the
/// first packet that leaves.
const UNTIL_MET: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1500),
];

/// When it is looked once more: what gives names to networks may be behind the kernel by so much.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// What was found and not yet told; each look brings one.
const QUEUE: usize = UNTIL_MET.len() + 2;

/// Looks, and keeps a change back for a moment.
#[derive(Default)]
pub(super) struct Whereabouts {
    looking: Option<(mpsc::Receiver<Option<NetworkIdentity>>, JoinHandle<()>)>,
    /// When the change is told whatever is known by then.
    change_due: Option<Instant>,
    /// Nobody has said where we are since the change, nor has it been told that nobody did.
    unnamed: bool,
}

impl Drop for Whereabouts {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Whereabouts {
    /// Looks, past our own device.
    pub(super) fn look(&mut self, own: Option<&str>) {
        self.stop();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let own = own.map(str::to_owned);
        self.looking = Some((receiver, tokio::spawn(report(own, sender))));
    }

    /// Looks since something has changed, which is told soon.
    pub(super) fn change(&mut self, own: Option<&str>) {
        self.look(own);
        self.change_due = Some(Instant::now() + WAIT_FOR_NAME);
        self.unnamed = true;
    }

    /// Where we are, as far as is known, or `None` when a change is to be told. A change that nobody has named by then
    /// comes after the word that we are nowhere: what is measured from there on is not the last network's. Cancel safe.
    pub(super) async fn news(&mut self) -> Option<Option<NetworkIdentity>> {
        tokio::select! {
            found = found(&mut self.looking) => {
                // The change follows at once: there is nothing more to wait for.
                self.change_due = self.change_due.map(|_| Instant::now());
                self.unnamed = false;
                Some(found)
            }
            () = until(self.change_due) => {
                if std::mem::take(&mut self.unnamed) {
                    return Some(None);
                }
                self.change_due = None;
                None
            }
        }
    }

    fn stop(&mut self) {
        if let Some((_, task)) = self.looking.take() {
            task.abort();
        }
    }
}

/// Tells what is found until nothing more is to be expected.
async fn report(own: Option<String>, sender: mpsc::Sender<Option<NetworkIdentity>>) {
    let system = IdentitySystem::default();
    let mut pauses = UNTIL_MET.into_iter();
    loop {
        // Of a system that can't tell, nothing is to be learned later either.
        let Ok(found) = network_identity::read(&system, own.as_deref()).await else { return };
        let is_partial = found.as_ref().is_some_and(NetworkIdentity::is_partial);
        if sender.send(found).await.is_err() {
            return;
        }
        match pauses.next().filter(|_| is_partial) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => break,
        }
    }
    tokio::time::sleep(AFTERWARDS).await;
    if let Ok(found) = network_identity::read(&system, own.as_deref()).await {
        // Nobody listens where it is looked anew.
        let _ = sender.send(found).await;
    }
}

async fn found(
    looking: &mut Option<(mpsc::Receiver<Option<NetworkIdentity>>, JoinHandle<()>)>,
) -> Option<NetworkIdentity> {
    if let Some((receiver, _)) = looking
        && let Some(found) = receiver.recv().await
    {
        return found;
    }
    *looking = None;
    pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that hears what a test sends.
    fn listening() -> (Whereabouts, mpsc::Sender<Option<NetworkIdentity>>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let looking = Some((receiver, tokio::spawn(pending())));
        let change_due = Some(Instant::now() + Duration::from_secs(3600));
        (Whereabouts { looking, change_due, unnamed: true }, sender)
    }

    #[tokio::test]
    async fn the_network_is_named_before_its_change_is_told_which_then_waits_no_longer() {
        let (mut whereabouts, sender) = listening();
        let here = Some(NetworkIdentity::default());
        sender.send(here.clone()).await.unwrap();
        assert_eq!(whereabouts.news().await, Some(here));
        assert_eq!(whereabouts.news().await, None, "the change");
    }

    #[tokio::test]
    async fn a_change_is_told_although_nobody_names_the_network_which_is_then_nowhere() {
        let (mut whereabouts, sender) = listening();
        whereabouts.change_due = Some(Instant::now());
        assert_eq!(whereabouts.news().await, Some(None));
        assert_eq!(whereabouts.news().await, None, "the change");
        // What is found later is told, and brings no other change.
        sender.send(None).await.unwrap();
        assert_eq!(whereabouts.news().await, Some(None));
        assert_eq!(whereabouts.change_due, None);
        drop(sender);
        let more = tokio::time::timeout(Duration::from_millis(1), whereabouts.news()).await;
        assert!(more.is_err(), "{more:?}");
    }
}
