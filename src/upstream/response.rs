//! A response body on its way back, and what happens to its connection at the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::fault;
use super::http1::{Http1, Sending, Tunnel};
use super::http2::Stream;
use super::pool::Seat;
use super::server::InFlight;
use super::upload::Progress;
use crate::codec::{Alarm, after};
use crate::reject::{Reason, Reject};

/// The body of a response. Its end gives the connection back for the next request; dropped before, it
/// closes the connection (HTTP/1.1) or cancels the stream (HTTP/2), so that no request ever finds the
/// rest of another's response.
///
/// The body of a 101 response is empty, holds the tunnel and counts it among the requests in flight: keep it for
/// as long as the tunnel lives.
pub struct UpstreamBody {
    live: Option<Live>,
    /// Why the response broke off, until that is told.
    failed: Option<Reject>,
    tunnel: Option<Tunnel>,
    /// Counts a tunnel.
    _counted: Option<InFlight>,
}

/// What the response comes on.
pub(super) enum Carrier {
    Http1(OnHttp1),
    Http2(OnHttp2),
}

/// A response on a connection of its own, for as long as it takes.
pub(super) struct OnHttp1 {
    pub(super) http1: Box<Http1>,
    /// The worker to which the connection goes back. Nowhere, if it was made for this request only.
    pub(super) seat: Option<usize>,
    /// What is left of the request.
    pub(super) sending: Option<Sending>,
}

/// A response on a stream of a shared connection.
pub(super) struct OnHttp2 {
    pub(super) incoming: Incoming,
    pub(super) stream: Stream,
    pub(super) alarm: Alarm,
    pub(super) upload: Option<Arc<Progress>>,
}

/// Everything that an exchange holds until the end of its response.
struct Live {
    carrier: Carrier,
    request: InFlight,
    /// When the silence of the server will have been too long, since it is silent.
    deadline: Option<Instant>,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Reject>>>;

impl UpstreamBody {
    /// The response to a request of `method`, with a body that looks after its connection.
    pub(super) fn attach(
        response: Response<()>,
        method: &Method,
        carrier: Carrier,
        request: InFlight,
    ) -> Response<Self> {
        let status = response.status();
        match carrier {
            Carrier::Http1(OnHttp1 { http1, .. }) if status == StatusCode::SWITCHING_PROTOCOLS => {
                let tunnel = Some(http1.into_tunnel());
                response.map(|()| Self { live: None, failed: None, tunnel, _counted: Some(request) })
            }
            carrier => {
                // What has no body by RFC 9110 §6.4.1 is over now, whatever its length fields say.
                let bodiless =
                    method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
                let over = bodiless || carrier.is_over();
                let live = Live { carrier, request, deadline: None };
                let mut body = Self { live: Some(live), failed: None, tunnel: None, _counted: None };
                if over {
                    body.end();
                }
                response.map(|()| body)
            }
        }
    }

    /// The tunnel behind a 101, once.
    pub fn tunnel(&mut self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// The response was read to its end.
    fn end(&mut self) {
        let Some(Live { carrier, request, .. }) = self.live.take() else { return };
        let server = &request.server;
        match carrier {
            // An answer that came before the end of the request leaves a connection that still wants the
            // rest of it: nobody should wait for that, so it is closed.
            Carrier::Http1(OnHttp1 { http1, seat: Some(seat), sending: None }) if http1.is_reusable() => {
                Seat::put(server, seat, http1);
            }
            Carrier::Http1(_) => {}
            Carrier::Http2(on) => on.stream.end(server.watch.millis()),
        }
    }

    /// The response broke off. That is told in the next turn, when what came before has had its own to leave: HTTP/2 forgets
    /// what still waits of a stream that is reset, and the client would never see the head.
    fn broken(&mut self, cx: &Context<'_>, reject: Reject) -> Polled {
        self.live = None;
        self.failed = Some(reject);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Carrier {
    /// Whether nothing of the response is to come.
    fn is_over(&self) -> bool {
        match self {
            Self::Http1(on) => on.http1.is_answered(),
            Self::Http2(on) => on.incoming.is_end_stream(),
        }
    }

    fn alarm(&mut self) -> &mut Alarm {
        match self {
            Self::Http1(on) => &mut on.http1.alarm,
            Self::Http2(on) => &mut on.alarm,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>, server: &str) -> Polled {
        match self {
            Self::Http1(OnHttp1 { http1, sending, .. }) => http1
                .poll_frame(cx, sending)
                .map(|frame| frame.map(|frame| frame.map_err(|fault| fault::of_http1_response(server, fault)))),
            Self::Http2(OnHttp2 { incoming, upload, .. }) => match Pin::new(&mut *incoming).poll_frame(cx) {
                // HTTP/2 lets a stream end early without an error (RST_STREAM with NO_ERROR).
                Poll::Ready(None) if incoming.size_hint().lower() > 0 => {
                    let detail = format!("{server}: shorter than its content-length");
                    Poll::Ready(Some(Err(Reject::new(Reason::UpstreamBodyBroken, detail))))
                }
                Poll::Ready(Some(Err(error))) => {
                    Poll::Ready(Some(Err(fault::of_response(server, &error, upload.as_deref()))))
                }
                Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Live {
    /// Ready when the server has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.request.server.timeouts.idle;
        let deadline = *self.deadline.get_or_insert_with(|| after(idle));
        self.carrier.alarm().poll(cx, deadline)
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Some(live) = &mut self.live else { return Poll::Ready(self.failed.take().map(Err)) };
        match live.carrier.poll_frame(cx, &live.request.server.name) {
            Poll::Ready(Some(Ok(frame))) => {
                live.deadline = None;
                if live.carrier.is_over() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(reject))) => self.broken(cx, reject),
            Poll::Pending if live.poll_silence(cx).is_pending() => Poll::Pending,
            Poll::Pending => {
                let reject = Reject::new(Reason::UpstreamBodyTimeout, live.request.server.name.clone());
                self.broken(cx, reject)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.live.is_none() && self.failed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.live.as_ref().map(|live| &live.carrier) {
            None if self.failed.is_some() => SizeHint::new(),
            None => SizeHint::with_exact(0),
            Some(Carrier::Http1(on)) => on.http1.left().map_or_else(SizeHint::new, SizeHint::with_exact),
            Some(Carrier::Http2(on)) => on.incoming.size_hint(),
        }
    }
}
