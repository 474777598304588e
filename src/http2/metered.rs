//! The stream under hyper's HTTP/2, with the meter reading along.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Settings;
use super::meter::Meter;
use crate::clock::Clock;
use crate::reject::Reason;

/// A stream that fails once the client has sent too much of what costs too much.
#[derive(Debug)]
pub(super) struct Metered<IO> {
    io: IO,
    meter: Meter,
    clock: Clock,
    verdict: Arc<OnceLock<Reason>>,
    print: Arc<OnceLock<Box<str>>>,
    flush: Flush,
}

/// What became of the bytes that were written.
///
/// A connection asks for a flush after every frame that a stream gives it. It is put off until the tasks that are ready
/// by now have run, so that their answers share one TLS record and one write: the connection's task wakes itself, and
/// reads before it does anything else. A connection that ends is shut down, which flushes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    /// They are with the client.
    Done,
    /// They wait below.
    Wanted,
    /// They wait, and go when the task is polled again.
    PutOff,
}

impl<IO> Metered<IO> {
    /// `verdict` is where the reason will be found after the failure, and `print` where the client's fingerprint will be
    /// before the first request is answered.
    pub(super) fn new(
        io: IO,
        bounds: Settings,
        clock: Clock,
        verdict: Arc<OnceLock<Reason>>,
        print: Arc<OnceLock<Box<str>>>,
    ) -> Self {
        Self { io, meter: Meter::new(bounds), clock, verdict, print, flush: Flush::Done }
    }
}

impl<IO> Metered<IO> {
    fn wrote(&mut self, bytes: usize) {
        self.meter.sent(bytes);
        if self.flush == Flush::Done {
            self.flush = Flush::Wanted;
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Metered<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.flush == Flush::PutOff {
            // An error shows when it is read, too; what cannot be written yet is when the client takes something.
            match Pin::new(&mut this.io).poll_flush(cx) {
                Poll::Ready(Ok(())) => this.flush = Flush::Done,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        let clock = &this.clock;
        let received = this.meter.received(read, || clock.now());
        if let Some(print) = this.meter.fingerprint() {
            let _ = this.print.set(print);
        }
        Poll::Ready(received.map_err(|reason| {
            let _ = this.verdict.set(reason);
            io::Error::other(reason.code())
        }))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Metered<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flush == Flush::Wanted {
            self.flush = Flush::PutOff;
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs))?;
        this.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
