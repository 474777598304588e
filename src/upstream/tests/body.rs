//! Bodies that break, on either side.

use super::*;

async fn body_outcome(
    via: Via,
    serve: impl Fn(usize, TcpStream) -> tokio::task::JoinHandle<()> + Send + 'static,
) -> Reason {
    let backend = Backend::start(move |number, stream| {
        let served = serve(number, stream);
        async move { drop(served.await) }
    })
    .await;
    let mut spec = spec(via, backend.port);
    spec.timeouts.idle = SHORT;
    let upstream = build(spec, &Clock::system());
    let response = get(&upstream, "/").await.unwrap();
    let reason = reason(response.into_body().collect().await);
    assert_eq!(upstream.status()[0].in_flight, 0);
    reason
}

#[tokio::test]
async fn a_response_that_is_cut_short_is_broken() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ] {
        let outcome = body_outcome(Via::Http1, move |_, mut stream| {
            tokio::spawn(async move {
                read_head(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            })
        });
        assert_eq!(outcome.await, Reason::UpstreamBodyBroken, "{answer}");
    }
}

#[tokio::test]
async fn a_response_that_stops_is_timed_out() {
    let outcome = body_outcome(Via::Http1, |_, mut stream| {
        tokio::spawn(async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
    });
    assert_eq!(outcome.await, Reason::UpstreamBodyTimeout);
}

#[tokio::test]
async fn a_response_that_drips_is_not_timed_out() {
    let backend = Backend::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n").await.unwrap();
        for _ in 0..8 {
            tokio::time::sleep(SHORT / 3).await;
            stream.write_all(b"x").await.unwrap();
        }
    })
    .await;
    let mut spec = spec(Via::Http1, backend.port);
    spec.timeouts.idle = SHORT;
    assert_eq!(get_text(&build(spec, &Clock::system()), "/").await, "xxxxxxxx");
}

#[tokio::test]
async fn an_error_of_the_clients_body_keeps_its_reason() {
    for via in [Via::Http1, Via::Http2] {
        for reject in [Reason::BodyTooLarge, Reason::BodyTimeout, Reason::ClientGone, Reason::BodyMalformed] {
            let backend = Backend::start(move |_, stream| async move {
                if via == Via::Http2 {
                    let service = |request: Request<Incoming>| async move {
                        let _ = request.into_body().collect().await;
                        std::future::pending::<Response<Full<Bytes>>>().await
                    };
                    return serve_http2(stream, service, 100).await;
                }
                let mut stream = stream;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            })
            .await;
            let upstream = build(UpstreamSpec { eject_after: 1, ..spec(via, backend.port) }, &Clock::system());
            let (feed, body) = fed();
            feed.send(Ok(data("begun"))).unwrap();
            feed.send(Err(Reject::new(reject, "told by the body"))).unwrap();
            let refusal = send(&upstream, request("POST", "/", body)).await.err().unwrap();
            assert_eq!((refusal.reason, &*refusal.detail), (reject, "told by the body"), "{via:?}");
            assert!(!upstream.status()[0].ejected, "a client's fault is no failure of the server");
        }
    }
}

#[tokio::test]
async fn sizes_pass_through_and_shrink_as_the_body_is_read() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstream = upstream(Via::Http1, backend.port);
    let mut body = get(&upstream, "/").await.unwrap().into_body();
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(2));
    assert!(!http_body::Body::is_end_stream(&body));
    assert_eq!(upstream.status()[0].in_flight, 1);
    body.frame().await.unwrap().unwrap();
    assert!(http_body::Body::is_end_stream(&body));
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(0));
    assert_eq!(upstream.status()[0].in_flight, 0);
    assert!(body.frame().await.is_none());
}
