//! What waits to be taken by the client, sealed: many small writes become one record, and all records one write.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::record::{ALERT, APPLICATION_DATA, Fault, HANDSHAKE, MOST_PLAIN, Protection};
use super::rekey::Rekey;

/// Records on their way out of one connection.
#[derive(Debug)]
pub(super) struct Outgoing {
    sealer: Protection,
    /// Sealed records, and the one that is still open.
    bytes: Vec<u8>,
    /// How much of `bytes` the client has taken.
    written: usize,
    open: Option<OpenRecord>,
    urgent: bool,
    closed: bool,
    /// Bytes of text since the client was last left alone, as far as they matter: see [`Self::most`].
    burst: usize,
    /// When the buffer was last filled from empty.
    begun: Instant,
}

/// A record that still has room.
#[derive(Clone, Copy, Debug)]
struct OpenRecord {
    start: usize,
    text: usize,
    /// Bytes of text that go into it.
    most: usize,
}

impl Outgoing {
    /// `bytes` are records of the handshake that have not been sent: they go out with the first answer.
    pub(super) fn new(sealer: Protection, bytes: Vec<u8>) -> Self {
        let begun = Instant::now();
        Self { sealer, bytes, written: 0, open: None, urgent: false, closed: false, burst: 0, begun }
    }

    /// Whether so much waits that no more is taken.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes.len().saturating_sub(self.written) >= FULL
    }

    /// Whether something waits that nobody will ask to be flushed.
    pub(super) const fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Gives memory back: nothing is going on.
    pub(super) fn rest(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            self.bytes = Vec::new();
        }
    }

    /// Takes as much of `text` as there is room for; how much.
    ///
    /// # Errors
    /// After the end was said, or when the keys are used up.
    pub(super) fn append(&mut self, text: &[u8], rekey: &mut Rekey) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let most = FULL.saturating_sub(self.bytes.len().saturating_sub(self.written)).min(text.len());
        let mut rest = text.get(..most).unwrap_or_default();
        while !rest.is_empty() {
            let open = match self.open {
                Some(open) => open,
                None => self.begin(rest.len(), rekey)?,
            };
            let used = self.bytes.len().saturating_sub(open.text);
            let (now, later) = rest.split_at(open.most.saturating_sub(used).min(rest.len()));
            self.bytes.extend_from_slice(now);
            rest = later;
            self.burst = self.burst.saturating_add(now.len());
            if used.saturating_add(now.len()) == open.most {
                self.seal()?;
            }
        }
        Ok(most)
    }

    fn begin(&mut self, expected: usize, rekey: &mut Rekey) -> Result<OpenRecord, Fault> {
        if self.sealer.is_worn() {
            rekey.renew(self)?;
        }
        let (start, most) = (self.bytes.len(), self.most());
        self.bytes.reserve(expected.saturating_add(expected / most * OVERHEAD).saturating_add(OVERHEAD));
        self.sealer.begin(&mut self.bytes);
        let open = OpenRecord { start, text: self.bytes.len(), most };
        self.open = Some(open);
        Ok(open)
    }

    /// How much text goes into the next record. A client can use nothing of a record before it has all of it: so behind a
    /// pause, when the network takes little at a time (RFC 5681 §4.1), a response begins with small ones.
    fn most(&mut self) -> usize {
        if self.bytes.is_empty() {
            let now = Instant::now();
            if now.saturating_duration_since(self.begun) >= PAUSE {
                self.burst = 0;
            }
            self.begun = now;
        }
        if self.burst < SLOW_START { SMALL } else { MOST_PLAIN }
    }

    fn seal(&mut self) -> Result<(), Fault> {
        match self.open.take() {
            Some(open) => self.sealer.finish(APPLICATION_DATA, &mut self.bytes, open.start),
            None => Ok(()),
        }
    }

    /// Says `what`, once: nothing follows an alert of ours.
    pub(super) fn alert(&mut self, what: AlertDescription) {
        /// RFC 8446 §6: TLS 1.3 does not look at it, TLS 1.2 closes by a warning.
        const WARNING: u8 = 1;
        const FATAL: u8 = 2;
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let level = if what == AlertDescription::CloseNotify { WARNING } else { FATAL };
        self.urgent = true;
        // A connection that cannot even say so just ends.
        let _ = self.seal().and_then(|()| self.sealer.seal(ALERT, &[level, what.into()], &mut self.bytes));
    }

    /// Says `what` and goes on.
    pub(super) fn warn(&mut self, what: AlertDescription) -> Result<(), Fault> {
        self.urgent = true;
        self.seal()?;
        self.sealer.seal(ALERT, &[1, what.into()], &mut self.bytes)
    }

    /// Sends a handshake message, and seals what follows with `next`.
    pub(super) fn renew(&mut self, message: &[u8], next: Protection) -> Result<(), Fault> {
        self.seal()?;
        self.sealer.seal(HANDSHAKE, message, &mut self.bytes)?;
        self.urgent = true;
        self.sealer = next;
        Ok(())
    }

    /// Writes all that is sealed.
    pub(super) fn poll_write<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.seal()?;
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(count);
        }
        self.bytes.clear();
        self.written = 0;
        self.urgent = false;
        Poll::Ready(Ok(()))
    }

    /// Writes all, through the socket's own buffers.
    pub(super) fn poll_flush<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(io, cx))?;
        Pin::new(io).poll_flush(cx)
    }
}

/// What may wait: what one write to a socket takes.
const FULL: usize = 64 * 1024;

/// Three segments of a usual network: whole responses fit, and of longer ones something is there with the first flight.
const SMALL: usize = 4 * 1024;

/// How much goes in small records: the first two flights of a connection (RFC 6928: ten segments, then twenty).
const SLOW_START: usize = 40 * 1024;

/// How long nothing was sent, before it begins slowly again: as long as the timeout after which TCP does, at its first value (RFC 6298
/// §2.1).
const PAUSE: Duration = Duration::from_secs(1);

/// What a record adds to its text, at most: header, explicit nonce, type, tag.
const OVERHEAD: usize = 5 + 8 + 1 + 16;
