//! A request body as it comes over HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use crate::message::body::RequestBody;
use crate::reject::{Reason, Reject};

/// Wraps what hyper gives; a request without a body stays free of allocation.
pub(super) fn request_body(incoming: Incoming, timeout: Duration) -> RequestBody {
    if incoming.is_end_stream() {
        return RequestBody::Empty;
    }
    RequestBody::Stream(Box::pin(Patient { incoming, timeout, timer: None, waiting: false }))
}

/// A body that fails when the client is silent for too long.
struct Patient {
    incoming: Incoming,
    timeout: Duration,
    /// Made at the first wait, and set again when a wait begins: frames that are there cost no timer.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Body for Patient {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(&error))));
        }
        let timeout = this.timeout;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        if !std::mem::replace(&mut this.waiting, true) {
            timer.as_mut().reset(Instant::now() + timeout);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(Reject::new(Reason::BodyTimeout, format!("nothing for {timeout:?}")))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

fn broken(error: &hyper::Error) -> Reject {
    // A reset or a lost connection is the client's leaving; anything else is its mistake.
    let reason = if error.is_body_write_aborted() || error.is_canceled() || error.is_closed() || reset(error) {
        Reason::ClientGone
    } else {
        Reason::BodyMalformed
    };
    Reject::new(reason, error.to_string())
}

fn reset(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.is_remote() || error.is_io())
}
