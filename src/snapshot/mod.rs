//! What is true now, built whole or not at all, and how it changes.

mod build;
mod crl_state;
mod denied;
mod deny;
mod diff;
mod files;
mod learn;
mod publish;
mod reload;
mod reputation;
mod state_file;
mod tickets;
mod token;
mod trust;
mod watch;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub use self::build::{Inputs, build};
pub use self::deny::{Change, Changed, DenyError};
pub use self::files::{Contents, files};
pub use self::learn::Learned;
pub use self::publish::Published;
pub use self::reload::{Attempt, Outcome, Parts, Reloader, Report, Trigger};
pub use self::reputation::{Reputation, RungParts, Sleeper};
pub use self::tickets::Tickets;
pub use self::watch::FileWatch;
use crate::config::{Config, ConnectionSpec, RouteReputation};
use crate::http1;
use crate::http2;
use crate::identity::{Digest, Formats};
use crate::limits::{Limit, Limits};
use crate::net::ListenerSpec;
use crate::policy::map::Entrance;
use crate::policy::{HostId, HostTable, Route};
use crate::telemetry::RouteMetrics;
use crate::tls::{Chains, HostConfig, LoadedCrls, TrustStore};
use crate::upstream::{Upstream, Upstreams};

/// Everything a connection or a request needs, immutable.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the configurations that have run, from 1.
    pub generation: u64,
    /// What it was made from.
    pub contents: Contents,
    /// The one table that handshakes and requests find their host in.
    pub hosts: Arc<HostTable>,
    /// TLS configurations, by [`HostId`].
    pub tls: Vec<HostConfig>,
    /// What else a host has, by [`HostId`].
    pub host_parts: Vec<HostParts>,
    /// What else a route has, by its id.
    pub route_parts: Vec<RouteParts>,
    /// Trust stores, by name.
    pub trust: HashMap<Box<str>, Trust>,
    /// The keys of session tickets; `None`: no session is resumed.
    pub tickets: Option<Tickets>,
    /// SHA-256 of the admin listener's token; `None`: it wants none.
    pub admin_token: Option<Digest>,
    /// Listeners, in the order of the file.
    pub listeners: Vec<Listener>,
    /// Bounds on connections.
    pub connection: ConnectionSpec,
    /// Bounds on HTTP/1.1.
    pub http1: http1::Settings,
    /// Bounds on HTTP/2.
    pub http2: http2::Settings,
    /// Who may say where a request came from.
    pub forwarded: crate::config::ForwardedSpec,
    /// Every upstream.
    pub upstreams: Arc<Upstreams>,
    /// Every limit.
    pub limits: Arc<Limits>,
    /// What the rungs of the ladder need, in its order.
    pub rungs: Vec<RungParts>,
    /// The file as it was read.
    pub config: Config,
}

/// A trust store and what is carried over to the next configuration's.
#[derive(Clone, Debug)]
pub struct Trust {
    /// What hosts use.
    pub store: Arc<TrustStore>,
    /// The chains that it has verified.
    pub chains: Arc<Chains>,
    /// Its revocation lists, by file.
    pub crls: LoadedCrls,
    /// Which software its clients have, where that is to be learned.
    pub learned: Option<Arc<Learned>>,
}

/// A host's parts that its connections use.
#[derive(Clone, Debug)]
pub struct HostParts {
    /// Whom it trusts, if it asks for certificates.
    pub trust: Option<Arc<TrustStore>>,
    /// Where the software of its clients is learned, if it is.
    pub learned: Option<Arc<Learned>>,
    /// Identity headers that any of its upstreams wants.
    pub formats: Formats,
    /// Its key in limits: of its name, so that counts stay with it through reloads.
    pub key: u64,
    /// Counters of requests that reached none of its routes.
    pub metrics: RouteMetrics,
}

/// A route's parts that its requests use.
#[derive(Clone, Debug)]
pub struct RouteParts {
    /// Its key in limits: of its host's name and its own.
    pub key: u64,
    /// Where it leads.
    pub upstream: Arc<Upstream>,
    /// That upstream's name, for records.
    pub upstream_name: Arc<str>,
    /// What counts its requests, in order.
    pub limits: Vec<Arc<Limit>>,
    /// Longest request body.
    pub body_bytes: u64,
    /// Which of its answers are failures, and what else it wants of reputations.
    pub reputation: RouteReputation,
    /// Its counters.
    pub metrics: RouteMetrics,
}

/// A listener as this configuration has it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// As the file says.
    pub spec: ListenerSpec,
    /// Who serves clients without a server name.
    pub default_host: Option<HostId>,
}

impl Snapshot {
    /// The parts of a host.
    #[must_use]
    pub fn host(&self, host: HostId) -> Option<&HostParts> {
        self.host_parts.get(host.index())
    }

    /// The parts of a route.
    #[must_use]
    pub fn route(&self, route: &Route) -> Option<&RouteParts> {
        self.route_parts.get(route.id.index())
    }

    /// The listener at `index` of the file.
    #[must_use]
    pub fn listener(&self, index: usize) -> Option<&Listener> {
        self.listeners.get(index)
    }

    /// Its listeners, as the map of ways in wants them.
    #[must_use]
    pub fn entrances(&self) -> Vec<Entrance> {
        build::entrances(&self.listeners)
    }

    /// The addresses of the file's listeners.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listener| listener.spec.address)
    }
}
