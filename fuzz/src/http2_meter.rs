//! The frames of an HTTP/2 connection, behind the preface.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use portcullis::clock::Clock;
use portcullis::http2::{Cut, Handler, Settings, serve};
use portcullis::message::body::RequestBody;
use portcullis::message::pace::PaceSpec;
use portcullis::reject::Reject;
use tokio::sync::watch;

use super::run::{Client, Pieces, Then, stream, to_the_end};

/// A connection of any frames ends, and does no more work than its frames ask for.
///
/// # Panics
/// When that is not so.
pub fn check(bytes: &[u8]) {
    let (answer, requests) = to_the_end(connection(&[PREFACE, bytes].concat()));
    let frames = bytes.len() / FRAME_HEADER_BYTES;
    assert!(requests <= frames, "{requests} requests of {frames} frames");
    // A response has a head and two bytes; a SETTINGS or a PING is answered by one of its size.
    assert!(answer <= 1024 + 256 * frames, "{answer} bytes in answer to {frames} frames");
}

/// How many bytes came back, and how many requests were made of them.
async fn connection(bytes: &[u8]) -> (usize, usize) {
    let (server, client) = stream();
    let handler = Arc::new(Counter::default());
    let (_stop, stopped) = watch::channel(false);
    let serving = async {
        // Cut off or not: both are an end.
        let _ =
            serve(server, SETTINGS, Clock::system(), (stopped.clone(), stopped), Arc::default(), Arc::clone(&handler))
                .await;
    };
    let ((), answer) = tokio::join!(serving, Client::talk(client, bytes, Pieces::Whole, Then::Wait));
    (answer.len(), handler.0.load(Ordering::Relaxed))
}

#[derive(Default)]
struct Counter(AtomicUsize);

/// A short answer.
struct Text(Full<Bytes>);

impl Body for Text {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        Pin::new(&mut self.0).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
    }
}

impl Cut for Text {
    fn cut(self: Pin<&mut Self>, _reject: Reject) {}
}

impl Handler for Counter {
    type Body = Text;

    async fn request(self: Arc<Self>, request: Request<RequestBody>) -> Response<Self::Body> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let _ = request.into_body().collect().await;
        Response::new(Text(Full::new(Bytes::from_static(b"ok"))))
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;

/// Small enough to be reached.
const SETTINGS: Settings = Settings {
    streams: 10,
    resets: 5,
    continuations: 3,
    settings: 5,
    pings: 5,
    control_frames: 20,
    header_bytes: 4096,
    stream_window: 65_535,
    connection_window: 65_535,
    body_timeout: Duration::from_secs(20),
    write_timeout: Duration::from_secs(20),
    pace: PaceSpec::NONE,
    idle_timeout: Duration::from_mins(1),
    max_requests: 20,
};
