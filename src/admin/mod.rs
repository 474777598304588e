//! The operator's own listener: metrics, health, the configuration's state, and the deny list.

mod deny;
mod guard;
mod reputation;
mod socket;
mod status;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub use self::socket::bind_unix;
use crate::clock::Clock;
use crate::drain::{Drain, Phase};
use crate::reputation::Kind;
use crate::snapshot::{Reloader, Reputation, Snapshot};
use crate::telemetry::{AnchorSample, CrlSample, ReputationSample, Scraped, ServerSample, Telemetry};

/// Scrapers and probes are few; whoever opens more waits.
const MAX_CONNECTIONS: usize = 32;
/// A scrape takes milliseconds; a connection that is silent or slow for longer is cut.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(5);
/// After an accept error (out of descriptors): long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listener tells about.
#[derive(Clone, Debug)]
pub struct State {
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// The current snapshot, and how it came to be.
    pub reloader: Arc<Reloader>,
    /// What is remembered of behaviour.
    pub reputation: Arc<Reputation>,
    /// Whether we are ready.
    pub drain: Drain,
    /// The time.
    pub clock: Clock,
}

/// Where the listener is bound.
#[derive(Debug)]
pub enum Socket {
    /// An address.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixListener),
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Tcp(SocketAddr),
    /// The gate's own user: nobody else may connect.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Serves until it is dropped.
pub async fn serve(socket: Socket, state: State) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = match &socket {
            Socket::Tcp(listener) => listener
                .accept()
                .await
                .map(|(stream, peer)| tokio::spawn(connection(stream, Peer::Tcp(peer), state.clone(), slot))),
            Socket::Unix(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| tokio::spawn(connection(stream, Peer::Unix, state.clone(), slot))),
        };
        if let Err(error) = accepted {
            tracing::warn!(target: "portcullis::admin", %error, "cannot accept");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn connection<S>(stream: S, peer: Peer, state: State, _slot: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(guarded(request, peer, &state).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // A probe that breaks off is no event; neither is one that stays too long.
    let _ = timeout(CONNECTION_TIMEOUT, builder.serve_connection(TokioIo::new(stream), service)).await;
}

/// Nothing is looked at before it is known who may ask.
async fn guarded(request: Request<Incoming>, peer: Peer, state: &State) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let snapshot = state.reloader.published().current();
    let admitted = match &snapshot.config.admin {
        Some(spec) => guard::admit(&head, spec, snapshot.admin_token.as_ref()),
        None => Err(Refusal::new(StatusCode::NOT_FOUND, "there is no admin listener")),
    };
    if let Err(Refusal(status, what)) = admitted {
        let (method, path) = (&head.method, head.uri.path());
        tracing::warn!(target: "portcullis::admin", %peer, %method, path, status = status.as_u16(), what, "admin request refused");
        let mut response = text(status, format!("{what}\n"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        return response;
    }
    match head.uri.path() {
        path if deny::has(path) => deny::answer(Request::from_parts(head, body), peer, state).await,
        path if reputation::has(path) => reputation::answer(&head, peer, state).await,
        path => answer(&head.method, path, state),
    }
}

/// Why a request gets nothing.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn new(status: StatusCode, what: impl Into<String>) -> Self {
        Self(status, what.into())
    }
}

fn answer(method: &Method, path: &str, state: &State) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/live" => text(StatusCode::OK, "live\n"),
        "/ready" if state.drain.phase() == Phase::Serving => text(StatusCode::OK, "ready\n"),
        "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/metrics" => metrics(state),
        "/config/status" => status(state),
        _ => text(StatusCode::NOT_FOUND, "/metrics, /live, /ready, /config/status, /deny, /reputation\n"),
    }
}

fn status(state: &State) -> Response<Full<Bytes>> {
    let report = state.reloader.report();
    let body = status::status(&state.reloader.published().current(), &report);
    let mut response = text(StatusCode::OK, format!("{body:#}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn scraped(snapshot: &Snapshot, reputation: &Reputation, unix: i64) -> Scraped {
    let groups = snapshot.upstreams.iter();
    let servers = groups.flat_map(|group| group.status().into_iter().map(move |server| (group.spec(), server)));
    let servers = servers.map(|(group, server)| ServerSample {
        upstream: group.name.to_string(),
        server: server.name.to_string(),
        ejected: server.ejected,
        in_flight: u64::try_from(server.in_flight).unwrap_or(u64::MAX),
    });
    let stores = || snapshot.trust.iter().map(|(name, trust)| (name.to_string(), &trust.store));
    let crls = stores().flat_map(|(trust, store)| {
        store.crls().map(move |crl| CrlSample {
            trust: trust.clone(),
            issuer: crl.issuer_text.to_string(),
            // Clocks differ: it may have been issued in a moment.
            age: unix.saturating_sub(crl.this_update).max(0),
            next_update: crl.next_update,
            entries: crl.serials.len(),
        })
    });
    let anchors = stores().flat_map(|(trust, store)| {
        store.anchors().told.iter().map(move |anchor| AnchorSample {
            trust: trust.clone(),
            anchor: anchor.subject.to_string(),
            ends: anchor.ends,
        })
    });
    let reputation = ReputationSample {
        entries: Kind::ALL.into_iter().map(|kind| (kind.word(), reputation.book.entries(kind))).collect(),
        without_room: reputation.book.crowded(),
        sleeping: reputation.sleeping(),
    };
    Scraped { servers: servers.collect(), crls: crls.collect(), anchors: anchors.collect(), reputation }
}

fn metrics(state: &State) -> Response<Full<Bytes>> {
    let unix = i64::try_from(state.clock.unix().as_secs()).unwrap_or(i64::MAX);
    let now = scraped(&state.reloader.published().current(), &state.reputation, unix);
    match state.telemetry.metrics.render(now) {
        Ok(body) => {
            let mut response = text(StatusCode::OK, body);
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be rendered\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
