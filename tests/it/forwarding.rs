//! What goes through the gate, both ways: bodies as they come, trailers, interim responses, tunnels.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::harness::{
    Backend, Client, Gate, OK, PROTOCOLS, ROUTE, Recorder, Server, Talk, World, data, empty, fed, full, read,
    read_head, with_trailers,
};

fn gate(world: &World, backend: std::net::SocketAddr) -> Gate {
    Gate::start(world, &world.config(backend))
}

/// More than all socket buffers and windows on the way hold together.
const MUCH: usize = 64 << 20;
/// What those hold at most, with room to spare.
const HELD: usize = 48 << 20;
/// Nothing moves for this long: it has stalled. Only a slow machine takes longer, and then less has moved.
const STALL: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_its_backend() {
    let world = World::new();
    let (stalled, mut stalls) = mpsc::unbounded_channel();
    let backend = Server::tcp(move |_, mut stream| {
        let stalled = stalled.clone();
        async move {
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let (block, mut sent, mut told) = (vec![b'x'; 64 << 10], 0, false);
            while sent < MUCH {
                let room = block.len().min(MUCH - sent);
                match tokio::time::timeout(STALL, stream.write(&block[..room])).await {
                    Ok(written) => sent += written.unwrap(),
                    Err(_) if told => {}
                    Err(_) => {
                        told = true;
                        stalled.send(sent).unwrap();
                    }
                }
            }
        }
    })
    .await;
    let gate = gate(&world, backend.address);
    for protocol in PROTOCOLS {
        let mut talk = Talk::good(&world, &gate, protocol).await;
        let response = talk.send(Request::get("/").body(empty()).unwrap()).await.unwrap();
        let sent = stalls.recv().await.unwrap();
        assert!(sent < HELD, "{protocol}: {sent}");
        assert_eq!(read(response).await.body.len(), MUCH, "{protocol}");
    }
}

#[tokio::test]
async fn a_backend_that_does_not_read_holds_up_its_client() {
    let world = World::new();
    let (turns, turn) = async_queue();
    let backend = Server::tcp(move |_, mut stream| {
        let turn = turn.clone();
        async move {
            read_head(&mut stream).await;
            let wait: oneshot::Receiver<()> = turn.lock().await.recv().await.unwrap();
            wait.await.unwrap();
            let mut left = MUCH;
            let mut block = vec![0; 64 << 10];
            while left > 0 {
                left -= stream.read(&mut block).await.unwrap();
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let upstream = format!("servers = [\"http://{}\"]", backend.address);
    let gate = Gate::start(&world, &world.config_with("[http]\nbody_bytes = \"128MiB\"\n", &upstream, ROUTE));
    for protocol in PROTOCOLS {
        let (start, wait) = oneshot::channel();
        turns.send(wait).unwrap();
        let mut talk = Talk::good(&world, &gate, protocol).await;
        let (feed, body) = fed();
        let request = Request::post("/").header("content-length", MUCH).body(body).unwrap();
        let answer = tokio::spawn(async move { talk.ask(request).await });
        let (block, mut sent, mut start) = (Bytes::from(vec![b'x'; 64 << 10]), 0, Some(start));
        while sent < MUCH {
            match tokio::time::timeout(STALL, feed.reserve()).await {
                Ok(room) => {
                    room.unwrap().send(data(block.clone()));
                    sent += block.len();
                }
                Err(_) => {
                    if let Some(start) = start.take() {
                        assert!(sent < HELD, "{protocol}: {sent}");
                        start.send(()).unwrap();
                    }
                }
            }
        }
        assert!(start.is_none(), "{protocol}: never stalled");
        drop(feed);
        assert_eq!(answer.await.unwrap().status, 200, "{protocol}");
    }
}

type Queue<T> = std::sync::Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<T>>>;

fn async_queue<T>() -> (mpsc::UnboundedSender<T>, Queue<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, std::sync::Arc::new(tokio::sync::Mutex::new(receiver)))
}

#[tokio::test]
async fn bodies_go_both_ways_as_they_come() {
    let world = World::new();
    let backend = Backend::echo().await;
    for via in ["http", "h2c"] {
        let upstream = format!("servers = [\"{via}://{}\"]", backend.address);
        let gate = Gate::start(&world, &world.config_with("", &upstream, ROUTE));
        for protocol in PROTOCOLS {
            let mut talk = Talk::good(&world, &gate, protocol).await;
            let (feed, body) = fed();
            // The head of the answer comes before the body has ended, each piece before the next is sent.
            feed.send(data("one")).await.unwrap();
            let mut response = talk.send(Request::post("/echo").body(body).unwrap()).await.unwrap().into_body();
            for text in ["one", "two", "three"] {
                if text != "one" {
                    feed.send(data(text)).await.unwrap();
                }
                let frame = response.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), text, "{via} {protocol}");
            }
            drop(feed);
            assert_eq!(response.collect().await.unwrap().to_bytes(), "", "{via} {protocol}");
        }
    }
}

#[tokio::test]
async fn a_response_has_the_body_that_its_status_and_method_permit() {
    let world = World::new();
    let table = [
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\netag: \"x\"\r\n\r\n", 304, "7", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", 200, "7", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200, "", ""),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "", "ok"),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "0", ""),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\nok", 200, "2", "ok"),
    ];
    for (method, raw, status, length, body) in table {
        let backend = Server::answering(raw).await;
        let gate = gate(&world, backend.address);
        for protocol in PROTOCOLS {
            let mut talk = Talk::good(&world, &gate, protocol).await;
            // Twice, so that the end of the first is seen to be where it should.
            for _ in 0..2 {
                let request = Request::builder().method(method).uri("/").body(empty()).unwrap();
                let answer = talk.ask(request).await;
                assert_eq!((answer.status, answer.text().as_str()), (status, body), "{protocol} {raw}");
                assert_eq!(answer.header("content-length"), length, "{protocol} {raw}");
                assert!(!answer.headers.contains_key("transfer-encoding") || protocol == "http/1.1");
                assert_eq!(answer.headers.get_all("set-cookie").iter().count(), raw.matches("set-cookie").count());
                let line = gate.request_line(&answer).await;
                assert!(!line.contains("\"reason\""), "{line}");
            }
        }
        assert_eq!(backend.connections(), 1, "{raw}");
    }
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let world = World::new();
    let backend = Backend::echo().await;
    for via in ["http", "h2c"] {
        let upstream = format!("servers = [\"{via}://{}\"]", backend.address);
        let gate = Gate::start(&world, &world.config_with("", &upstream, ROUTE));
        for protocol in PROTOCOLS {
            let mut talk = Talk::good(&world, &gate, protocol).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", HeaderValue::from_static("123"));
            let request = Request::post("/describe").header("te", "trailers").header("trailer", "x-checksum");
            let answer = talk.ask(request.body(with_trailers("hi", trailers)).unwrap()).await;
            assert!(answer.text().contains("trailer x-checksum: 123"), "{via} {protocol} {}", answer.text());
            let request = Request::get("/trailers").header("te", "trailers").header("connection", "te");
            let mut request = request.body(empty()).unwrap();
            if protocol == "h2" {
                request.headers_mut().remove("connection");
            }
            let answer = talk.ask(request).await;
            let trailers = answer.trailers.unwrap_or_default();
            assert_eq!(trailers.get("x-echo-trailer").unwrap(), "after the body", "{via} {protocol}");
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_only_if_its_body_is_wanted() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = gate(&world, backend.address);
    let mut stream = Client::good(&world).connect(&gate).await.unwrap();
    let head = "POST /describe HTTP/1.1\r\nhost: api.test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hi").await.unwrap();
    let answer = read_head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let mut body = vec![0; length(&answer)];
    stream.read_exact(&mut body).await.unwrap();
    let body = String::from_utf8(body).unwrap();
    assert!(body.contains("body: 2 bytes") && !body.contains("expect"), "{body}");

    for (head, status) in [
        (head.replace("/describe", "//"), "400"),
        (head.replace("api.test", "other.test"), "421"),
        (head.replace("length: 2", "length: 99999999"), "413"),
        (head.replace("100-continue", "200-ok"), "417"),
    ] {
        let answer = Client::good(&world).raw(&gate, head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(!answer.contains("100 Continue"), "{answer}");
    }
}

fn length(head: &str) -> usize {
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn early_hints_are_passed_on_and_other_interim_responses_do_no_harm() {
    let world = World::new();
    let backend = Server::answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gate = gate(&world, backend.address);
    let answer =
        Client::good(&world).raw(&gate, b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert_eq!(Talk::good(&world, &gate, "h2").await.get("/").await.text(), "ok");
    let old = Client::good(&world).raw(&gate, b"GET / HTTP/1.0\r\nhost: api.test\r\n\r\n").await;
    assert!(!old.contains("103") && old.ends_with("ok"), "{old}");
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks() {
    let world = World::new();
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let backend = Server::answering(chunked).await;
    let gate = gate(&world, backend.address);
    for connection in ["", "connection: keep-alive\r\n"] {
        let request = format!("GET / HTTP/1.0\r\nhost: api.test\r\n{connection}\r\n");
        let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
        assert!(answer.ends_with("\r\n\r\nok") && !answer.contains("chunked"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    let answer = Client::good(&world).raw(&gate, b"GET / HTTP/1.0\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("\"code\":\"authority_invalid\""), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_up_to_the_last_of_a_connection() {
    let world = World::new();
    let backend = Backend::echo().await;
    let top = "[connection]\nmax_requests = 4\n";
    let upstream = format!("servers = [\"http://{}\"]", backend.address);
    let gate = Gate::start(&world, &world.config_with(top, &upstream, ROUTE));
    let requests: String = (0..6)
        .map(|at| format!("POST /pipelined-{at} HTTP/1.1\r\nhost: api.test\r\ncontent-length: 2\r\n\r\nhi\r\n"))
        .collect();
    let answer = Client::good(&world).raw(&gate, requests.as_bytes()).await;
    let order: Vec<_> = answer.split("POST /pipelined-").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(order, ["0", "1", "2", "3"], "{answer}");
    assert_eq!(answer.matches("connection: close").count(), 1, "{answer}");
}

#[tokio::test]
async fn grpc_goes_through_with_its_trailers() {
    let world = World::new();
    let backend = Server::h2c(|request: Request<hyper::body::Incoming>| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let (feed, body) = fed();
        tokio::spawn(async move {
            let mut incoming = request.into_body();
            match method.as_str() {
                "Unary" => {
                    let body = incoming.collect().await.unwrap().to_bytes();
                    feed.send(data(body)).await.unwrap();
                }
                "Stream" => {
                    for at in 0..100_u8 {
                        feed.send(data(vec![at; 1000])).await.unwrap();
                    }
                }
                _ => {
                    while let Some(frame) = incoming.frame().await {
                        if let Ok(piece) = frame.unwrap().into_data() {
                            feed.send(data(piece)).await.unwrap();
                        }
                    }
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            feed.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    })
    .await;
    let upstream = format!("servers = [\"h2c://{}\"]", backend.address);
    let gate = Gate::start(&world, &world.config_with("", &upstream, ROUTE));
    let mut talk = Talk::good(&world, &gate, "h2").await;
    let call = |method: &str| {
        let request = Request::post(format!("/pkg.Service/{method}"));
        request.header("content-type", "application/grpc").header("te", "trailers")
    };
    let unary = talk.ask(call("Unary").body(full("\0\0\0\0\u{2}hi")).unwrap()).await;
    assert_eq!((unary.status, unary.text().as_str()), (200, "\0\0\0\0\u{2}hi"));
    assert_eq!(unary.trailers.unwrap()["grpc-status"], "0");
    let stream = talk.ask(call("Stream").body(empty()).unwrap()).await;
    assert_eq!(stream.body.len(), 100_000);
    assert_eq!(stream.trailers.unwrap()["grpc-status"], "0");

    let (feed, body) = fed();
    let mut response = talk.send(call("Bidi").body(body).unwrap()).await.unwrap().into_body();
    for text in ["ping", "pong", "again"] {
        feed.send(data(text)).await.unwrap();
        assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), text);
    }
    drop(feed);
    assert_eq!(response.frame().await.unwrap().unwrap().into_trailers().unwrap()["grpc-status"], "0");
    assert_eq!(backend.connections(), 1);
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nhost: api.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_websocket_goes_through_a_route_that_permits_it() {
    let world = World::new();
    let backend = Backend::echo().await;
    let permits = format!("{ROUTE}upgrade = [\"websocket\"]\n");
    let upstream = format!("servers = [\"http://{}\"]", backend.address);
    let gate = Gate::start(&world, &world.config_with("", &upstream, &permits));
    let mut stream = Client::good(&world).connect(&gate).await.unwrap();
    // The first message comes right behind the request.
    let message = |text: &str| [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0][..], text.as_bytes()].concat();
    stream.write_all(&[UPGRADE.as_bytes(), &message("early")].concat()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    expect(&mut stream, &[&[0x81, 5][..], b"early"].concat()).await;
    for text in ["one", "two", "three"] {
        stream.write_all(&message(text)).await.unwrap();
        expect(&mut stream, &[&[0x81, text.len() as u8][..], text.as_bytes()].concat()).await;
    }
    assert_eq!(gate.metric("portcullis_requests_in_flight").await, 1.0);
    drop(stream);
    let line = gate.logged(|line| line.contains("\"path\":\"/ws\"") && line.contains("\"status\":101")).await;
    assert!(line.contains("\"bytes_in\":") && !line.contains("\"bytes_in\":0,"), "{line}");
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, bytes);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let world = World::new();
    for protocol in PROTOCOLS {
        let (tell, mut told) = mpsc::unbounded_channel();
        let backend = Server::tcp(move |_, mut stream| {
            let tell = tell.clone();
            async move {
                tell.send(read_head(&mut stream).await).unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                tell.send("end".to_owned()).unwrap();
            }
        })
        .await;
        let gate = gate(&world, backend.address);
        let path = format!("/left-{}", protocol.len());
        let mut talk = Talk::good(&world, &gate, protocol).await;
        let request = Request::get(&path).body(empty()).unwrap();
        let asking = tokio::spawn(async move { talk.send(request).await.map(drop) });
        assert!(told.recv().await.unwrap().starts_with(&format!("GET {path} ")));
        asking.abort();
        assert_eq!(told.recv().await.unwrap(), "end");
        let line = gate.logged(|line| line.contains(&format!("\"path\":\"{path}\""))).await;
        assert!(line.contains("\"reason\":\"client_gone\""), "{line}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_never_complete() {
    let world = World::new();
    let recorder = Recorder::answering(b"").await;
    let upstream = format!("servers = [\"http://{}\"]", recorder.address);
    let routes = format!("{ROUTE}body_bytes = \"1KiB\"\n");
    let gate = Gate::start(&world, &world.config_with("", &upstream, &routes));
    for protocol in PROTOCOLS {
        let before = recorder.seen().len();
        let mut talk = Talk::good(&world, &gate, protocol).await;
        let answer = talk.ask(Request::post("/").body(full(vec![b'x'; 1025])).unwrap()).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "{protocol}");
        assert_eq!(recorder.seen().len(), before, "{protocol}");

        let mut talk = Talk::good(&world, &gate, protocol).await;
        let (feed, body) = fed();
        let asking = tokio::spawn(async move { talk.ask(Request::post("/").body(body).unwrap()).await });
        for _ in 0..3 {
            let _ = feed.send(data(vec![b'x'; 512])).await;
        }
        let answer = asking.await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "{protocol}");
        assert!(gate.request_line(&answer).await.contains("\"reason\":\"body_too_large\""));
        assert!(recorder.seen().iter().all(|seen| !seen.ends_with("0\r\n\r\n")));
    }
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_is_not_waited_for() {
    use crate::harness::frames::{DATA, Frames, HEADERS, RST_STREAM, frame, headers, post};
    let world = World::new();
    let recorder = Recorder::answering(b"").await;
    let upstream = format!("servers = [\"http://{}\"]", recorder.address);
    let top = "[http]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\n";
    let gate = Gate::start(&world, &world.config_with(top, &upstream, ROUTE));
    for (request, code) in [
        ("GET /stopped HTTP/1.1\r\nhost: api.", "header_timeout"),
        ("GET", "header_timeout"),
        ("POST / HTTP/1.1\r\nhost: api.test\r\ncontent-length: 10\r\n\r\n123", "body_timeout"),
        ("POST / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\n123", "body_timeout"),
    ] {
        let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    let mut frames = Frames::good(&world, &gate).await;
    frames.write(&headers(1, 0, &post("/"))).await;
    frames.write(&frame(DATA, 0, 1, b"123")).await;
    let answer = frames.wait_for(&[HEADERS, RST_STREAM]).await.unwrap();
    assert_eq!((answer.kind, answer.status().as_str()), (HEADERS, "408"));
}
