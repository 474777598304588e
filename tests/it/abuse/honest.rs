//! Honest clients, while somebody attacks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::harness::{Client, Session, Speak, World};

/// Two that keep their connection, one for each protocol, and one that comes anew for every request.
pub(super) struct Honest {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Honest {
    pub(super) async fn at(world: &World, address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for speak in Speak::BOTH {
            let session = Session::open(Client::good(world), address, speak).await.unwrap();
            clients.push(tokio::spawn(stay(session, Arc::clone(&stop))));
        }
        clients.push(tokio::spawn(come_and_go(Client::good(world), address, Arc::clone(&stop))));
        Self { stop, clients }
    }

    /// Every request has been served; each client has made some after the attack had begun.
    pub(super) async fn were_served(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert!(client.await.expect("an honest client was refused") > 0);
        }
    }
}

async fn stay(mut session: Session, stop: Arc<AtomicBool>) -> usize {
    let mut served = 0;
    while !stop.load(Ordering::Relaxed) || served == 0 {
        // In no hurry: a connection ends with its ten-thousandth request, and attacks take their time.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(session.get("/").await.expect("an answer").status, 200);
        served += 1;
    }
    served
}

async fn come_and_go(client: Client, address: SocketAddr, stop: Arc<AtomicBool>) -> usize {
    let mut served = 0;
    while !stop.load(Ordering::Relaxed) || served == 0 {
        let mut stream = client.connect_to(address).await.expect("a handshake");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n").await.expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        served += 1;
    }
    served
}
