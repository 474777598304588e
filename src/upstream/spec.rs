//! What an operator wants of an upstream.

use std::path::PathBuf;
use std::time::Duration;

use crate::identity::Formats;

/// How requests are spread over the servers of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The server with the fewest requests in flight; ties in turn.
    LeastInFlight,
    /// Each in turn.
    #[default]
    RoundRobin,
}

/// What is spoken with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// `http://`: HTTP/1.1 in the clear.
    Http1,
    /// `h2c://`: HTTP/2 in the clear, prior knowledge.
    Http2,
    /// `https://`: TLS; HTTP/2 or HTTP/1.1 as ALPN says.
    Tls,
}

/// One server of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerSpec {
    /// What is spoken with it.
    pub via: Via,
    /// Host name or address (IPv6 without brackets).
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
}

/// How long each phase of an upstream exchange may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the last byte of the request that was sent to the response head.
    pub response: Duration,
    /// Between two pieces of a response body; also of a tunnel (WebSocket) in either direction.
    pub idle: Duration,
    /// How long an unused connection is kept.
    pub keep_alive: Duration,
}

/// A client certificate for a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// PEM chain, leaf first.
    pub chain: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// TLS towards the servers of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSpec {
    /// PEM anchors for the servers' certificates. Required for `https://` servers: the system's roots are never used.
    pub anchors: Vec<PathBuf>,
    /// The name that is asked for and verified, instead of the server's host.
    pub server_name: Option<Box<str>>,
    /// The gate's own certificate, if the servers ask for one.
    pub certificate: Option<ClientCertificate>,
}

/// A group of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSpec {
    /// Its name in the configuration, logs and metrics.
    pub name: Box<str>,
    /// At least one.
    pub servers: Vec<ServerSpec>,
    /// How requests are spread.
    pub balance: Balance,
    /// TLS towards `https://` servers.
    pub tls: TlsSpec,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// Idle connections kept per server and worker.
    pub max_idle: usize,
    /// Failures in a row after which a server is ejected; 0 never ejects.
    pub eject_after: u32,
    /// How long an ejected server gets no requests.
    pub eject_for: Duration,
    /// Identity headers its servers want.
    pub forward: Formats,
}
