//! HTTP/1.1 with a server, read as strictly as with a client: a backend that can be made to say something ambiguous
//! must not reach another client through us.
//!
//! A connection belongs to the request that uses it: no task of its own drives it, and nothing is handed over. `request`
//! and `head` are pure; `exchange` moves the bytes; `idle` is where connections rest.

mod ask;
mod exchange;
mod head;
mod idle;
mod request;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "each #[tokio::test] builds its own runtime")]
mod tests;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::ask::{Heard, ask};
pub use self::exchange::Early;
pub(super) use self::exchange::{Fault, Sending};
use self::head::Reader;
pub(super) use self::head::{BOUNDS, Head};
pub(super) use self::idle::Idle;
use crate::codec::{Alarm, Inbound, Intake, Outbox, Rewound};

/// A connection with a server, whatever it is made of.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that one request at a time may use.
pub(super) struct Http1 {
    io: Box<dyn Io>,
    intake: Intake,
    out: Outbox,
    reader: Reader,
    /// Whether a byte of an answer came since the request was begun.
    heard: bool,
    inbound: Inbound,
    /// Whether the server keeps the connection open behind this answer.
    persists: bool,
    pub(super) alarm: Alarm,
}

impl Http1 {
    pub(super) fn new(io: Box<dyn Io>) -> Self {
        let out = Outbox::new(BytesMut::new(), io.is_write_vectored());
        Self {
            io,
            intake: Intake::default(),
            out,
            reader: Reader::default(),
            heard: false,
            inbound: Inbound::Done,
            persists: false,
            alarm: Alarm::default(),
        }
    }

    /// Whether the server has neither closed the resting connection nor said something on it without being asked: that would
    /// be taken for the answer to the next request.
    ///
    /// Costs no system call while nothing has come. It must not fail to look because the task has used up its
    /// budget: hence `unconstrained`.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let io = &mut self.io;
        let look = pin!(tokio::task::unconstrained(poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut byte))));
        look.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Whether the exchange has ended in such a way that another may follow.
    pub(super) fn is_reusable(&self) -> bool {
        self.persists && self.inbound.is_done() && self.intake.buffer.is_empty() && self.out.is_flushed()
    }

    /// Gives the memory back that only an exchange needs.
    pub(super) fn rest(&mut self) {
        self.intake = Intake::default();
        self.out.shrink();
    }

    /// Closes a resting connection. A TLS server is told, so that it does not take the end for an attack; once is
    /// enough, since a socket on which nothing waits takes what is written.
    fn close(mut self: Box<Self>) {
        let _ = Pin::new(&mut *self.io).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }

    /// The bytes behind a 101: what was read of them already, and all that follow.
    pub(super) fn into_tunnel(mut self) -> Tunnel {
        Rewound::new(self.intake.buffer.split().freeze(), self.io)
    }
}

/// What an upgraded connection is.
pub type Tunnel = Rewound<Box<dyn Io>>;
