//! Every connection and every request ends in exactly one record: its log line and its counters.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Uri};

use super::metrics::{Metrics, RouteMetrics};
use crate::clock::Clock;
use crate::fingerprint::{Stack, TlsPrint};
use crate::identity::Identity;
use crate::reject::{Blame, Reason, Reject};

/// Writes records: one per process.
#[derive(Debug)]
pub struct Telemetry {
    /// Every metric.
    pub metrics: Metrics,
    clock: Clock,
    access: bool,
}

impl Telemetry {
    /// `access`: whether requests that were served get a line; refusals always do.
    #[must_use]
    pub fn new(clock: Clock, access: AccessLog) -> Self {
        Self { metrics: Metrics::new(), clock, access: access == AccessLog::All }
    }

    /// A connection was accepted.
    #[must_use]
    pub fn connection(self: &Arc<Self>, peer: SocketAddr, listener: SocketAddr) -> ConnectionRecord {
        self.metrics.connections.inc();
        self.metrics.connections_open.inc();
        ConnectionRecord {
            telemetry: Arc::clone(self),
            started: self.clock.now(),
            peer,
            listener,
            server_name: None,
            identity: None,
            print: None,
            end: End::Unknown,
        }
    }

    /// A request has a head.
    #[must_use]
    pub fn request(self: &Arc<Self>, who: &Arc<Who>, method: Method) -> RequestRecord {
        self.metrics.requests_in_flight.inc();
        RequestRecord {
            telemetry: Arc::clone(self),
            who: Arc::clone(who),
            started: self.clock.now(),
            method,
            uri: None,
            id: None,
            route: None,
            metrics: None,
            status: 0,
            reject: None,
            bytes_in: 0,
            bytes_out: 0,
            upstream: None,
            upstream_time: None,
        }
    }

    /// A reload ended: with a new configuration, with none because nothing changed, or refused.
    pub fn reload(&self, outcome: &Reload<'_>) {
        match outcome {
            Reload::Loaded { generation, trigger, changes } => {
                self.metrics.reload("ok");
                self.metrics.running(*generation, self.clock.unix());
                let changes = changes.join("; ");
                tracing::info!(target: "portcullis::reload", generation, trigger, changes, "configuration loaded");
            }
            Reload::Unchanged { trigger } => {
                self.metrics.reload("unchanged");
                tracing::debug!(target: "portcullis::reload", trigger, "configuration unchanged");
            }
            Reload::Refused { problems, trigger } => {
                self.metrics.reload("refused");
                for problem in *problems {
                    tracing::error!(target: "portcullis::reload", trigger, "{problem}");
                }
                let count = problems.len();
                tracing::error!(target: "portcullis::reload", trigger, problems = count, "configuration REFUSED; the running one stays");
            }
        }
    }
}

/// Which requests get a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Every one.
    All,
    /// Those that were refused.
    Refusals,
}

/// How a reload ended, and what asked for it.
#[derive(Debug)]
pub enum Reload<'a> {
    /// A new configuration runs.
    Loaded {
        /// Its number.
        generation: u64,
        /// What is different from the one before, in words.
        changes: &'a [String],
        /// What asked for it.
        trigger: &'static str,
    },
    /// The files say what is running already.
    Unchanged {
        /// What asked for it.
        trigger: &'static str,
    },
    /// The files cannot be used; nothing changed.
    Refused {
        /// Every problem.
        problems: &'a [String],
        /// What asked for it.
        trigger: &'static str,
    },
}

/// Who is at the other end of an admitted connection: what all its requests' lines share.
#[derive(Debug)]
pub struct Who {
    /// The client's address: the socket's, or the PROXY header's from a listed peer.
    pub peer: SocketAddr,
    /// The host entry's first name.
    pub host: Box<str>,
    /// Verified identity, if any.
    pub identity: Option<Arc<Identity>>,
    /// What its ClientHello says of its software.
    pub print: Option<TlsPrint>,
    /// What its HTTP/2 says of its software, from the first request on.
    pub http2: Arc<OnceLock<Box<str>>>,
    /// TLS version.
    pub tls: &'static str,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// Why the connection was ended from our side while requests were under way, if it was.
    pub withdrawn: OnceLock<Reason>,
}

impl Who {
    /// What is known of its software by now.
    #[must_use]
    pub fn stack(&self) -> Stack<'_> {
        Stack { tls: self.print, http2: self.http2.get().map(|print| &**print) }
    }
}

#[derive(Debug)]
enum End {
    Served,
    Refused(Reject),
    Unknown,
}

/// What a handshake settled on.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeFacts {
    /// TLS version.
    pub version: &'static str,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// `full` or `resumed`.
    pub kind: &'static str,
}

/// The life of a connection up to HTTP, and how it was cut off if it was.
#[derive(Debug)]
pub struct ConnectionRecord {
    telemetry: Arc<Telemetry>,
    started: Instant,
    /// The client's address; replaced when a PROXY header says better.
    pub peer: SocketAddr,
    listener: SocketAddr,
    /// The server name it asked for.
    pub server_name: Option<Box<str>>,
    /// What its certificate says, verified or not.
    pub identity: Option<Arc<Identity>>,
    /// What its ClientHello says of its software.
    pub print: Option<TlsPrint>,
    end: End,
}

impl ConnectionRecord {
    /// The handshake is done.
    pub fn established(&self, host: &str, done: HandshakeFacts) {
        let took = self.telemetry.clock.now().saturating_duration_since(self.started);
        self.telemetry.metrics.handshake(host, done, took);
    }

    /// It was served and has ended in order.
    pub fn served(mut self) {
        self.end = End::Served;
    }

    /// It was refused or cut off.
    pub fn refused(mut self, reject: Reject) {
        self.end = End::Refused(reject);
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        let metrics = &self.telemetry.metrics;
        metrics.connections_open.dec();
        let took = self.telemetry.clock.now().saturating_duration_since(self.started);
        let (reason, detail) = match &self.end {
            End::Served => {
                return tracing::debug!(target: "portcullis::connection", peer = %self.peer, ?took, "connection closed");
            }
            End::Refused(reject) => (reject.reason, &*reject.detail),
            End::Unknown => (Reason::Abandoned, "the connection ended without an outcome"),
        };
        metrics.reject(reason);
        let identity = self.identity.as_deref();
        let fields = Certificate::of(identity);
        let (peer, listener, server_name) = (self.peer, self.listener, self.server_name.as_deref());
        let code = reason.code();
        let duration_ms = millis(took);
        let ja4 = self.print.map(|print| tracing::field::display(print.ja4));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "portcullis::connection", %peer, %listener, server_name, reason = code, detail,
                    subject = fields.subject, issuer = fields.issuer, serial = fields.serial, fingerprint = fields.fingerprint,
                    ja4, duration_ms, "connection refused"
                )
            };
        }
        match reason.row().blame {
            Blame::Downstream => line!(info),
            Blame::Upstream => line!(warn),
            Blame::Gate => line!(error),
        }
    }
}

/// The life of a request. What is not known when it ends is left out of its line.
#[derive(Debug)]
pub struct RequestRecord {
    telemetry: Arc<Telemetry>,
    who: Arc<Who>,
    started: Instant,
    method: Method,
    /// What was asked for. Its line has the path only: queries carry secrets.
    pub uri: Option<Uri>,
    /// The request id.
    pub id: Option<HeaderValue>,
    /// The route that it was taken to.
    pub route: Option<Arc<str>>,
    /// The route's counters.
    pub metrics: Option<RouteMetrics>,
    /// The status that was sent; 0: none yet.
    pub status: u16,
    /// Why it was refused or cut off; the first reason stays.
    reject: Option<Reject>,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
    /// The upstream that answered.
    pub upstream: Option<Arc<str>>,
    /// From the request's start to the upstream's response head.
    pub upstream_time: Option<Duration>,
}

impl RequestRecord {
    /// It was refused or cut off. The first reason is the cause; later ones are its consequences.
    pub fn reject(&mut self, reject: Reject) {
        self.reject.get_or_insert(reject);
    }

    /// Why a response does not reach its client to the end.
    #[must_use]
    pub fn unheard(&self) -> Reason {
        self.who.withdrawn.get().copied().unwrap_or(Reason::ClientGone)
    }

    /// Whether the request was HEAD, whose response has no body to end with.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The upstream has answered.
    pub fn answered(&mut self) {
        self.upstream_time = Some(self.telemetry.clock.now().saturating_duration_since(self.started));
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let metrics = &self.telemetry.metrics;
        metrics.requests_in_flight.dec();
        let took = self.telemetry.clock.now().saturating_duration_since(self.started);
        metrics.bytes_in.inc_by(self.bytes_in);
        metrics.bytes_out.inc_by(self.bytes_out);
        if let Some(route) = &self.metrics {
            route.count(self.status, took);
        }
        if std::thread::panicking() {
            self.reject.get_or_insert_with(|| Reject::new(Reason::Abandoned, "a panic"));
        }
        if self.status == 0 && self.reject.is_none() {
            // Nobody sent a response and nobody said why: we cut it, or the client hung up.
            self.reject = Some(self.unheard().into());
        }
        if let Some(reject) = &self.reject {
            metrics.reject(reject.reason);
        } else if !self.telemetry.access {
            return;
        }
        self.line(took);
    }
}

impl RequestRecord {
    fn line(&self, took: Duration) {
        let who = &*self.who;
        let fields = Certificate::of(who.identity.as_deref());
        let id = self.id.as_ref().and_then(|id| id.to_str().ok());
        let reason = self.reject.as_ref().map(|reject| reject.reason);
        let code = reason.map(Reason::code);
        let detail = self.reject.as_ref().map(|reject| &*reject.detail).filter(|detail| !detail.is_empty());
        let (route, upstream) = (self.route.as_deref(), self.upstream.as_deref());
        let upstream_ms = self.upstream_time.map(millis);
        let stack = who.stack();
        let ja4 = stack.tls.map(|print| tracing::field::display(print.ja4));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "portcullis::request", id, peer = %Address(who.peer.ip()), host = &*who.host, route,
                    method = self.method.as_str(), path = self.uri.as_ref().map(Uri::path), status = self.status, reason = code, detail,
                    subject = fields.subject, issuer = fields.issuer, serial = fields.serial,
                    protocol = who.protocol, tls = who.tls, ja4, h2 = stack.http2, bytes_in = self.bytes_in, bytes_out = self.bytes_out,
                    duration_ms = millis(took), upstream, upstream_ms, "request"
                )
            };
        }
        match reason.map(|reason| reason.row().blame) {
            None | Some(Blame::Downstream) => line!(info),
            Some(Blame::Upstream) => line!(warn),
            Some(Blame::Gate) => line!(error),
        }
    }
}

/// The certificate's part of a line.
#[derive(Default)]
struct Certificate<'a> {
    subject: Option<&'a str>,
    issuer: Option<&'a str>,
    serial: Option<tracing::field::DisplayValue<&'a crate::identity::Serial>>,
    fingerprint: Option<tracing::field::DisplayValue<crate::identity::Digest>>,
}

impl<'a> Certificate<'a> {
    fn of(identity: Option<&'a Identity>) -> Self {
        identity.map_or_else(Self::default, |identity| Self {
            subject: Some(&identity.subject.text),
            issuer: Some(&identity.issuer.text),
            serial: Some(tracing::field::display(&identity.serial)),
            fingerprint: Some(tracing::field::display(identity.fingerprint)),
        })
    }
}

struct Address(IpAddr);

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.to_canonical().fmt(f)
    }
}

/// Milliseconds with microsecond resolution, as log readers want them.
fn millis(took: Duration) -> f64 {
    f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}
