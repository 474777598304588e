//! Request bodies, read by whoever and whenever.

use super::*;

#[tokio::test(start_paused = true)]
async fn bodies_of_every_framing_are_read() {
    let table = [
        ("Content-Length: 0\r\n", "", ""),
        ("Content-Length: 5\r\n", "hello", "hello"),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\nDigest: d\r\nHost: evil\r\n\r\n", "x {\"digest\": \"d\"}"),
    ];
    for (fields, wire, body) in table {
        let (answer, _) = Client::talk(request("POST", "/read", fields) + wire + &bye()).await;
        assert_eq!(answer, response("200 OK", "", &format!("read {body}")) + &last("200 OK", "ok"), "{wire:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_can_be_its_own_response() {
    let mut client = Client::with(settings(), 500);
    client.send(request("POST", "/echo", "Transfer-Encoding: chunked\r\n")).await;
    assert!(client.until("\r\n\r\n").await.contains("transfer-encoding: chunked"));
    for _ in 0..3 {
        client.send("4\r\nping\r\n").await;
        assert_eq!(client.until("ping\r\n").await, "4\r\nping\r\n");
    }
    client.send("0\r\n\r\n".to_owned() + &bye()).await;
    assert_eq!(client.rest().await, "0\r\n\r\n".to_owned() + &last("200 OK", "ok"));
}

#[tokio::test(start_paused = true)]
async fn a_megabyte_passes_both_ways_at_once() {
    let mut client = Client::with(settings(), 3000);
    let body = "0123456789abcdef".repeat(1 << 16);
    let (mut reading, mut writing) = tokio::io::split(client.io);
    let sent = request("POST", "/echo", &format!("Content-Length: {}\r\n", body.len())) + &body + &bye();
    let sender = tokio::spawn(async move { writing.write_all(sent.as_bytes()).await.map(|()| writing) });
    let mut answer = String::new();
    reading.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(&(body + &last("200 OK", "ok"))));
    client.io = reading.unsplit(sender.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_little_unwanted_rest_is_read_and_the_connection_stays() {
    let mut client = Client::new();
    client.send(request("POST", "/ignore", "Content-Length: 10\r\n") + "hello").await;
    assert_eq!(client.until("ok").await, response("200 OK", "", "ok"));
    client
        .send(
            "world".to_owned()
                + &request("POST", "/ignore", "Transfer-Encoding: chunked\r\n")
                + "5\r\nhello\r\n0\r\n\r\n"
                + &bye(),
        )
        .await;
    assert_eq!(client.rest().await, response("200 OK", "", "ok") + &last("200 OK", "ok"));
    assert_eq!(client.log(), ["POST /ignore", "POST /ignore", "GET /bye"]);
}

#[tokio::test(start_paused = true)]
async fn an_unwanted_rest_that_does_not_come_closes_the_connection() {
    let mut client = Client::new();
    let start = tokio::time::Instant::now();
    client.send(request("POST", "/ignore", "Content-Length: 10\r\n") + "hello").await;
    assert_eq!(client.rest().await, response("200 OK", "", "ok"));
    assert!(start.elapsed() <= Duration::from_secs(5));
    assert!(matches!(client.ended().await, Ended::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_large_unwanted_body_lets_the_client_read_its_response() {
    for fields in ["Content-Length: 100000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = Client::with(settings(), 1000);
        client.send(request("POST", "/ignore", fields)).await;
        let (mut reading, mut writing) = tokio::io::split(client.io);
        let flood = tokio::spawn(async move {
            let mut sent = 0;
            while writing.write_all(b"5\r\nhello\r\n").await.is_ok() {
                sent += 10;
            }
            sent
        });
        let mut answer = String::new();
        reading.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, last("200 OK", "ok"));
        assert!(matches!(client.ended.await.unwrap(), Ended::Closed));
        let sent: usize = flood.await.unwrap();
        assert!((100_000..300_000).contains(&sent), "{sent} bytes were read");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_still_held_may_be_read_behind_the_response() {
    let mut client = Client::new();
    client.send(request("POST", "/hold", "Content-Length: 10\r\n") + "hello").await;
    assert_eq!(client.until("held").await, response("200 OK", "", "held"));
    let body = client.script.held.lock().pop().unwrap();
    let reader = tokio::spawn(async move { body.collect().await.map(http_body_util::Collected::to_bytes) });
    client.send("world".to_owned() + &bye()).await;
    assert_eq!(client.rest().await, last("200 OK", "ok"));
    assert_eq!(reader.await.unwrap().unwrap(), "helloworld");
}

#[tokio::test(start_paused = true)]
async fn a_held_body_may_come_slowly_behind_the_response() {
    let mut client = Client::new();
    client.send(request("POST", "/hold", "Content-Length: 5\r\n")).await;
    client.until("held").await;
    let body = client.script.held.lock().pop().unwrap();
    let reader = tokio::spawn(body.collect());
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(15)).await;
        client.send("x").await;
    }
    assert_eq!(reader.await.unwrap().unwrap().to_bytes(), "xxxxx");
    client.send(bye()).await;
    assert_eq!(client.rest().await, last("200 OK", "ok"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_outlives_its_exchange_never_reads_the_next_request() {
    let mut client = Client::new();
    client.send(request("POST", "/hold", "Content-Length: 10\r\n") + "hello").await;
    client.until("held").await;
    // Nobody reads it for longer than a body may be silent: it is cut off, and what was announced never came.
    assert_eq!(client.rest().await, "");
    let body = client.script.held.lock().pop().unwrap();
    client.send("world".to_owned() + &request("GET", "/next", "")).await;
    assert_eq!(body.collect().await.unwrap_err().reason, Reason::ClientGone);
    assert_eq!(client.log(), ["POST /hold"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_cut_short_is_malformed() {
    for (fields, part) in [
        ("Content-Length: 10\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
    ] {
        let mut client = Client::new();
        client.send(request("POST", "/read", fields) + part).await;
        client.io.shutdown().await.unwrap();
        assert_eq!(client.rest().await, last("400 Bad Request", "body_malformed"));
        assert_eq!(client.log(), ["POST /read", "failed body_malformed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_body_fails_when_its_connection_is_dropped() {
    let mut client = Client::new();
    client.send(request("POST", "/hold", "Content-Length: 10\r\n")).await;
    client.until("held").await;
    let body = client.script.held.lock().pop().unwrap();
    let reader = tokio::spawn(body.collect());
    tokio::task::yield_now().await;
    client.ended.abort();
    assert_eq!(reader.await.unwrap().unwrap_err().reason, Reason::ClientGone);
}
