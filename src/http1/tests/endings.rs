//! How connections end: by the client, by the gate, by a bound, in the middle of something.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_cancels_its_request() {
    let mut client = Client::new();
    client.send(request("GET", "/hang", "")).await;
    while client.log().is_empty() {
        tokio::task::yield_now().await;
    }
    let script = client.script.clone();
    assert!(matches!(client.ended().await, Ended::ClientGone));
    assert_eq!(*script.log.lock(), ["GET /hang", "cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_behind_its_body_cancels_its_request() {
    let mut client = Client::new();
    client.send(request("POST", "/hold", "Content-Length: 3\r\n")).await;
    client.until("held").await;
    let body = client.script.held.lock().pop().unwrap();
    client.send("abc".to_owned() + &request("GET", "/hang", "")).await;
    body.collect().await.unwrap();
    while client.log().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(client.ended().await, Ended::ClientGone));
}

#[tokio::test(start_paused = true)]
async fn a_client_is_watched_from_the_end_of_its_body_on() {
    let mut client = Client::new();
    client.send(request("POST", "/hold-and-hang", "Content-Length: 3\r\n")).await;
    while client.log().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut body = client.script.held.lock().pop().unwrap();
    let reader = tokio::spawn(async move { (body.frame().await.unwrap().unwrap().into_data().unwrap(), body) });
    tokio::task::yield_now().await;
    client.send("abc").await;
    // Still held, though nothing more will come of it.
    let (data, _body) = reader.await.unwrap();
    assert_eq!(data, "abc");
    drop(client.io);
    let ended = tokio::time::timeout(Duration::from_secs(1), client.ended).await.expect("watched").unwrap();
    assert!(matches!(ended, Ended::ClientGone));
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_given_time_to_read_why() {
    let mut client = Client::new();
    let start = tokio::time::Instant::now();
    client.send("GET / HTTP/1.1\r\nX : y\r\n\r\n").await;
    assert_eq!(client.rest().await, last("400 Bad Request", "request_malformed"));
    assert!(matches!((&mut client.ended).await.unwrap(), Ended::Closed));
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_an_endless_response() {
    let mut client = Client::new();
    client.send(request("GET", "/endless", "")).await;
    assert!(client.until("4\r\ntick\r\n").await.contains("chunked"));
    assert!(matches!(client.ended().await, Ended::ClientGone));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_in_its_head_is_gone() {
    let mut client = Client::new();
    client.send("GET / HT").await;
    assert!(matches!(client.ended().await, Ended::ClientGone));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_breaks_off_has_no_clean_end() {
    for (path, answer) in [
        ("/broken", "HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n"),
        ("/short", "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 4\r\n\r\nab"),
        ("/long", "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 4\r\n\r\n"),
    ] {
        let mut client = Client::new();
        client.send(request("GET", path, "") + &bye()).await;
        assert_eq!(client.rest().await, answer);
        assert_eq!(client.log().len(), 1);
        let Ended::Failed(reject) = client.ended().await else { panic!("not cut") };
        assert_eq!(reject.reason, Reason::UpstreamBodyBroken);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_permitted_request_says_so() {
    let mut few = settings();
    few.max_requests = 2;
    let mut client = Client::with(few, 10_000);
    client.send([request("GET", "/", ""), request("GET", "/", ""), request("GET", "/never", "")].concat()).await;
    assert_eq!(client.rest().await, response("200 OK", "", "ok") + &last("200 OK", "ok"));
    assert_eq!(client.log(), ["GET /", "GET /"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_close_the_connection() {
    let (answer, log) = Client::talk(request("GET", "/close", "") + &request("GET", "/never", "")).await;
    assert_eq!(answer, last("200 OK", "bye"));
    assert_eq!(log, ["GET /close"]);
}

#[tokio::test(start_paused = true)]
async fn stopping_closes_an_idle_connection_at_once() {
    for used in [false, true] {
        let mut client = Client::new();
        if used {
            client.send(request("GET", "/", "")).await;
            client.until("ok").await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = tokio::time::Instant::now();
        client.stop.send_replace(true);
        assert_eq!(client.rest().await, "");
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(matches!(client.ended().await, Ended::Closed));
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_a_busy_connection_finish() {
    let mut client = Client::new();
    client.send(request("GET", "/slow", "")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.stop.send_replace(true);
    assert_eq!(client.rest().await, last("200 OK", "slow"));
    // One that was begun before is a request still.
    let mut client = Client::new();
    client.send("GET / HTTP/1.1\r\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.stop.send_replace(true);
    client.send("\r\n").await;
    assert_eq!(client.rest().await, last("200 OK", "ok"));
}

#[tokio::test(start_paused = true)]
async fn pipelining_is_no_way_to_fill_the_memory() {
    let mut client = Client::with(settings(), 1000);
    client.send(request("GET", "/hang", "")).await;
    let flood = request("GET", "/x", "").repeat(100_000);
    let sent = tokio::time::timeout(Duration::from_secs(5), client.io.write_all(flood.as_bytes())).await;
    assert!(sent.is_err(), "all was read though nothing is answered");
    assert_eq!(client.log(), ["GET /hang"]);
}
