//! A response on its way out: the head and the first of the body in one write, the rest as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Cut, Goal};
use super::encode::{self, Persistence};
use super::handler::Handler;
use super::terms::Terms;
use super::wire::Rest;
use crate::codec::fields::connection_names;
use crate::codec::{Outbound, Outbox, Wrong};
use crate::reject::{Reason, Reject};

/// A body on its way out.
pub(super) struct Sending {
    outbound: Outbound,
    /// How it ended, once it has.
    end: Option<Result<(), Reject>>,
}

/// Why the outbox is not filled further.
enum Filled {
    Ended,
    Full,
    Waiting,
}

impl<IO, H> Connection<IO, H>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    /// Writes the head to the outbox. A body that must not be sent is let go before the client is waited for.
    pub(super) fn start(&self, response: Response<H::Body>, terms: Terms) -> (Persistence, Option<H::Body>, Sending) {
        let (parts, body) = response.into_parts();
        let outbound = terms.outbound(&parts, &body.size_hint());
        let persistence = self.persistence(&parts.headers, terms, outbound);
        let mut wire = self.wire.lock();
        wire.answered();
        encode::head(wire.out.tail(), parts.status, &parts.headers, persistence, outbound);
        drop(wire);
        let end = outbound.is_bodiless().then_some(Ok(()));
        (persistence, Some(body).filter(|_| end.is_none()), Sending { outbound, end })
    }

    fn persistence(&self, response: &HeaderMap, terms: Terms, outbound: Outbound) -> Persistence {
        let mut wire = self.wire.lock();
        let unread = if wire.is_held() { wire.is_uninvited() } else { wire.discard() == Rest::Much };
        let last = !terms.persistent
            || unread
            || outbound == Outbound::UntilClose
            || connection_names(response, "close")
            || self.is_last();
        match (last, terms.modern) {
            (true, _) => Persistence::Close,
            (false, true) => Persistence::Implied,
            (false, false) => Persistence::Named,
        }
    }

    /// Sends the body. Ready when the client has been handed all of it.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut Option<H::Body>>,
        sending: &mut Sending,
    ) -> Poll<Result<(), Cut>> {
        loop {
            match self.fill(cx, body.as_mut(), sending) {
                Filled::Full => ready!(self.poll_out(cx, Goal::Left(LOW)))?,
                Filled::Waiting => return self.poll_meanwhile(cx).map(Err),
                Filled::Ended => {
                    ready!(self.poll_out(cx, Goal::Flushed))?;
                    return Poll::Ready(sending.end.take().unwrap_or(Ok(())).map_err(Cut::Broken));
                }
            }
        }
    }

    /// Moves frames to the outbox. The body is never polled under the lock: it may be waiting for its own request.
    fn fill(&self, cx: &mut Context<'_>, mut body: Pin<&mut Option<H::Body>>, sending: &mut Sending) -> Filled {
        while sending.end.is_none() {
            if self.wire.lock().out.len() >= HIGH {
                return Filled::Full;
            }
            let Some(mut body) = body.as_mut().as_pin_mut() else { return Filled::Ended };
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(frame) => {
                    let last = !matches!(frame, Some(Ok(_))) || body.is_end_stream();
                    sending.take(frame, last, &mut self.wire.lock().out);
                }
                // The client has all that was announced; what the body still thinks about is its own affair.
                Poll::Pending if sending.outbound.is_complete() => sending.end = Some(Ok(())),
                Poll::Pending => return Filled::Waiting,
            }
        }
        Filled::Ended
    }
}

impl Sending {
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, Reject>>, last: bool, out: &mut Outbox) {
        let result = match frame {
            Some(Ok(frame)) => self.outbound.frame(out, frame).map_err(broken),
            Some(Err(reject)) => Err(reject),
            None => Ok(()),
        };
        self.end = match result {
            Ok(()) if last => Some(self.outbound.end(out).map_err(broken)),
            Ok(()) => None,
            Err(reject) => Some(Err(reject)),
        };
    }
}

fn broken(wrong: Wrong) -> Reject {
    Reject::new(Reason::UpstreamBodyBroken, wrong)
}

/// Bytes that may wait for the client before the body is asked for no more: what one write to a socket takes.
const HIGH: usize = 64 * 1024;

/// Bytes that still wait when the body is asked again, so that the client never waits for it.
const LOW: usize = 16 * 1024;
