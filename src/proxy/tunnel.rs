//! After a 101: bytes both ways, under the same record, the same permit and the same end.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, sleep_until};

use super::request::{Exchange, Question};
use crate::limits::RequestPermit;
use crate::reject::{Reason, Reject};
use crate::telemetry::RequestRecord;
use crate::upstream::UpstreamBody;

/// An upgraded exchange that waits for its bytes. It ends with the connection: the caller's
/// expiry and drain cut it as they cut everything else.
pub(super) struct Tunnel {
    pub(super) upstream: OnUpgrade,
    pub(super) record: RequestRecord,
    pub(super) in_flight: RequestPermit,
    /// Longest silence in both directions.
    pub(super) idle: Duration,
    /// Counts the tunnel among the upstream's requests in flight.
    pub(super) held: UpstreamBody,
    /// What it was permitted for.
    pub(super) asked: Question,
}

/// Copies until either side is done, both are silent for too long, or new rules forbid it.
pub(super) async fn run<IO>(client: IO, tunnel: Tunnel, exchange: &Exchange)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Tunnel { upstream, record, in_flight, idle, held, asked } = tunnel;
    let passed = Passed::default();
    // Dropped with this future too, so a tunnel that is cut off is recorded with what passed.
    let mut ending = Ending { record, passed: &passed, _in_flight: in_flight, _held: held };
    match upstream.await {
        Ok(upgraded) => {
            let client = Watched { io: client, passed: &passed };
            let ended = tokio::select! {
                ended = patient(client, TokioIo::new(upgraded), idle, &passed) => ended,
                reject = exchange.forbidden(&asked) => Err(reject),
            };
            if let Err(reject) = ended {
                ending.record.reject(reject);
            }
        }
        Err(error) => ending.record.reject(Reject::new(Reason::UpstreamInvalid, format!("upgrade: {error}"))),
    }
}

async fn patient<A, B>(
    mut client: Watched<'_, A>,
    mut upstream: B,
    idle: Duration,
    passed: &Passed,
) -> Result<(), Reject>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut copy = pin!(copy_bidirectional(&mut client, &mut upstream));
    let mut seen = 0;
    loop {
        tokio::select! {
            // How a tunnel ends is its users' affair: a reset is an end like any other.
            _ = &mut copy => return Ok(()),
            () = sleep_until(Instant::now() + idle) => {}
        }
        let total = passed.total();
        if total == seen {
            return Err(Reject::new(Reason::UpstreamBodyTimeout, format!("tunnel silent for {idle:?}")));
        }
        seen = total;
    }
}

/// Bytes on the client's side.
#[derive(Default)]
struct Passed {
    read: AtomicU64,
    written: AtomicU64,
}

impl Passed {
    fn total(&self) -> u64 {
        self.read.load(Ordering::Relaxed).wrapping_add(self.written.load(Ordering::Relaxed))
    }
}

struct Ending<'a> {
    record: RequestRecord,
    passed: &'a Passed,
    _in_flight: RequestPermit,
    _held: UpstreamBody,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.record.bytes_in = self.passed.read.load(Ordering::Relaxed);
        self.record.bytes_out = self.passed.written.load(Ordering::Relaxed);
    }
}

/// Counts what passes.
struct Watched<'a, IO> {
    io: IO,
    passed: &'a Passed,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<'_, IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        add(&self.passed.read, buf.filled().len().saturating_sub(before));
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<'_, IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        add(&self.passed.written, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}
