//! Every deadline, to the second.

use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_silently() {
    let start = Instant::now();
    let mut client = Client::new();
    assert_eq!(client.rest().await, "");
    assert_eq!(start.elapsed().as_secs(), 60);
    assert!(matches!(client.ended().await, Ended::Closed));

    let mut client = Client::new();
    client.send(request("GET", "/slow", "")).await;
    client.until("slow").await;
    let start = Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(start.elapsed().as_secs(), 60);
    assert_eq!(client.log(), ["GET /slow"]);
}

#[tokio::test(start_paused = true)]
async fn a_head_must_be_whole_in_time_from_its_first_byte() {
    let mut client = Client::new();
    tokio::time::sleep(Duration::from_secs(50)).await;
    let start = Instant::now();
    client.send("GET /slowloris HTTP/1.1\r\n").await;
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send("X: y\r\n").await;
    }
    assert_eq!(client.rest().await, last("408 Request Timeout", "header_timeout"));
    assert!((10..=12).contains(&start.elapsed().as_secs()));
    assert_eq!(client.log(), ["refused header_timeout GET /slowloris"]);
    assert!(matches!(client.ended().await, Ended::Closed));
}

#[tokio::test(start_paused = true)]
async fn each_head_has_its_own_time() {
    let mut client = Client::new();
    for _ in 0..5 {
        client.send("GET / HTTP/1.1\r\n").await;
        tokio::time::sleep(Duration::from_secs(9)).await;
        client.send("\r\n").await;
        client.until("ok").await;
        tokio::time::sleep(Duration::from_secs(59)).await;
    }
    client.send(bye()).await;
    assert_eq!(client.rest().await, last("200 OK", "ok"));
}

#[tokio::test(start_paused = true)]
async fn a_body_must_not_be_silent_for_long() {
    let start = Instant::now();
    let mut client = Client::new();
    client.send(request("POST", "/read", "Content-Length: 10\r\n")).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(19)).await;
        client.send("x").await;
    }
    assert_eq!(client.rest().await, last("408 Request Timeout", "body_timeout"));
    assert!((115..=117).contains(&start.elapsed().as_secs()));
    assert_eq!(client.log(), ["POST /read", "failed body_timeout"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut() {
    let start = Instant::now();
    let mut client = Client::with(settings(), 1000);
    client.send(request("GET", "/big", "")).await;
    let mut some = [0; 5000];
    client.io.read_exact(&mut some).await.unwrap();
    tokio::time::sleep(Duration::from_secs(29)).await;
    client.io.read_exact(&mut some).await.unwrap();
    let Ended::Failed(reject) = (&mut client.ended).await.unwrap() else { panic!("not cut") };
    assert_eq!(reject.reason, Reason::WriteTimeout);
    assert_eq!(start.elapsed().as_secs(), 59);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_served() {
    let mut client = Client::with(settings(), 200_000);
    client.send(request("GET", "/big", "") + &bye()).await;
    let mut answer = Vec::new();
    while client.io.read_buf(&mut answer).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_secs(25)).await;
    }
    assert!(answer.ends_with(last("200 OK", "ok").as_bytes()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_handler_is_no_reason_to_close() {
    let mut short = settings();
    short.header_timeout = Duration::from_secs(1);
    short.idle_timeout = Duration::from_secs(1);
    short.write_timeout = Duration::from_secs(1);
    short.body_timeout = Duration::from_secs(1);
    let mut client = Client::with(short, 1000);
    client.send(request("GET", "/slow", "")).await;
    assert_eq!(client.until("slow").await, response("200 OK", "", "slow"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_sending_behind_its_refusal_is_closed_soon() {
    let start = Instant::now();
    let mut client = Client::new();
    client.send("GET / HTTP/1.1\n").await;
    assert_eq!(client.until("malformed").await, last("400 Bad Request", "request_malformed"));
    while client.io.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(3));
}
