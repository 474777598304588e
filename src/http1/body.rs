//! A request body in the hands of whoever reads it, maybe on another task than the connection's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::settings::Settings;
use super::wire::{self, Wire};
use crate::codec::{Alarm, later};
use crate::message::pace::Pace;
use crate::reject::{Reason, Reject};

/// The body of one exchange. It reads from the stream when it is polled and not ahead; once its exchange is over it
/// can read nothing.
pub(super) struct Incoming<IO> {
    wire: Arc<Mutex<Wire<IO>>>,
    exchange: u64,
    /// Bytes to come, if they were announced.
    left: Option<u64>,
    ended: bool,
    timeout: Duration,
    pace: Pace,
    /// Since when the client has been waited for, if it is.
    waiting: Option<Instant>,
    alarm: Alarm,
}

impl<IO> Incoming<IO> {
    /// The body of `exchange`, which has begun; `left` bytes of it, if that is known.
    pub(super) fn new(wire: Arc<Mutex<Wire<IO>>>, exchange: u64, left: Option<u64>, settings: &Settings) -> Self {
        let pace = Pace::new(settings.pace.request, settings.pace.grace);
        let timeout = settings.body_timeout;
        Self { wire, exchange, left, ended: false, timeout, pace, waiting: None, alarm: Alarm::default() }
    }

    fn count(&mut self, frame: Option<&Result<Frame<Bytes>, Reject>>) {
        if let Some(since) = self.waiting.take() {
            self.pace.waited(since.elapsed());
        }
        match frame {
            Some(Ok(frame)) => {
                let length = u64::try_from(frame.data_ref().map_or(0, Bytes::len)).unwrap_or(u64::MAX);
                self.pace.moved(length);
                self.left = self.left.map(|left| left.saturating_sub(length));
                self.ended = self.left == Some(0) || frame.is_trailers();
            }
            Some(Err(_)) | None => self.ended = true,
        }
    }

    /// Ready with the reason when the client has been waited for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Reject> {
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let silent = later(since, self.timeout);
        match self.pace.left().map(|left| later(since, left)).filter(|slow| *slow < silent) {
            Some(slow) => self.alarm.poll(cx, slow).map(|()| Reject::new(Reason::BodyTooSlow, self.pace.asked())),
            None => self.alarm.poll(cx, silent).map(|()| {
                let detail = format!("no byte for {:?}", self.timeout);
                Reject::new(Reason::BodyTimeout, detail)
            }),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Body for Incoming<IO> {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let polled = this.wire.lock().poll_frame(cx, this.exchange);
        if let Poll::Ready(frame) = polled {
            this.count(frame.as_ref());
            return Poll::Ready(frame);
        }
        let reject = ready!(this.poll_patience(cx));
        this.ended = true;
        this.wire.lock().give_up(this.exchange);
        Poll::Ready(Some(Err(reject)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None if self.ended => SizeHint::with_exact(0),
            None => SizeHint::new(),
        }
    }
}

impl<IO> Drop for Incoming<IO> {
    fn drop(&mut self) {
        wire::release(&self.wire, self.exchange);
    }
}
