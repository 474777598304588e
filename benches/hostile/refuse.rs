//! What it costs the gate to turn somebody away before the handshake, beside what a handshake costs: CPU time, which
//! says the same on a loaded machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::gate::{Client, Gate, Outcome, backend, certificates};

const BANNED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// Whoever breaks the protocol once is dropped from then on.
const TOP: &str = "[connection]\nhandshakes_per_address = \"1000000/s\"\n\
    [[reputation.ladder]]\nscore = 1\naction = \"drop\"\nfor = \"1d\"\nby = [\"address\", \"fingerprint\"]\n";

pub(crate) async fn run() {
    let backend = backend();
    let dir = tempfile::tempdir().unwrap();
    let client = certificates(dir.path(), "P-256");
    let gate = Gate::start(dir.path(), backend, TOP);
    // No ClientHello at all, three times: an abuse that its address answers for.
    for _ in 0..3 {
        let mut stream = from(BANNED, gate.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    println!("\n| What comes | CPU of the gate, us each | A second and core |");
    println!("| --- | ---: | ---: |");
    for round in 0..2 {
        let full = cost(&gate, 2_000, || handshake(&client, gate.address)).await;
        let dropped = cost(&gate, 20_000, || turned_away(gate.address)).await;
        if round == 1 {
            row("handshake, verified, one request", full);
            row("banned address", dropped);
        }
    }
}

fn row(what: &str, each: Duration) {
    println!("| {what} | {:.1} | {:.0} |", each.as_secs_f64() * 1e6, 1.0 / each.as_secs_f64());
}

/// The gate's CPU time for each of `count`, sixteen at a time.
async fn cost<F: Future<Output = ()>>(gate: &Gate, count: u32, once: impl Fn() -> F) -> Duration {
    let before = gate.cpu();
    for _ in 0..count / 16 {
        futures_util::future::join_all((0..16).map(|_| once())).await;
    }
    (gate.cpu() - before) / (count / 16 * 16)
}

async fn handshake(client: &Client, gate: SocketAddr) {
    assert!(matches!(client.once(gate).await, Outcome::Done(_)), "an honest client was not served");
}

/// Connects, and is closed.
async fn turned_away(gate: SocketAddr) {
    let mut stream = from(BANNED, gate).await.unwrap();
    let read = stream.read(&mut [0; 16]).await;
    assert!(!matches!(read, Ok(1..)), "a banned address was spoken to");
}

async fn from(address: Ipv4Addr, gate: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((address, 0)))?;
    socket.connect(gate).await
}
