//! One exchange over a stream of the caller's own, without a pool, a policy or time: what tests and fuzzing ask the codec.

use std::future::poll_fn;

use http::{HeaderMap, Request, StatusCode, Version};
use parking_lot::Mutex;

use super::super::fault;
use super::super::form::{self, Protocol};
use super::super::upload::Upload;
use super::{Http1, Io};
use crate::message::body::RequestBody;
use crate::reject::{Reason, Reject};

/// Everything that a server said.
#[derive(Debug, PartialEq)]
pub struct Heard {
    /// The final status.
    pub status: StatusCode,
    /// Of the final response.
    pub version: Version,
    /// Of the final response.
    pub headers: HeaderMap,
    /// The 1xx responses before it.
    pub early: Vec<(StatusCode, HeaderMap)>,
    /// All of its body.
    pub body: Vec<u8>,
    /// What came behind the body.
    pub trailers: Option<HeaderMap>,
    /// Whether another request could follow on the connection.
    pub reusable: bool,
}

/// Whom every request asks for.
const AUTHORITY: &str = "ask.test";

/// Sends `request` over `io` and gathers all of the answer.
///
/// # Errors
/// The reason of a request that was not answered, or not to the end.
pub async fn ask(io: impl Io + 'static, request: Request<RequestBody>) -> Result<Heard, Reject> {
    let (head, body) = request.into_parts();
    let upload = Upload::new(body).0;
    let mut request = Request::from_parts(head, upload);
    form::shape(&mut request, Protocol::Http1, &http::uri::Scheme::HTTP, AUTHORITY)?;
    let mut http1 = Http1::new(Box::new(io));
    let early = Mutex::new(Vec::new());
    let note = |status, headers| early.lock().push((status, headers));
    let mut sending = http1.begin(&mut request, AUTHORITY, &());
    let answer = poll_fn(|cx| http1.poll_answer(cx, &mut sending, &note)).await;
    let head = answer.map_err(|fault| fault::of_http1("server", fault))?;
    let invalid = |wrong| Reject::new(Reason::UpstreamInvalid, wrong);
    http1.expect(head.inbound(request.method()).map_err(invalid)?, head.persists());
    let mut sending = if http1.has_sent(&sending) { None } else { Some(sending) };
    let (mut body, mut trailers) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|cx| http1.poll_frame(cx, &mut sending)).await {
        match frame.map_err(|fault| fault::of_http1_response("server", fault))?.into_data() {
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let reusable = sending.is_none() && http1.is_reusable();
    let early = early.into_inner();
    Ok(Heard { status: head.status, version: head.version, headers: head.headers, early, body, trailers, reusable })
}
