use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// A running backend; dropping `stop` stops it.
struct Backend {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, async { drop(stopped.await) }));
        Self { address, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn http1<B>(&self) -> http1::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn http2<B>(&self) -> http2::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn get(&self, path: &str) -> Response<Incoming> {
        let request = Request::get(path).header("host", "echo").body(Empty::<Bytes>::new()).unwrap();
        self.http1().await.send_request(request).await.unwrap()
    }
}

async fn json(response: Response<Incoming>) -> Value {
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    serde_json::from_slice(&response.collect().await.unwrap().to_bytes()).unwrap()
}

async fn string(response: Response<Incoming>) -> String {
    String::from_utf8(response.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// The SHA-256 of `hello`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn http1_gets_a_description_of_its_request() {
    let backend = Backend::start().await;
    let request = Request::put("/a/b?c=d")
        .header("host", "echo")
        .header("accept", "application/json")
        .header("x-twice", "1")
        .header("x-twice", "2")
        .header("x-odd", HeaderValue::from_bytes(b"\xff").unwrap())
        .body(Full::new(Bytes::from_static(b"hello")))
        .unwrap();
    let said = json(backend.http1().await.send_request(request).await.unwrap()).await;
    for (key, value) in [("method", "PUT"), ("path", "/a/b"), ("query", "c=d"), ("version", "HTTP/1.1")] {
        assert_eq!(said[key], value);
    }
    let headers: Vec<_> = said["headers"].as_array().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        headers[..4],
        [r#"["host","echo"]"#, r#"["accept","application/json"]"#, r#"["x-twice","1"]"#, r#"["x-twice","2"]"#]
    );
    assert_eq!(said["body"]["length"], 5);
    assert_eq!(said["body"]["sha256"], HELLO);
    assert_eq!(said["body"]["start"], "hello");
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let backend = Backend::start().await;
    let request = Request::get("http://echo.example/x").header("accept", "application/json");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let said = json(backend.http2().await.send_request(request).await.unwrap()).await;
    assert_eq!(said["version"], "HTTP/2.0");
    assert_eq!(said["authority"], "echo.example");
    assert_eq!(said["body"]["length"], 0);
}

#[tokio::test]
async fn the_text_shows_the_start_of_a_long_body_only() {
    let backend = Backend::start().await;
    let body = Full::new(Bytes::from(vec![b'y'; 300_000]));
    let request = Request::post("/b").header("host", "echo").body(body).unwrap();
    let response = backend.http1().await.send_request(request).await.unwrap();
    assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
    let text = string(response).await;
    assert!(text.contains("body: 300000 bytes, sha256 "), "{text}");
    assert_eq!(text.matches("yyyy").count(), 256);
}

#[tokio::test]
async fn request_trailers_are_described() {
    let backend = Backend::start().await;
    let mut stream = backend.connect().await;
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nHost: echo\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
              5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n",
        )
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("trailer x-sum: 42\n") && text.contains(HELLO), "{text}");
}

#[tokio::test]
async fn both_versions_get_response_trailers() {
    let backend = Backend::start().await;
    let request = || Request::get("http://echo/trailers").header("host", "echo").header("te", "trailers");
    let one = backend.http1().await.send_request(request().body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let two = backend.http2().await.send_request(request().body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    for response in [one, two] {
        let body = response.collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()[TRAILER_NAME], "after the body");
    }
}

#[tokio::test]
async fn the_body_comes_back_while_it_is_still_being_sent() {
    let backend = Backend::start().await;
    let (parts, body) = mpsc::channel::<Frame<Bytes>>(1);
    let body =
        stream::unfold(body, |mut body| async { body.recv().await.map(|frame| (Ok::<_, Infallible>(frame), body)) });
    let request = Request::post("http://echo/echo").body(StreamBody::new(Box::pin(body))).unwrap();
    let mut answer = backend.http2().await.send_request(request).await.unwrap().into_body();
    for part in ["first", "second"] {
        parts.send(Frame::data(Bytes::from(part))).await.unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    let trailers = HeaderMap::from_iter([(TRAILER_NAME, HeaderValue::from_static("end"))]);
    parts.send(Frame::trailers(trailers.clone())).await.unwrap();
    drop(parts);
    assert_eq!(answer.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn special_paths_answer_as_they_say_and_stay_within_their_bounds() {
    let backend = Backend::start().await;
    for (path, status) in [
        ("/status/418", 418),
        ("/status/503", 503),
        ("/status/100", 400),
        ("/status/101", 400),
        ("/status/600", 400),
        ("/status/", 400),
        ("/status/abc", 400),
        ("/slow?ms=1", 200),
        ("/slow?a=b&ms=1", 200),
        ("/slow", 400),
        ("/slow?ms=-1", 400),
        ("/bytes/0", 200),
        ("/bytes/1073741825", 400),
        ("/bytes/99999999999999999999", 400),
        ("/echo", 405),
        ("/ws", 426),
    ] {
        assert_eq!(backend.get(path).await.status(), status, "{path}");
    }
}

#[test]
fn a_slow_answer_takes_ten_seconds_at_most() {
    assert_eq!(wait("a=b&ms=250"), Some(Duration::from_millis(250)));
    assert_eq!(wait("ms=99999999"), Some(LONGEST_WAIT));
    assert_eq!(wait("ms=99999999999999999999"), None);
}

#[tokio::test]
async fn bytes_are_as_many_as_asked_for() {
    let backend = Backend::start().await;
    for count in [1, 65_536, 65_537, 1_000_000] {
        let response = backend.get(&format!("/bytes/{count}")).await;
        assert_eq!(response.headers()["content-length"], count.to_string());
        assert_eq!(response.collect().await.unwrap().to_bytes().len(), count);
    }
}

#[tokio::test]
async fn a_websocket_gets_its_messages_back() {
    let backend = Backend::start().await;
    let mut stream = backend.connect().await;
    stream
        .write_all(
            b"GET /ws HTTP/1.1\r\nHost: echo\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
              \x81\x82\x01\x02\x03\x04ik\x88\x80\x00\x00\x00\x00",
        )
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = std::str::from_utf8(&answer[..split]).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert_eq!(&answer[split..], b"\x81\x02hi\x88\x00");
}

#[tokio::test]
async fn stopping_ends_connections_and_tunnels() {
    let backend = Backend::start().await;
    let mut idle = backend.connect().await;
    idle.write_all(b"GET /status/200 HTTP/1.1\r\nHost: echo\r\n\r\n").await.unwrap();
    assert_eq!(idle.read_u8().await.unwrap(), b'H');
    let mut tunnel = backend.connect().await;
    tunnel
        .write_all(
            b"GET /ws HTTP/1.1\r\nHost: echo\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    assert_eq!(tunnel.read_u8().await.unwrap(), b'H');
    drop(backend.stop);
    backend.task.await.unwrap();
    // End of file or a reset, but an end.
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    let _ = tunnel.read_to_end(&mut rest).await;
}
