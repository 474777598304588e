//! What leaves the gate on HTTP/1.1, and what comes of answers that are late, broken or odd.

use super::*;

/// Hands each request head and what follows it to the test, and answers.
async fn recorder() -> (Arc<Upstream>, mpsc::UnboundedReceiver<String>) {
    let (seen, requests) = mpsc::unbounded_channel();
    let backend = Backend::start(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            let mut request = read_head(&mut stream).await;
            if request.contains("content-length: 7") {
                let mut body = [0; 7];
                stream.read_exact(&mut body).await.unwrap();
                request.push_str(std::str::from_utf8(&body).unwrap());
            } else if request.contains("chunked") {
                while !request.ends_with("0\r\n\r\n") && !request.ends_with("x-sum: 9\r\n\r\n") {
                    request.push(char::from(stream.read_u8().await.unwrap()));
                }
            }
            let _ = seen.send(request);
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    (upstream(Via::Http1, backend.port), requests)
}

#[tokio::test]
async fn a_get_leaves_in_origin_form_with_the_clients_host_and_no_length() {
    let (upstream, mut seen) = recorder().await;
    let get = Request::get("http://other.test/a/b?c=d").header("host", "other.test").body(RequestBody::Empty).unwrap();
    text(send(&upstream, get).await).await;
    assert_eq!(seen.recv().await.unwrap(), "GET /a/b?c=d HTTP/1.1\r\nhost: app.test\r\n\r\n");
}

#[tokio::test]
async fn no_request_leaves_with_two_lengths_or_a_wrong_one() {
    let (upstream, mut seen) = recorder().await;
    let with_both = |method: &str, body| {
        let builder = Request::builder().method(method).uri("/").header("transfer-encoding", "chunked");
        builder.header("content-length", "3").header("content-length", "50").body(body).unwrap()
    };
    text(send(&upstream, with_both("POST", sized("payload"))).await).await;
    let head = seen.recv().await.unwrap();
    assert!(head.contains("content-length: 7\r\n") && head.ends_with("\r\n\r\npayload"), "{head}");
    assert!(!head.contains("transfer-encoding") && head.matches("content-length").count() == 1, "{head}");

    for method in ["POST", "GET"] {
        let (feed, body) = fed();
        feed.send(Ok(data("payload"))).unwrap();
        drop(feed);
        text(send(&upstream, with_both(method, body)).await).await;
        let head = seen.recv().await.unwrap();
        assert!(head.ends_with("\r\n\r\n7\r\npayload\r\n0\r\n\r\n"), "{head}");
        assert!(!head.contains("content-length") && head.matches("transfer-encoding").count() == 1, "{head}");
    }

    text(send(&upstream, with_both("POST", RequestBody::Empty)).await).await;
    let head = seen.recv().await.unwrap();
    assert!(head.contains("content-length: 0\r\n") && !head.contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn announced_trailers_go_both_ways() {
    let backend = Backend::start(|_, mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("trailer: x-sum\r\n"), "{head}");
        let mut body = String::new();
        while !body.ends_with("x-sum: 9\r\n\r\n") {
            body.push(char::from(stream.read_u8().await.unwrap()));
        }
        let answer =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-back\r\n\r\n2\r\nok\r\n0\r\nx-back: 1\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let (feed, body) = fed();
    feed.send(Ok(data("payload"))).unwrap();
    feed.send(Ok(Frame::trailers([("x-sum".parse().unwrap(), "9".parse().unwrap())].into_iter().collect()))).unwrap();
    drop(feed);
    let request = Request::post("/").header("trailer", "x-sum").body(body).unwrap();
    let body = send(&upstream(Via::Http1, backend.port), request).await.unwrap().into_body();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();
    assert_eq!(trailers["x-back"], "1");
}

#[tokio::test]
async fn what_is_no_http_is_an_invalid_answer() {
    let answers = [
        "",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: y\r\n", // cut off
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    ];
    for answer in answers {
        let backend = Backend::start(move |_, mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await;
        let outcome = get(&upstream(Via::Http1, backend.port), "/").await;
        assert_eq!(reason(outcome), Reason::UpstreamInvalid, "{answer:?}");
    }
}

#[tokio::test]
async fn a_response_head_without_end_is_cut_off() {
    let backend = Backend::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        let line = format!("x: {}\r\n", "y".repeat(1 << 20));
        while stream.write_all(line.as_bytes()).await.is_ok() {}
    })
    .await;
    assert_eq!(reason(get(&upstream(Via::Http1, backend.port), "/").await), Reason::UpstreamInvalid);
}

#[tokio::test]
async fn informational_responses_reach_the_callback_and_the_final_one_the_caller() {
    let answer = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let backend = Backend::start(move |_, stream| answer_all(stream, answer)).await;
    let upstream = upstream(Via::Http1, backend.port);
    let (seen, mut hints) = mpsc::unbounded_channel();
    let early = move |status, headers: http::HeaderMap| seen.send((status, headers["link"].clone())).unwrap();
    let hinted = request("GET", "/", RequestBody::Empty);
    assert_eq!(text(upstream.send(&permit(), 0, ("app.test", &()), hinted, &early).await).await, "ok");
    let (status, link) = hints.recv().await.unwrap();
    assert_eq!((status.as_u16(), link.to_str().unwrap()), (103, "</a.css>"));
}

#[tokio::test]
async fn connect_is_not_sent() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstream = upstream(Via::Http1, backend.port);
    assert_eq!(
        reason(send(&upstream, request("CONNECT", "x.test:1", RequestBody::Empty)).await),
        Reason::ConnectRefused
    );
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_late() {
    for via in [Via::Http1, Via::Http2] {
        let backend = Backend::start(|_, mut stream| async move {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let mut spec = spec(via, backend.port);
        spec.timeouts.response = SHORT;
        let upstream = build(spec, &Clock::system());
        assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamTimeout);
        assert_eq!(upstream.status()[0].in_flight, 0);
        assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamTimeout);
        assert_eq!(backend.connections(), 2, "{via:?}: what was silent is not used again");
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_or_http2_in_time_is_late_too() {
    let backend = Backend::start(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut spec = spec(Via::Http2, backend.port);
    spec.timeouts.response = SHORT;
    let upstream = build(spec, &Clock::system());
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamTimeout);
}

#[tokio::test]
async fn an_upload_that_goes_on_is_not_late_and_one_that_ended_is() {
    let backend = Backend::start(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    for via in [Via::Http1, Via::Http2] {
        let mut spec = spec(via, backend.port);
        spec.timeouts.response = SHORT;
        let upstream = build(spec, &Clock::system());
        let (feed, body) = fed();
        let start = tokio::time::Instant::now();
        let client = async {
            for _ in 0..6 {
                feed.send(Ok(data("slow but sure"))).unwrap();
                tokio::time::sleep(SHORT * 2 / 3).await;
            }
            // Slower than the response timeout: it is the client that is waited for, not the server.
            tokio::time::sleep(SHORT * 3).await;
            drop(feed);
            start.elapsed()
        };
        let (outcome, uploaded) = tokio::join!(send(&upstream, request("POST", "/", body)), client);
        assert_eq!(reason(outcome), Reason::UpstreamTimeout);
        assert!(start.elapsed() >= uploaded + SHORT / 2, "{via:?}");
    }
}

#[tokio::test]
async fn an_upload_that_the_server_does_not_read_is_late() {
    let backend = Backend::start(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut spec = spec(Via::Http1, backend.port);
    spec.timeouts.response = SHORT;
    let upstream = build(spec, &Clock::system());
    let block = Bytes::from(vec![0; 1 << 20]);
    let frames = futures_util::stream::repeat_with(move || Ok(Frame::data(block.clone())));
    let endless = RequestBody::Stream(Box::pin(StreamBody::new(frames)));
    let sent = tokio::time::timeout(LONG, send(&upstream, request("POST", "/", endless))).await;
    assert_eq!(reason(sent.unwrap()), Reason::UpstreamTimeout);
}

#[tokio::test]
async fn the_state_of_an_exchange_stays_small_and_may_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let upstream = upstream(Via::Http1, 1);
    let permit = permit();
    let sending = upstream.send(&permit, 0, ("app.test", &()), request("GET", "/", RequestBody::Empty), &|_, _| {});
    is_send(&sending);
    let size = size_of_val(&sending);
    // What an idle connection costs if its owner embeds it.
    assert!(size <= 3 * 1024, "{size} bytes");
}
