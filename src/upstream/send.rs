//! One exchange with a server: the one way in which a request leaves the gate.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::UPGRADE;
use http::{Method, Request, Response, StatusCode, request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use super::connect::{Connected, Purpose, connect};
use super::fault;
use super::form::{self, Protocol};
use super::group::Upstream;
use super::http1::{Early, Fault, Head, Http1, Sending};
use super::http2::Stream;
use super::pool::{Lease, Origin, Seat, Want};
use super::response::{Carrier, OnHttp1, OnHttp2, UpstreamBody};
use super::server::{InFlight, Server};
use super::spec::Via;
use super::stamp::Stamp;
use super::upload::{Progress, Upload};
use crate::codec::{Alarm, after};
use crate::message::body::RequestBody;
use crate::policy::Permit;
use crate::reject::{Reason, Reject};

impl Upstream {
    /// Sends `request`, which `_permit` proves the policy has said yes to, to a server of the group, from the worker at `seat`, and returns the head of the
    /// response; its body follows.
    ///
    /// `authority` is what the client asked for and becomes `Host` or `:authority`. Hop-by-hop fields
    /// must be gone already; how the body is framed is decided here (see `form`). A request with an
    /// `Upgrade` field gets a connection of its own; after a 101, [`UpstreamBody::tunnel`] is the tunnel.
    /// `stamp` is what the gate says in it. `early` is called for 1xx responses of HTTP/1.1 servers.
    ///
    /// # Errors
    /// The reason why there is no response: one of the `Upstream*` reasons, or the one that the
    /// request's own body gave.
    pub async fn send(
        &self,
        _permit: &Permit<'_>,
        seat: usize,
        (authority, stamp): (&str, &dyn Stamp),
        request: Request<RequestBody>,
        early: Early<'_>,
    ) -> Result<Response<UpstreamBody>, Reject> {
        if request.method() == Method::CONNECT {
            return Err(Reject::new(Reason::ConnectRefused, "CONNECT is not sent to servers"));
        }
        let in_flight = self.pick()?;
        let (head, body) = request.into_parts();
        let (body, upload) = Upload::new(body);
        let (method, stamped) = (head.method.clone(), AtomicBool::new(false));
        let mut exchange = Exchange { in_flight, seat, authority, stamp, stamped, early, method, upload };
        let mut request = Request::from_parts(head, body);
        let mut outcome = if request.headers().contains_key(UPGRADE) {
            Box::pin(exchange.upgrade(&mut request)).await
        } else {
            exchange.pooled(&mut request).await
        };
        if let Err(failure) = &outcome
            && failure.again
            && let Some(other) = self.pick_other(exchange.server())
        {
            // Nothing was sent, so another server can have it: a group of two survives one that is down.
            mem::replace(&mut exchange.in_flight, other).failed(&failure.reject);
            outcome = Box::pin(exchange.deliver(&mut request)).await;
        }
        match outcome {
            Ok((response, carrier)) => {
                exchange.in_flight.succeeded();
                let Exchange { in_flight, method, .. } = exchange;
                Ok(UpstreamBody::attach(response, &method, carrier, in_flight))
            }
            Err(failure) => {
                if failure.witness == Witness::Server {
                    exchange.in_flight.failed(&failure.reject);
                }
                Err(failure.reject)
            }
        }
    }
}

struct Exchange<'a> {
    in_flight: InFlight,
    seat: usize,
    authority: &'a str,
    stamp: &'a dyn Stamp,
    /// Whether the request has got its stamp as fields, by an attempt over HTTP/2: it keeps them.
    stamped: AtomicBool,
    early: Early<'a>,
    method: Method,
    upload: Option<Arc<Progress>>,
}

type Answer = (Response<()>, Carrier);

/// An attempt that came to nothing.
struct Failure {
    reject: Reject,
    /// Whether sending the request once more can do no harm; then it is as it was.
    again: bool,
    witness: Witness,
}

/// What a failure tells about.
#[derive(PartialEq, Eq)]
enum Witness {
    /// A connection that was used before has ended, or is too busy for one more stream. Servers end connections, and one restart ends them
    /// all at once: counted against the server, that would eject it when it is back already. If it is
    /// not, the next connection tells.
    Connection,
    /// The client asks for what cannot be done: no failure of the server's.
    Request,
    /// The server failed.
    Server,
}

impl Exchange<'_> {
    async fn deliver(&self, request: &mut Request<Upload>) -> Result<Answer, Failure> {
        let upgrade = request.headers().contains_key(UPGRADE);
        if upgrade { self.upgrade(request).await } else { self.pooled(request).await }
    }

    /// Over a connection of the pool. A connection that rested may have been closed by its server while
    /// the request was on its way to it: then, and only then, one more attempt is made over a new one.
    async fn pooled(&self, request: &mut Request<Upload>) -> Result<Answer, Failure> {
        // What is rare is boxed: it would make the state of every request larger.
        let (lease, origin) = match Seat::ready(self.server(), self.seat) {
            Some(lease) => (lease, Origin::Reused),
            None => match Box::pin(Seat::open(self.server(), self.seat, Want::Any)).await {
                Ok(lease) => lease,
                Err(reject) => return Err(Failure::unsent(reject)),
            },
        };
        match self.attempt(lease, origin, request).await {
            Err(Failure { again: true, .. }) => Box::pin(self.again(request)).await,
            outcome => outcome,
        }
    }

    async fn again(&self, request: &mut Request<Upload>) -> Result<Answer, Failure> {
        match Seat::open(self.server(), self.seat, Want::Fresh).await {
            Ok((lease, _)) => self.attempt(lease, Origin::New, request).await,
            Err(reject) => Err(Failure::unsent(reject)),
        }
    }

    /// Over a connection that may become a tunnel.
    async fn upgrade(&self, request: &mut Request<Upload>) -> Result<Answer, Failure> {
        if self.server().spec.via == Via::Http2 {
            let reject = self.invalid("HTTP/2 knows no Upgrade: use http:// for this server");
            return Err(Failure { reject, again: false, witness: Witness::Request });
        }
        match connect(self.server(), Purpose::Upgrade).await {
            Ok(Connected::Http1(http1)) => self.over_http1(http1, None, Origin::New, request).await,
            Ok(Connected::Http2(_)) => Err(self.invalid("answered an upgrade with HTTP/2").into()),
            Err(reject) => Err(Failure::unsent(reject)),
        }
    }

    async fn attempt(&self, lease: Lease, origin: Origin, request: &mut Request<Upload>) -> Result<Answer, Failure> {
        match lease {
            Lease::Http1(http1) => self.over_http1(http1, Some(self.seat), origin, request).await,
            // Boxed: its future is several times as large as the other's.
            Lease::Http2(stream) => Box::pin(self.over_http2(stream, origin, request)).await,
        }
    }

    async fn over_http1(
        &self,
        mut http1: Box<Http1>,
        seat: Option<usize>,
        origin: Origin,
        request: &mut Request<Upload>,
    ) -> Result<Answer, Failure> {
        self.shape(request, Protocol::Http1)?;
        let bodiless = request.body().is_end_stream();
        let stamp = if self.stamped.load(Relaxed) { &() } else { self.stamp };
        let mut sending = http1.begin(request, self.authority, stamp);
        let mut deadline = None;
        let answer = poll_fn(|cx| match http1.poll_answer(cx, &mut sending, self.early) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => self.poll_late(cx, &mut http1.alarm, &mut deadline).map(|()| None),
        });
        match answer.await {
            Some(Ok(head)) => Ok(self.accept_http1(head, http1, seat, sending)?),
            Some(Err(fault)) => Err(self.failure_http1(fault, origin, bodiless)),
            None => Err(Reject::new(Reason::UpstreamTimeout, self.server().name.clone()).into()),
        }
    }

    fn accept_http1(
        &self,
        head: Head,
        mut http1: Box<Http1>,
        seat: Option<usize>,
        sending: Sending,
    ) -> Result<Answer, Reject> {
        let sending = if http1.has_sent(&sending) { None } else { Some(sending) };
        if head.status == StatusCode::SWITCHING_PROTOCOLS && (seat.is_some() || sending.is_some()) {
            return Err(self.invalid("switched protocols without being asked"));
        }
        let inbound = head.inbound(&self.method).map_err(|wrong| self.invalid(wrong))?;
        http1.expect(inbound, head.persists());
        let mut response = Response::new(());
        *response.version_mut() = head.version;
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok((response, Carrier::Http1(OnHttp1 { http1, seat, sending })))
    }

    /// A request without a body that met the end of a connection is as it was, and may be sent once more if no byte of it
    /// was sent, or if it may be done twice (RFC 9110 §9.2.2) and no byte of an answer came.
    fn failure_http1(&self, fault: Fault, origin: Origin, bodiless: bool) -> Failure {
        let ended = origin == Origin::Reused && fault::is_closed_early_http1(&fault);
        let (heard, sent) = match &fault {
            Fault::Ended { heard, sent, .. } => (*heard, *sent),
            Fault::Invalid(_) | Fault::Request(_) => (true, true),
        };
        let harmless = bodiless && !heard && (!sent || form::is_idempotent(&self.method));
        let witness = if ended { Witness::Connection } else { Witness::Server };
        Failure { reject: fault::of_http1(&self.server().name, fault), again: ended && harmless, witness }
    }

    async fn over_http2(
        &self,
        stream: Stream,
        origin: Origin,
        request: &mut Request<Upload>,
    ) -> Result<Answer, Failure> {
        self.shape(request, Protocol::Http2)?;
        if !self.stamped.swap(true, Relaxed) {
            self.stamp.insert(request.headers_mut());
        }
        let spare = Spare::of(request, origin);
        let (mut alarm, mut deadline) = (Alarm::default(), None);
        let sender = &mut stream.sender();
        let mut sent = pin!(sender.try_send_request(mem::replace(request, Request::new(Upload::Empty))));
        let answer = poll_fn(|cx| match sent.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => self.poll_late(cx, &mut alarm, &mut deadline).map(|()| None),
        });
        match answer.await {
            Some(Ok(response)) => Ok(self.accept_http2(response, stream, alarm)?),
            Some(Err(error)) => Err(self.failure_http2(error, &stream, origin, spare, request)),
            None => Err(self.late(&stream).into()),
        }
    }

    fn accept_http2(&self, response: Response<Incoming>, stream: Stream, alarm: Alarm) -> Result<Answer, Reject> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.invalid("switched protocols without being asked"));
        }
        form::check_length(response.headers()).map_err(|what| self.invalid(what))?;
        stream.answered();
        let (head, incoming) = response.into_parts();
        let carrier = Carrier::Http2(OnHttp2 { incoming, stream, alarm, upload: self.upload.clone() });
        Ok((Response::from_parts(head, ()), carrier))
    }

    /// hyper hands back what it has not begun to send; then, too, the request is as it was.
    fn failure_http2(
        &self,
        mut error: TrySendError<Request<Upload>>,
        stream: &Stream,
        origin: Origin,
        spare: Option<Spare>,
        request: &mut Request<Upload>,
    ) -> Failure {
        let unsent = error.take_message().filter(|_| origin == Origin::Reused);
        let harmless = unsent.or_else(|| spare.and_then(|spare| spare.harmless_after(error.error())));
        let again = harmless.is_some();
        if let Some(harmless) = harmless {
            *request = harmless;
            self.server().seat(self.seat).retire(stream);
        }
        let ended = origin == Origin::Reused && fault::is_closed_early(error.error());
        let witness =
            if ended || fault::is_refused_stream(error.error()) { Witness::Connection } else { Witness::Server };
        let reject = fault::of_exchange(&self.server().name, error.error(), self.upload.as_deref());
        Failure { reject, again, witness }
    }

    /// Ready when the server takes too long for its answer.
    fn poll_late(&self, cx: &mut Context<'_>, alarm: &mut Alarm, deadline: &mut Option<Instant>) -> Poll<()> {
        let limit = self.server().timeouts.response;
        loop {
            let at = *deadline.get_or_insert_with(|| after(limit));
            ready!(alarm.poll(cx, at));
            match self.late_at(limit) {
                Some(later) => *deadline = Some(later),
                None => return Poll::Ready(()),
            }
        }
    }

    /// When the server will be late, if it is not late now: an upload that moved has put it off.
    fn late_at(&self, limit: Duration) -> Option<Instant> {
        self.upload.as_ref()?.late_at(limit).filter(|at| *at > Instant::now())
    }

    fn late(&self, stream: &Stream) -> Reject {
        if stream.is_silent() {
            // Nobody got an answer on it for that long: perhaps it leads nowhere any more, and it is shared.
            self.server().seat(self.seat).retire(stream);
        }
        Reject::new(Reason::UpstreamTimeout, self.server().name.clone())
    }

    fn server(&self) -> &Arc<Server> {
        &self.in_flight.server
    }

    fn shape(&self, request: &mut Request<Upload>, protocol: Protocol) -> Result<(), Reject> {
        form::shape(request, protocol, self.server().scheme(), self.authority)
    }

    fn invalid(&self, what: &str) -> Reject {
        Reject::new(Reason::UpstreamInvalid, format!("{}: {what}", self.server().name))
    }
}

impl Failure {
    /// No connection with the server could be made.
    fn unsent(reject: Reject) -> Self {
        Self { reject, again: true, witness: Witness::Server }
    }
}

impl From<Reject> for Failure {
    fn from(reject: Reject) -> Self {
        Self { reject, again: false, witness: Witness::Server }
    }
}

/// The head of a request that was sent over a reused connection of HTTP/2, in case the server closed it without
/// an answer or refused the stream: hyper hands back only what it has not begun to write. Made only for requests without a body:
/// those can be sent once more as they were.
struct Spare(request::Parts);

impl Spare {
    fn of(request: &Request<Upload>, origin: Origin) -> Option<Self> {
        if origin == Origin::New || !request.body().is_end_stream() {
            return None;
        }
        let mut copy = Request::new(());
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        copy.headers_mut().clone_from(request.headers());
        copy.extensions_mut().clone_from(request.extensions());
        Some(Self(copy.into_parts().0))
    }

    /// The request once more, if the server has not seen it or may see it twice (RFC 9110 §9.2.2).
    fn harmless_after(self, error: &hyper::Error) -> Option<Request<Upload>> {
        let twice = form::is_idempotent(&self.0.method) && fault::is_closed_early(error);
        (twice || fault::is_refused_stream(error)).then(|| Request::from_parts(self.0, Upload::Empty))
    }
}
