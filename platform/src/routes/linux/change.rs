//! From a plan to the list of single changes that carry it out.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::super::{RouteError, RoutePlan};

/// The first priority of our rules. Between those that administrators give by hand (low) and the
/// kernel's own for the main table (32766).
pub(super) const FIRST_RULE: u32 = 30_000;

/// The same for a plan that takes the place of one whose rules are there: [`MAX_PREFIXES`] fit between the two.
const OTHER_FIRST_RULE: u32 = 27_500;

/// The most prefixes of one address family. Twice as many rules stay below the main table's, and the
/// kernel walks them one by one for every new flow.
const MAX_PREFIXES: usize = 1024;

const MAIN_TABLE: u32 = 254;

/// An interface, by both of its names: an index alone may have been given to another one since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
}

/// How an interface was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) link: LinkState,
    pub(super) addresses: Vec<IpAddr>,
}

/// What is changed of the interface itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LinkState {
    pub(super) up: bool,
    pub(super) mtu: u32,
    /// How the kernel makes a link-local IPv6 address (`IN6_ADDR_GEN_MODE_*`), where it has IPv6.
    pub(super) addr_gen_mode: Option<u8>,
}

/// The kernel makes no link-local address, so that no router solicitation enters the tunnel, where no
/// selector covers it.
const ADDR_GEN_MODE_NONE: u8 = 1;

/// A prefix without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Prefix {
    pub(super) address: IpAddr,
    pub(super) length: u8,
}

/// One thing that is changed, with what it takes to undo it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Link { from: LinkState, to: LinkState },
    Address(IpAddr),
    Route { to: Prefix, source: Option<IpAddr>, table: u32 },
    Rule(Rule),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) family: Family,
    pub(super) priority: u32,
    pub(super) selector: Selector,
    pub(super) action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Selector {
    Everything,
    Mark(u32),
    To(Prefix),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// Goes on with the rule of this priority.
    Jump(u32),
    /// Does nothing: what a jump lands on.
    Land,
    /// Asks a table.
    Lookup(u32),
    /// Asks a table, taking only an answer with a longer prefix than this.
    LookupLonger(u32, u8),
}

impl Change {
    /// Whether it goes away by itself when the interface does.
    pub(super) fn lives_on_interface(&self) -> bool {
        match self {
            Self::Link { .. } | Self::Address(_) | Self::Route { .. } => true,
            Self::Rule(_) => false,
        }
    }

    fn rule(&self) -> Option<&Rule> {
        if let Self::Rule(rule) = self { Some(rule) } else { None }
    }
}

impl Family {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl Prefix {
    pub(super) fn new(address: IpAddr, length: u8) -> Result<Self, RouteError> {
        let bad = || RouteError::BadPrefix { address, prefix: length };
        let masked = match address {
            IpAddr::V4(v4) => {
                let host = 32_u32.checked_sub(length.into()).ok_or_else(bad)?;
                IpAddr::V4((u32::from(v4) & u32::MAX.checked_shl(host).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) => {
                let host = 128_u32.checked_sub(length.into()).ok_or_else(bad)?;
                IpAddr::V6((u128::from(v6) & u128::MAX.checked_shl(host).unwrap_or(0)).into())
            }
        };
        Ok(Self { address: masked, length })
    }

    pub(super) fn host(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    fn is_host(self) -> bool {
        self == Self::host(self.address)
    }
}

/// The changes that put `plan` into force on an interface that was `found` so. Rules come last and the
/// jumps before the lookups: at no moment is a packet led to a place that is not ready, and at none does
/// the gateway's traffic enter the tunnel. `first_rule` is the priority of the first.
pub(super) fn changes(plan: &RoutePlan, found: &Found, first_rule: u32) -> Result<Vec<Change>, RouteError> {
    let mut remote = plan
        .remote
        .iter()
        .map(|&(address, length)| Prefix::new(address, length))
        .collect::<Result<Vec<_>, _>>()?;
    // Most specific first, as rules are asked in order.
    remote.sort_by_key(|prefix| (std::cmp::Reverse(prefix.length), prefix.address));
    remote.dedup();

    let mut changes = Vec::new();
    let link = LinkState {
        up: true,
        mtu: plan.mtu,
        addr_gen_mode: found.link.addr_gen_mode.map(|_| ADDR_GEN_MODE_NONE),
    };
    if link != found.link {
        changes.push(Change::Link { from: found.link, to: link });
    }
    for &(address, length) in &plan.addresses {
        Prefix::new(address, length)?;
        if !found.addresses.contains(&address) {
            changes.push(Change::Address(address));
        }
    }
    for &to in &remote {
        let family = Family::of(to.address);
        let source = plan.addresses.iter().map(|&(address, _)| address).find(|&a| Family::of(a) == family);
        changes.push(Change::Route { to, source, table: plan.table });
    }
    for family in [Family::V4, Family::V6] {
        let prefixes: Vec<_> = remote.iter().copied().filter(|p| Family::of(p.address) == family).collect();
        changes.extend(rules(plan, family, &prefixes, first_rule)?.into_iter().map(Change::Rule));
    }
    Ok(changes)
}

/// How one plan takes the place of another.
pub(super) struct Replacement {
    /// All that is changed from then on.
    pub(super) next: Vec<Change>,
    /// What of it has yet to be made, in order. A route takes the place of one to the same prefix.
    pub(super) make: Vec<Change>,
    /// What has to be unmade after that, in order.
    pub(super) unmake: Vec<Change>,
}

/// From changes in force to those that put `plan` into force on the same interface, which is `found` as it is. At no moment
/// is a packet that both plans lead into the tunnel led elsewhere.
pub(super) fn replacement(
    plan: &RoutePlan,
    in_force: &[Change],
    found: &Found,
) -> Result<Replacement, RouteError> {
    let link_before = in_force.iter().find_map(|change| match change {
        Change::Link { from, .. } => Some(*from),
        Change::Address(_) | Change::Route { .. } | Change::Rule(_) => None,
    });
    let others = found.addresses.iter().copied();
    let before = Found {
        link: link_before.unwrap_or(found.link),
        addresses: others.filter(|address| !in_force.contains(&Change::Address(*address))).collect(),
    };
    let first =
        in_force.iter().filter_map(|change| Some(change.rule()?.priority)).min().unwrap_or(FIRST_RULE);
    let mut next = changes(plan, &before, first)?;
    if !next.iter().filter_map(Change::rule).eq(in_force.iter().filter_map(Change::rule)) {
        let other = if first == FIRST_RULE { OTHER_FIRST_RULE } else { FIRST_RULE };
        next = changes(plan, &before, other)?;
    }
    // The MTU may have been changed since.
    let is_link = |change: &Change| matches!(change, Change::Link { .. });
    let make = next.iter().filter(|change| is_link(change) || !in_force.contains(change)).cloned().collect();
    let makes_way = |old: &Change| match old {
        Change::Link { .. } => next.iter().any(is_link),
        Change::Route { to, table, .. } => next.iter().any(|new| {
            matches!(new, Change::Route { to: same_to, table: same_table, .. }
                if same_to == to && same_table == table)
        }),
        Change::Address(_) | Change::Rule(_) => false,
    };
    let gone = |old: &&Change| !next.contains(old) && !makes_way(old);
    let unmake = in_force.iter().rev().filter(gone).cloned().collect();
    Ok(Replacement { make, unmake, next })
}

fn rules(
    plan: &RoutePlan,
    family: Family,
    prefixes: &[Prefix],
    first_rule: u32,
) -> Result<Vec<Rule>, RouteError> {
    if prefixes.is_empty() {
        return Ok(Vec::new());
    }
    if prefixes.len() > MAX_PREFIXES {
        return Err(RouteError::TooManyRoutes { count: prefixes.len(), limit: MAX_PREFIXES });
    }
    let mut lookups = Vec::new();
    for &prefix in prefixes {
        if !prefix.is_host() {
            lookups.push((Selector::To(prefix), Action::LookupLonger(MAIN_TABLE, prefix.length)));
        }
        lookups.push((Selector::To(prefix), Action::Lookup(plan.table)));
    }
    let mut jumps = vec![Selector::Mark(plan.mark)];
    let ours = plan.gateways.iter().filter(|gateway| Family::of(**gateway) == family);
    jumps.extend(ours.map(|gateway| Selector::To(Prefix::host(*gateway))));

    let rule = |(priority, (selector, action))| Rule { family, priority, selector, action };
    let after_jumps = (first_rule..).nth(jumps.len()).unwrap_or(first_rule);
    let lookups: Vec<_> = (after_jumps..).zip(lookups).map(rule).collect();
    let end = lookups.last().map_or(after_jumps, |last| last.priority + 1);
    let jumps = jumps.into_iter().map(|selector| (selector, Action::Jump(end)));

    let mut rules =
        vec![Rule { family, priority: end, selector: Selector::Everything, action: Action::Land }];
    rules.extend((first_rule..).zip(jumps).map(rule));
    rules.extend(lookups);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(remote: &[(&str, u8)]) -> RoutePlan {
        RoutePlan {
            interface: "tun0".into(),
            addresses: vec![("10.99.0.7".parse().unwrap(), 24)],
            remote: remote.iter().map(|(address, length)| (address.parse().unwrap(), *length)).collect(),
            gateways: vec!["198.51.100.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            mark: 0xe7,
            table: 5_000,
            mtu: 1400,
        }
    }

    fn found() -> Found {
        Found { link: LinkState { up: false, mtu: 1500, addr_gen_mode: Some(0) }, addresses: Vec::new() }
    }

    fn rules_of(plan: &RoutePlan) -> Vec<Rule> {
        let changes = changes(plan, &found(), FIRST_RULE).unwrap().into_iter();
        let mut rules: Vec<_> = changes
            .filter_map(|change| if let Change::Rule(rule) = change { Some(rule) } else { None })
            .collect();
        rules.sort_by_key(|rule| (rule.priority, rule.family as u8));
        rules
    }

    #[test]
    fn a_full_tunnel_asks_main_for_anything_but_its_default_route_and_then_the_tunnel() {
        let rules = rules_of(&plan(&[("0.0.0.0", 0)]));
        let all = Selector::To(Prefix::new("0.0.0.0".parse().unwrap(), 0).unwrap());
        let gateway = Selector::To(Prefix::host("198.51.100.10".parse().unwrap()));
        let expected = [
            (30_000, Selector::Mark(0xe7), Action::Jump(30_004)),
            (30_001, gateway, Action::Jump(30_004)),
            (30_002, all, Action::LookupLonger(254, 0)),
            (30_003, all, Action::Lookup(5_000)),
            (30_004, Selector::Everything, Action::Land),
        ];
        let seen: Vec<_> = rules.iter().map(|rule| (rule.priority, rule.selector, rule.action)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn every_address_of_the_gateway_stays_outside_in_its_own_family() {
        let jumps = |remote: &[(&str, u8)]| -> Vec<Selector> {
            let rules = rules_of(&plan(remote)).into_iter();
            let jumps = rules.filter(|rule| matches!(rule.action, Action::Jump(_)));
            jumps.map(|rule| rule.selector).collect()
        };
        let host = |address: &str| Selector::To(Prefix::host(address.parse().unwrap()));
        assert_eq!(jumps(&[("0.0.0.0", 0)]), [Selector::Mark(0xe7), host("198.51.100.10")]);
        assert_eq!(jumps(&[("::", 0)]), [Selector::Mark(0xe7), host("2001:db8::10")]);
    }

    #[test]
    fn nested_prefixes_are_asked_from_the_longest_to_the_shortest_and_once_each() {
        let rules =
            rules_of(&plan(&[("10.0.0.0", 8), ("10.10.3.4", 16), ("10.10.0.0", 16), ("10.1.1.1", 32)]));
        let lengths: Vec<_> = rules
            .iter()
            .filter_map(|rule| match (rule.selector, rule.action) {
                (Selector::To(prefix), Action::Lookup(_)) => Some(prefix.length),
                _ => None,
            })
            .collect();
        assert_eq!(lengths, [32, 16, 8]);
    }

    #[test]
    fn jumps_are_made_before_lookups_and_nothing_is_done_for_a_family_without_prefixes() {
        let changes = changes(&plan(&[("0.0.0.0", 0)]), &found(), FIRST_RULE).unwrap();
        let lookup = |change: &Change| {
            matches!(change, Change::Rule(Rule { action: Action::Lookup(_) | Action::LookupLonger(..), .. }))
        };
        let jump = |change: &Change| matches!(change, Change::Rule(Rule { action: Action::Jump(_), .. }));
        let first_lookup = changes.iter().position(lookup).unwrap();
        let last_jump = changes.iter().rposition(jump).unwrap();
        assert!(last_jump < first_lookup);
        assert!(!changes.iter().any(|c| matches!(c, Change::Rule(Rule { family: Family::V6, .. }))));
    }

    #[test]
    fn what_is_already_as_wished_is_not_changed() {
        let plan = plan(&[]);
        let found = Found {
            link: LinkState { up: true, mtu: 1400, addr_gen_mode: None },
            addresses: vec!["10.99.0.7".parse().unwrap()],
        };
        assert_eq!(changes(&plan, &found, FIRST_RULE).unwrap(), []);
    }

    #[test]
    fn impossible_and_excessive_prefixes_are_refused() {
        let too_long = plan(&[("10.0.0.0", 33)]);
        assert!(matches!(
            changes(&too_long, &found(), FIRST_RULE),
            Err(RouteError::BadPrefix { prefix: 33, .. })
        ));
        let mut many = plan(&[]);
        many.remote = (0..1025_u32).map(|i| (IpAddr::V4((0x0a00_0000 + (i << 8)).into()), 24)).collect();
        assert!(matches!(
            changes(&many, &found(), FIRST_RULE),
            Err(RouteError::TooManyRoutes { count: 1025, .. })
        ));
    }

    #[test]
    fn a_plan_that_replaces_another_changes_what_differs_and_unmakes_nothing_before_that() {
        let full = plan(&[("0.0.0.0", 0)]);
        let old = changes(&full, &found(), FIRST_RULE).unwrap();
        let mut present =
            Found { link: LinkState { up: true, mtu: 1280, addr_gen_mode: Some(1) }, ..found() };
        present.addresses.push("10.99.0.7".parse().unwrap());
        let moved = RoutePlan { addresses: vec![("10.99.0.8".parse().unwrap(), 32)], ..full.clone() };
        let Replacement { next, make, unmake } = replacement(&moved, &old, &present).unwrap();
        assert_eq!(next, changes(&moved, &found(), FIRST_RULE).unwrap());
        assert!(make.iter().all(|change| change.rule().is_none()), "{make:?}");
        // The MTU was another in between. The route changes in place.
        assert!(
            matches!(make[..], [Change::Link { .. }, Change::Address(_), Change::Route { .. }]),
            "{make:?}"
        );
        assert_eq!(unmake, [Change::Address("10.99.0.7".parse().unwrap())]);

        let split = plan(&[("10.0.0.0", 8)]);
        let Replacement { next, make, unmake } = replacement(&split, &old, &present).unwrap();
        let first = |changes: &[Change]| {
            changes.iter().filter_map(|change| Some(change.rule()?.priority)).min().unwrap()
        };
        assert_eq!((first(&make), first(&unmake)), (OTHER_FIRST_RULE, FIRST_RULE));
        // And back again.
        let Replacement { make, unmake, .. } = replacement(&full, &next, &present).unwrap();
        assert_eq!((first(&make), first(&unmake)), (FIRST_RULE, OTHER_FIRST_RULE));
        let most = 2 * MAX_PREFIXES + 20;
        assert!(OTHER_FIRST_RULE + u32::try_from(most).unwrap() < FIRST_RULE, "the two overlap");
    }

    #[test]
    fn prefixes_lose_their_host_bits() {
        for (address, length, network) in [
            ("10.1.2.3", 0, "0.0.0.0"),
            ("10.1.2.3", 20, "10.1.0.0"),
            ("10.1.2.3", 32, "10.1.2.3"),
            ("2001:db8::ffff", 0, "::"),
            ("2001:db8::ffff", 120, "2001:db8::ff00"),
            ("2001:db8::ffff", 128, "2001:db8::ffff"),
        ] {
            let prefix = Prefix::new(address.parse().unwrap(), length).unwrap();
            assert_eq!(prefix.address, network.parse::<IpAddr>().unwrap());
        }
    }
}
