//! One connection's bytes, in the clear or through TLS, counted on the wire.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::failure::Failure;

/// What went over the wire of all connections of one thread. Others only look.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// Bytes received.
    pub(super) received: AtomicU64,
    /// Bytes sent.
    pub(super) sent: AtomicU64,
    /// Connections that are open now.
    pub(super) open: AtomicU64,
}

/// A TCP connection that counts.
#[derive(Debug)]
pub(super) struct Metered {
    tcp: TcpStream,
    wire: Arc<Wire>,
    /// Read ahead for a reader with a small buffer: rustls asks for 4 KiB at a time, which would be 256 system calls for
    /// a download of a MiB.
    ahead: Vec<u8>,
    /// What of it is to be handed out.
    from: usize,
    to: usize,
    /// The last read filled its buffer: there is more.
    more: bool,
}

impl Metered {
    pub(super) fn new(tcp: TcpStream, wire: Arc<Wire>) -> Self {
        wire.open.fetch_add(1, Ordering::Relaxed);
        Self { tcp, wire, ahead: Vec::new(), from: 0, to: 0, more: false }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.wire.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.from == this.to && !this.more {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.tcp).poll_read(cx, buf))?;
            count(&this.wire.received, buf.filled().len().saturating_sub(before));
            this.more = buf.remaining() == 0;
            if !this.more {
                // Who rests needs no buffer.
                this.ahead = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        if this.from == this.to {
            this.ahead.resize(AHEAD, 0);
            let mut ahead = ReadBuf::new(&mut this.ahead);
            let outcome = Pin::new(&mut this.tcp).poll_read(cx, &mut ahead);
            let length = ahead.filled().len();
            (this.from, this.to, this.more) = (0, length, length == AHEAD);
            count(&this.wire.received, length);
            ready!(outcome)?;
        }
        let rest = this.ahead.get(this.from..this.to).unwrap_or_default();
        let chunk = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(chunk);
        this.from += chunk.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, buf))?;
        count(&self.wire.sent, written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs))?;
        count(&self.wire.sent, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Four TLS records.
const AHEAD: usize = 64 * 1024;

fn count(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// What a lane talks through.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Metered),
    Tls(Box<TlsStream<Metered>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A stream that remembers what first went wrong with it: a layer above may keep no more of an error than its kind.
#[derive(Debug)]
pub(super) struct Noted {
    stream: Stream,
    fault: Arc<OnceLock<Failure>>,
}

impl Noted {
    /// And where the fault will be.
    pub(super) fn new(stream: Stream) -> (Self, Arc<OnceLock<Failure>>) {
        let fault = Arc::new(OnceLock::new());
        (Self { stream, fault: Arc::clone(&fault) }, fault)
    }

    fn note<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome {
            self.fault.get_or_init(|| Failure::io(error));
        }
        outcome
    }
}

impl AsyncRead for Noted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(outcome)
    }
}

/// What cannot be written is not noted: why, is in what can still be read.
impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
