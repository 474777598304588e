//! The TOML file: text in, specs of the rooms out, or every problem at once.

mod bounds;
mod context;
mod crl_state;
mod deny;
mod deny_request;
mod deny_state;
mod host;
mod limit;
mod listener;
mod load;
mod matcher;
mod names;
mod path;
mod places;
mod problem;
mod process;
mod read;
mod reference;
mod reputation;
mod route;
mod staged;
#[cfg(test)]
mod tests;
mod trust;
mod typed;
mod units;
mod upstream;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeTable;

use self::context::Context;
pub use self::crl_state::{crl_state_toml, parse_crl_state};
pub use self::deny::parse_deny;
pub use self::deny_request::{DenyRequest, deny_json, parse_deny_request};
pub use self::deny_state::{DenyState, MAX_KEPT, deny_id, deny_state_toml, parse_deny_state};
pub use self::load::{Loaded, load};
pub use self::places::Places;
pub use self::problem::Problem;
use self::problem::{Place, Read, Sink};
use self::read::Section;
use self::reference::ROOT;
pub use self::reference::{example_toml, reference_markdown};
pub use self::reputation::{ReputationSpec, RouteReputation};
pub use self::staged::{Props, Staged, staged};
use crate::http1;
use crate::http2;
use crate::limits::{LimitSpec, Rate, TurnBounds};
use crate::net::ListenerSpec;
use crate::policy::spec::HostSpec;
use crate::runtime::Flavor;
use crate::telemetry::LogSpec;
use crate::tls::{ResumptionSpec, TrustSpec};
use crate::upstream::UpstreamSpec;

/// Bounds on connections before and beside HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSpec {
    /// Connections that one address may hold.
    pub per_address: u32,
    /// Connections in all.
    pub max: u32,
    /// Connections without a ClientHello.
    pub silent: u32,
    /// Handshakes that one address may start; burst is one second's worth, at least 10.
    pub handshakes_per_address: Rate,
    /// Handshakes under way at once.
    pub handshakes: u32,
    /// Clients that wait for a handshake's turn, on each thread.
    pub turns: TurnBounds,
    /// From accept to the end of the handshake, PROXY header and ClientHello included.
    pub handshake_timeout: Duration,
    /// Longest ClientHello in bytes, as it arrives (records included).
    pub client_hello_bytes: usize,
    /// Longest life of a connection; then GOAWAY or `Connection: close`.
    pub max_age: Duration,
}

/// Who may say where a request came from, and which request ids are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardedSpec {
    /// Peers whose `Forwarded`, `X-Forwarded-*` and `X-Request-Id` are kept and added to; everybody else's are replaced.
    pub trusted: Vec<IpNet>,
    /// Whether the RFC 7239 `Forwarded` field is sent beside `X-Forwarded-*`.
    pub rfc7239: bool,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSpec {
    /// Where it is; loopback or a Unix socket unless `public` is set.
    pub address: AdminAddress,
    /// Whether others than this machine may reach it.
    pub public: bool,
    /// The file of the token that changes, and others than this machine, must show.
    pub token_file: Option<PathBuf>,
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// An address and port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl AdminSpec {
    /// Whether it is where others than this machine can reach it.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        matches!(self.address, AdminAddress::Tcp(address) if !address.ip().is_loopback())
    }

    /// Whether the file system decides who connects.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        matches!(self.address, AdminAddress::Unix(_))
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How the gate runs. Changing it needs a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeSpec {
    /// How connections spread over threads.
    pub flavor: Flavor,
    /// Threads that serve; `None`: one per core.
    pub threads: Option<NonZeroUsize>,
}

/// One configuration file, read and checked. Files it names are not opened here.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<ListenerSpec>,
    /// At least one; no two share a name.
    pub hosts: Vec<HostSpec>,
    /// Named by hosts.
    pub trust: Vec<TrustSpec>,
    /// Named by routes.
    pub limits: Vec<LimitSpec>,
    /// Named by routes.
    pub upstreams: Vec<UpstreamSpec>,
    /// Bounds on connections.
    pub connection: ConnectionSpec,
    /// Bounds on HTTP/1.1.
    pub http1: http1::Settings,
    /// Bounds on HTTP/2.
    pub http2: http2::Settings,
    /// Longest request body in bytes, where a route says nothing else.
    pub body_bytes: u64,
    /// Requests in flight at once.
    pub requests_in_flight: u32,
    /// How long a request may wait for another one to end.
    pub request_wait: Duration,
    /// Who may say where a request came from.
    pub forwarded: ForwardedSpec,
    /// The admin listener; `None`: there is none.
    pub admin: Option<AdminSpec>,
    /// The log.
    pub log: LogSpec,
    /// Threads.
    pub runtime: RuntimeSpec,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// Resumed sessions.
    pub resumption: ResumptionSpec,
    /// What becomes of behaviour.
    pub reputation: ReputationSpec,
    /// How often files are looked at for changes; zero: only on SIGHUP.
    pub reload_interval: Duration,
    /// What is no problem, but can hardly be meant.
    pub warnings: Vec<Problem>,
    /// Where everything else that is wrong is reported.
    pub places: Places,
}

/// Reads and checks `text`; `file` is its name in messages, and relative paths in it begin in the
/// directory of that name. Opens nothing.
///
/// # Errors
/// Every problem there is, in the order of the file; never none.
pub fn parse(file: &str, text: &str) -> Result<Config, Vec<Problem>> {
    let sink = Sink::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        sink.syntax(error.span(), error.message());
    }
    let config = Section::read(&ROOT, Some(document.get_ref()), Place::default(), &sink, |root| read(root, file));
    let places = Places::new(file, sink.named_files());
    let (config, warnings) = sink.finish(config)?;
    Ok(Config { warnings, places, ..config })
}

fn read(root: &Section<'_>, file: &str) -> Read<Config> {
    let context = Context::new(root, file);
    let hosts = host::hosts(root, &context);
    let listeners = listener::listeners(root, &context);
    let trust = trust::trust_stores(root, &context);
    let limits = limit::limits(root);
    let upstreams = upstream::upstreams(root, &context);
    let bounds = bounds::bounds(root);
    let forwarded = process::forwarded(root);
    let admin = process::admin(root, listeners.as_deref().unwrap_or_default(), &context);
    let log = process::log(root);
    let runtime = process::runtime(root);
    let drain_timeout = process::drain_timeout(root);
    let resumption = process::resumption(root, &context);
    let reload_interval = process::reload_interval(root);
    let reputation = reputation::reputation(root, &context, trust.as_deref().unwrap_or_default());
    context.warn_unused(root);
    let bounds = bounds?;
    Ok(Config {
        listeners: listeners?,
        hosts: hosts?,
        trust: trust?,
        limits: limits?,
        upstreams: upstreams?,
        connection: bounds.connection,
        http1: bounds.http1,
        http2: bounds.http2,
        body_bytes: bounds.body_bytes,
        requests_in_flight: bounds.requests_in_flight,
        request_wait: bounds.request_wait,
        forwarded: forwarded?,
        admin: admin?,
        log: log?,
        runtime: runtime?,
        drain_timeout: drain_timeout?,
        resumption: resumption?,
        reputation: reputation?,
        reload_interval: reload_interval?,
        warnings: Vec::new(),
        places: Places::default(),
    })
}
