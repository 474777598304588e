//! What the codec asks of whoever answers requests, and what it tells in the end.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;

use crate::codec::Rewound;
use crate::message::body::RequestBody;
use crate::reject::Reject;

/// Answers the requests of a connection, one after the other.
pub trait Handler {
    /// Bodies of responses. An error cuts the connection, so that the client sees that something is missing.
    type Body: Body<Data = Bytes, Error = Reject>;

    /// What to do with the stream after a 101.
    type Tunnel;

    /// Answers one request, whose head is whole and whose body may still be under way. Refusals are responses too.
    ///
    /// The request's fields are those that the client sent, framing fields and `Expect` included. The future is
    /// dropped when the client goes away. A request body that fails ([`Reject`]: malformed, cut short, timed out)
    /// says so to whoever reads it: the answer to that is the handler's, and it is the last one of the connection.
    fn request(
        &self,
        request: Request<RequestBody>,
        early: EarlyResponses,
    ) -> impl Future<Output = Answer<Self::Body, Self::Tunnel>> + Send;

    /// The answer to what never became a request, or to an answer that HTTP forbids. The connection is closed behind it.
    fn refused(&self, reject: Reject, seen: Seen<'_>) -> Response<Self::Body>;
}

/// Whatever leads to one: a reference, or a share of it.
impl<P> Handler for P
where
    P: Deref<Target: Handler> + Sync,
{
    type Body = <P::Target as Handler>::Body;
    type Tunnel = <P::Target as Handler>::Tunnel;

    fn request(
        &self,
        request: Request<RequestBody>,
        early: EarlyResponses,
    ) -> impl Future<Output = Answer<Self::Body, Self::Tunnel>> + Send {
        (**self).request(request, early)
    }

    fn refused(&self, reject: Reject, seen: Seen<'_>) -> Response<Self::Body> {
        (**self).refused(reject, seen)
    }
}

/// The answer to a request.
///
/// The codec writes `Connection`, `Content-Length` and `Transfer-Encoding` by itself (from the body's size hint, or
/// else from a `Content-Length` that the response states) and ignores those of the response, but for
/// `Connection: close`, which it obeys.
#[derive(Debug)]
pub struct Answer<B, T> {
    /// The final response, or a 101 if there is a tunnel.
    pub response: Response<B>,
    /// What to do with the stream after a 101; ignored with any other status. Boxed: most answers have none.
    pub tunnel: Option<Box<T>>,
}

impl<B, T> From<Response<B>> for Answer<B, T> {
    fn from(response: Response<B>) -> Self {
        Self { response, tunnel: None }
    }
}

/// The request line of what never became a request, as far as it came: for records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The method, if it is visible ASCII.
    pub method: Option<&'a str>,
    /// The target (or its beginning), if it is visible ASCII.
    pub target: Option<&'a str>,
}

impl<'a> Seen<'a> {
    /// What can be said about a request line, which may be anything.
    #[must_use]
    pub fn of(line: &'a [u8]) -> Self {
        let mut words = line.split(|byte| *byte == b' ').map(|word| {
            let visible = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
            std::str::from_utf8(word).ok().filter(|_| visible)
        });
        Self { method: words.next().flatten(), target: words.next().flatten() }
    }
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended<IO, T> {
    /// In order: between two requests, or behind a last response.
    Closed,
    /// The client left in the middle of a request or of its response.
    ClientGone,
    /// After a 101, which has been sent: the stream is the tunnel's.
    Upgraded {
        /// The stream; what the client has sent behind its request comes first.
        io: Rewound<IO>,
        /// From the [`Answer`].
        tunnel: Box<T>,
    },
    /// A response was cut: the client does not read, or the response's body failed.
    Failed(Reject),
}

/// Sends 1xx responses ahead of the answer to one request, from wherever the upstream's come in. Cheap to clone.
#[derive(Clone, Default)]
pub struct EarlyResponses {
    sink: Option<Arc<dyn Sink + Send + Sync>>,
    exchange: u64,
}

/// Takes 1xx responses.
pub(super) trait Sink {
    /// Sends one, if `exchange` has not been answered.
    fn send_early(&self, exchange: u64, status: StatusCode, headers: &HeaderMap);
}

impl EarlyResponses {
    pub(super) fn new(sink: Arc<dyn Sink + Send + Sync>, exchange: u64) -> Self {
        Self { sink: Some(sink), exchange }
    }

    /// Sends an informational response. It is dropped if it is 100 (which the codec sends by itself), 101 or not
    /// informational, if the client speaks HTTP/1.0, if the final response has begun, or if the client does not
    /// read. The default sends nothing.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        let ours = matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS);
        if let Some(sink) = self.sink.as_ref().filter(|_| status.is_informational() && !ours) {
            sink.send_early(self.exchange, status, headers);
        }
    }
}

impl std::fmt::Debug for EarlyResponses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EarlyResponses").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_visible_is_shown_of_a_refused_line() {
        let table: [(&[u8], Option<&str>, Option<&str>); 6] = [
            (b"GET /x HTTP/1.1", Some("GET"), Some("/x")),
            (b"GET", Some("GET"), None),
            (b"", None, None),
            (b"\x16\x03\x01 \x1b[31m", None, None),
            (b"GET \xff", Some("GET"), None),
            (b"  x", None, None),
        ];
        for (line, method, target) in table {
            assert_eq!(Seen::of(line), Seen { method, target }, "{line:?}");
        }
    }
}
