//! Connections that never get to HTTP: silent, slow, or by the thousand.

use std::net::{Ipv4Addr, SocketAddr};

use portcullis::reject::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::honest::Honest;
use super::{PATIENCE, gate};
use crate::harness::{Client, Gate, World};

/// A connection from an address of its own.
pub(super) async fn from(n: u16, gate: &Gate) -> TcpStream {
    let [high, low] = n.to_be_bytes();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 70, high, low), 0))).unwrap();
    socket.connect(gate.address).await.unwrap()
}

#[tokio::test]
async fn half_open_handshakes_take_nobodys_place() {
    rlimit::increase_nofile_limit(20_000).unwrap();
    let world = World::new();
    // Hardly more handshakes at once than there are honest clients that begin one.
    let (gate, _backend) = gate(&world, "[connection]\nhandshakes = 10\nhandshake_timeout = \"60s\"\n").await;
    let mut silent = Vec::new();
    for n in 0..1_000 {
        let mut tcp = from(n, &gate).await;
        // Some say nothing at all, some half of what they should.
        if n % 2 == 0 {
            tcp.write_all(&Client::good(&world).hello()[..100]).await.unwrap();
        }
        silent.push(tcp);
        if n % 100 == 99 {
            // No more at once than the system lets wait.
            gate.wait_for_metric("portcullis_connections_open", f64::from(n + 1)).await;
        }
    }
    let honest = Honest::at(&world, gate.address).await;
    for _ in 0..20 {
        assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    }
    honest.were_served().await;
    assert_eq!(gate.rejects(Reason::HandshakesInFlight).await, 0);
    drop(silent);
}

#[tokio::test]
async fn of_too_many_silent_connections_the_one_that_is_silent_longest_makes_room() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "[connection]\nsilent = 20\nhandshake_timeout = \"60s\"\n").await;
    let mut silent = Vec::new();
    for n in 0..20 {
        silent.push(from(n, &gate).await);
    }
    gate.wait_for_metric("portcullis_connections_open", 20.0).await;
    let oldest = silent[0].local_addr().unwrap();
    let honest = Honest::at(&world, gate.address).await;
    assert_eq!(timeout(PATIENCE, silent[0].read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    assert_eq!(gate.refusal_line(oldest)["reason"], "connections_silent");
    honest.were_served().await;
}

#[tokio::test]
async fn an_address_that_sends_garbage_is_held_to_its_rate_of_handshakes() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "[connection]\nhandshakes_per_address = \"10/h\"\n").await;
    for _ in 0..60 {
        let mut tcp = from(1, &gate).await;
        tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let _ = tcp.read(&mut [0; 64]).await;
    }
    let (garbage, refused) =
        (gate.rejects(Reason::ClientHelloInvalid).await, gate.rejects(Reason::HandshakesPerAddress).await);
    assert_eq!(garbage + refused, 60);
    // Ten may come at once, whatever the rate.
    assert!(refused >= 45, "{garbage} {refused}");
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
}

#[tokio::test]
async fn handshakes_that_stop_in_the_middle_end_in_time_and_disturb_nobody() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "[connection]\nhandshake_timeout = \"3s\"\n").await;
    let honest = Honest::at(&world, gate.address).await;
    let mut hanging = Vec::new();
    for n in 0..100 {
        let mut tcp = from(n, &gate).await;
        tcp.write_all(&Client::good(&world).hello()).await.unwrap();
        hanging.push(tcp);
    }
    for mut tcp in hanging {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, tcp.read_to_end(&mut rest)).await.expect("an end");
    }
    assert_eq!(gate.rejects(Reason::HandshakeTimeout).await, 100);
    honest.were_served().await;
}
