//! After a 101: bytes both ways, under the same record, the same permit and the same end.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::request::Exchange;
use crate::limits::RequestPermit;
use crate::reject::{Reason, Reject};
use crate::telemetry::RequestRecord;
use crate::upstream::{self, UpstreamBody};

/// An upgraded exchange that waits for its bytes. It ends with the connection: the caller's
/// expiry and drain cut it as they cut everything else.
pub(super) struct Tunnel {
    pub(super) upstream: upstream::Tunnel,
    pub(super) record: RequestRecord,
    pub(super) in_flight: RequestPermit,
    /// Longest silence in both directions.
    pub(super) idle: Duration,
    /// Counts the tunnel among the upstream's requests in flight.
    pub(super) held: UpstreamBody,
    /// What it was permitted for.
    pub(super) asked: Question,
}

/// What a tunnel was permitted for: asked again of each new snapshot.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) host: Box<str>,
    pub(super) path: Box<str>,
    pub(super) method: Method,
    pub(super) protocol: Box<str>,
}

impl Question {
    pub(super) fn protocol(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.protocol).ok()
    }
}

/// Copies until either side is done, both are silent for too long, new rules forbid it, or `cut`
/// is set.
pub(super) async fn run<IO>(client: IO, tunnel: Box<Tunnel>, exchange: &Exchange, mut cut: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Tunnel { upstream, record, in_flight, idle, held, asked } = *tunnel;
    let passed = Passed::default();
    // Dropped with this future too, so a tunnel that is cut off is recorded with what passed.
    let mut ending = Ending { record, passed: &passed, _in_flight: in_flight, _held: held };
    let mut client = Watched { io: client, passed: &passed, frames: Frames::default() };
    let mut refused = false;
    let ended = tokio::select! {
        ended = patient(&mut client, upstream, idle, &passed) => ended,
        reject = exchange.forbidden(&asked) => {
            refused = true;
            Err(reject)
        }
        () = async { drop(cut.wait_for(|cut| *cut).await) } => {
            refused = true;
            Ok(())
        }
    };
    if refused {
        client.say_goodbye().await;
    }
    if let Err(reject) = ended {
        ending.record.reject(reject);
    }
}

async fn patient<A, B>(
    client: &mut Watched<'_, A>,
    mut upstream: B,
    idle: Duration,
    passed: &Passed,
) -> Result<(), Reject>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut copy = pin!(copy_bidirectional(client, &mut upstream));
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
    frames: Frames,
}

impl<IO: AsyncWrite + Unpin> Watched<'_, IO> {
    /// Tells a WebSocket client that policy ends it (1008), if that is possible just here: in the
    /// middle of a frame it would be taken for a piece of it.
    async fn say_goodbye(&mut self) {
        if self.frames.is_between() {
            // Whether it arrives is the client's affair: it is cut off in any case.
            let _ = self.io.write_all(&POLICY_VIOLATION).await;
        }
        let _ = self.io.shutdown().await;
    }
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
        self.frames.passed(buf.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A close frame with status 1008, policy violation (RFC 6455 §5.5.1, §7.4.1).
const POLICY_VIOLATION: [u8; 4] = [0x88, 2, 0x03, 0xf0];

/// Where the client is in the stream of WebSocket frames (RFC 6455 §5.2) that it is sent.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes of payload to come.
    payload: u64,
    head: [u8; LONGEST_HEAD],
    head_len: usize,
}

/// Two bytes, eight of length, four of mask.
const LONGEST_HEAD: usize = 14;

impl Frames {
    /// Whether what was sent so far ends with a frame.
    fn is_between(&self) -> bool {
        self.payload == 0 && self.head_len == 0
    }

    fn passed(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let over = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload = self.payload.saturating_sub(u64::try_from(over).unwrap_or(u64::MAX));
                bytes = bytes.get(over..).unwrap_or_default();
                continue;
            }
            if let Some(slot) = self.head.get_mut(self.head_len) {
                *slot = *byte;
            }
            self.head_len = self.head_len.saturating_add(1);
            bytes = rest;
            if let Some(payload) = self.whole_head() {
                (self.payload, self.head_len) = (payload, 0);
            }
        }
    }

    /// The length of the payload, once the head is complete.
    fn whole_head(&self) -> Option<u64> {
        let [_, second, rest @ ..] = self.head;
        let (length_bytes, length) = match second & 0x7f {
            126 => (2, rest.first_chunk().map_or(0, |bytes| u64::from(u16::from_be_bytes(*bytes)))),
            127 => (8, rest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))),
            short => (0, u64::from(short)),
        };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        (self.head_len >= 2 + length_bytes + mask_bytes).then_some(length)
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mut out = vec![0x82];
        let mask = if masked { 0x80 } else { 0 };
        match length {
            0..126 => out.push(mask | u8::try_from(length).unwrap()),
            126..0x1_0000 => {
                out.push(mask | 0x7e);
                out.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                out.push(mask | 0x7f);
                out.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        out.resize(out.len() + length + if masked { 4 } else { 0 }, 0x55);
        out
    }

    proptest! {
        #[test]
        fn the_end_of_a_frame_is_known_however_it_was_cut(
            lengths in prop::collection::vec((prop_oneof![0usize..200, 60_000usize..70_000], any::<bool>()), 1..5), cut in 1usize..5000,
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|(length, masked)| frame(*length, *masked)).collect();
            let mut ends = vec![0];
            for (length, masked) in &lengths {
                ends.push(ends.last().unwrap() + frame(*length, *masked).len());
            }
            let (mut frames, mut at) = (Frames::default(), 0);
            for piece in bytes.chunks(cut) {
                frames.passed(piece);
                at += piece.len();
                prop_assert_eq!(frames.is_between(), ends.contains(&at));
            }
        }
    }
}
