//! Routes and DNS, changed by one task, one order after another.

use std::fmt::Display;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_ipc::Cause;
use evenkeel_platform::dns::{AppliedDns, DnsError, DnsManager, DnsOutcome, DnsPlan, is_domain};
use evenkeel_platform::routes::{Applied, RouteError, RouteManager, RoutePlan};
use evenkeel_tunnel::{ConfigureError, InnerNetwork};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::control::{Fault, MachineEvent};

/// Mark of our own sockets, by which routing keeps their packets out of the tunnel: "EK".
pub(super) const MARK: u32 = 0x454b;
/// The routing table that is ours alone.
const TABLE: u32 = 0x454b;
/// How long one change may take. D-Bus waits for 25 seconds by itself, which nobody at a terminal does.
const PATIENCE: Duration = Duration::from_secs(10);

/// Speaks with the task.
pub(super) struct NetworkTask {
    orders: mpsc::UnboundedSender<Order>,
    outcomes: mpsc::UnboundedReceiver<MachineEvent>,
}

/// At most two of each are ever under way: the tunnel waits for answers.
enum Order {
    Apply { device: String, inner: Arc<InnerNetwork> },
    Revert,
}

impl NetworkTask {
    pub(super) fn start(routes: RouteManager, dns: DnsManager) -> Self {
        let (orders, mut inbox) = mpsc::unbounded_channel();
        let (outbox, outcomes) = mpsc::unbounded_channel();
        let mut network = Network { routes, dns, applied: None };
        tokio::spawn(async move {
            while let Some(order) = inbox.recv().await {
                let outcome = match order {
                    Order::Apply { device, inner } => {
                        MachineEvent::Configured(network.apply(&device, &inner).await)
                    }
                    Order::Revert => {
                        network.revert().await;
                        MachineEvent::Unconfigured
                    }
                };
                if outbox.send(outcome).is_err() {
                    return;
                }
            }
        });
        Self { orders, outcomes }
    }

    pub(super) fn apply(&self, device: String, inner: Arc<InnerNetwork>) {
        self.order(Order::Apply { device, inner });
    }

    pub(super) fn revert(&self) {
        self.order(Order::Revert);
    }

    /// The outcome of the oldest order. Cancel safe.
    pub(super) async fn outcome(&mut self) -> MachineEvent {
        match self.outcomes.recv().await {
            Some(outcome) => outcome,
            None => pending().await,
        }
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("the task for routes and DNS is gone");
        }
    }
}

struct Network {
    routes: RouteManager,
    dns: DnsManager,
    applied: Option<InForce>,
}

/// What has been changed.
struct InForce {
    plan: RoutePlan,
    routes: Applied,
    dns: Option<(DnsPlan, AppliedDns)>,
}

impl Network {
    /// Routes first, then DNS: a name server behind the tunnel must be reachable when it is named.
    async fn apply(&mut self, device: &str, inner: &InnerNetwork) -> Result<(), Fault<ConfigureError>> {
        let (plan, dns_plan) = (route_plan(device, inner), dns_plan(device, inner));
        let mut same_dns = false;
        if let Some(in_force) = &mut self.applied {
            same_dns = in_force.dns.as_ref().map(|(plan, _)| plan) == dns_plan.as_ref();
            if same_dns && (RoutePlan { mtu: plan.mtu, ..in_force.plan.clone() }) == plan {
                // Only the MTU is another: changed in place, connections through the tunnel stay.
                bounded(self.routes.set_mtu(&in_force.routes, plan.mtu)).await.map_err(of_routes)?;
                in_force.plan = plan;
                return Ok(());
            }
        }
        let (change, dns) = match self.applied.take() {
            // What is for the tunnel does not leave outside it meanwhile.
            Some(InForce { routes, dns, .. }) => {
                (made(self.routes.replace(routes, &plan), self.routes.recover()).await, dns)
            }
            None => (made(self.routes.apply(&plan), self.routes.recover()).await, None),
        };
        let (routes, dns) = match change {
            Ok(routes) if same_dns => {
                self.applied = Some(InForce { plan, routes, dns });
                return Ok(());
            }
            Ok(routes) => (routes, dns),
            Err(error) => {
                self.revert_dns(dns).await;
                return Err(of_routes(error));
            }
        };
        self.revert_dns(dns).await;
        let dns = match dns_plan {
            None => None,
            Some(dns_plan) => match made(self.dns.apply(&dns_plan), self.dns.recover()).await {
                Ok(applied) => Some((dns_plan, applied)),
                Err(error) => {
                    self.applied = Some(InForce { plan, routes, dns: None });
                    self.revert().await;
                    return Err(of_dns(error));
                }
            },
        };
        self.applied = Some(InForce { plan, routes, dns });
        Ok(())
    }

    /// DNS first, then routes. What can't be restored is logged, stays in the journal, and is tried again at the next
    /// start.
    async fn revert(&mut self) {
        let Some(InForce { routes, dns, .. }) = self.applied.take() else { return };
        self.revert_dns(dns).await;
        if let Err(error) = bounded(self.routes.revert(routes)).await {
            tracing::error!(%error, "routes could not be removed");
        }
    }

    async fn revert_dns(&self, dns: Option<(DnsPlan, AppliedDns)>) {
        if let Some((_, applied)) = dns {
            match bounded(self.dns.revert(applied)).await {
                Ok(DnsOutcome::Restored | DnsOutcome::Nothing) => {}
                Ok(DnsOutcome::ChangedByOthers) => {
                    tracing::warn!("somebody else has changed the DNS settings; theirs are left");
                }
                Err(error) => tracing::error!(%error, "DNS could not be restored"),
            }
        }
    }
}

fn route_plan(device: &str, inner: &InnerNetwork) -> RoutePlan {
    RoutePlan {
        interface: device.to_owned(),
        addresses: inner.addresses.clone(),
        remote: inner.remote.clone(),
        gateways: inner.gateways.clone(),
        mark: MARK,
        table: TABLE,
        mtu: inner.mtu.into(),
    }
}

/// `None` when the gateway has named no server: then names resolve as before.
fn dns_plan(device: &str, inner: &InnerNetwork) -> Option<DnsPlan> {
    let (domains, odd): (Vec<_>, Vec<_>) = inner.domains.iter().cloned().partition(|name| is_domain(name));
    if !odd.is_empty() {
        tracing::warn!(
            ?odd,
            asks_all = domains.is_empty(),
            "the gateway named domains that are none; they are left out"
        );
    }
    (!inner.dns.is_empty()).then(|| DnsPlan {
        interface: device.to_owned(),
        servers: inner.dns.clone(),
        // Who sends everything through the tunnel, or was told of no domains, asks the tunnel's servers everything. What
        // is no domain was not told: otherwise the servers would be asked nothing, and names inside the
        // tunnel would resolve for nobody. It gives the gateway nothing that it would not get by naming none.
        all: domains.is_empty() || inner.is_full_tunnel(),
        domains,
    })
}

/// What did not come to an end in time.
#[derive(Debug, thiserror::Error)]
enum Bounded<E> {
    #[error("no answer within {} seconds", PATIENCE.as_secs())]
    Late,
    #[error(transparent)]
    Failed(#[from] E),
}

/// Makes a change. One that was given up half way is undone: no name server of a tunnel that is not there stays behind.
async fn made<T, U, E: Display>(
    change: impl Future<Output = Result<T, E>>,
    undo: impl Future<Output = Result<U, E>>,
) -> Result<T, Bounded<E>> {
    let result = bounded(change).await;
    if matches!(result, Err(Bounded::Late))
        && let Err(error) = bounded(undo).await
    {
        tracing::error!(%error, "a change that was given up half way could not be undone");
    }
    result
}

async fn bounded<T, E>(change: impl Future<Output = Result<T, E>>) -> Result<T, Bounded<E>> {
    match timeout(PATIENCE, change).await {
        Ok(result) => result.map_err(Bounded::Failed),
        Err(_) => Err(Bounded::Late),
    }
}

fn of_routes(error: Bounded<RouteError>) -> Fault<ConfigureError> {
    match error {
        Bounded::Failed(RouteError::Unsupported(unsupported)) => Fault {
            error: ConfigureError::Unsupported,
            cause: Cause::Unsupported { what: unsupported.what.to_owned() },
        },
        Bounded::Late | Bounded::Failed(_) => {
            let cause = Cause::RoutesFailed { detail: error.to_string() };
            Fault { error: ConfigureError::Routes, cause }
        }
    }
}

fn of_dns(error: Bounded<DnsError>) -> Fault<ConfigureError> {
    match error {
        Bounded::Failed(DnsError::Unsupported(unsupported)) => Fault {
            error: ConfigureError::Unsupported,
            cause: Cause::Unsupported { what: unsupported.what.to_owned() },
        },
        Bounded::Late | Bounded::Failed(_) => {
            let cause = Cause::DnsFailed { detail: error.to_string() };
            Fault { error: ConfigureError::Dns, cause }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_half_way_is_undone_and_nothing_else_is() {
        let undone = Cell::new(false);
        let undo = || async {
            undone.set(true);
            Ok::<(), &str>(())
        };
        assert!(matches!(made(async { Ok(7) }, undo()).await, Ok(7)));
        // What failed has undone itself.
        let failed = made(async { Err::<(), _>("no") }, undo()).await;
        assert!(matches!(failed, Err(Bounded::Failed("no"))));
        assert!(!undone.get());

        let late = made(pending::<Result<(), &str>>(), undo()).await;
        assert!(matches!(late, Err(Bounded::Late)));
        assert!(undone.get());
    }

    #[test]
    fn one_odd_domain_of_the_gateways_does_not_cost_the_others() {
        let inner = split(&["*.corp.example", "lab.example"]);
        let plan = dns_plan("tun0", &inner).unwrap();
        assert_eq!((plan.domains, plan.all), (vec!["lab.example".to_owned()], false));
    }

    #[test]
    fn a_gateway_that_names_only_odd_domains_has_its_servers_asked_as_if_it_named_none() {
        for domains in [&[][..], &["*.corp.example"], &["*.corp.example", "two words"]] {
            let plan = dns_plan("tun0", &split(domains)).unwrap();
            assert_eq!((plan.domains, plan.all), (Vec::new(), true), "{domains:?}");
        }
    }

    fn split(domains: &[&str]) -> InnerNetwork {
        InnerNetwork {
            addresses: Vec::new(),
            remote: vec![("10.0.0.0".parse().unwrap(), 8)],
            dns: vec!["10.0.0.53".parse().unwrap()],
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            gateways: vec!["192.0.2.1".parse().unwrap()],
            mtu: 1400,
            whole: 1400,
            whole_is_told: true,
            from_afar: Some(1400),
            mss_v4: 1360,
            mss_v6: 1340,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn undoing_is_bounded_too() {
        let late = made(pending::<Result<(), &str>>(), pending::<Result<(), &str>>()).await;
        assert!(matches!(late, Err(Bounded::Late)));
    }
}
