//! What waits to be taken by the client: small pieces gathered, large ones passed on without a copy.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Bytes in the order in which they will be written.
#[derive(Debug)]
pub struct Outbox {
    front: VecDeque<Bytes>,
    front_bytes: usize,
    tail: BytesMut,
    taken: u64,
    unflushed: bool,
    vectored: bool,
}

impl Outbox {
    /// Empty; `vectored` is what the stream says about itself.
    pub const fn new(tail: BytesMut, vectored: bool) -> Self {
        Self { front: VecDeque::new(), front_bytes: 0, tail, taken: 0, unflushed: false, vectored }
    }

    /// Where small pieces are appended.
    pub const fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if piece.len() < WORTH_KEEPING || !self.vectored {
            self.tail.extend_from_slice(&piece);
            return;
        }
        if !self.tail.is_empty() {
            let before = self.tail.split().freeze();
            self.push_front(before);
        }
        self.push_front(piece);
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.front_bytes + self.tail.len()
    }

    /// Whether no bytes wait.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes have been taken since the beginning: whether the client reads at all.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether nothing waits, neither here nor in the stream's own buffers.
    pub fn is_flushed(&self) -> bool {
        self.is_empty() && !self.unflushed
    }

    /// Gives unused memory back.
    pub fn shrink(&mut self) {
        // Whatever its capacity says, which is none when all of its memory has been taken.
        if self.tail.is_empty() {
            self.tail = BytesMut::new();
        }
        if self.front.is_empty() && self.front.capacity() > 0 {
            self.front = VecDeque::new();
        }
    }

    /// Writes until at most `leave` bytes wait.
    pub fn poll_write<IO: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        leave: usize,
    ) -> Poll<io::Result<()>> {
        while self.len() > leave {
            let count = ready!(self.poll_write_once(io, cx))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes everything, through the stream's own buffers.
    pub fn poll_flush<IO: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(io, cx, 0))?;
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn push_front(&mut self, piece: Bytes) {
        self.front_bytes += piece.len();
        self.front.push_back(piece);
    }

    fn poll_write_once<IO: AsyncWrite + Unpin + ?Sized>(
        &self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.front.is_empty() {
            return Pin::new(io).poll_write(cx, &self.tail);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let pieces = self.front.iter().map(AsRef::as_ref).chain([self.tail.as_ref()]);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        Pin::new(io).poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
    }

    fn advance(&mut self, mut count: usize) {
        self.taken = self.taken.wrapping_add(u64::try_from(count).unwrap_or_default());
        while let Some(first) = self.front.front_mut() {
            if first.len() > count {
                first.advance(count);
                self.front_bytes -= count;
                return;
            }
            count -= first.len();
            self.front_bytes -= first.len();
            self.front.pop_front();
        }
        self.tail.advance(count.min(self.tail.len()));
    }
}

/// From here on a piece is not copied: an own slice in a vectored write costs about as much as copying this many bytes.
const WORTH_KEEPING: usize = 4096;

/// Slices of one write. A piece of a body takes two (its frame and itself).
const SLICES: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes `step` bytes a call.
    struct Slow {
        taken: Vec<u8>,
        step: usize,
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.step);
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn everything_leaves_in_order(
            pieces in proptest::collection::vec((any::<u8>(), 0usize..9000), 0..60), step in 1usize..20_000, vectored: bool, leave in 0usize..30_000,
        ) {
            let cx = &mut Context::from_waker(std::task::Waker::noop());
            let (mut outbox, mut slow) = (Outbox::new(BytesMut::new(), vectored), Slow { taken: Vec::new(), step });
            let mut expected = Vec::new();
            for (byte, length) in pieces {
                let piece = vec![byte; length];
                expected.extend_from_slice(&piece);
                outbox.push(piece.into());
                prop_assert!(outbox.poll_write(&mut slow, cx, leave).is_ready());
                prop_assert!(outbox.len() <= leave);
                prop_assert_eq!(outbox.len() + slow.taken.len(), expected.len());
            }
            prop_assert!(outbox.poll_flush(&mut slow, cx).is_ready());
            prop_assert!(outbox.is_flushed());
            prop_assert_eq!(outbox.taken(), u64::try_from(expected.len()).unwrap());
            prop_assert!(slow.taken == expected);
            outbox.shrink();
            prop_assert_eq!((outbox.tail.capacity(), outbox.front.capacity()), (0, 0));
        }
    }
}
