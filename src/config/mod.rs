//! The TOML file: text in, specs of the rooms out, or every problem at once.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;

use crate::http1;
use crate::http2;
use crate::limits::{LimitSpec, Rate};
use crate::net::ListenerSpec;
use crate::policy::spec::HostSpec;
use crate::runtime::Flavor;
use crate::telemetry::LogSpec;
use crate::tls::TrustSpec;
use crate::upstream::UpstreamSpec;

/// Bounds on connections before and beside HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSpec {
    /// Connections that one address may hold.
    pub per_address: u32,
    /// Connections in all.
    pub max: u32,
    /// Handshakes that one address may start; burst is one second's worth, at least 10.
    pub handshakes_per_address: Rate,
    /// Handshakes under way at once.
    pub handshakes: u32,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminSpec {
    /// Where `/metrics`, `/live` and `/ready` are served; loopback unless `public` is set.
    pub address: SocketAddr,
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
    /// How often files are looked at for changes; zero: only on SIGHUP.
    pub reload_interval: Duration,
}
