//! HTTP/2 with servers.

use tokio::sync::Notify;

use super::*;

async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let said = format!("{} {:?} {:?}", request.uri(), request.headers().get("host"), request.headers().get("te"));
    Response::new(Full::from(said))
}

#[tokio::test]
async fn many_requests_at_once_share_one_connection() {
    let backend = Backend::start(|_, stream| serve_http2(stream, echo, 200)).await;
    let upstream = upstream(Via::Http2, backend.port);
    for _ in 0..3 {
        let all = futures_util::future::join_all((0..50).map(|_| get_text(&upstream, "/a?b"))).await;
        assert!(all.iter().all(|text| text == "http://app.test/a?b None None"), "{}", all[0]);
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn more_requests_than_the_server_permits_at_once_are_all_answered() {
    let slow = |_| async {
        tokio::time::sleep(SHORT / 10).await;
        Response::new(Full::from("ok"))
    };
    let backend = Backend::start(move |_, stream| serve_http2(stream, slow, 2)).await;
    let upstream = upstream(Via::Http2, backend.port);
    for _ in 0..2 {
        get_text(&upstream, "/").await; // what the server permits is known from the second request on
    }
    let all = futures_util::future::join_all((0..60).map(|_| get_text(&upstream, "/"))).await;
    assert!(all.iter().all(|text| text == "ok"));
    assert!((2..=8).contains(&backend.connections()), "{}", backend.connections());
}

#[tokio::test]
async fn trailers_go_both_ways_and_te_is_kept() {
    let service = |request: Request<Incoming>| async move {
        let te = request.headers()["te"].clone();
        let sent = request.into_body().collect().await.unwrap();
        let sum = sent.trailers().unwrap()["x-sum"].clone();
        let trailers = [("grpc-status".parse().unwrap(), sum), ("te".parse().unwrap(), te)].into_iter().collect();
        let frames = [Ok::<_, Infallible>(data("ok")), Ok(Frame::trailers(trailers))];
        Response::new(StreamBody::new(futures_util::stream::iter(frames)))
    };
    let backend = Backend::start(move |_, stream| serve_http2(stream, service, 100)).await;
    let (feed, body) = fed();
    feed.send(Ok(data("payload"))).unwrap();
    feed.send(Ok(Frame::trailers([("x-sum".parse().unwrap(), "9".parse().unwrap())].into_iter().collect()))).unwrap();
    let request = Request::post("/svc/Method").header("te", "trailers").body(body).unwrap();
    let body = send(&upstream(Via::Http2, backend.port), request).await.unwrap().into_body();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();
    assert_eq!((trailers["grpc-status"].as_bytes(), trailers["te"].as_bytes()), (&b"9"[..], &b"trailers"[..]));
}

#[tokio::test]
async fn clients_that_do_not_read_do_not_stop_the_others() {
    let service = |request: Request<Incoming>| async move {
        let bytes = if request.uri().path() == "/large" { 4 << 20 } else { 2 };
        Response::new(Full::from(vec![b'x'; bytes]))
    };
    let backend = Backend::start(move |_, stream| serve_http2(stream, service, 200)).await;
    let upstream = upstream(Via::Http2, backend.port);
    let unread = futures_util::future::join_all((0..50).map(|_| get(&upstream, "/large"))).await;
    for _ in 0..5 {
        let small = tokio::time::timeout(LONG / 2, get_text(&upstream, "/")).await;
        assert_eq!(small.expect("not stopped"), "xx");
    }
    assert_eq!(backend.connections(), 1);
    let one: usize = text(unread.into_iter().next().unwrap()).await.len();
    assert_eq!(one, 4 << 20);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let (go_away, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (Arc::clone(&go_away), Arc::clone(&gone));
    let backend = Backend::start(move |number, stream| {
        let (go_away, gone) = signals.clone();
        async move {
            if number > 0 {
                return serve_http2(stream, echo, 100).await;
            }
            let service = service_fn(|request| async move { Ok::<_, Infallible>(echo(request).await) });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                _ = connection.as_mut() => panic!("closed too early"),
                () = go_away.notified() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
            gone.notify_one();
        }
    })
    .await;
    let upstream = upstream(Via::Http2, backend.port);
    get_text(&upstream, "/").await;
    go_away.notify_one();
    gone.notified().await;
    for response in futures_util::future::join_all((0..20).map(|_| get(&upstream, "/"))).await {
        text(response).await;
    }
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_post_that_the_server_refused_unseen_is_sent_on_a_new_connection() {
    let backend = Backend::start(|number, stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut answered = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            if number == 0 && answered == 1 {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                continue;
            }
            answered += 1;
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"ok"), true).unwrap();
        }
    })
    .await;
    let upstream = upstream(Via::Http2, backend.port);
    get_text(&upstream, "/").await;
    assert_eq!(text(send(&upstream, request("POST", "/", RequestBody::Empty)).await).await, "ok");
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_stream_that_is_reset_without_an_error_is_still_too_short() {
    let backend = Backend::start(|_, stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = Response::builder().header("content-length", "10").body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(b"half"), false).unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(SHORT / 3).await;
                body.send_reset(h2::Reason::NO_ERROR);
            });
        }
    })
    .await;
    let response = get(&upstream(Via::Http2, backend.port), "/").await.unwrap();
    assert_eq!(reason(response.into_body().collect().await), Reason::UpstreamBodyBroken);
}

#[tokio::test]
async fn a_response_to_head_is_over_at_once_although_it_states_a_length() {
    let service = |_| async {
        let response: Response<Full<Bytes>> = Response::default();
        let (mut head, body) = response.into_parts();
        head.headers.insert("content-length", 1000.into());
        Response::from_parts(head, body)
    };
    let backend = Backend::start(move |_, stream| serve_http2(stream, service, 100)).await;
    let upstream = upstream(Via::Http2, backend.port);
    let response = send(&upstream, request("HEAD", "/", RequestBody::Empty)).await.unwrap();
    assert_eq!(upstream.status()[0].in_flight, 0);
    assert_eq!(text(Ok(response)).await, "");
}

#[tokio::test]
async fn dropping_a_body_cancels_its_stream_and_leaves_the_connection() {
    let service = |_| async { Response::new(Full::from(vec![b'x'; 4 << 20])) };
    let backend = Backend::start(move |_, stream| serve_http2(stream, service, 2)).await;
    let upstream = upstream(Via::Http2, backend.port);
    for _ in 0..20 {
        drop(get(&upstream, "/").await.unwrap());
    }
    assert_eq!(upstream.status()[0].in_flight, 0);
    assert_eq!(get_text(&upstream, "/").await.len(), 4 << 20);
    assert_eq!(backend.connections(), 1);
}
