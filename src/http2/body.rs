//! A request body as it comes over HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::Settings;
use crate::message::body::RequestBody;
use crate::message::pace::Pace;
use crate::reject::{Reason, Reject};

/// Wraps what hyper gives; a request without a body stays free of allocation.
pub(super) fn request_body(incoming: Incoming, settings: &Settings) -> RequestBody {
    if incoming.is_end_stream() {
        return RequestBody::Empty;
    }
    let pace = Pace::new(settings.pace.request, settings.pace.grace);
    let timeout = settings.body_timeout;
    RequestBody::Stream(Box::pin(Patient { incoming, timeout, pace, timer: None, waiting: None }))
}

/// A body that fails when the client is silent for too long, or too slow.
struct Patient {
    incoming: Incoming,
    timeout: Duration,
    pace: Pace,
    /// Made at the first wait, and set again when a wait begins: frames that are there cost no timer.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when the client has been waited for, if it is.
    waiting: Option<Instant>,
}

impl Patient {
    fn count(&mut self, frame: Option<&Result<Frame<Bytes>, hyper::Error>>) {
        if let Some(since) = self.waiting.take() {
            self.pace.waited(since.elapsed());
        }
        let length = frame.and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        self.pace.moved(u64::try_from(length).unwrap_or(u64::MAX));
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.count(frame.as_ref());
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(&error))));
        }
        let slow = this.pace.left().filter(|left| *left < this.timeout);
        let wait = slow.unwrap_or(this.timeout);
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(wait)));
        if this.waiting.is_none() {
            let now = Instant::now();
            this.waiting = Some(now);
            timer.as_mut().reset(now.checked_add(wait).unwrap_or(now));
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(match slow {
            Some(_) => Reject::new(Reason::BodyTooSlow, this.pace.asked()),
            None => Reject::new(Reason::BodyTimeout, format!("nothing for {:?}", this.timeout)),
        })))
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
