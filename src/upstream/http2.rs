//! HTTP/2 connections, each shared by many requests.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use hyper::client::conn::http2::{Connection, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioExecutor;

use super::upload::Upload;

/// A connection that many requests use at once.
pub(super) struct Http2 {
    sender: SendRequest<Upload>,
    streams: AtomicUsize,
    heard: Arc<Heard>,
    /// When a stream was last begun, or ended well, by the server's watch.
    used: AtomicU64,
}

/// What was heard from the server.
struct Heard {
    /// How many streams it permits; without a bound until it has said so. Requests that come before
    /// share the connection and wait inside it (see `connect`).
    limit: AtomicUsize,
    /// How many answers came, to tell a slow answer from a silent connection. The first proves that the
    /// server's SETTINGS came too.
    answers: AtomicU64,
}

/// The right to one stream.
pub(super) struct Stream {
    http2: Arc<Http2>,
    answers_before: u64,
}

/// The connections of one worker with one server: one, and more only while the server permits fewer
/// streams than there are requests.
#[derive(Default)]
pub(super) struct Shared {
    connections: Vec<Arc<Http2>>,
}

impl Http2 {
    /// The connection, and the task that drives it.
    pub(super) fn new<T>(
        sender: SendRequest<Upload>,
        connection: Connection<T, Upload, TokioExecutor>,
    ) -> (Self, impl Future<Output = hyper::Result<()>> + Send)
    where
        T: Read + Write + Send + Unpin + 'static,
    {
        let heard = Arc::new(Heard { limit: AtomicUsize::new(usize::MAX), answers: AtomicU64::new(0) });
        let published = Arc::clone(&heard);
        let driver = async move {
            let mut connection = pin!(connection);
            poll_fn(|cx| {
                let polled: Poll<hyper::Result<()>> = connection.as_mut().poll(cx);
                // Polled for every request that is sent.
                if published.answers.load(Relaxed) > 0 {
                    published.limit.store(connection.current_max_send_streams(), Relaxed);
                }
                polled
            })
            .await
        };
        let http2 = Self { sender, streams: AtomicUsize::new(0), heard, used: AtomicU64::new(u64::MAX) };
        (http2, driver)
    }

    fn has_room(&self) -> bool {
        self.streams.load(Relaxed) < self.heard.limit.load(Relaxed)
    }

    fn has_rested_since_before(&self, oldest: u64) -> bool {
        self.streams.load(Relaxed) == 0 && self.used.load(Relaxed) < oldest
    }
}

impl Stream {
    fn new(http2: &Arc<Http2>, now: u64) -> Self {
        http2.streams.fetch_add(1, Relaxed);
        http2.used.store(now, Relaxed);
        Self { http2: Arc::clone(http2), answers_before: http2.heard.answers.load(Relaxed) }
    }

    /// A handle to send one request with.
    pub(super) fn sender(&self) -> SendRequest<Upload> {
        self.http2.sender.clone()
    }

    /// The server answered on this connection.
    pub(super) fn answered(&self) {
        self.http2.heard.answers.fetch_add(1, Relaxed);
    }

    /// Whether nobody got an answer on this connection since this stream began.
    pub(super) fn is_silent(&self) -> bool {
        self.http2.heard.answers.load(Relaxed) == self.answers_before
    }

    /// Ends the stream at `now`.
    pub(super) fn end(self, now: u64) {
        self.http2.used.store(now, Relaxed);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.http2.streams.fetch_sub(1, Relaxed);
    }
}

impl Shared {
    /// A stream of a connection that has room; when there is none and no more connections may be
    /// opened, the least busy one, where the request waits for a stream to end.
    pub(super) fn take(&mut self, now: u64) -> Option<Stream> {
        self.connections.retain(|http2| !http2.sender.is_closed());
        let with_room = self.connections.iter().find(|http2| http2.has_room());
        let full = self.connections.len() >= MOST_CONNECTIONS;
        let least_busy = || self.connections.iter().filter(|_| full).min_by_key(|http2| http2.streams.load(Relaxed));
        with_room.or_else(least_busy).map(|http2| Stream::new(http2, now))
    }

    /// Shares a new connection; its first stream.
    pub(super) fn add(&mut self, http2: Http2, now: u64) -> Stream {
        let http2 = Arc::new(http2);
        let stream = Stream::new(&http2, now);
        self.connections.push(http2);
        stream
    }

    /// No more streams on the connection of `stream`; those under way go on.
    pub(super) fn retire(&mut self, stream: &Stream) {
        self.connections.retain(|http2| !Arc::ptr_eq(http2, &stream.http2));
    }

    /// Closes what has been without streams since before `oldest`; whether any is left.
    pub(super) fn prune(&mut self, oldest: u64) -> bool {
        self.connections.retain(|http2| !http2.sender.is_closed() && !http2.has_rested_since_before(oldest));
        !self.connections.is_empty()
    }
}

/// Connections of one worker with one server. Servers permit 100 streams or more (RFC 9113 §6.5.2
/// recommends no less), so eight carry 800 requests at a time; the rest wait.
const MOST_CONNECTIONS: usize = 8;
