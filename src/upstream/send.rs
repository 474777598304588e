//! One exchange with a server: the one way in which a request leaves the gate.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::header::UPGRADE;
use http::{Method, Request, Response, StatusCode, request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::connect::{Connected, Purpose, connect};
use super::fault;
use super::form::{self, Protocol};
use super::group::Upstream;
use super::pool::{Lease, Origin, Seat, Want};
use super::response::{Carrier, UpstreamBody};
use super::server::{InFlight, Server};
use super::spec::Via;
use super::upload::{Progress, Upload};
use crate::message::body::RequestBody;
use crate::policy::Permit;
use crate::reject::{Reason, Reject};

impl Upstream {
    /// Sends `request`, which `_permit` proves the policy has said yes to, to a server of the group, from the worker at `seat`, and returns the head of the
    /// response; its body follows.
    ///
    /// `authority` is what the client asked for and becomes `Host` or `:authority`. Hop-by-hop fields
    /// must be gone already; how the body is framed is decided here (see `form`). A request with an
    /// `Upgrade` field gets a connection of its own; after a 101, `hyper::upgrade::on` gives the tunnel.
    /// A callback that was installed with `hyper::ext::on_informational` is called for 1xx responses.
    ///
    /// # Errors
    /// The reason why there is no response: one of the `Upstream*` reasons, or the one that the
    /// request's own body gave.
    pub async fn send(
        &self,
        _permit: &Permit<'_>,
        seat: usize,
        authority: &str,
        request: Request<RequestBody>,
    ) -> Result<Response<UpstreamBody>, Reject> {
        if request.method() == Method::CONNECT {
            return Err(Reject::new(Reason::ConnectRefused, "CONNECT is not sent to servers"));
        }
        let in_flight = self.pick()?;
        let upgrade = request.headers().contains_key(UPGRADE);
        let (head, body) = request.into_parts();
        let (body, upload) = Upload::new(body);
        let mut exchange = Exchange { in_flight, seat, authority, method: head.method.clone(), upload };
        let mut outcome = if upgrade {
            Box::pin(exchange.upgrade(Request::from_parts(head, body))).await
        } else {
            exchange.pooled(Request::from_parts(head, body)).await
        };
        if let Err(failure) = &mut outcome
            && let Some(request) = failure.again.take()
            && let Some(other) = self.pick_other(exchange.server())
        {
            // Nothing was sent, so another server can have it: a group of two survives one that is down.
            std::mem::replace(&mut exchange.in_flight, other).failed(&failure.reject);
            outcome = Box::pin(exchange.deliver(request)).await;
        }
        match outcome {
            Ok((response, carrier)) => {
                exchange.in_flight.succeeded();
                let Exchange { in_flight, method, upload, .. } = exchange;
                Ok(UpstreamBody::attach(response, &method, carrier, in_flight, upload))
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
    method: Method,
    upload: Option<Arc<Progress>>,
}

type Answer = (Response<Incoming>, Carrier);

/// An attempt that came to nothing.
struct Failure {
    reject: Reject,
    /// The request, if sending it once more can do no harm.
    again: Option<Request<Upload>>,
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
    async fn deliver(&self, request: Request<Upload>) -> Result<Answer, Failure> {
        let upgrade = request.headers().contains_key(UPGRADE);
        if upgrade { self.upgrade(request).await } else { self.pooled(request).await }
    }

    /// Over a connection of the pool. A connection that rested may have been closed by its server while
    /// the request was on its way to it: then, and only then, one more attempt is made over a new one.
    async fn pooled(&self, request: Request<Upload>) -> Result<Answer, Failure> {
        // What is rare is boxed: it would make the state of every request larger.
        let (lease, origin) = match Seat::ready(self.server(), self.seat) {
            Some(lease) => (lease, Origin::Reused),
            None => match Box::pin(Seat::open(self.server(), self.seat, Want::Any)).await {
                Ok(lease) => lease,
                Err(reject) => return Err(Failure::unsent(reject, request)),
            },
        };
        match self.attempt(lease, origin, request).await {
            Err(Failure { again: Some(request), .. }) => Box::pin(self.again(request)).await,
            outcome => outcome,
        }
    }

    async fn again(&self, request: Request<Upload>) -> Result<Answer, Failure> {
        match Seat::open(self.server(), self.seat, Want::Fresh).await {
            Ok((lease, _)) => self.attempt(lease, Origin::New, request).await,
            Err(reject) => Err(Failure::unsent(reject, request)),
        }
    }

    /// Over a connection that may become a tunnel.
    async fn upgrade(&self, mut request: Request<Upload>) -> Result<Answer, Failure> {
        if self.server().spec.via == Via::Http2 {
            let reject = self.invalid("HTTP/2 knows no Upgrade: use http:// for this server");
            return Err(Failure { reject, again: None, witness: Witness::Request });
        }
        let mut http1 = match connect(self.server(), Purpose::Upgrade).await {
            Ok(Connected::Http1(http1)) => http1,
            Ok(Connected::Http2(_)) => return Err(self.invalid("answered an upgrade with HTTP/2").into()),
            Err(reject) => return Err(Failure::unsent(reject, request)),
        };
        self.shape(&mut request, Protocol::Http1)?;
        let sent = pin!(http1.sender.try_send_request(request));
        match self.wait(sent, &mut http1.alarm).await {
            Some(Ok(response)) => Ok(self.accept(response, Carrier::Once(http1))?),
            Some(Err(error)) => Err(self.fault(error.error()).into()),
            None => Err(Reject::new(Reason::UpstreamTimeout, self.server().name.clone()).into()),
        }
    }

    async fn attempt(&self, lease: Lease, origin: Origin, mut request: Request<Upload>) -> Result<Answer, Failure> {
        let protocol = match lease {
            Lease::Http1(_) => Protocol::Http1,
            Lease::Http2(_) => Protocol::Http2,
        };
        self.shape(&mut request, protocol)?;
        let spare = Spare::of(&request, origin);
        let (outcome, carrier) = match lease {
            Lease::Http1(mut http1) => {
                let sent = pin!(http1.sender.try_send_request(request));
                (self.wait(sent, &mut http1.alarm).await, Carrier::Http1(http1, self.seat))
            }
            Lease::Http2(stream) => {
                let mut alarm = Alarm::default();
                let sent = pin!(stream.sender().try_send_request(request));
                (self.wait(sent, &mut alarm).await, Carrier::Http2(stream, alarm))
            }
        };
        match outcome {
            Some(Ok(response)) => Ok(self.accept(response, carrier)?),
            Some(Err(error)) => Err(self.failure(error, &carrier, origin, spare)),
            None => Err(self.late(&carrier).into()),
        }
    }

    fn accept(&self, response: Response<Incoming>, carrier: Carrier) -> Result<Answer, Reject> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && !matches!(carrier, Carrier::Once(_)) {
            return Err(self.invalid("switched protocols without being asked"));
        }
        form::check_length(response.headers()).map_err(|what| self.invalid(what))?;
        if let Carrier::Http2(stream, _) = &carrier {
            stream.answered();
        }
        Ok((response, carrier))
    }

    fn failure(
        &self,
        mut error: TrySendError<Request<Upload>>,
        carrier: &Carrier,
        origin: Origin,
        spare: Option<Spare>,
    ) -> Failure {
        let unsent = error.take_message().filter(|_| origin == Origin::Reused);
        let again = unsent.or_else(|| spare.and_then(|spare| spare.harmless_after(error.error())));
        if let (Carrier::Http2(stream, _), Some(_)) = (carrier, &again) {
            self.server().seat(self.seat).retire(stream);
        }
        let ended = origin == Origin::Reused && fault::is_closed_early(error.error());
        let witness =
            if ended || fault::is_refused_stream(error.error()) { Witness::Connection } else { Witness::Server };
        Failure { reject: self.fault(error.error()), again, witness }
    }

    /// The outcome of `sent`, or nothing if the server takes too long for it.
    async fn wait<F: Future>(&self, mut sent: Pin<&mut F>, alarm: &mut Alarm) -> Option<F::Output> {
        let limit = self.server().timeouts.response;
        alarm.disarm();
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = sent.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            loop {
                ready!(alarm.poll(cx, limit));
                match self.late_at(limit) {
                    Some(later) => alarm.set(later),
                    None => return Poll::Ready(None),
                }
            }
        })
        .await
    }

    /// When the server will be late, if it is not late now: an upload that moved has put it off.
    fn late_at(&self, limit: Duration) -> Option<Instant> {
        self.upload.as_ref()?.late_at(limit).filter(|at| *at > Instant::now())
    }

    fn late(&self, carrier: &Carrier) -> Reject {
        if let Carrier::Http2(stream, _) = carrier
            && stream.is_silent()
        {
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

    fn fault(&self, error: &hyper::Error) -> Reject {
        fault::of_exchange(&self.server().name, error, self.upload.as_deref())
    }

    fn invalid(&self, what: &str) -> Reject {
        Reject::new(Reason::UpstreamInvalid, format!("{}: {what}", self.server().name))
    }
}

impl Failure {
    /// No connection with the server could be made.
    fn unsent(reject: Reject, request: Request<Upload>) -> Self {
        Self { reject, again: Some(request), witness: Witness::Server }
    }
}

impl From<Reject> for Failure {
    fn from(reject: Reject) -> Self {
        Self { reject, again: None, witness: Witness::Server }
    }
}

/// The head of a request that was sent over a reused connection, in case the server closed it without
/// an answer. hyper hands back only what it has not begun to write, and a server that closes an idle
/// connection often does so while the request is on its way. Made only for requests without a body:
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
