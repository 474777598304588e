//! A request body on its way out, watched: when it last moved, and why it broke.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::fault;
use crate::message::body::{DynBody, RequestBody};
use crate::reject::Reject;

/// A [`RequestBody`] that leaves word of its progress. Requests without a body allocate nothing.
pub(super) enum Upload {
    /// No body.
    Empty,
    /// Frames as they arrive.
    Stream(DynBody, Arc<Progress>),
}

/// How an upload is getting on; read by whoever waits for the answer.
pub(super) struct Progress {
    start: Instant,
    /// Milliseconds since `start` of the last frame that was taken for sending.
    moved: AtomicU64,
    /// One of the stages below.
    stage: AtomicU8,
    /// HTTP/2 turns an error of the body into a reset and forgets it: it is kept here.
    failure: Mutex<Option<Reject>>,
}

impl Upload {
    /// The body and, if there is one, how it is getting on.
    pub(super) fn new(body: RequestBody) -> (Self, Option<Arc<Progress>>) {
        match body {
            RequestBody::Stream(body) if !body.is_end_stream() => {
                let progress = Arc::new(Progress::new());
                (Self::Stream(body, Arc::clone(&progress)), Some(progress))
            }
            RequestBody::Stream(_) | RequestBody::Empty => (Self::Empty, None),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        let Self::Stream(body, progress) = &mut *self else { return Poll::Ready(None) };
        progress.stage.store(WAITS_FOR_CLIENT, Relaxed);
        let frame = ready!(body.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(_)) if body.is_end_stream() => progress.moved_to(ENDED),
            Some(Ok(_)) => progress.moved_to(WAITS_FOR_SERVER),
            None => progress.moved_to(ENDED),
            Some(Err(reject)) => progress.failed(reject),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(body, _) => body.size_hint(),
        }
    }
}

impl Progress {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            moved: AtomicU64::new(0),
            stage: AtomicU8::new(WAITS_FOR_SERVER),
            failure: Mutex::new(None),
        }
    }

    fn moved_to(&self, stage: u8) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(millis, Relaxed);
        self.stage.store(stage, Relaxed);
    }

    fn failed(&self, reject: &Reject) {
        *self.failure.lock() = Some(fault::copy(reject));
        self.moved_to(ENDED);
    }

    /// When the server is late with its answer if it may take `limit`. While the gate itself waits for
    /// the client's next bytes the server is not late: how long a client may take is not judged here.
    pub(super) fn late_at(&self, limit: Duration) -> Option<Instant> {
        match self.stage.load(Relaxed) {
            WAITS_FOR_CLIENT => Instant::now().checked_add(limit),
            _ => self.start.checked_add(Duration::from_millis(self.moved.load(Relaxed)))?.checked_add(limit),
        }
    }

    /// Why the body broke, if it did.
    pub(super) fn failure(&self) -> Option<Reject> {
        self.failure.lock().as_ref().map(fault::copy)
    }
}

/// The last frame was taken and the next not yet asked for: the server does not read.
const WAITS_FOR_SERVER: u8 = 0;
/// The next frame was asked for and is not there yet.
const WAITS_FOR_CLIENT: u8 = 1;
/// There are no more frames.
const ENDED: u8 = 2;
