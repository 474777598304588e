//! Bodies byte by byte, and responses that are read so.

use std::time::{Duration, Instant};

use http::Request;
use portcullis::reject::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use super::honest::Honest;
use super::{PATIENCE, gate};
use crate::harness::{Client, Gate, PROTOCOLS, ROUTE, Server, Talk, World, data, fed};

/// A thousand bytes a second up, 64 KiB down, and two seconds of patience.
const TOP: &str = "[http]\nmin_body_rate = 1000\nmin_response_rate = \"64KiB\"\nrate_grace = \"2s\"\n";

/// Sends `piece` every 20 ms, for as long as somebody listens and at most `most` times.
async fn upload(world: &World, gate: &Gate, protocol: &str, piece: &'static [u8], most: usize) -> (u16, String) {
    let mut talk = Talk::good(world, gate, protocol).await;
    let (feed, body) = fed();
    let feeding = tokio::spawn(async move {
        for _ in 0..most {
            if feed.send(data(piece)).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let answer = timeout(PATIENCE, talk.ask(Request::post("/").body(body).unwrap())).await.expect("an answer");
    feeding.abort();
    (answer.status, answer.text())
}

#[tokio::test]
async fn a_body_byte_by_byte_is_cut_for_being_slow() {
    let world = World::new();
    let (gate, _backend) = gate(&world, TOP).await;
    let honest = Honest::at(&world, gate.address).await;
    for protocol in PROTOCOLS {
        let started = Instant::now();
        // Never silent for long, and an hour long.
        let (status, text) = upload(&world, &gate, protocol, b"x", 180_000).await;
        assert_eq!(status, 408, "{protocol}: {text}");
        assert!(text.contains("body_too_slow"), "{protocol}: {text}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
    assert_eq!(gate.rejects(Reason::BodyTooSlow).await, 2);
    honest.were_served().await;
}

#[tokio::test]
async fn a_body_that_comes_at_the_rate_takes_as_long_as_it_likes() {
    let world = World::new();
    let (gate, _backend) = gate(&world, TOP).await;
    for protocol in PROTOCOLS {
        // Twice the grace and more, in pieces of which each earns more than it costs.
        let (status, text) = upload(&world, &gate, protocol, &[b'x'; 1000], 250).await;
        assert_eq!(status, 200, "{protocol}: {text}");
    }
}

/// Answers with as many bytes as anybody will take.
async fn endless() -> Server {
    Server::tcp(|_, mut stream| async move {
        let mut head = [0; 4096];
        if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
            while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
        }
    })
    .await
}

#[tokio::test]
async fn a_response_that_is_read_byte_by_byte_is_cut_for_being_slow() {
    let world = World::new();
    let backend = endless().await;
    let config = world.config_with(TOP, &format!("servers = [\"http://{}\"]", backend.address), ROUTE);
    let gate = Gate::start(&world, &config);
    let socket = TcpSocket::new_v4().unwrap();
    // What the system takes on the client's behalf is not read.
    socket.set_recv_buffer_size(4096).unwrap();
    let tcp = socket.connect(gate.address).await.unwrap();
    let peer = tcp.local_addr().unwrap();
    let mut stream = Client::good(&world).over(tcp).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    // A hundred bytes at a time, for as long as it takes.
    let reading = tokio::spawn(async move {
        while stream.read(&mut [0; 100]).await.is_ok_and(|read| read > 0) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    gate.wait_for_metric("portcullis_rejects_total{reason=\"response_too_slow\"}", 1.0).await;
    reading.abort();
    assert_eq!(gate.refusal_line(peer)["reason"], "response_too_slow");
    // Whoever reads as fast as the network does is not asked for more.
    let mut stream = Client::good(&world).connect(&gate).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    let (mut buffer, mut read, started) = (vec![0; 65_536], 0, Instant::now());
    // The backend has a gigabyte, which a fast machine reads in less.
    while read < 1_000_000 || (read < 500_000_000 && started.elapsed() < Duration::from_secs(4)) {
        let more = stream.read(&mut buffer).await.unwrap();
        assert!(more > 0, "after {read}");
        read += more;
    }
}
