//! TLS that is broken after the handshake: records and keys. `handshake` has renegotiation.

use portcullis::reject::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::honest::Honest;
use super::{PATIENCE, gate};
use crate::harness::{Client, Gate, World};

/// A connection that has been served once, and the address that the log knows it by.
async fn served(world: &World, gate: &Gate, alpn: &str) -> (TlsStream<TcpStream>, std::net::SocketAddr) {
    let (tcp, peer) = gate.tcp().await;
    let mut stream = Client::good(world).alpn(&[alpn]).over(tcp).await.unwrap();
    if alpn == "h2" {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    } else {
        stream.write_all(b"HEAD / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    }
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    (stream, peer)
}

#[tokio::test]
async fn a_record_that_is_none_ends_the_connection_for_its_own_reason() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let honest = Honest::at(&world, gate.address).await;
    let garbage = [
        // Does not decrypt; is longer than a record may be; is of no known type; is empty.
        [&[23, 3, 3, 0, 32][..], &[7; 32]].concat(),
        [&[23, 3, 3, 0x60, 0][..], &[7; 32]].concat(),
        [&[99, 3, 3, 0, 32][..], &[7; 32]].concat(),
        vec![23, 3, 3, 0, 0],
    ];
    let mut count = 0;
    for alpn in ["http/1.1", "h2"] {
        for bytes in &garbage {
            let (mut stream, peer) = served(&world, &gate, alpn).await;
            stream.get_mut().0.write_all(bytes).await.unwrap();
            let mut rest = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end");
            assert_eq!(gate.refusal_line(peer)["reason"], "tls_invalid", "{alpn} {bytes:?}");
            count += 1;
        }
    }
    assert_eq!(gate.rejects(Reason::TlsInvalid).await, count);
    honest.were_served().await;
}

#[tokio::test]
async fn a_record_that_is_none_in_the_middle_of_a_body_ends_it_too() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let (tcp, _) = gate.tcp().await;
    let mut stream = Client::good(&world).over(tcp).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: api.test\r\ncontent-length: 1000\r\n\r\nhello").await.unwrap();
    gate.wait_for_metric("portcullis_requests_in_flight", 1.0).await;
    stream.get_mut().0.write_all(&[&[23, 3, 3, 0, 32][..], &[7; 32]].concat()).await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end");
    gate.wait_for_metric("portcullis_rejects_total{reason=\"tls_invalid\"}", 1.0).await;
    assert_eq!(gate.metric("portcullis_requests_in_flight").await, 0.0);
}

#[tokio::test]
async fn key_updates_without_end_end_the_connection() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let (mut stream, peer) = served(&world, &gate, "http/1.1").await;
    for _ in 0..200 {
        if stream.get_mut().1.refresh_traffic_keys().is_err() || stream.flush().await.is_err() {
            break;
        }
    }
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end");
    assert_eq!(gate.refusal_line(peer)["reason"], "tls_invalid");
}
