//! One HTTP/2 connection: hyper frames it, we bound it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::Settings;
use super::body::request_body;
use super::metered::Metered;
use super::patience::{Cut, Patience, Pieces};
use crate::clock::Clock;
use crate::codec::{Beside, First};
use crate::message::body::RequestBody;
use crate::message::request_id;
use crate::reject::{Reason, Reject};

/// Who answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Response bodies.
    type Body: Body<Data = Bytes, Error = Reject> + Cut + Send + 'static;

    /// One request. Infallible: refusals are responses.
    fn request(self: Arc<Self>, request: Request<RequestBody>) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Serves `io` until it ends, `stop` is set (GOAWAY, then what is in flight), `cut` is set (GOAWAY,
/// and every stream is reset), or a bound is hit. `print` will hold the fingerprint of the client's HTTP/2 when the first
/// request comes.
///
/// # Errors
/// Why the connection was cut off, if it was.
pub async fn serve<IO, H>(
    io: IO,
    settings: Settings,
    clock: Clock,
    (mut stop, mut cut): (watch::Receiver<bool>, watch::Receiver<bool>),
    print: Arc<OnceLock<Box<str>>>,
    handler: Arc<H>,
) -> Result<(), Reject>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let verdict = Arc::new(OnceLock::new());
    let use_ = Arc::new(Use::default());
    let service = service_fn(|request: Request<Incoming>| {
        let (handler, streaming) = (Arc::clone(&handler), use_.stream(&settings));
        async move {
            let head = request.method() == Method::HEAD;
            let request = request.map(|incoming| request_body(incoming, &settings));
            let mut response = handler.request(request).await;
            for name in &UNIQUE {
                if let Some(value) = response.headers_mut().get_mut(name) {
                    value.set_sensitive(true);
                }
            }
            // hyper would send the body of an answer to HEAD, and clients take that for a protocol error
            // (RFC 9110 §9.3.2).
            Ok::<_, Infallible>(response.map(|body| Pieces::new((!head).then_some(body), streaming)))
        }
    });
    let io = TokioIo::new(Metered::new(io, settings, clock, Arc::clone(&verdict), print));
    let mut connection = pin!(builder(&settings, &cut).serve_connection(io, service));
    let mut stopping = Stopping::No;
    let mut timer = pin!(sleep_until(after(settings.idle_timeout)));
    loop {
        let event = async {
            tokio::select! {
                // A sender that is gone wishes for the end, too.
                _ = stop.wait_for(|stop| *stop), if stopping == Stopping::No => Event::Stop,
                // Streams are reset where they run; what is left is the GOAWAY.
                _ = cut.wait_for(|cut| *cut), if stopping == Stopping::No => Event::Stop,
                () = use_.spent.notified() => Event::Spent,
                () = &mut timer => Event::Time,
            }
        };
        let event = match Beside::new(connection.as_mut(), event).await {
            First::Main(ended) => return ended.map_err(|error| failure(&error, &verdict)),
            First::Aside(event) => event,
        };
        let stop_now = match (event, stopping) {
            (Event::Stop, _) => true,
            (Event::Spent, _) if use_.requests.load(Ordering::Relaxed) >= patience(&settings) => {
                return Err(Reject::new(Reason::Http2Invalid, "new requests although GOAWAY was sent"));
            }
            (Event::Spent, stopping) => stopping == Stopping::No,
            // The client was told and has nothing under way. Whether it answers is its own affair: without
            // this one that says nothing, not even the preface, would stay for good.
            (Event::Time, Stopping::Yes) if use_.is_unused() => return Ok(()),
            (Event::Time, Stopping::Yes) => {
                timer.as_mut().reset(after(settings.write_timeout));
                false
            }
            (Event::Time, Stopping::No) => {
                timer.as_mut().reset(after(settings.idle_timeout));
                use_.is_idle()
            }
        };
        if stop_now {
            stopping = Stopping::Yes;
            connection.as_mut().graceful_shutdown();
            timer.as_mut().reset(after(settings.write_timeout));
        }
    }
}

/// What concerns a connection beside its bytes.
enum Event {
    /// It shall end.
    Stop,
    /// It has had a number of requests that matters.
    Spent,
    /// It is time to see whether it is used.
    Time,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Yes,
}

/// The time after `wait`.
fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + FOREVER)
}

fn builder(settings: &Settings, cut: &watch::Receiver<bool>) -> Builder<Patience> {
    let mut builder = Builder::new(Patience { limit: settings.write_timeout, cut: cut.clone() });
    let resets = usize::try_from(settings.resets).unwrap_or(usize::MAX);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_header_list_size(settings.header_bytes)
        .max_send_buf_size(SEND_BUFFER)
        // Streams reset before we looked at them (rapid reset), and those we had to reset
        // ourselves (MadeYouReset, CVE-2025-8671).
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(resets);
    builder
}

/// How many requests end a connection whose client does not heed GOAWAY. hyper accepts streams behind one until its
/// PING is answered, which is the client's to do; an honest one may have as many on their way as it may open.
fn patience(settings: &Settings) -> u64 {
    settings.max_requests.saturating_mul(2).saturating_add(u64::from(settings.streams))
}

/// What a connection has been used for.
#[derive(Debug, Default)]
struct Use {
    requests: AtomicU64,
    open: AtomicU64,
    /// Requests at the last look of the idle timer.
    seen: AtomicU64,
    spent: Notify,
}

impl Use {
    fn stream(self: &Arc<Self>, settings: &Settings) -> OpenStream {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if requests == settings.max_requests || requests >= patience(settings) {
            self.spent.notify_one();
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self))
    }

    /// No stream is open, and none was since the last look.
    fn is_idle(&self) -> bool {
        let requests = self.requests.load(Ordering::Relaxed);
        self.seen.swap(requests, Ordering::Relaxed) == requests && self.is_unused()
    }

    /// No stream is open.
    fn is_unused(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }
}

struct OpenStream(Arc<Use>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn failure(error: &hyper::Error, verdict: &OnceLock<Reason>) -> Reject {
    if let Some(reason) = verdict.get() {
        return Reject::from(*reason);
    }
    let source = std::error::Error::source(error);
    let detail = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    if source.and_then(io_error).is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData) {
        return Reject::new(Reason::TlsInvalid, detail);
    }
    let io = source.is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
        || source.and_then(|source| source.downcast_ref::<h2::Error>()).is_some_and(h2::Error::is_io);
    let remote = source.and_then(|source| source.downcast_ref::<h2::Error>()).is_some_and(h2::Error::is_remote);
    Reject::new(if io || remote || error.is_closed() { Reason::ClientGone } else { Reason::Http2Invalid }, detail)
}

/// The error of the stream below, which says `InvalidData` of a client that breaks its protocol.
fn io_error<'e>(source: &'e (dyn std::error::Error + 'static)) -> Option<&'e std::io::Error> {
    source.downcast_ref::<std::io::Error>().or_else(|| source.downcast_ref::<h2::Error>()?.get_io())
}

/// Fields that never say the same twice. In the table of HPACK they would push out what is said again and again, so they
/// are sent as literals that are never indexed (RFC 7541 §6.2.3), for which `http` has the word sensitive.
static UNIQUE: [HeaderName; 2] = [HeaderName::from_static(request_id::NAME), HeaderName::from_static("ratelimit")];

/// What may wait for the client of one stream: four frames. hyper's 400 KiB, times a hundred streams that nobody
/// reads, would be 40 MiB a connection.
const SEND_BUFFER: usize = 64 * 1024;

/// What a time too long for the clock becomes: longer than a process lives.
const FOREVER: Duration = Duration::from_hours(24 * 365);
