//! A whole HTTP/1.1 connection.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use portcullis::http1::{Answer, EarlyResponses, Ended, Handler, Seen, Settings, serve};
use portcullis::message::body::RequestBody;
use portcullis::message::pace::PaceSpec;
use portcullis::reject::Reject;
use tokio::sync::watch;

use super::run::{Client, Pieces, Then, stream, to_the_end};

/// Any bytes are requests or refused; what is refused is the last thing looked at; and however the bytes
/// arrive, they are the same requests with the same answers.
///
/// # Panics
/// When that is not so.
pub fn check(bytes: &[u8]) {
    let whole = to_the_end(conversation(bytes, Pieces::Whole));
    let (answer, log, _) = &whole;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{:?}", String::from_utf8_lossy(answer));
    let refused = log.iter().position(|line| line == REFUSED);
    assert!(refused.is_none_or(|at| at + 1 == log.len()), "something follows a refusal: {log:?}");
    // Reading byte by byte what is longer takes too long, and finds nothing else.
    if bytes.len() <= 4096 {
        let single = to_the_end(conversation(bytes, Pieces::Single));
        assert_eq!((&single.1, single.2), (&whole.1, whole.2));
        assert_eq!(answers(&single), answers(&whole));
    }
}

/// The answers that do not depend on when the bytes came: without `100 Continue`, which is sent only while the
/// body it asks for is not there, and without the refusal, which names the first of several faults to arrive.
fn answers((heard, log, _): &Conversation) -> String {
    let heard = heard.escape_ascii().to_string().replace(r"HTTP/1.1 100 Continue\r\n\r\n", "");
    match heard.rfind("HTTP/1.1 ") {
        Some(last) if log.last().is_some_and(|line| line == REFUSED) => heard.split_at(last).0.to_owned(),
        _ => heard,
    }
}

/// What the client heard, what the handler saw, and how it ended.
type Conversation = (Vec<u8>, Vec<String>, &'static str);

async fn conversation(bytes: &[u8], pieces: Pieces) -> Conversation {
    let (server, client) = stream();
    let handler = Script::default();
    let (_stop, stopped) = watch::channel(false);
    // The stream ends with the outcome, or the client would listen for ever.
    let serving = async {
        match serve(server, SETTINGS, stopped, &handler).await {
            Ended::Closed => "closed",
            Ended::ClientGone => "client gone",
            Ended::Upgraded { .. } => "upgraded",
            Ended::Failed(_) => "failed",
        }
    };
    let (ended, answer) = tokio::join!(serving, Client::talk(client, bytes, pieces, Then::Wait));
    (answer, handler.0.into_inner(), ended)
}

/// Sends back the body, and writes down what it sees.
#[derive(Default)]
struct Script(Mutex<Vec<String>>);

impl Handler for Script {
    type Body = UnsyncBoxBody<Bytes, Reject>;
    type Tunnel = ();

    async fn request(&self, request: Request<RequestBody>, _: EarlyResponses) -> Answer<Self::Body, ()> {
        let (parts, body) = request.into_parts();
        self.0.lock().push(format!("{} {} {:?}", parts.method, parts.uri, parts.headers));
        let lengths = parts.headers.get_all(CONTENT_LENGTH).iter().count();
        let codings = parts.headers.get_all(TRANSFER_ENCODING).iter().count();
        assert!(lengths + codings <= 1, "two lengths: {parts:?}");
        let upgrade = parts.method == Method::GET && parts.uri.path() == "/upgrade";
        if upgrade {
            return Answer {
                response: response(StatusCode::SWITCHING_PROTOCOLS, Bytes::new()),
                tunnel: Some(Box::default()),
            };
        }
        match body.collect().await {
            Ok(whole) => response(StatusCode::OK, whole.to_bytes()).into(),
            Err(reject) => self.refused(reject, Seen::default()).into(),
        }
    }

    fn refused(&self, reject: Reject, _: Seen<'_>) -> Response<Self::Body> {
        self.0.lock().push(REFUSED.to_owned());
        let status = StatusCode::from_u16(reject.reason.status()).unwrap_or(StatusCode::BAD_REQUEST);
        response(status, Bytes::from_static(reject.reason.code().as_bytes()))
    }
}

fn response(status: StatusCode, body: Bytes) -> Response<UnsyncBoxBody<Bytes, Reject>> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    // A date of its own, so that two conversations in two seconds are the same.
    response.headers_mut().insert("date", http::HeaderValue::from_static("now"));
    response
}

/// What the script writes down of whatever is refused.
const REFUSED: &str = "refused";

/// Small enough to be reached.
const SETTINGS: Settings = Settings {
    header_bytes: 1024,
    header_count: 16,
    uri_bytes: 256,
    header_timeout: Duration::from_secs(10),
    body_timeout: Duration::from_secs(20),
    write_timeout: Duration::from_secs(30),
    pace: PaceSpec::NONE,
    idle_timeout: Duration::from_mins(1),
    max_requests: 20,
};
