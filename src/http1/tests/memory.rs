//! How much a connection keeps in memory, and how often it calls the system.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::terms::Terms;
use super::super::wire::Wire;
use super::*;
use crate::codec::GLANCE;
use crate::codec::framing::Framing;

/// Counts calls that a socket would pay for.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
    flushes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_ready_is_one_write() {
    for (path, end) in [("/x", "ok"), ("/frames", "digest: x\r\n\r\n"), ("/none", "\r\n\r\n"), ("/early", "late")] {
        let (mut client, io) = duplex(1 << 20);
        let (writes, flushes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = Counted { io, writes: writes.clone(), flushes: flushes.clone() };
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(async move { serve(counted, settings(), stopped, &Script::default()).await });
        client.write_all(request("GET", path, "").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            client.read_buf(&mut answer).await.unwrap();
        }
        assert_eq!((writes.load(Ordering::Relaxed), flushes.load(Ordering::Relaxed)), (1, 1), "{path}");
    }
}

fn poll<T>(act: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    act(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn what_is_read_ahead_is_bounded_and_given_back() {
    let (mut client, io) = duplex(1 << 20);
    client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    let mut wire = Wire::new(io);
    assert!(poll(|cx| wire.poll_gone(cx, settings().header_bytes)).is_pending());
    assert!(wire.read.buffer.capacity() <= settings().header_bytes + GLANCE, "{}", wire.read.buffer.capacity());
    wire.read.buffer.clear();
    wire.shrink();
    assert_eq!(wire.read.buffer.capacity(), 0);
}

#[tokio::test]
async fn a_silent_connection_holds_no_buffer() {
    let (_client, io) = duplex(100);
    let mut wire = Wire::new(io);
    assert!(poll(|cx| wire.poll_glance(cx)).is_pending());
    assert_eq!(wire.read.buffer.capacity(), 0);
}

#[tokio::test]
async fn a_body_is_read_in_pieces_of_bounded_size() {
    let (mut client, io) = duplex(1 << 20);
    client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    let mut wire = Wire::new(io);
    let exchange = wire.begin(Framing::Length(1 << 20), Terms::REFUSED, &settings());
    let (mut read, mut pieces) = (0, 0);
    while read < 1 << 20 {
        let Poll::Ready(Some(Ok(frame))) = poll(|cx| wire.poll_frame(cx, exchange)) else { panic!("no frame") };
        let length = frame.into_data().unwrap().len();
        assert!(length <= 64 * 1024 && wire.read.buffer.capacity() <= 64 * 1024, "{length}");
        read += length;
        pieces += 1;
    }
    assert!(pieces <= 20, "{pieces}");
    assert!(wire.is_quiet());
    wire.shrink();
    assert_eq!(wire.read.buffer.capacity(), 0);
}

#[tokio::test]
async fn early_responses_that_nobody_reads_are_dropped() {
    let (_client, io) = duplex(1);
    let wire = Arc::new(Mutex::new(Wire::new(io)));
    let exchange = wire.lock().begin(Framing::None, Terms::REFUSED, &settings());
    let early = EarlyResponses::new(wire.clone(), exchange);
    for _ in 0..10_000 {
        early.send(StatusCode::PROCESSING, &HeaderMap::new());
    }
    assert!((60_000..70_000).contains(&wire.lock().out.len()));
}

/// Knows that it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn who_waits_for_a_body_is_told_that_it_was_cut_off() {
    let (_client, io) = duplex(1);
    let mut wire = Wire::new(io);
    let exchange = wire.begin(Framing::Chunked, Terms::REFUSED, &settings());
    let woken = Arc::new(Woken::default());
    assert!(wire.poll_frame(&mut Context::from_waker(&woken.clone().into()), exchange).is_pending());
    wire.cut();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    let Poll::Ready(Some(Err(reject))) = poll(|cx| wire.poll_frame(cx, exchange)) else { panic!("not cut off") };
    assert_eq!(reject.reason, Reason::ClientGone);
}

#[test]
fn an_idle_connection_is_small() {
    let (_client, io) = duplex(1);
    let (_stop, stopped) = watch::channel(false);
    let script = Script::default();
    // All but the stream and its buffers, which are behind it; an exchange has a box of its own. What grows here is paid by
    // every idle client.
    let size = size_of_val(&serve(io, settings(), stopped, &script));
    assert!(size < 600, "{size} bytes");
}
