//! The decrypted stream of one connection: records opened where they were read, and sealed where they are written.
//!
//! What an idle connection keeps is its keys: the buffer that records are read into belongs to the thread, the one they are
//! written to is let go when it is empty.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outgoing::Outgoing;
use super::record::{self, ALERT, APPLICATION_DATA, Fault, HANDSHAKE, Protection};
use super::rekey::Rekey;

/// Bytes as the client meant them.
#[derive(Debug)]
pub struct TlsStream<IO> {
    io: IO,
    opener: Protection,
    out: Outgoing,
    rekey: Rekey,
    /// Read and not opened yet: the beginning of a record, or records that nobody had room for.
    sealed: Vec<u8>,
    /// Opened and not taken yet.
    opened: Vec<u8>,
    /// How much of it has been taken.
    taken: usize,
    patience: Patience,
    end: End,
}

/// What comes behind the bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More of them.
    Open,
    /// Nothing: the client said so.
    Closed,
    /// Nothing that could be trusted.
    Broken(AlertDescription),
}

/// How much of what carries no data is taken between two pieces of data.
#[derive(Clone, Copy, Debug)]
struct Patience(u8);

impl Patience {
    /// As many as rustls takes, whose bounds are those of BoringSSL: an honest client sends one or two.
    const FULL: Self = Self(32);

    fn spend(&mut self) -> Result<(), Fault> {
        self.0 = self.0.checked_sub(1).ok_or(Fault(AlertDescription::UnexpectedMessage))?;
        Ok(())
    }
}

/// A connection whose handshake is over.
pub(super) struct Established<IO> {
    pub(super) io: IO,
    pub(super) opener: Protection,
    pub(super) out: Outgoing,
    pub(super) rekey: Rekey,
    /// What came behind the handshake: not opened yet, and opened.
    pub(super) sealed: Vec<u8>,
    pub(super) opened: Vec<u8>,
}

impl<IO> TlsStream<IO> {
    pub(super) fn new(established: Established<IO>) -> Self {
        let Established { io, opener, out, rekey, sealed, opened } = established;
        Self { io, opener, out, rekey, sealed, opened, taken: 0, patience: Patience::FULL, end: End::Open }
    }

    /// Hands out what is open already.
    fn take_opened(&mut self, buf: &mut ReadBuf<'_>) {
        let left = self.opened.get(self.taken..).unwrap_or_default();
        let count = left.len().min(buf.remaining());
        buf.put_slice(left.get(..count).unwrap_or_default());
        self.taken = self.taken.saturating_add(count);
        if self.taken >= self.opened.len() {
            self.opened = Vec::new();
            self.taken = 0;
        }
    }

    /// Opens the records at the beginning of `bytes`, as long as `buf` has room. How many bytes they were.
    fn open(&mut self, bytes: &mut [u8], buf: &mut ReadBuf<'_>) -> Result<usize, Fault> {
        let mut at = 0_usize;
        while self.opened.is_empty() && buf.remaining() > 0 && self.end == End::Open {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            let Some(length) = record::length(rest)? else { break };
            let Some(record) = rest.get_mut(..length) else { break };
            at = at.saturating_add(length);
            match self.opener.open(record)? {
                (APPLICATION_DATA, []) => self.patience.spend()?,
                (APPLICATION_DATA, text) => {
                    self.patience = Patience::FULL;
                    let (now, later) = text.split_at(text.len().min(buf.remaining()));
                    buf.put_slice(now);
                    self.opened.extend_from_slice(later);
                }
                (ALERT, [level, what]) => self.alert(*level, AlertDescription::from(*what))?,
                (HANDSHAKE, message) => {
                    self.patience.spend()?;
                    self.rekey.message(message, &mut self.opener, &mut self.out)?;
                }
                _ => return Err(Fault(AlertDescription::UnexpectedMessage)),
            }
        }
        Ok(at)
    }

    fn alert(&mut self, level: u8, what: AlertDescription) -> Result<(), Fault> {
        /// RFC 5246 §7.2. TLS 1.3 has no levels: all but two alerts are fatal, whatever they say (RFC 8446 §6).
        const WARNING: u8 = 1;
        match what {
            AlertDescription::CloseNotify => self.end = End::Closed,
            AlertDescription::UserCanceled => self.patience.spend()?,
            _ if level == WARNING && !self.rekey.is_tls13() => self.patience.spend()?,
            // What it complains about is in its own log; ours says that it left.
            other => self.end = End::Broken(other),
        }
        Ok(())
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// The connection is over, and the client shall hear why if it still listens.
    fn break_off(&mut self, cx: &mut Context<'_>, fault: Fault) -> io::Error {
        self.end = End::Broken(fault.0);
        self.out.alert(fault.0);
        // Whoever closes the connection flushes once more; a client that does not read hears nothing.
        let _ = self.out.poll_flush(&mut self.io, cx);
        fault.into()
    }

    /// Reads records into `scratch`, behind those that wait, and opens them.
    fn poll_open(&mut self, cx: &mut Context<'_>, scratch: &mut [u8], buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            let kept = self.sealed.len();
            let (front, room) = scratch.split_at_mut_checked(kept).ok_or(io::ErrorKind::InvalidData)?;
            front.copy_from_slice(&self.sealed);
            let whole = record::length(front).map_err(|fault| self.break_off(cx, fault))?;
            let mut count = 0;
            if whole.is_none_or(|length| length > kept) {
                // Not more than can be handed on, or it would be copied once more.
                let most = buf.remaining().saturating_add(record::MOST).min(room.len());
                let mut part = ReadBuf::new(room.get_mut(..most).unwrap_or_default());
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
                count = part.filled().len();
                if count == 0 {
                    // RFC 8446 §6.1: without a close_notify somebody else may have cut it.
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            let end = kept.saturating_add(count);
            let bytes = scratch.get_mut(..end).unwrap_or_default();
            let used = self.open(bytes, buf).map_err(|fault| self.break_off(cx, fault))?;
            self.keep(bytes.get(used..).unwrap_or_default());
            // Answers to the client's KeyUpdate and our alerts go out whether or not anybody writes.
            if self.out.is_urgent() {
                let _ = self.out.poll_flush(&mut self.io, cx)?;
            }
            match self.end {
                _ if buf.filled().len() > before => return Poll::Ready(Ok(())),
                End::Open => {}
                End::Closed => return Poll::Ready(Ok(())),
                End::Broken(what) => return Poll::Ready(Err(Fault(what).into())),
            }
        }
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.sealed = Vec::new();
        } else {
            self.sealed.clear();
            self.sealed.extend_from_slice(rest);
        }
    }
}

/// What a thread reads into: three records and a beginning, so that a large body takes few calls.
const SCRATCH: usize = 64 * 1024 + record::MOST;

thread_local! {
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.opened.is_empty() {
            this.take_opened(buf);
            return Poll::Ready(Ok(()));
        }
        match this.end {
            End::Open => {}
            End::Closed => return Poll::Ready(Ok(())),
            End::Broken(what) => return Poll::Ready(Err(Fault(what).into())),
        }
        let mut scratch = READ.take();
        scratch.resize(SCRATCH, 0);
        let polled = this.poll_open(cx, &mut scratch, buf);
        READ.set(scratch);
        if polled.is_pending() {
            this.out.rest();
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.out.poll_flush(&mut this.io, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.out.alert(AlertDescription::CloseNotify);
        ready!(this.out.poll_flush(&mut this.io, cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.out.is_full() {
            ready!(this.out.poll_write(&mut this.io, cx))?;
        }
        let mut count = 0_usize;
        for slice in slices {
            count = count.saturating_add(this.out.append(slice, &mut this.rekey)?);
            if this.out.is_full() {
                break;
            }
        }
        if this.out.is_full() {
            // It was taken, whatever becomes of it: an error shows at the next call.
            let _ = this.out.poll_write(&mut this.io, cx)?;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
