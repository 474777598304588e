//! What is to be done.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use rustls_pki_types::CertificateDer;

use super::identities::Identities;
use super::pace::Pace;
use super::target::Target;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub target: Target,
    /// The server's certificate must lead to one of these.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Who connects, one after the other.
    pub identities: Identities,
    /// What a unit of work is.
    pub work: Work,
    /// What is spoken.
    pub protocol: Protocol,
    /// Lanes: connections at a time.
    pub connections: NonZeroUsize,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: NonZeroUsize,
    /// Threads, one runtime each.
    pub threads: NonZeroUsize,
    /// When units begin.
    pub pace: Pace,
    /// How long lanes (closed loop) or the rate (open loop) take to grow to what was asked for.
    pub ramp: Duration,
    /// No unit begins after this time.
    pub duration: Option<Duration>,
    /// No more units than this.
    pub requests: Option<u64>,
    /// Longest time for a connect, a handshake, and an exchange, each.
    pub timeout: Duration,
    /// Connect from the addresses of this network, one after the other.
    pub source: Option<IpNet>,
    /// The request's method.
    pub method: Method,
    /// Fields beside `Host`, or in place of it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Bytes of the request's body.
    pub upload: u64,
    /// How long the response's body must be.
    pub download: Option<u64>,
    /// Which statuses are a success.
    pub expected: Expected,
}

/// What a unit of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// So many connections are opened with a request each, held, and asked once more at the end.
    Idle(NonZeroUsize),
    /// A connection with a full handshake, and one request.
    NewConnection,
    /// A request on a connection that is kept.
    Requests,
    /// A connection with a resumed handshake, and one request.
    Resume,
}

/// What is spoken inside TLS, or in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; in the clear with prior knowledge.
    Http2,
}

/// Which statuses are a success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Those below 400.
    #[default]
    Good,
    /// These only.
    Only(Vec<u16>),
}

impl Expected {
    /// Whether this status is a success.
    #[must_use]
    pub fn holds(&self, status: u16) -> bool {
        match self {
            Self::Good => status < 400,
            Self::Only(statuses) => statuses.contains(&status),
        }
    }
}

impl Plan {
    /// A closed loop of plain requests by 50 lanes for ten seconds; change what should be otherwise.
    #[must_use]
    pub fn new(target: Target, anchors: Vec<CertificateDer<'static>>, identities: Identities) -> Self {
        Self {
            target,
            anchors,
            identities,
            work: Work::Requests,
            protocol: Protocol::Http1,
            connections: NonZeroUsize::MIN.saturating_add(49),
            streams: NonZeroUsize::MIN,
            threads: NonZeroUsize::MIN,
            pace: Pace::Closed,
            ramp: Duration::ZERO,
            duration: Some(Duration::from_secs(10)),
            requests: None,
            timeout: Duration::from_secs(10),
            source: None,
            method: Method::GET,
            headers: Vec::new(),
            upload: 0,
            download: None,
            expected: Expected::Good,
        }
    }
}
