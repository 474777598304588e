//! A stream of which something has been read too early.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives back what was read before, and then reads on.
#[derive(Debug)]
pub struct Rewound<IO> {
    before: Bytes,
    io: IO,
}

impl<IO> Rewound<IO> {
    /// `before` comes before what `io` has to say.
    pub const fn new(before: Bytes, io: IO) -> Self {
        Self { before, io }
    }

    /// What has not been read yet, and the stream.
    pub fn into_parts(self) -> (Bytes, IO) {
        (self.before, self.io)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewound<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, into);
        }
        let count = self.before.len().min(into.remaining());
        into.put_slice(&self.before.split_to(count));
        if !self.before.has_remaining() {
            self.before = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewound<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "#[tokio::test] builds a runtime of its own")]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let mut text = String::new();
        Rewound::new(Bytes::from_static(b"one "), &b"two"[..]).read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one two");
    }
}
