//! Answers that come before the end of their request, and bytes that come without any.

use super::super::http1::Http1;
use super::super::pool::Seat;
use super::*;

#[tokio::test]
async fn an_answer_and_its_request_pass_at_the_same_time() {
    let backend = Backend::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        // What comes in chunks goes back in chunks: each is an answer to the one before it.
        let mut said = Vec::new();
        while !said.ends_with(b"0\r\n\r\n") {
            let before = said.len();
            stream.read_buf(&mut said).await.unwrap();
            stream.write_all(&said[before..]).await.unwrap();
        }
        answer_all(stream, OK).await;
    })
    .await;
    let upstream = upstream(Via::Http1, backend.port);
    let (feed, body) = fed();
    let mut body = send(&upstream, request("POST", "/", body)).await.unwrap().into_body();
    for said in ["one", "two", "three"] {
        feed.send(Ok(data(said))).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), said);
    }
    drop(feed);
    assert!(body.frame().await.is_none());
    assert_eq!(get_text(&upstream, "/").await, "ok");
    assert_eq!(backend.connections(), 1, "both have ended, so the connection is free");
}

#[tokio::test]
async fn a_server_that_refuses_a_body_without_reading_it_is_heard() {
    let refusal = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
    let backend = Backend::start(move |_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(refusal.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let upstream = upstream(Via::Http1, backend.port);
    let block = Bytes::from(vec![0; 1 << 16]);
    let frames = futures_util::stream::repeat_with(move || Ok(Frame::data(block.clone())));
    let endless = RequestBody::Stream(Box::pin(StreamBody::new(frames)));
    let response = send(&upstream, request("POST", "/", endless)).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(text(Ok(response)).await, "no");
    assert_eq!(upstream.status()[0].in_flight, 0);
}

#[tokio::test]
async fn an_error_of_the_clients_body_behind_the_head_of_the_answer_keeps_its_reason() {
    let backend = Backend::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let (feed, body) = fed();
    let response = send(&upstream(Via::Http1, backend.port), request("POST", "/", body)).await.unwrap();
    feed.send(Err(Reject::new(Reason::BodyTooLarge, "told by the body"))).unwrap();
    assert_eq!(reason(response.into_body().collect().await), Reason::BodyTooLarge);
}

#[tokio::test]
async fn what_is_said_on_a_resting_connection_never_becomes_an_answer() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstream = upstream(Via::Http1, backend.port);
    let (near, mut far) = tokio::io::duplex(1024);
    Seat::put(&upstream.servers[0], 0, Box::new(Http1::new(Box::new(near))));
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").await.unwrap();
    assert_eq!(get_text(&upstream, "/").await, "ok");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_broke_off_inside_an_answer_is_not_asked_again() {
    let backend = Backend::start(|number, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        if number == 0 {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 O").await.unwrap();
        }
    })
    .await;
    let upstream = upstream(Via::Http1, backend.port);
    get_text(&upstream, "/").await;
    assert_eq!(reason(get(&upstream, "/").await), Reason::UpstreamInvalid);
    assert_eq!(backend.connections(), 1, "a byte of an answer came: the request may have been acted upon");
}
