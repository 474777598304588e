//! The loop of a connection: head, answer, head, answer, end.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::response::Parts;
use http::{Request, Response, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::body::Incoming;
use super::encode::{self, Persistence};
use super::handler::{Answer, EarlyResponses, Ended, Handler, Seen};
use super::head::{Head, Reader};
use super::reading::Reading;
use super::settings::Settings;
use super::stop::Stop;
use super::terms::Terms;
use super::wire::{self, Wire};
use crate::codec::framing::Framing;
use crate::codec::{Alarm, Outbound, Rewound, after};
use crate::message::body::RequestBody;
use crate::reject::{Reason, Reject};

/// Serves the requests of one connection, strictly: what is ambiguous is answered with 400 and nothing behind it is read.
///
/// When `stop` becomes true (or its sender goes away), an idle connection is closed at once, and a busy one behind
/// the response that is under way. Dropping the future closes the connection, and request bodies that somebody
/// still holds fail.
pub fn serve<IO, H>(
    io: IO,
    settings: Settings,
    stop: watch::Receiver<bool>,
    handler: H,
) -> impl Future<Output = Ended<IO, H::Tunnel>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    // Outside the future: what moves within one is kept in it twice, and a TLS stream is large.
    let mut connection = Connection {
        wire: Arc::new(Mutex::new(Wire::new(io))),
        settings,
        stop: Stop::new(stop),
        alarm: Alarm::default(),
        reading: Reading::new(&settings),
        served: 0,
        of: PhantomData,
    };
    async move {
        match connection.run(&handler).await {
            Ok(ended) => ended,
            Err(Cut::Gone) => Ended::ClientGone,
            Err(Cut::Broken(reject)) => Ended::Failed(reject),
        }
    }
}

/// One connection, seen from its own task.
pub(super) struct Connection<IO, H> {
    pub(super) wire: Arc<Mutex<Wire<IO>>>,
    pub(super) settings: Settings,
    stop: Stop,
    pub(super) alarm: Alarm,
    reading: Reading,
    served: u64,
    /// Whose requests they are: the handler stands beside the connection, which its answers must not borrow.
    of: PhantomData<fn() -> H>,
}

/// Why a connection ends in the middle of something.
pub(super) enum Cut {
    /// The client went away.
    Gone,
    /// The response failed, or the client does not read it.
    Broken(Reject),
}

/// How much is to be written.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// All, through the stream's own buffers.
    Flushed,
    /// All but so many bytes.
    Left(usize),
}

/// What comes where a request may come.
enum Next {
    Request(Head),
    Refused(Reject),
    Closed,
}

impl<IO, H> Drop for Connection<IO, H> {
    fn drop(&mut self) {
        let io = self.wire.lock().close();
        drop(io);
    }
}

impl<IO, H> Connection<IO, H>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    async fn run(&mut self, handler: &H) -> Result<Ended<IO, H::Tunnel>, Cut> {
        loop {
            // Boxed: an idle connection keeps nothing of its exchanges.
            let exchange = {
                let mut reader = Reader::default();
                let next = self.next(&mut reader).await?;
                Box::pin(self.exchange(handler, next, reader))
            };
            if let Some(ended) = exchange.await? {
                return Ok(ended);
            }
        }
    }

    /// One request and its answer, or the end.
    async fn exchange(&mut self, handler: &H, next: Next, reader: Reader) -> Result<Option<Ended<IO, H::Tunnel>>, Cut> {
        let (response, terms) = match next {
            Next::Closed => {
                self.shut_down().await;
                return Ok(Some(Ended::Closed));
            }
            Next::Refused(reject) => (self.refuse(handler, reject, &reader), Terms::REFUSED),
            Next::Request(head) => {
                let terms = Terms::of(&head);
                let answer = {
                    let (request, early) = self.begin(head, terms);
                    let mut answer = pin!(handler.request(request, early));
                    poll_fn(|cx| match answer.as_mut().poll(cx) {
                        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                        Poll::Pending => self.poll_meanwhile(cx).map(Err),
                    })
                    .await?
                };
                match self.lawful(handler, answer, terms) {
                    (response, None) => (response, terms),
                    (response, Some(tunnel)) => {
                        return self.upgrade(response.into_parts().0, tunnel).await.map(Some);
                    }
                }
            }
        };
        let (persistence, body, mut sending) = self.start(response, terms);
        {
            let mut body = pin!(body);
            poll_fn(|cx| self.poll_send(cx, body.as_mut(), &mut sending)).await?;
        }
        Ok(if self.finish(persistence).await? { None } else { Some(Ended::Closed) })
    }

    async fn next(&mut self, reader: &mut Reader) -> Result<Next, Cut> {
        let mut deadlines = (None, None);
        poll_fn(|cx| self.poll_next(cx, reader, &mut deadlines)).await
    }

    /// `deadlines` are those of silence and of an incomplete head, set when the waiting begins.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Reader,
        deadlines: &mut (Option<Instant>, Option<Instant>),
    ) -> Poll<Result<Next, Cut>> {
        let mut wire = self.wire.lock();
        loop {
            match reader.read(&mut wire.read.buffer, &self.settings) {
                Ok(None) => {}
                Ok(Some(head)) => return Poll::Ready(Ok(Next::Request(head))),
                Err(reject) => return Poll::Ready(Ok(Next::Refused(reject))),
            }
            match wire.poll_glance(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Err(error)) if wire::failure(&error).is_some() => return Poll::Ready(Err(lost(&error))),
                Poll::Ready(_) if wire.read.buffer.is_empty() => return Poll::Ready(Ok(Next::Closed)),
                Poll::Ready(_) => return Poll::Ready(Err(Cut::Gone)),
            }
        }
        if !wire.read.buffer.is_empty() {
            let deadline = *deadlines.1.get_or_insert_with(|| after(self.settings.header_timeout));
            ready!(self.alarm.poll(cx, deadline));
            let detail = format!("no whole head within {:?}", self.settings.header_timeout);
            return Poll::Ready(Ok(Next::Refused(Reject::new(Reason::HeaderTimeout, detail))));
        }
        wire.shrink();
        if self.stop.poll(cx).is_pending() {
            let deadline = *deadlines.0.get_or_insert_with(|| after(self.settings.idle_timeout));
            ready!(self.alarm.poll(cx, deadline));
        }
        Poll::Ready(Ok(Next::Closed))
    }

    /// The next exchange begins.
    fn begin(&mut self, head: Head, terms: Terms) -> (Request<RequestBody>, EarlyResponses) {
        self.served = self.served.saturating_add(1);
        let Head { parts, framing } = head;
        let exchange = self.wire.lock().begin(framing, terms, &self.settings);
        let left = match framing {
            Framing::None => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        let body = if left == Some(0) {
            RequestBody::Empty
        } else {
            RequestBody::Stream(Box::pin(Incoming::new(self.wire.clone(), exchange, left, &self.settings)))
        };
        (Request::from_parts(parts, body), EarlyResponses::new(self.wire.clone(), exchange))
    }

    /// The answer, unless HTTP forbids it.
    fn lawful(
        &self,
        handler: &H,
        answer: Answer<H::Body, H::Tunnel>,
        terms: Terms,
    ) -> (Response<H::Body>, Option<Box<H::Tunnel>>) {
        let Answer { response, tunnel } = answer;
        let detail = match response.status() {
            StatusCode::SWITCHING_PROTOCOLS
                if terms.upgrade && terms.modern && tunnel.is_some() && self.wire.lock().is_done() =>
            {
                return (response, tunnel);
            }
            StatusCode::SWITCHING_PROTOCOLS => "101 that nobody asked for, or before the request was complete",
            status if status.is_informational() => "1xx as the final response",
            status if terms.connect && status.is_success() => "a tunnel for CONNECT",
            _ => return (response, None),
        };
        self.wire.lock().fail();
        (refusal(handler, Reject::new(Reason::UpstreamInvalid, detail), Seen::default()), None)
    }

    async fn upgrade(&mut self, response: Parts, tunnel: Box<H::Tunnel>) -> Result<Ended<IO, H::Tunnel>, Cut> {
        {
            let mut wire = self.wire.lock();
            wire.answered();
            encode::head(wire.out.tail(), response.status, &response.headers, Persistence::Upgrade, Outbound::Absent);
        }
        poll_fn(|cx| self.poll_out(cx, Goal::Flushed)).await?;
        let mut wire = self.wire.lock();
        let before = wire.read.buffer.split().freeze();
        let io = wire.close().ok_or(Cut::Gone)?;
        Ok(Ended::Upgraded { io: Rewound::new(before, io), tunnel })
    }

    /// The response to what never became a request.
    fn refuse(&self, handler: &H, reject: Reject, reader: &Reader) -> Response<H::Body> {
        let line = {
            let mut wire = self.wire.lock();
            wire.fail();
            reader.line(&wire.read.buffer)
        };
        refusal(handler, reject, Seen::of(&line))
    }

    /// Whether this response is the last one, as far as the gate is concerned.
    pub(super) fn is_last(&self) -> bool {
        self.served >= self.settings.max_requests || self.stop.requested()
    }

    /// What is done while the handler or a response's body is waited for: writing what is there, and watching
    /// whether the client stays. Ready when it is no use to wait any longer.
    pub(super) fn poll_meanwhile(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        self.wire.lock().park(cx);
        if let Poll::Ready(Err(cut)) = self.poll_out(cx, Goal::Flushed) {
            return Poll::Ready(cut);
        }
        self.wire
            .lock()
            .poll_gone(cx, self.settings.header_bytes)
            .map(|error| error.map_or(Cut::Gone, |error| lost(&error)))
    }

    /// Writes. An error if the client has gone, or has taken nothing for too long.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>, goal: Goal) -> Poll<Result<(), Cut>> {
        let mut wire = self.wire.lock();
        let written = match goal {
            Goal::Flushed => wire.poll_flush(cx),
            Goal::Left(leave) => wire.poll_write(cx, leave),
        };
        let taken = wire.out.taken();
        drop(wire);
        match written {
            Poll::Ready(result) => {
                self.reading.goes_on(taken);
                Poll::Ready(result.map_err(|error| lost(&error)))
            }
            Poll::Pending => {
                self.reading.poll_patience(cx, taken, &mut self.alarm).map(|reject| Err(Cut::Broken(reject)))
            }
        }
    }
}

fn refusal<H: Handler>(handler: &H, reject: Reject, seen: Seen<'_>) -> Response<H::Body> {
    let mut response = handler.refused(reject, seen);
    if response.status().is_informational() {
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    response
}

/// A connection that failed under us: the client's leaving, or its breach of TLS.
fn lost(error: &io::Error) -> Cut {
    wire::failure(error).map_or(Cut::Gone, Cut::Broken)
}
