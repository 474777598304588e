//! What the connection's loop and a request's body share: the stream and its buffers.
//!
//! Two rules keep them apart. Only the loop writes to the stream. Only one of them reads from it: the body's holder
//! until the body is complete or let go, the loop before and after.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::encode;
use super::handler::Sink;
use super::settings::Settings;
use super::terms::Terms;
use crate::codec::framing::Framing;
use crate::codec::{Bounds, Decoded, Inbound, Intake, Outbox};
use crate::reject::{Reason, Reject};

/// The stream of a connection and what is on its way in and out.
pub(super) struct Wire<IO> {
    io: Option<IO>,
    /// Read and not yet used.
    pub(super) read: Intake,
    /// To be written.
    pub(super) out: Outbox,
    inbound: Inbound,
    exchange: u64,
    held: bool,
    awaits_continue: bool,
    takes_early: bool,
    received: u64,
    owner: Option<Waker>,
    holder: Option<Waker>,
}

/// What is left of a request's body when nobody wants it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    None,
    /// So little that reading it is cheaper than a new connection.
    Little,
    /// More than that, or nobody knows how much, or nobody knows whether it will come.
    Much,
}

impl<IO> Wire<IO> {
    /// Cuts the body off from its holder, whose next question is answered with an error.
    pub(super) fn cut(&mut self) {
        self.exchange = self.exchange.wrapping_add(1);
        self.held = false;
        self.takes_early = false;
        if let Some(holder) = self.holder.take() {
            holder.wake();
        }
    }

    /// Takes the stream away from everybody.
    pub(super) fn close(&mut self) -> Option<IO> {
        self.cut();
        self.io.take()
    }

    /// The next exchange begins; its number.
    pub(super) fn begin(&mut self, framing: Framing, terms: Terms, bounds: &Settings) -> u64 {
        self.cut();
        self.inbound = Inbound::new(framing, Bounds { bytes: bounds.header_bytes, count: bounds.header_count });
        self.held = !self.inbound.is_done();
        self.awaits_continue = terms.expects && self.held;
        self.takes_early = terms.modern;
        self.exchange
    }

    /// The final response begins: no 1xx from here on.
    pub(super) const fn answered(&mut self) {
        self.takes_early = false;
    }

    /// No byte that comes in means anything any more.
    pub(super) fn fail(&mut self) {
        self.inbound = Inbound::Failed;
    }

    /// Remembers whom to wake when the body changes hands or something is to be written.
    pub(super) fn park(&mut self, cx: &Context<'_>) {
        park(&mut self.owner, cx);
    }

    /// Whether somebody may still read the body.
    pub(super) const fn is_held(&self) -> bool {
        self.held && !self.inbound.is_over()
    }

    /// Whether the client still waits for a 100 and may never send the body.
    pub(super) const fn is_uninvited(&self) -> bool {
        self.awaits_continue
    }

    /// Whether the client has nothing more to say that we have not understood.
    pub(super) fn is_quiet(&self) -> bool {
        self.inbound.is_done() && self.read.buffer.is_empty()
    }

    /// Whether the request is complete.
    pub(super) const fn is_done(&self) -> bool {
        self.inbound.is_done()
    }

    /// How many bytes of bodies came from the stream: whether a body makes progress.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Gives the memory of empty buffers back.
    pub(super) fn shrink(&mut self) {
        self.read.shrink();
        self.out.shrink();
    }

    /// Throws away what is at hand of a body that nobody holds, and says what is left.
    pub(super) fn discard(&mut self) -> Rest {
        loop {
            match self.inbound.decode(&mut self.read.buffer) {
                Ok(Decoded::Data(_) | Decoded::Trailers(_)) => {}
                Ok(Decoded::End) => return Rest::None,
                Ok(Decoded::More) => {
                    let little = !self.awaits_continue && self.inbound.left().is_some_and(|left| left <= LITTLE);
                    return if little { Rest::Little } else { Rest::Much };
                }
                Err(_) => return Rest::Much,
            }
        }
    }

    /// The holder has let the body go.
    fn release(&mut self, exchange: u64) {
        if self.exchange == exchange {
            self.held = false;
            self.holder = None;
            self.wake_owner();
        }
    }

    fn wake_owner(&self) {
        if let Some(owner) = &self.owner {
            owner.wake_by_ref();
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    /// A new connection.
    pub(super) fn new(io: IO) -> Self {
        let out = Outbox::new(BytesMut::new(), io.is_write_vectored());
        Self {
            io: Some(io),
            read: Intake::default(),
            out,
            inbound: Inbound::Done,
            exchange: 0,
            held: false,
            awaits_continue: false,
            takes_early: false,
            received: 0,
            owner: None,
            holder: None,
        }
    }

    /// Reads what there is at a place where a head may come.
    pub(super) fn poll_glance(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.poll_glance(cx, stream(&mut self.io)?)
    }

    /// Reads and throws away.
    pub(super) fn poll_ignore(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.buffer.clear();
        self.poll_glance(cx)
    }

    /// Ready when the client has gone, with how if that is known. Only a client whose request is complete is watched, and no further than
    /// until `bound` bytes of its next requests wait.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, bound: usize) -> Poll<Option<io::Error>> {
        while self.inbound.is_done() && self.read.buffer.len() < bound {
            match ready!(self.poll_glance(cx)) {
                Ok(0) => return Poll::Ready(None),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(error)),
            }
        }
        Poll::Pending
    }

    /// Writes until at most `leave` bytes wait.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, leave: usize) -> Poll<io::Result<()>> {
        self.out.poll_write(stream(&mut self.io)?, cx, leave)
    }

    /// Writes everything.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        self.out.poll_flush(stream(&mut self.io)?, cx)
    }

    /// Says that nothing more will be written.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(stream(&mut self.io)?).poll_shutdown(cx)
    }

    /// The next frame of the body, for its holder.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        exchange: u64,
    ) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        if self.exchange != exchange || self.io.is_none() {
            return Poll::Ready(Some(Err(Reject::new(Reason::ClientGone, "the exchange is over"))));
        }
        let frame = self.poll_decoded(cx);
        if frame.is_pending() {
            park(&mut self.holder, cx);
        } else if self.inbound.is_over() {
            self.wake_owner();
        }
        frame
    }

    /// The body has been silent for too long, or is otherwise not worth reading further.
    pub(super) fn give_up(&mut self, exchange: u64) {
        if self.exchange == exchange && !self.inbound.is_done() {
            self.fail();
            self.wake_owner();
        }
    }

    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        loop {
            match self.inbound.decode(&mut self.read.buffer) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(wrong) => return Poll::Ready(Some(Err(Reject::new(Reason::BodyMalformed, wrong)))),
            }
            self.invite();
            match ready!(self.poll_fill(cx)) {
                Ok(0) => {
                    self.fail();
                    return Poll::Ready(Some(Err(Reject::new(
                        Reason::BodyMalformed,
                        "the client closed in the middle of the body",
                    ))));
                }
                Ok(_) => self.awaits_continue = false,
                Err(error) => {
                    self.fail();
                    let gone = || Reject::new(Reason::ClientGone, error.to_string());
                    return Poll::Ready(Some(Err(failure(&error).unwrap_or_else(gone))));
                }
            }
        }
    }

    /// Tells a client that waits for it to send its body, now that somebody wants it (RFC 9110 §10.1.1). The loop
    /// writes it. A client that has begun anyway needs no telling.
    fn invite(&mut self) {
        if self.awaits_continue && self.takes_early && self.read.buffer.is_empty() {
            self.awaits_continue = false;
            encode::informational(self.out.tail(), StatusCode::CONTINUE, &HeaderMap::new());
            self.wake_owner();
        }
    }

    /// Reads a piece of a body.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let count = ready!(self.read.poll_fill(cx, stream(&mut self.io)?, self.inbound.left()))?;
        self.received = self.received.wrapping_add(u64::try_from(count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }
}

impl<IO: Send> Sink for Mutex<Wire<IO>> {
    fn send_early(&self, exchange: u64, status: StatusCode, headers: &HeaderMap) {
        let mut wire = self.lock();
        if wire.exchange == exchange && wire.takes_early && wire.out.len() < EARLY {
            encode::informational(wire.out.tail(), status, headers);
            wire.wake_owner();
        }
    }
}

/// Lets the body go when its holder does; see [`Wire::release`].
pub(super) fn release<IO>(wire: &Mutex<Wire<IO>>, exchange: u64) {
    wire.lock().release(exchange);
}

/// What a failed stream says about its client, if it is more than that it has gone: what is below us says
/// `InvalidData` of a client that breaks its protocol, and the system never does.
pub(super) fn failure(error: &io::Error) -> Option<Reject> {
    (error.kind() == io::ErrorKind::InvalidData).then(|| Reject::new(Reason::TlsInvalid, error.to_string()))
}

fn stream<IO>(io: &mut Option<IO>) -> io::Result<&mut IO> {
    io.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
}

fn park(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}

/// How much of an unwanted body is read so that the connection can be used again: what is in flight anyhow.
const LITTLE: u64 = 64 * 1024;

/// How many bytes of 1xx responses may wait for a client that does not read: a few hundred of them.
const EARLY: usize = 64 * 1024;
