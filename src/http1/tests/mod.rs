//! Whole connections over an in-memory stream, with a clock that stands still while somebody works.
#![expect(clippy::disallowed_methods, reason = "#[tokio::test] builds a runtime of its own")]

mod bodies;
mod endings;
mod exchanges;
mod memory;
mod smuggling;
mod splits;
mod timeouts;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Answer, EarlyResponses, Ended, Handler, Seen, Settings, serve};
use crate::message::body::RequestBody;
use crate::message::pace::PaceSpec;
use crate::reject::{Reason, Reject};

/// Bounds small enough to be reached.
pub(super) fn settings() -> Settings {
    Settings {
        header_bytes: 1024,
        header_count: 16,
        uri_bytes: 128,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(20),
        write_timeout: Duration::from_secs(30),
        pace: PaceSpec::NONE,
        idle_timeout: Duration::from_mins(1),
        max_requests: 1000,
    }
}

type TestBody = UnsyncBoxBody<Bytes, Reject>;

/// A handler whose paths are its behaviours, and which writes down what happens to it.
#[derive(Default)]
struct Script {
    log: Mutex<Vec<String>>,
    held: Mutex<Vec<RequestBody>>,
    early: Mutex<Option<EarlyResponses>>,
}

/// Notes that the handler's future was dropped before it ended.
struct Watch<'s>(&'s Script, bool);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.note("cancelled");
        }
    }
}

impl Script {
    fn note(&self, line: impl Into<String>) {
        self.log.lock().push(line.into());
    }

    async fn read(&self, body: RequestBody) -> Response<TestBody> {
        match body.collect().await {
            Ok(whole) => {
                let trailers = whole.trailers().map_or(String::new(), |trailers| format!(" {trailers:?}"));
                text(200, format!("read {}{trailers}", String::from_utf8_lossy(&whole.to_bytes())))
            }
            Err(reject) => {
                self.note(format!("failed {}", reject.reason));
                text(reject.reason.status(), reject.reason.code())
            }
        }
    }

    async fn answer(&self, request: Request<RequestBody>, early: EarlyResponses) -> Answer<TestBody, &'static str> {
        let path = request.uri().path().to_owned();
        let body = request.into_body();
        *self.early.lock() = Some(early.clone());
        match path.as_str() {
            "/read" => self.read(body).await,
            "/echo" => Response::new(body.boxed_unsync()),
            "/hold" => {
                self.held.lock().push(body);
                text(200, "held")
            }
            "/hold-and-stream" => {
                self.held.lock().push(body);
                endless("tick")
            }
            "/hold-and-hang" => {
                self.held.lock().push(body);
                std::future::pending().await
            }
            "/hang" => std::future::pending().await,
            "/slow" => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                text(200, "slow")
            }
            "/early" => {
                early.send(
                    StatusCode::EARLY_HINTS,
                    &HeaderMap::from_iter([(http::header::LINK, "</x>".parse().unwrap())]),
                );
                early.send(StatusCode::CONTINUE, &HeaderMap::new());
                early.send(StatusCode::OK, &HeaderMap::new());
                text(200, "late")
            }
            "/upgrade" => return Answer { response: upgrade(), tunnel: Some(Box::new("tunnel")) },
            _ => prepared(&path),
        }
        .into()
    }
}

impl Handler for Script {
    type Body = TestBody;
    type Tunnel = &'static str;

    async fn request(&self, request: Request<RequestBody>, early: EarlyResponses) -> Answer<TestBody, &'static str> {
        self.note(format!("{} {}", request.method(), request.uri()));
        let mut watch = Watch(self, false);
        let answer = self.answer(request, early).await;
        watch.1 = true;
        answer
    }

    fn refused(&self, reject: Reject, seen: Seen<'_>) -> Response<TestBody> {
        self.note(format!("refused {} {} {}", reject.reason, seen.method.unwrap_or("-"), seen.target.unwrap_or("-")));
        text(reject.reason.status(), reject.reason.code())
    }
}

/// A response that depends on nothing.
fn prepared(path: &str) -> Response<TestBody> {
    match path {
        "/frames" => {
            frames(vec![Ok(Frame::data("ab".into())), Ok(Frame::data("cde".into())), Ok(Frame::trailers(digest()))])
        }
        "/broken" => frames(vec![Ok(Frame::data("ab".into())), Err(Reject::from(Reason::UpstreamBodyBroken))]),
        "/short" => with_length(frames(vec![Ok(Frame::data("ab".into()))])),
        "/long" => with_length(frames(vec![Ok(Frame::data("abcdef".into()))])),
        "/undecided" => with_length(endless("abcd")),
        "/endless" => endless("tick"),
        "/big" => text(200, "x".repeat(1 << 20)),
        "/none" => empty(204),
        "/not-modified" => with_length(empty(304)),
        "/close" => {
            let mut response = text(200, "bye");
            response.headers_mut().insert("connection", "close".parse().unwrap());
            response
        }
        "/bad-101" => upgrade(),
        "/bad-103" => empty(103),
        _ => text(200, "ok"),
    }
}

fn text(status: u16, text: impl Into<Bytes>) -> Response<TestBody> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).header("date", "now").body(body).unwrap()
}

fn empty(status: u16) -> Response<TestBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).header("date", "now").body(body).unwrap()
}

fn frames(frames: Vec<Result<Frame<Bytes>, Reject>>) -> Response<TestBody> {
    let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
    Response::builder().header("date", "now").body(body).unwrap()
}

/// One frame, and no end.
fn endless(first: &'static str) -> Response<TestBody> {
    let frames = stream::iter([Ok(Frame::data(Bytes::from_static(first.as_bytes())))]).chain(stream::pending());
    Response::builder().header("date", "now").body(StreamBody::new(frames).boxed_unsync()).unwrap()
}

fn with_length(mut response: Response<TestBody>) -> Response<TestBody> {
    response.headers_mut().insert("content-length", "4".parse().unwrap());
    response
}

fn upgrade() -> Response<TestBody> {
    Response::builder()
        .status(101)
        .header("upgrade", "websocket")
        .header("date", "now")
        .body(empty(200).into_body())
        .unwrap()
}

fn digest() -> HeaderMap {
    HeaderMap::from_iter([("digest".parse().unwrap(), "x".parse().unwrap())])
}

/// A client of one connection.
struct Client {
    io: DuplexStream,
    ended: JoinHandle<Ended<DuplexStream, &'static str>>,
    script: Arc<Script>,
    stop: watch::Sender<bool>,
}

impl Client {
    fn new() -> Self {
        Self::with(settings(), 64 * 1024)
    }

    /// `buffer` bytes are in flight at most in each direction.
    fn with(settings: Settings, buffer: usize) -> Self {
        let (io, server) = duplex(buffer);
        let script = Arc::new(Script::default());
        let (stop, stopped) = watch::channel(false);
        let handler = script.clone();
        let ended = tokio::spawn(async move { serve(server, settings, stopped, &*handler).await });
        Self { io, ended, script, stop }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The connection may be closed already: then what comes back says why.
        let _ = self.io.write_all(bytes.as_ref()).await;
    }

    /// Reads until what was read ends with `end`.
    async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            match self.io.read_u8().await {
                Ok(byte) => read.push(byte),
                Err(error) => panic!("{error} behind {:?}", String::from_utf8_lossy(&read)),
            }
        }
        String::from_utf8(read).unwrap()
    }

    /// Reads until the server has closed.
    async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        self.io.read_to_end(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }

    /// Sends everything, closes this side behind the response, and reads all that comes back.
    async fn talk(bytes: impl AsRef<[u8]>) -> (String, Vec<String>) {
        let mut client = Self::new();
        client.send(bytes).await;
        let answer = client.rest().await;
        let log = client.log();
        (answer, log)
    }

    fn log(&self) -> Vec<String> {
        self.script.log.lock().clone()
    }

    async fn ended(self) -> Ended<DuplexStream, &'static str> {
        drop(self.io);
        self.ended.await.unwrap()
    }
}

/// A response of the script as it is written.
fn response(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ndate: now\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
}

/// The last response of a connection.
fn last(status: &str, body: &str) -> String {
    response(status, "connection: close\r\n", body)
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

/// Ends a conversation in order.
fn bye() -> String {
    request("GET", "/bye", "Connection: close\r\n")
}
