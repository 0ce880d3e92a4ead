//! Captive portals: whether one holds us back, where to log in, and when it has let us go.
//!
//! [`PortalProbe::probe`] asks everything at once and is through within [`PortalProbe::BUDGET`]:
//!
//! - a page of the gateway's own host by plain HTTP, which a portal answers in its name;
//! - a page whose answer is known: the profile's, else that of the system's own connectivity check;
//! - the network's captive portal API (RFC 8908), if it has named one (RFC 8910);
//! - what the system's connectivity check has found before.
//!
//! Nobody else is contacted. Redirects are read and not followed. The answers become typed evidence, and one verdict is
//! made of it. [`PortalWatch`] asks again until a portal is gone.
//!
//! Whoever answers may be hostile: every response, name and URL is bounded, neither loopback nor the tunnel's own
//! addresses are connected to whatever a resolver says, and a URL for a person to open is a checked [`WebUrl`].
//! `docs/portals.md` has the whole account.

mod address;
mod api;
mod connector;
mod page;
mod response;
#[cfg(test)]
mod testing;
mod verdict;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_ipc::{
    ApiOutcome, DnsOutcome, HttpOutcome, PortalEvidence, PortalPage, PortalReport, SystemConnectivity,
};
use evenkeel_platform::network_hints::Connectivity;
use evenkeel_profile::{Host, ProbePage, Profile, WebUrl};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;

pub use connector::{Connector, NameError, SystemConnector};
pub use watch::{PortalEvent, PortalWatch};

use page::{Page, share_domain};
use response::Response;
use verdict::{Weight, weigh};

/// After evidence that settles the matter, what is under way is waited for this long: it may weigh more.
const GRACE: Duration = Duration::from_millis(200);

/// Where something else has settled that there is a portal, the network's API is waited for until so long after the
/// beginning, since its page goes before the others and a page that was shown is to stay. Time for the system to say
/// where the API is, and for the three round trips of TCP, TLS and HTTP; with the half second for which a gateway may be
/// silent before anybody looks, a portal is shown within two seconds of Connect.
const API_PATIENCE: Duration = Duration::from_millis(1250);

/// How long before the budget's end answers are no longer waited for, so that their absence is reported within it on a
/// busy machine too.
const MARGIN: Duration = Duration::from_millis(250);

/// APIs that are asked: one of each of two networks.
const MAX_APIS: usize = 2;

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalConfig {
    gateway: Host,
    names: Vec<Host>,
    page: Option<ProbePage>,
    never: Vec<IpAddr>,
}

impl PortalConfig {
    /// As the profile says; `None` if it says not to look.
    #[must_use]
    pub fn new(profile: &Profile) -> Option<Self> {
        profile.portal.detect.then(|| Self {
            gateway: profile.gateway.clone(),
            // A gateway that is named by its address may redirect to its name.
            names: profile.remote_id.as_str().parse().into_iter().collect(),
            page: profile.portal.page.clone(),
            never: Vec::new(),
        })
    }

    /// Never connects to these: the tunnel's own addresses.
    #[must_use]
    pub fn never_asking(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.never.extend(addresses);
        self
    }
}

/// Looks for a captive portal.
pub struct PortalProbe<C> {
    config: PortalConfig,
    connector: Arc<C>,
    /// Made when an API is asked for the first time: reading the system's roots takes a while.
    tls: OnceCell<Option<TlsConnector>>,
}

/// What one of the parallel steps has found.
enum Found {
    Evidence(PortalEvidence),
    /// The addresses of a page's host.
    Names(Host, Vec<IpAddr>),
    /// So many APIs will be asked.
    Apis(usize),
}

/// How long a probe goes on.
struct Wait {
    started: Instant,
    end: Instant,
    /// Since when the matter is settled, and how surely.
    settled: Option<(Instant, Weight)>,
    /// APIs that have yet to answer; `None` while it is not known whether there are any.
    apis: Option<usize>,
}

impl Wait {
    fn note(&mut self, found: &Found) {
        match found {
            Found::Names(..) => {}
            Found::Apis(count) => self.apis = Some(*count),
            Found::Evidence(one) => {
                if matches!(one, PortalEvidence::Api { .. }) {
                    self.apis = self.apis.map(|left| left.saturating_sub(1));
                }
                let weight = weigh(one, false);
                if matches!(weight, Weight::Clear | Weight::Certain) {
                    let (at, before) = self.settled.unwrap_or((Instant::now(), weight));
                    self.settled = Some((at, before.max(weight)));
                }
            }
        }
    }

    /// When to stop.
    fn end(&self) -> Instant {
        let Some((at, weight)) = self.settled else { return self.end };
        let awaits_api = weight == Weight::Certain && self.apis != Some(0);
        let api = if awaits_api { self.started + API_PATIENCE } else { at };
        self.end.min(api.max(at + GRACE))
    }
}

type Sink = mpsc::UnboundedSender<Found>;

impl<C: Connector> PortalProbe<C> {
    /// The longest that a probe takes.
    pub const BUDGET: Duration = Duration::from_secs(2);

    /// The most connections of one probe: two pages and two APIs, of each at most four addresses.
    pub const MAX_CONNECTIONS: usize = (2 + MAX_APIS) * address::MAX_ADDRESSES;

    /// The most bytes that a probe reads: one response from each of those four. It sends one request to each, of at
    /// most a URL and a hundred bytes.
    pub const MAX_RECEIVED: usize = (2 + MAX_APIS) * (response::MAX_RECEIVED + READ);

    /// Asks as `config` says, through `connector`.
    #[must_use]
    pub fn new(config: PortalConfig, connector: C) -> Self {
        Self { config, connector: Arc::new(connector), tls: OnceCell::new() }
    }

    /// Looks once. Cancel safe: what is under way ends with the future.
    pub async fn probe(&self) -> PortalReport {
        self.probe_within(Self::BUDGET).await
    }

    async fn probe_within(&self, budget: Duration) -> PortalReport {
        let started = Instant::now();
        let mut wait = Wait { started, end: started + budget, settled: None, apis: None };
        let deadline = started + budget.saturating_sub(MARGIN);
        let (sink, mut found) = mpsc::unbounded_channel();
        let mut evidence: Vec<PortalEvidence> = Vec::new();
        let mut names: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        {
            let steps = self.ask_everybody(sink, deadline);
            tokio::pin!(steps);
            let mut under_way = true;
            // The channel closes when all steps are through.
            loop {
                tokio::select! {
                    biased;
                    one = found.recv() => {
                        let Some(one) = one else { break };
                        wait.note(&one);
                        match one {
                            Found::Evidence(one) => evidence.push(one),
                            Found::Names(host, addresses) => drop(names.insert(host.to_string(), addresses)),
                            Found::Apis(_) => {}
                        }
                    }
                    () = sleep_until(wait.end()) => break,
                    () = &mut steps, if under_way => under_way = false,
                }
            }
        }
        evidence.extend(hijack(&names));
        let (verdict, url) = verdict::judge(&evidence);
        PortalReport { verdict, url, evidence, took_ms: millis_since(started) }
    }

    async fn ask_everybody(&self, sink: Sink, deadline: Instant) {
        let gateway = Page::of_gateway(&self.config.gateway, self.config.names.clone());
        let own = self.config.page.as_ref().map(Page::of_profile);
        let hinted = async {
            let hints = timeout_at(deadline, self.connector.hints()).await.unwrap_or_default();
            let system = hints.check.as_ref().and_then(|check| {
                let connectivity = connectivity(check.connectivity);
                tell(&sink, PortalEvidence::System { connectivity });
                // Who names a page wants that one asked and no other.
                Page::of_system(check).filter(|_| own.is_none())
            });
            let mut apis = Vec::new();
            for named in hints.portal_apis.iter().filter_map(|uri| api::named(uri)) {
                match named {
                    api::Named::Unrestricted => tell(&sink, PortalEvidence::Unrestricted),
                    api::Named::At(url) => apis.push(url),
                }
            }
            apis.truncate(MAX_APIS);
            // Who no longer listens has seen enough.
            let _ = sink.send(Found::Apis(apis.len()));
            let mut apis = apis.into_iter();
            tokio::join!(
                self.ask_page(system.as_ref(), &sink, deadline),
                self.ask_api(apis.next(), &sink, deadline),
                self.ask_api(apis.next(), &sink, deadline),
            );
        };
        tokio::join!(
            self.ask_page(gateway.as_ref(), &sink, deadline),
            self.ask_page(own.as_ref(), &sink, deadline),
            hinted,
        );
    }

    async fn ask_page(&self, page: Option<&Page>, sink: &Sink, deadline: Instant) {
        let Some(page) = page else { return };
        let started = Instant::now();
        let mut response = Response::default();
        // Whoever may import a profile chooses that page's host, port and path: not those of a cloud's metadata service.
        let link_local = page.kind != PortalPage::Profile;
        let outcome = match self.connect(&page.url, Some(sink), link_local, deadline).await {
            Ok(stream) => {
                let request = page.request();
                let asked = exchange(stream, &request, &mut response, |so_far| page.judge(so_far));
                match timeout_at(deadline, asked).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(NotHttp)) => HttpOutcome::NotHttp,
                    Err(_) => page.judge_unfinished(&response),
                }
            }
            Err(outcome) => outcome,
        };
        let proxied = response.head().is_some_and(|head| head.proxied);
        let (page, url, took_ms) = (page.kind, page.url.clone(), millis_since(started));
        tell(sink, PortalEvidence::Http { page, url, outcome, proxied, took_ms });
    }

    async fn ask_api(&self, url: Option<WebUrl>, sink: &Sink, deadline: Instant) {
        let Some(url) = url else { return };
        let started = Instant::now();
        let outcome =
            timeout_at(deadline, self.api_outcome(&url, deadline)).await.unwrap_or(ApiOutcome::Silent);
        tell(sink, PortalEvidence::Api { url, outcome, took_ms: millis_since(started) });
    }

    async fn api_outcome(&self, url: &WebUrl, deadline: Instant) -> ApiOutcome {
        let connected = self.connect(url, None, true, deadline);
        let (tls, stream) = tokio::join!(self.tls.get_or_init(|| self.make_tls()), connected);
        let stream = match stream {
            Ok(stream) => stream,
            Err(HttpOutcome::Silent) => return ApiOutcome::Silent,
            Err(_) => return ApiOutcome::Unreachable,
        };
        let (Some(tls), Some(name)) = (tls, api::server_name(url)) else { return ApiOutcome::Untrusted };
        let stream = match tls.connect(name, stream).await {
            Ok(stream) => stream,
            Err(error) => return api::failed(&error),
        };
        let mut response = Response::default();
        let request = page::request(url, api::MEDIA_TYPE);
        let whole = |so_far: &Response| so_far.is_full().then(|| api::read(so_far));
        exchange(stream, &request, &mut response, whole).await.unwrap_or(ApiOutcome::Malformed)
    }

    async fn make_tls(&self) -> Option<TlsConnector> {
        let connector = Arc::clone(&self.connector);
        tokio::task::spawn_blocking(move || api::tls(connector.roots())).await.ok().flatten()
    }

    /// A connection to a URL's host, which may have a link-local address or not; what is learned of its name is told to
    /// `sink`.
    async fn connect(
        &self,
        url: &WebUrl,
        sink: Option<&Sink>,
        link_local: bool,
        deadline: Instant,
    ) -> Result<C::Stream, HttpOutcome> {
        let mut addresses = match url.host().ip() {
            Some(address) => vec![address],
            None => {
                let looked_up = timeout_at(deadline, self.connector.resolve(url.host())).await;
                let looked_up = looked_up.unwrap_or(Err(NameError::Unavailable));
                if let Some(sink) = sink {
                    self.tell_names(sink, url.host(), &looked_up);
                }
                looked_up.map_err(|error| match error {
                    NameError::NotFound => HttpOutcome::NoAddress,
                    NameError::Unavailable => HttpOutcome::Silent,
                })?
            }
        };
        addresses.retain(|one| link_local || !address::is_link_local(*one));
        let candidates = address::candidates(&addresses, &self.config.never);
        if candidates.is_empty() {
            return Err(HttpOutcome::NoAddress);
        }
        address::connect(&self.connector, candidates, url.port(), deadline).await
    }

    fn tell_names(&self, sink: &Sink, host: &Host, looked_up: &Result<Vec<IpAddr>, NameError>) {
        let outcome = match looked_up {
            Ok(addresses) => DnsOutcome::Addresses {
                count: addresses.len(),
                private: addresses.iter().any(|address| address::is_private(*address)),
                unusable: !addresses.iter().any(|one| address::may_be_asked(*one, &self.config.never)),
            },
            Err(NameError::NotFound) => DnsOutcome::NotFound,
            Err(NameError::Unavailable) => DnsOutcome::Unavailable,
        };
        tell(sink, PortalEvidence::Dns { host: host.clone(), outcome });
        if let Ok(addresses) = looked_up {
            let _ = sink.send(Found::Names(host.clone(), addresses.clone()));
        }
    }
}

/// Bytes of one read.
const READ: usize = 4096;

/// What came is no answer, or nothing came and nothing will.
struct NotHttp;

/// Sends a request and reads until `judge` has seen enough, leaving what was read in `response`.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin, T>(
    mut stream: S,
    request: &str,
    response: &mut Response,
    judge: impl Fn(&Response) -> Option<T>,
) -> Result<T, NotHttp> {
    stream.write_all(request.as_bytes()).await.map_err(|_| NotHttp)?;
    stream.flush().await.map_err(|_| NotHttp)?;
    let mut buffer = [0; READ];
    loop {
        let count = match stream.read(&mut buffer).await {
            Ok(count) => count,
            // TLS streams that end without a farewell; HTTP says itself whether all is there.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(_) => return Err(NotHttp),
        };
        let ended = count == 0;
        let pushed =
            if ended { response.end() } else { response.push(buffer.get(..count).unwrap_or_default()) };
        pushed.map_err(|_| NotHttp)?;
        match judge(response) {
            Some(outcome) => return Ok(outcome),
            None if ended || response.is_full() => return Err(NotHttp),
            None => {}
        }
    }
}

/// Names that have nothing to do with each other, and one address each, the same.
fn hijack(names: &BTreeMap<String, Vec<IpAddr>>) -> Option<PortalEvidence> {
    let alone: Vec<(Host, IpAddr)> = names
        .iter()
        .filter_map(|(host, addresses)| match addresses.as_slice() {
            [address] => Some((host.parse().ok()?, *address)),
            _ => None,
        })
        .collect();
    let same = alone.iter().enumerate().find_map(|(index, (host, address))| {
        let mut others = alone.iter().skip(index + 1);
        others.find(|(other, also)| also == address && !share_domain(host, other)).map(|_| *address)
    });
    same.map(|address| PortalEvidence::DnsHijack { address })
}

fn tell(sink: &Sink, evidence: PortalEvidence) {
    // Who no longer listens has seen enough.
    let _ = sink.send(Found::Evidence(evidence));
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn connectivity(found: Connectivity) -> SystemConnectivity {
    match found {
        Connectivity::Unknown => SystemConnectivity::Unknown,
        Connectivity::None => SystemConnectivity::None,
        Connectivity::Portal => SystemConnectivity::Portal,
        Connectivity::Limited => SystemConnectivity::Limited,
        Connectivity::Full => SystemConnectivity::Full,
    }
}

#[cfg(test)]
#[path = "portal/probe_tests.rs"]
mod tests;
