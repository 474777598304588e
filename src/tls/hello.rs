//! The ClientHello: read once, bounded, however it is cut, and kept as it came.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that keeps a copy of what is read until the ClientHello is complete.
#[derive(Debug)]
pub(super) struct Recorded<IO> {
    io: IO,
    bytes: Vec<u8>,
    limit: usize,
}

/// Typical hellos: 300 bytes without, 1,800 with an ML-KEM key share.
const USUAL_BYTES: usize = 2048;

impl<IO> Recorded<IO> {
    pub(super) fn new(io: IO, limit: usize) -> Self {
        Self { io, bytes: Vec::with_capacity(USUAL_BYTES.min(limit)), limit }
    }

    /// Whether the client sent more than the limit without completing its ClientHello.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= self.limit
    }

    /// The stream, and the bytes that the ClientHello came in.
    pub(super) fn into_parts(self) -> (IO, Vec<u8>) {
        (self.io, self.bytes)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Recorded<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = this.limit.saturating_sub(this.bytes.len()).min(buf.remaining());
        if room == 0 {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        // Never past the limit: what is recorded is all that was read.
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        std::task::ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
        this.bytes.extend_from_slice(part.filled());
        let read = part.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Recorded<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
