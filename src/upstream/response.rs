//! A response body on its way back, and what happens to its connection at the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::alarm::Alarm;
use super::fault;
use super::http1::Http1;
use super::http2::Stream;
use super::pool::Seat;
use super::server::InFlight;
use super::upload::Progress;
use crate::reject::{Reason, Reject};

/// The body of a response. Its end gives the connection back for the next request; dropped before, it
/// closes the connection (HTTP/1.1) or cancels the stream (HTTP/2), so that no request ever finds the
/// rest of another's response.
///
/// The body of a 101 response is empty and counts the tunnel among the requests in flight: keep it for
/// as long as the tunnel lives.
pub struct UpstreamBody {
    live: Option<Live>,
    /// Counts a tunnel.
    _tunnel: Option<InFlight>,
}

/// What the response came on.
pub(super) enum Carrier {
    /// Goes back to the pool.
    Http1(Http1, usize),
    /// Was made for this request only.
    Once(Http1),
    /// Ends with the stream.
    Http2(Stream, Alarm),
}

/// Everything that an exchange holds until the end of its response.
struct Live {
    incoming: Incoming,
    carrier: Carrier,
    request: InFlight,
    upload: Option<Arc<Progress>>,
}

impl UpstreamBody {
    /// The response to a request of `method`, with a body that looks after its connection.
    pub(super) fn attach(
        response: Response<Incoming>,
        method: &Method,
        mut carrier: Carrier,
        request: InFlight,
        upload: Option<Arc<Progress>>,
    ) -> Response<Self> {
        carrier.alarm().disarm();
        let status = response.status();
        let (head, incoming) = response.into_parts();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Response::from_parts(head, Self { live: None, _tunnel: Some(request) });
        }
        // What has no body by RFC 9110 §6.4.1 is over now, whatever its length fields say.
        let bodiless = method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        let over = bodiless || incoming.is_end_stream();
        let mut body = Self { live: Some(Live { incoming, carrier, request, upload }), _tunnel: None };
        if over {
            body.end();
        }
        Response::from_parts(head, body)
    }

    /// The response was read to its end.
    fn end(&mut self) {
        let Some(Live { carrier, request, upload, .. }) = self.live.take() else { return };
        let server = &request.server;
        match carrier {
            // An answer that came before the end of the request leaves a connection that is still
            // sending: nobody should wait for that, so it is used no more and closes when it is done.
            Carrier::Http1(http1, seat) if upload.is_none_or(|upload| upload.is_over()) => {
                Seat::put(server, seat, http1);
            }
            Carrier::Http1(..) | Carrier::Once(_) => {}
            Carrier::Http2(stream, _) => stream.end(server.watch.millis()),
        }
    }

    fn broken(&mut self, why: impl FnOnce(&Live) -> Reject) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        Poll::Ready(self.live.take().map(|live| Err(why(&live))))
    }
}

impl Carrier {
    pub(super) fn alarm(&mut self) -> &mut Alarm {
        match self {
            Self::Http1(http1, _) | Self::Once(http1) => &mut http1.alarm,
            Self::Http2(_, alarm) => alarm,
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        let Some(live) = &mut self.live else { return Poll::Ready(None) };
        match Pin::new(&mut live.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                live.carrier.alarm().disarm();
                if live.incoming.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // HTTP/2 lets a stream end early without an error (RST_STREAM with NO_ERROR).
            Poll::Ready(None) if live.incoming.size_hint().lower() > 0 => self.broken(|live| {
                let server = &live.request.server.name;
                Reject::new(Reason::UpstreamBodyBroken, format!("{server}: shorter than its content-length"))
            }),
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.broken(|live| fault::of_response(&live.request.server.name, &error, live.upload.as_deref()))
            }
            Poll::Pending => {
                let idle = live.request.server.timeouts.idle;
                if live.carrier.alarm().poll(cx, idle).is_pending() {
                    return Poll::Pending;
                }
                self.broken(|live| Reject::new(Reason::UpstreamBodyTimeout, live.request.server.name.clone()))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.live.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.live.as_ref().map_or_else(|| SizeHint::with_exact(0), |live| live.incoming.size_hint())
    }
}
