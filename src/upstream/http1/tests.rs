//! The codec over a pipe: what is read however it comes, and what calls and memory that takes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::message::body::RequestBody;
use crate::reject::Reason;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn get() -> Request<RequestBody> {
    Request::get("/").body(RequestBody::Empty).unwrap()
}

/// A body of `count` frames that are all there at once.
fn post(count: usize, frame: &'static [u8]) -> Request<RequestBody> {
    let frames = (0..count).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(frame))));
    let body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
    Request::post("/").body(RequestBody::Stream(Box::pin(body.map_err(|never| match never {})))).unwrap()
}

/// What is heard of a server that says `pieces`, one at a time, and closes.
async fn heard(pieces: &[&[u8]]) -> Result<Heard, Reason> {
    let (gate, mut server) = duplex(64 * 1024);
    let say = async move {
        for piece in pieces {
            let _ = server.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let _ = server.shutdown().await;
        let _ = server.read_to_end(&mut Vec::new()).await;
    };
    let (heard, ()) = tokio::join!(ask(gate, get()), say);
    heard.map_err(|reject| reject.reason)
}

#[tokio::test]
async fn what_is_said_is_understood_or_refused_and_only_a_clean_end_is_followed_by_another_request() {
    type Told = Result<(&'static str, bool), Reason>;
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    let table: [(String, Told); 19] = [
        (format!("{SIZED}ok"), Ok(("ok", true))),
        (format!("{SIZED}ok!"), Ok(("ok", false))),
        (format!("{SIZED}ok\r\n"), Ok(("ok", false))),
        (format!("{SIZED}o"), Err(Reason::UpstreamBodyBroken)),
        (format!("{CHUNKED}2\r\nok\r\n0\r\n\r\n"), Ok(("ok", true))),
        (format!("{CHUNKED}2\r\nok\r\n0\r\nx: y\r\n\r\n"), Ok(("ok", true))),
        (format!("{CHUNKED}2\r\nok\r\n0\r\n\r\nHTTP/1.1"), Ok(("ok", false))),
        (format!("{CHUNKED}2\r\nok\r\n0\r\n"), Err(Reason::UpstreamBodyBroken)),
        (format!("{CHUNKED}2\nok\n0\n\n"), Err(Reason::UpstreamBodyBroken)),
        (format!("{CHUNKED}2\r\nokay\r\n0\r\n\r\n"), Err(Reason::UpstreamBodyBroken)),
        (format!("{CHUNKED}0x2\r\nok\r\n0\r\n\r\n"), Err(Reason::UpstreamBodyBroken)),
        (format!("{CHUNKED}ffffffffffffffffff\r\nok"), Err(Reason::UpstreamBodyBroken)),
        (format!("{CHUNKED}2\r\nok\r\n0\r\nx : y\r\n\r\n"), Err(Reason::UpstreamBodyBroken)),
        ("HTTP/1.1 200 OK\r\n\r\nok".into(), Ok(("ok", false))),
        (format!("HTTP/1.1 100 Continue\r\n\r\n{SIZED}ok"), Ok(("ok", true))),
        (format!("HTTP/1.1 103 Hints\r\ncontent-length: 2\r\n\r\nno{SIZED}ok"), Err(Reason::UpstreamInvalid)),
        ("HTTP/1.1 103 Hints\r\n\r\n".into(), Err(Reason::UpstreamInvalid)),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok".into(), Ok(("", false))),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".into(), Ok(("ok", false))),
    ];
    for (answer, expected) in table {
        let heard = heard(&[answer.as_bytes()]).await;
        let told = heard.map(|heard| (String::from_utf8(heard.body).unwrap(), heard.reusable));
        assert_eq!(told, expected.map(|(body, reusable)| (body.to_owned(), reusable)), "{answer:?}");
    }
}

#[tokio::test]
async fn trailers_that_pose_as_fields_are_left_behind() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\ndigest: x\r\nset-cookie: a=b\r\n\r\n";
    let trailers = heard(&[answer]).await.unwrap().trailers.unwrap();
    assert_eq!((trailers.len(), trailers["digest"].as_bytes()), (1, &b"x"[..]));
}

#[tokio::test]
async fn a_connection_on_which_something_was_said_unasked_is_not_quiet() {
    let (near, mut far) = duplex(100);
    let mut http1 = Http1::new(Box::new(near));
    assert!(http1.is_quiet());
    far.write_all(b"H").await.unwrap();
    assert!(!http1.is_quiet());
    let (near, far) = duplex(100);
    drop(far);
    assert!(!Http1::new(Box::new(near)).is_quiet());
}

#[tokio::test]
async fn a_task_that_has_used_up_its_budget_looks_all_the_same() {
    let (near, mut far) = duplex(100);
    far.write_all(b"H").await.unwrap();
    let mut http1 = Http1::new(Box::new(near));
    poll_fn(|cx| {
        let (mut reader, _writer) = duplex(1);
        // A thousand reads are more than one turn of a task is allowed.
        for _ in 0..1000 {
            let mut byte = [0];
            let _ = Pin::new(&mut reader).poll_read(cx, &mut ReadBuf::new(&mut byte));
            let _ = pin!(tokio::task::consume_budget()).poll(cx);
        }
        assert!(!http1.is_quiet());
        Poll::Ready(())
    })
    .await;
}

/// Counts calls that a socket would pay for.
struct Counted {
    io: DuplexStream,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    reads: AtomicUsize,
    writes: AtomicUsize,
    shutdowns: AtomicUsize,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, into);
        if read.is_ready() {
            self.calls.reads.fetch_add(1, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.calls.writes.fetch_add(1, Relaxed);
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.calls.shutdowns.fetch_add(1, Relaxed);
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Writes and reads that one exchange takes.
async fn calls(request: Request<RequestBody>, answer: &[u8]) -> (usize, usize) {
    let (io, mut server) = duplex(4 << 20);
    server.write_all(answer).await.unwrap();
    let calls = Arc::new(Calls::default());
    ask(Counted { io, calls: Arc::clone(&calls) }, request).await.unwrap();
    (calls.writes.load(Relaxed), calls.reads.load(Relaxed))
}

#[tokio::test]
async fn a_server_is_told_when_its_resting_connection_is_closed() {
    let calls = Arc::new(Calls::default());
    let mut idle = Idle::default();
    let _servers = [1, 2, 3].map(|now| {
        let (io, server) = duplex(100);
        idle.put(Box::new(Http1::new(Box::new(Counted { io, calls: Arc::clone(&calls) }))), now, 2);
        server
    });
    assert_eq!(calls.shutdowns.load(Relaxed), 1, "there is room for two");
    assert!(idle.prune(3));
    assert_eq!(calls.shutdowns.load(Relaxed), 2, "the second is too old");
    drop(idle);
    assert_eq!(calls.shutdowns.load(Relaxed), 3);
}

#[tokio::test]
async fn a_request_is_one_write_with_a_small_body_too_and_its_answer_one_read() {
    assert_eq!(calls(get(), OK).await, (1, 1));
    assert_eq!(calls(post(3, b"frame"), OK).await, (1, 1));
}

#[tokio::test]
async fn uploads_are_gathered_and_downloads_read_in_large_pieces() {
    static FRAME: [u8; 1000] = [b'x'; 1000];
    let (writes, _) = calls(post(1000, &FRAME), OK).await;
    assert!(writes <= 17, "{writes} writes of about 64 KiB for 1 MB");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1 << 20);
    let (_, reads) = calls(get(), &[head.as_bytes(), &vec![b'x'; 1 << 20]].concat()).await;
    assert!(reads <= 22, "{reads} reads of 16 to 64 KiB for 1 MiB");
}

#[tokio::test]
async fn a_resting_connection_holds_no_buffer() {
    let (near, mut far) = duplex(1 << 20);
    let mut http1 = Http1::new(Box::new(near));
    let mut request = get().map(|body| crate::upstream::upload::Upload::new(body).0);
    let mut sending = http1.begin(&mut request, "ask.test", &());
    far.write_all(OK).await.unwrap();
    let head = poll_fn(|cx| http1.poll_answer(cx, &mut sending, &|_, _| {})).await.unwrap();
    http1.expect(head.inbound(request.method()).unwrap(), head.persists());
    while poll_fn(|cx| http1.poll_frame(cx, &mut None)).await.is_some() {}
    assert!(http1.is_reusable());
    http1.rest();
    assert_eq!((http1.intake.buffer.capacity(), http1.out.tail().capacity()), (0, 0));
    assert!(size_of::<Http1>() <= 320, "{}", size_of::<Http1>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test builds its own runtime")]
    fn it_does_not_matter_how_an_answer_arrives(
        answer in r"(HTTP/1\.1 103 x\r\na: b\r\n\r\n){0,2}HTTP/1\.[01] (200|204|304|500) x\r\n((content-length: [0-9]|transfer-encoding: chunked|connection: close)\r\n){0,2}\r\n(([0-3]\r\n[a-c]{0,3}\r\n){0,3}0\r\n(d: e\r\n)?\r\n|[a-z]{0,9})",
        cuts in prop::collection::vec(1_usize..40, 1..6),
    ) {
        let (mut pieces, mut rest) = (Vec::new(), answer.as_bytes());
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Whether bytes follow the answer is seen at once only if they came with it.
        let plain = |outcome: Result<Heard, Reason>| outcome.map(|heard| Heard { reusable: false, ..heard });
        let (split, whole) = (runtime.block_on(heard(&pieces)), runtime.block_on(heard(&[answer.as_bytes()])));
        prop_assert_eq!(plain(split), plain(whole));
    }
}
