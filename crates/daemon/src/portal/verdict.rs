//! From evidence to a verdict. No IO.

use std::cmp::Reverse;

use evenkeel_ipc::{ApiOutcome, HttpOutcome, PortalEvidence, PortalVerdict, Redirection, SystemConnectivity};
use evenkeel_profile::WebUrl;

/// What one piece of evidence says by itself, the least telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Nothing.
    None,
    /// Somebody answered as one who is not a portal.
    Unlikely,
    /// What portals do, and some others too.
    Suspicious,
    /// The right answer came from where it should come from: nobody is in between.
    Clear,
    /// Only a portal does that.
    Certain,
}

/// The weight of one piece. `hijacked`: unrelated names have one address.
pub(super) fn weigh(evidence: &PortalEvidence, hijacked: bool) -> Weight {
    match evidence {
        PortalEvidence::Http { page, outcome, .. } => weigh_answer(page.answer_is_known(), outcome, hijacked),
        PortalEvidence::Api { outcome, .. } => match outcome {
            ApiOutcome::Answered { captive: true, .. } => Weight::Certain,
            // A portal that forgot us may still think so: whoever is redirected knows better.
            ApiOutcome::Answered { captive: false, .. } => Weight::Unlikely,
            ApiOutcome::Malformed | ApiOutcome::Untrusted | ApiOutcome::Unreachable | ApiOutcome::Silent => {
                Weight::None
            }
        },
        PortalEvidence::Unrestricted => Weight::Unlikely,
        // It was so at some time before, so anything that is seen now goes before it.
        PortalEvidence::System { connectivity } => match connectivity {
            SystemConnectivity::Portal => Weight::Suspicious,
            SystemConnectivity::Unknown
            | SystemConnectivity::None
            | SystemConnectivity::Limited
            | SystemConnectivity::Full => Weight::None,
        },
        // Many resolvers give private addresses for good reasons.
        PortalEvidence::Dns { .. } | PortalEvidence::DnsHijack { .. } => Weight::None,
    }
}

fn weigh_answer(known: bool, outcome: &HttpOutcome, hijacked: bool) -> Weight {
    match outcome {
        HttpOutcome::Expected { .. } => Weight::Clear,
        HttpOutcome::AuthenticationRequired => Weight::Certain,
        HttpOutcome::Redirect { towards, .. } => match (towards, known) {
            (Redirection::Elsewhere | Redirection::Unusable, true) => Weight::Certain,
            // Some gateways send people to the company's page elsewhere.
            (Redirection::Elsewhere | Redirection::Unusable, false) => Weight::Suspicious,
            // Only a resolver that lies brings a portal that keeps the name.
            (Redirection::SameHost, true) => Weight::Certain,
            (Redirection::SameHost, false) if hijacked => Weight::Suspicious,
            (Redirection::SameHost, false) => Weight::Unlikely,
            (Redirection::SameHostSecure | Redirection::Related, _) => Weight::Unlikely,
        },
        HttpOutcome::Page { .. } if known => Weight::Certain,
        // For a path that the gateway does not have.
        HttpOutcome::Page { html: true, .. } => Weight::Suspicious,
        HttpOutcome::Page { html: false, .. } | HttpOutcome::Status { .. } | HttpOutcome::Refused => {
            Weight::Unlikely
        }
        HttpOutcome::NotHttp | HttpOutcome::Unreachable | HttpOutcome::Silent | HttpOutcome::NoAddress => {
            Weight::None
        }
    }
}

/// The verdict, and where to log in if there is a portal: the heaviest evidence decides.
pub(super) fn judge(evidence: &[PortalEvidence]) -> (PortalVerdict, Option<WebUrl>) {
    let hijacked = evidence.iter().any(|one| matches!(one, PortalEvidence::DnsHijack { .. }));
    let heaviest = evidence.iter().map(|one| weigh(one, hijacked)).max().unwrap_or(Weight::None);
    match heaviest {
        Weight::None => (PortalVerdict::Inconclusive, None),
        Weight::Unlikely | Weight::Clear => (PortalVerdict::NoPortal, None),
        Weight::Suspicious | Weight::Certain => (PortalVerdict::Portal, login_page(evidence, hijacked)),
    }
}

/// Where the portal's API says that its page is.
pub(super) fn named_by_api(evidence: &[PortalEvidence]) -> Option<&WebUrl> {
    evidence.iter().find_map(|one| {
        let PortalEvidence::Api { outcome, .. } = one else { return None };
        let ApiOutcome::Answered { captive: true, user_portal_url, .. } = outcome else { return None };
        user_portal_url.as_ref()
    })
}

/// Where the portal's page is: as its API says, which is authenticated; as it redirects; else at the page that it
/// answers in somebody's name, which a browser that asks for it gets to see too.
fn login_page(evidence: &[PortalEvidence], hijacked: bool) -> Option<WebUrl> {
    named_by_api(evidence).cloned().or_else(|| {
        let mut answers: Vec<((Weight, bool), &WebUrl, &HttpOutcome)> = Vec::new();
        for one in evidence {
            if let PortalEvidence::Http { page, url, outcome, .. } = one {
                answers.push(((weigh(one, hijacked), page.answer_is_known()), url, outcome));
            }
        }
        answers.sort_by_key(|(rank, ..)| Reverse(*rank));
        let tells = |weight| matches!(weight, Weight::Certain | Weight::Suspicious);
        let redirected =
            answers.iter().filter(|((weight, _), ..)| tells(*weight)).find_map(|(.., outcome)| {
                if let HttpOutcome::Redirect { to, .. } = outcome { to.clone() } else { None }
            });
        let falsely = || answers.iter().find(|((weight, _), ..)| *weight != Weight::Clear);
        redirected.or_else(|| falsely().map(|(_, url, _)| (*url).clone()))
    })
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
