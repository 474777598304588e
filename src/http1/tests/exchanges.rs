//! Requests and responses in good order.

use super::*;

#[tokio::test(start_paused = true)]
async fn requests_are_answered_one_after_the_other() {
    let mut client = Client::new();
    for _ in 0..3 {
        client.send(request("GET", "/x", "")).await;
        assert_eq!(client.until("ok").await, response("200 OK", "", "ok"));
    }
    client.send(bye()).await;
    assert_eq!(client.rest().await, last("200 OK", "ok"));
    assert_eq!(client.log(), ["GET /x", "GET /x", "GET /x", "GET /bye"]);
    assert!(matches!(client.ended().await, Ended::Closed));
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    let pipelined = [
        request("GET", "/slow", ""),
        request("POST", "/read", "Content-Length: 2\r\n"),
        "hi".into(),
        request("GET", "/frames", ""),
        bye(),
    ]
    .concat();
    let (answer, _) = Client::talk(pipelined).await;
    let chunked = "HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\ndigest: x\r\n\r\n";
    assert_eq!(
        answer,
        [response("200 OK", "", "slow"), response("200 OK", "", "read hi"), chunked.into(), last("200 OK", "ok")]
            .concat()
    );
}

#[tokio::test(start_paused = true)]
async fn responses_without_a_body_have_none() {
    let (answer, _) = Client::talk(
        [
            request("GET", "/none", ""),
            request("GET", "/not-modified", ""),
            request("HEAD", "/x", ""),
            request("HEAD", "/frames", ""),
            bye(),
        ]
        .concat(),
    )
    .await;
    let expected = [
        "HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n".to_owned(),
        "HTTP/1.1 304 Not Modified\r\ndate: now\r\ncontent-length: 4\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ndate: now\r\n\r\n".to_owned(),
        last("200 OK", "ok"),
    ];
    assert_eq!(answer, expected.concat());
}

#[tokio::test(start_paused = true)]
async fn an_http_1_0_client_gets_no_chunks_and_persists_only_if_it_asks() {
    let (answer, _) = Client::talk("GET /frames HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\ndate: now\r\nconnection: close\r\n\r\nabcde");
    let (answer, _) = Client::talk(
        "GET /early HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\nGET /never HTTP/1.0\r\n\r\n",
    )
    .await;
    assert_eq!(answer, response("200 OK", "connection: keep-alive\r\n", "late") + &last("200 OK", "ok"));
}

#[tokio::test(start_paused = true)]
async fn early_responses_come_before_the_final_one_and_never_after() {
    let mut client = Client::new();
    client.send(request("GET", "/early", "")).await;
    assert_eq!(
        client.until("late").await,
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_owned() + &response("200 OK", "", "late")
    );
    let early = client.script.early.lock().take().unwrap();
    early.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
    client.send(request("GET", "/hang", "")).await;
    tokio::task::yield_now().await;
    early.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let fresh = client.script.early.lock().take().unwrap();
    fresh.send(StatusCode::PROCESSING, &HeaderMap::new());
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 102 Processing\r\n\r\n");
    for _ in 0..100_000 {
        fresh.send(StatusCode::PROCESSING, &HeaderMap::new());
    }
    drop(client.io);
    assert!(matches!(client.ended.await.unwrap(), Ended::ClientGone));
}

#[tokio::test(start_paused = true)]
async fn a_large_response_arrives_whole_through_a_small_pipe() {
    let mut client = Client::with(settings(), 1000);
    client.send(request("GET", "/big", "") + &bye()).await;
    let answer = client.rest().await;
    assert_eq!(answer, response("200 OK", "", &"x".repeat(1 << 20)) + &last("200 OK", "ok"));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_is_sent_when_the_body_is_wanted_and_not_before() {
    let expecting = |path| request("POST", path, "Content-Length: 5\r\nExpect: 100-continue\r\n");
    let mut client = Client::new();
    client.send(expecting("/read")).await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").await;
    assert_eq!(client.until("hello").await, response("200 OK", "", "read hello"));
    client.send(expecting("/ignore")).await;
    assert_eq!(client.rest().await, last("200 OK", "ok"));
    assert!(matches!(client.ended().await, Ended::Closed));
    // A client that does not wait needs no telling.
    let (answer, _) = Client::talk(expecting("/read") + "hello" + &bye()).await;
    assert_eq!(answer, response("200 OK", "", "read hello") + &last("200 OK", "ok"));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_is_not_sent_behind_the_final_response() {
    let expecting = |path| request("POST", path, "Content-Length: 5\r\nExpect: 100-continue\r\n");
    let mut client = Client::new();
    let start = tokio::time::Instant::now();
    client.send(expecting("/hold")).await;
    assert_eq!(client.rest().await, last("200 OK", "held"));
    assert!(start.elapsed() < Duration::from_secs(3), "waited for a body that was not asked for");
    let body = client.script.held.lock().pop().unwrap();
    assert_eq!(body.collect().await.unwrap_err().reason, Reason::ClientGone);
    // Somebody begins to read while the response is under way.
    let mut client = Client::new();
    client.send(expecting("/hold-and-stream")).await;
    assert!(client.until("tick\r\n").await.contains("connection: close"));
    let body = client.script.held.lock().pop().unwrap();
    tokio::spawn(body.collect());
    assert!(tokio::time::timeout(Duration::from_secs(5), client.io.read_u8()).await.is_err(), "a 100 inside a body");
}

#[tokio::test(start_paused = true)]
async fn a_response_is_complete_when_its_length_is_reached() {
    let (answer, _) = Client::talk(request("GET", "/undecided", "") + &bye()).await;
    assert_eq!(answer, response("200 OK", "", "abcd") + &last("200 OK", "ok"));
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_hands_over_the_stream_and_what_came_early() {
    let mut client = Client::new();
    client.send(request("GET", "/upgrade", "Connection: upgrade\r\nUpgrade: websocket\r\n") + "frame").await;
    assert_eq!(
        client.until("\r\n\r\n").await,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\ndate: now\r\nconnection: upgrade\r\n\r\n"
    );
    let Ended::Upgraded { mut io, tunnel } = (&mut client.ended).await.unwrap() else { panic!("no upgrade") };
    assert_eq!(*tunnel, "tunnel");
    client.send("more").await;
    let mut read = [0; 9];
    io.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"framemore");
    io.write_all(b"back").await.unwrap();
    assert_eq!(client.until("back").await, "back");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_http_forbids_becomes_a_502() {
    let upgrading = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    for (path, fields, body) in [
        ("/upgrade", "", ""),
        ("/bad-101", upgrading, ""),
        ("/bad-103", "", ""),
        ("/upgrade", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", "hel"),
    ] {
        let (answer, log) = Client::talk(request("GET", path, fields) + body).await;
        assert_eq!(answer, last("502 Bad Gateway", "upstream_invalid"), "{path}");
        assert_eq!(log[1..], ["refused upstream_invalid - -"]);
    }
    let (answer, _) = Client::talk("CONNECT h:443 HTTP/1.1\r\n\r\n").await;
    assert_eq!(answer, last("502 Bad Gateway", "upstream_invalid"));
}

#[tokio::test(start_paused = true)]
async fn the_future_may_move_between_threads() {
    fn movable<T: Send>(value: T) -> T {
        value
    }
    let (io, server) = duplex(64);
    drop(io);
    let (_stop, stopped) = watch::channel(false);
    let script = Script::default();
    assert!(matches!(movable(serve(server, settings(), stopped, &script)).await, Ended::Closed));
}
