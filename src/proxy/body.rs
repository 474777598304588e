//! Bodies on their way through: counted, bounded, recorded; never gathered.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::codec::fields;
use crate::http2;
use crate::identity;
use crate::limits::RequestPermit;
use crate::message::body::RequestBody;
use crate::message::{forwarded, hop};
use crate::reject::{Reason, Reject};
use crate::telemetry::RequestRecord;
use crate::upstream::UpstreamBody;

/// A request body that is counted as it passes and stops at its bound.
pub(super) struct Counted {
    inner: RequestBody,
    passed: Arc<AtomicU64>,
    most: u64,
}

impl Counted {
    /// Bounds `body` to `most` bytes; `passed` tells how many went by.
    ///
    /// # Errors
    /// [`Reason::BodyTooLarge`] at once when the body declares to be longer.
    pub(super) fn bound(body: RequestBody, most: u64, passed: &Arc<AtomicU64>) -> Result<RequestBody, Reject> {
        let declared = body.size_hint().lower();
        if declared > most {
            return Err(Reject::new(Reason::BodyTooLarge, format!("{declared} bytes declared, at most {most}")));
        }
        Ok(match body {
            RequestBody::Empty => RequestBody::Empty,
            inner @ RequestBody::Stream(_) => {
                RequestBody::Stream(Box::pin(Self { inner, passed: Arc::clone(passed), most }))
            }
        })
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let frame = match frame {
            Some(Ok(frame)) if frame.is_trailers() => Some(Ok(cleaned(frame))),
            other => other,
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let passed = self.passed.fetch_add(length, Ordering::Relaxed).saturating_add(length);
            if passed > self.most {
                let detail = format!("more than {} bytes", self.most);
                return Poll::Ready(Some(Err(Reject::new(Reason::BodyTooLarge, detail))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Trailers may say neither what only the gate says nor what was judged at the head: a backend may merge them into its
/// header fields (RFC 9110 §6.5.1). The codec of HTTP/1.1 sees to the latter itself, that of HTTP/2 does not.
fn cleaned(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            let never: Vec<_> = trailers.keys().filter(|name| !fields::may_trail(name)).cloned().collect();
            for name in never {
                trailers.remove(name);
            }
            identity::strip(&mut trailers);
            forwarded::strip(&mut trailers);
            hop::strip_request(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// A response body, which carries its request's record to the end.
pub(super) struct ResponseBody {
    source: Source,
    record: Option<RequestRecord>,
    /// Bytes of the request's body that passed so far.
    received: Option<Arc<AtomicU64>>,
    ended: bool,
    _in_flight: Option<RequestPermit>,
}

enum Source {
    /// None, and no record: a tunnel's head.
    Empty,
    /// Our own words.
    Text(Bytes),
    /// The upstream's.
    Upstream(UpstreamBody),
}

impl ResponseBody {
    /// No body, of a response whose record goes on elsewhere.
    pub(super) fn empty() -> Self {
        Self { source: Source::Empty, record: None, received: None, ended: true, _in_flight: None }
    }

    /// A body of our own.
    pub(super) fn text(text: Bytes, record: RequestRecord) -> Self {
        Self { source: Source::Text(text), record: Some(record), received: None, ended: false, _in_flight: None }
    }

    /// The upstream's body.
    pub(super) fn upstream(
        body: UpstreamBody,
        record: RequestRecord,
        received: Arc<AtomicU64>,
        in_flight: RequestPermit,
    ) -> Self {
        Self {
            source: Source::Upstream(body),
            record: Some(record),
            received: Some(received),
            ended: false,
            _in_flight: Some(in_flight),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Empty => None,
            Source::Text(text) if text.is_empty() => None,
            Source::Text(text) => Some(Ok(Frame::data(std::mem::take(text)))),
            Source::Upstream(body) => ready!(Pin::new(body).poll_frame(cx)),
        };
        this.ended |= matches!(frame, None | Some(Err(_)));
        if let Some(record) = &mut this.record {
            note(record, frame.as_ref());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Text(text) => text.is_empty(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Text(text) => SizeHint::with_exact(u64::try_from(text.len()).unwrap_or(u64::MAX)),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

impl http2::Cut for ResponseBody {
    fn cut(mut self: Pin<&mut Self>, reject: Reject) {
        if let Some(record) = &mut self.record {
            record.reject(reject);
        }
    }
}

fn note(record: &mut RequestRecord, frame: Option<&Result<Frame<Bytes>, Reject>>) {
    match frame {
        None => {}
        Some(Ok(frame)) => {
            let length = frame.data_ref().map_or(0, Bytes::len);
            record.bytes_out = record.bytes_out.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        }
        Some(Err(reject)) => record.reject(Reject::new(reject.reason, reject.detail.clone())),
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        if let Some(received) = &self.received {
            record.bytes_in = received.load(Ordering::Relaxed);
        }
        // A body that has more to say was dropped because nobody listens any more. A response to
        // HEAD is never polled, and ours may be refused a reader: neither is the client's leaving.
        // Nor is one that has passed all of its Content-Length and only lacks its end.
        let whole = self.size_hint().exact() == Some(0);
        let unheard = matches!(self.source, Source::Upstream(_)) && !self.ended && !self.is_end_stream() && !whole;
        if unheard && !record.is_head() {
            let reason = record.unheard();
            record.reject(Reject::new(reason, "before the response was complete"));
        }
    }
}
