//! Connections are kept, used again, and never used when something may still be on them.

use super::super::http1::Http1;
use super::super::pool::Seat;
use super::*;

#[tokio::test]
async fn sequential_requests_use_one_connection_whatever_ends_the_response() {
    let answers = [
        OK,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
    ];
    for answer in answers {
        let backend = Backend::start(move |_, stream| answer_all(stream, answer)).await;
        let upstream = upstream(Via::Http1, backend.port);
        for _ in 0..20 {
            get_text(&upstream, "/").await;
        }
        assert_eq!(backend.connections(), 1, "{answer}");
        assert_eq!(upstream.status()[0].in_flight, 0);
    }
}

#[tokio::test]
async fn a_response_to_head_gives_its_connection_back_at_once() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    let backend = Backend::start(move |_, stream| answer_all(stream, head)).await;
    let upstream = upstream(Via::Http1, backend.port);
    for _ in 0..5 {
        let response = send(&upstream, request("HEAD", "/", RequestBody::Empty)).await.unwrap();
        assert_eq!(upstream.status()[0].in_flight, 0);
        assert_eq!(response.headers()["content-length"], "1000");
        assert!(http_body::Body::is_end_stream(response.body()));
        // The body is still there: the connection is not.
        assert_eq!(text(send(&upstream, request("HEAD", "/", RequestBody::Empty)).await).await, "");
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_when_tasks_move_between_threads_too() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstream = upstream(Via::Http1, backend.port);
    for _ in 0..300 {
        get_text(&upstream, "/").await;
    }
    // The end of a response may be read before the connection says that it is ready.
    assert!(backend.connections() <= 30, "{} connections", backend.connections());
}

#[tokio::test]
async fn no_more_connections_are_kept_than_the_operator_wants() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstream = build(UpstreamSpec { max_idle: 2, ..spec(Via::Http1, backend.port) }, &Clock::system());
    for expected in [5, 8] {
        let responses: Vec<_> = futures_util::future::join_all((0..5).map(|_| get(&upstream, "/"))).await;
        for response in responses {
            text(response).await;
        }
        assert_eq!(backend.connections(), expected);
    }
}

#[tokio::test]
async fn a_connection_that_rested_too_long_is_not_used() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let clock = Clock::adjustable();
    let upstream = build(spec(Via::Http1, backend.port), &clock);
    get_text(&upstream, "/").await;
    clock.advance(LONG / 2);
    get_text(&upstream, "/").await;
    assert_eq!(backend.connections(), 1);
    clock.advance(LONG + Duration::from_secs(5));
    get_text(&upstream, "/").await;
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_the_server_will_close_is_not_used() {
    let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let until_closed = "HTTP/1.0 200 OK\r\n\r\nok";
    for answer in [closing, until_closed] {
        let backend = Backend::start(move |_, mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let upstream = upstream(Via::Http1, backend.port);
        for expected in 1..5 {
            let posted = send(&upstream, request("POST", "/", RequestBody::Empty)).await;
            assert_eq!((text(posted).await.as_str(), backend.connections()), ("ok", expected), "{answer}");
        }
    }
}

#[tokio::test]
async fn resting_connections_are_closed_although_no_request_comes() {
    for via in [Via::Http1, Via::Http2] {
        let (closed, mut was_closed) = mpsc::unbounded_channel();
        let backend = Backend::start(move |_, stream| {
            let closed = closed.clone();
            async move {
                match via {
                    Via::Http2 => serve_http2(stream, |_| async { Response::new(Full::from("ok")) }, 100).await,
                    Via::Http1 | Via::Tls => answer_all(stream, OK).await,
                }
                let _ = closed.send(());
            }
        })
        .await;
        let mut spec = spec(via, backend.port);
        spec.timeouts.keep_alive = SHORT;
        let upstream = build(spec, &Clock::system());
        // Not even read: an abandoned response leaves nothing behind that lives for ever.
        drop(get(&upstream, "/").await.unwrap());
        get_text(&upstream, "/").await;
        tokio::time::timeout(LONG, was_closed.recv()).await.expect("the connection was closed");
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_early_closes_its_connection() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    let backend = Backend::start(move |number, stream| answer_all(stream, if number == 0 { half } else { OK })).await;
    let upstream = upstream(Via::Http1, backend.port);
    drop(get(&upstream, "/").await.unwrap());
    assert_eq!(upstream.status()[0].in_flight, 0);
    assert_eq!(get_text(&upstream, "/").await, "ok");
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn bytes_after_a_response_never_become_the_answer_to_the_next_request() {
    let poisoned = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let backend =
        Backend::start(move |number, stream| answer_all(stream, if number == 0 { poisoned } else { OK })).await;
    let upstream = upstream(Via::Http1, backend.port);
    assert_eq!(get_text(&upstream, "/").await, "ok");
    assert_eq!(get_text(&upstream, "/").await, "ok");
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_leaves_no_connection_behind() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstream = upstream(Via::Http1, backend.port);
    let (feed, body) = fed();
    feed.send(Ok(data("first"))).unwrap();
    assert_eq!(text(send(&upstream, request("POST", "/", body)).await).await, "ok");
    assert_eq!(get_text(&upstream, "/").await, "ok");
    assert_eq!(backend.connections(), 2);
}

/// Answers the first request of the first connection; closes it at the second.
async fn goes_stale(seen: mpsc::UnboundedSender<String>, number: usize, mut stream: TcpStream) {
    loop {
        let head = read_head(&mut stream).await;
        if head.is_empty() {
            return;
        }
        let first_of_its_connection = seen.send(head).is_ok() && number > 0;
        if !first_of_its_connection && seen.is_closed() {
            return;
        }
        stream.write_all(OK.as_bytes()).await.unwrap();
        if number == 0 {
            let _ = seen.send(read_head(&mut stream).await);
            return;
        }
    }
}

async fn stale() -> (Backend, Arc<Upstream>, mpsc::UnboundedReceiver<String>) {
    let (seen, heads) = mpsc::unbounded_channel();
    let backend = Backend::start(move |number, stream| goes_stale(seen.clone(), number, stream)).await;
    let upstream = build(UpstreamSpec { eject_after: 1, ..spec(Via::Http1, backend.port) }, &Clock::system());
    get_text(&upstream, "/first").await;
    (backend, upstream, heads)
}

#[tokio::test]
async fn a_get_that_met_a_closing_connection_is_sent_once_more() {
    let (backend, upstream, mut heads) = stale().await;
    let get = Request::get("/again?x=1").header("x-kept", "yes").body(RequestBody::Empty).unwrap();
    assert_eq!(text(send(&upstream, get).await).await, "ok");
    assert_eq!(backend.connections(), 2);
    heads.recv().await.unwrap();
    let (one, two) = (heads.recv().await.unwrap(), heads.recv().await.unwrap());
    assert_eq!(one, two);
    assert!(one.starts_with("GET /again?x=1 HTTP/1.1\r\n") && one.contains("x-kept: yes\r\n"), "{one}");
}

#[tokio::test]
async fn a_post_that_met_a_closing_connection_is_never_sent_twice() {
    for body in [RequestBody::Empty, sized("payload")] {
        let (backend, upstream, _heads) = stale().await;
        assert_eq!(reason(send(&upstream, request("POST", "/", body)).await), Reason::UpstreamInvalid);
        assert_eq!(backend.connections(), 1);
        assert!(!upstream.status()[0].ejected, "the end of one connection is not the end of a server");
    }
}

#[tokio::test]
async fn a_put_whose_body_was_begun_is_never_sent_twice() {
    let (backend, upstream, _heads) = stale().await;
    assert_eq!(reason(send(&upstream, request("PUT", "/", sized("payload"))).await), Reason::UpstreamInvalid);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_get_on_a_new_connection_is_not_sent_twice() {
    let backend = Backend::start(|_, mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let upstream = upstream(Via::Http1, backend.port);
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamInvalid);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn one_retry_is_all_although_the_new_connection_breaks_too() {
    let backend = Backend::start(|number, mut stream| async move {
        read_head(&mut stream).await;
        if number == 0 {
            stream.write_all(OK.as_bytes()).await.unwrap();
            read_head(&mut stream).await;
        }
    })
    .await;
    let upstream = upstream(Via::Http1, backend.port);
    get_text(&upstream, "/").await;
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamInvalid);
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_post_that_was_never_begun_on_a_closed_connection_is_sent_on_a_new_one() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstream = upstream(Via::Http1, backend.port);
    // A pipe in place of a connection, because its end is known at once.
    let (near, far) = tokio::io::duplex(1024);
    Seat::put(&upstream.servers[0], 0, Box::new(Http1::new(Box::new(near))));
    drop(far);
    let (feed, body) = fed();
    feed.send(Ok(data("payload"))).unwrap();
    drop(feed);
    assert_eq!(text(send(&upstream, request("POST", "/", body)).await).await, "ok");
    assert_eq!(backend.connections(), 1);
}
