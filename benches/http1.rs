//! What HTTP/1.1 costs the gate: head read, answer written, for a thousand requests of one connection over memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use portcullis::http1::{Answer, EarlyResponses, Handler, Seen, Settings, serve};
use portcullis::message::body::RequestBody;
use portcullis::message::pace::PaceSpec;
use portcullis::reject::Reject;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Requests of one connection: enough that its beginning and end do not count.
const REQUESTS: usize = 1000;

const SMALL: &[u8] =
    b"GET /v1/items/42 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /v1/items/42?expand=all&page=3 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://api.example.com/v1/items\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
Sec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\nCache-Control: no-cache\r\n\r\n";

const UPLOAD: &[u8] = b"POST /v1/items HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 16\r\n\r\n0123456789abcdef";

/// Says the same request again and again, and forgets what it is told.
struct Replay {
    request: &'static [u8],
    left: usize,
}

impl AsyncRead for Replay {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left > 0 {
            self.left -= 1;
            into.put_slice(self.request);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Answers as a small API does.
struct Answers(Bytes);

impl Handler for Answers {
    type Body = UnsyncBoxBody<Bytes, Reject>;
    type Tunnel = ();

    async fn request(&self, request: Request<RequestBody>, _: EarlyResponses) -> Answer<Self::Body, ()> {
        let _ = request.into_body().collect().await;
        let mut response = Response::new(Full::new(self.0.clone()).map_err(|never| match never {}).boxed_unsync());
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        response.headers_mut().insert("server", HeaderValue::from_static("bench"));
        response.into()
    }

    fn refused(&self, reject: Reject, _: Seen<'_>) -> Response<Self::Body> {
        let text = Bytes::from_static(reject.reason.code().as_bytes());
        Response::new(Full::new(text).map_err(|never| match never {}).boxed_unsync())
    }
}

const SETTINGS: Settings = Settings {
    header_bytes: 32 * 1024,
    header_count: 100,
    uri_bytes: 8 * 1024,
    header_timeout: Duration::from_secs(10),
    body_timeout: Duration::from_secs(30),
    write_timeout: Duration::from_secs(30),
    pace: PaceSpec::NONE,
    idle_timeout: Duration::from_mins(1),
    max_requests: u64::MAX,
};

#[expect(clippy::disallowed_methods, reason = "a bench has no runtime.rs")]
fn requests(criterion: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let (_stop, stopped) = watch::channel(false);
    let handler = Answers(Bytes::from_static(&[b'x'; 1024]));
    let mut group = criterion.benchmark_group("http1");
    group.throughput(Throughput::Elements(u64::try_from(REQUESTS).unwrap_or_default()));
    for (name, request) in [("small", SMALL), ("browser", BROWSER), ("upload", UPLOAD)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(serve(Replay { request, left: REQUESTS }, SETTINGS, stopped.clone(), &handler))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);
