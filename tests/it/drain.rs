//! The end, in order.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::harness::{Backend, Client, Process, Session, Speak, World};

/// A backend that answers when it is told to.
struct Held {
    address: SocketAddr,
    arrived: mpsc::UnboundedReceiver<()>,
    release: watch::Sender<bool>,
}

impl Held {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrive, arrived) = mpsc::unbounded_channel();
        let (release, released) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (arrive, mut released) = (arrive.clone(), released.clone());
                tokio::spawn(async move {
                    let mut head = vec![0; 8192];
                    while let Ok(1..) = stream.read(&mut head).await {
                        let _ = arrive.send(());
                        let _ = released.wait_for(|released| *released).await;
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nheld").await;
                    }
                });
            }
        });
        Self { address, arrived, release }
    }
}

fn config(world: &World, backend: SocketAddr, drain: &str) -> std::path::PathBuf {
    world.write("gate.toml", &format!("{}[shutdown]\ndrain_timeout = \"{drain}\"\n", world.config(backend)))
}

fn draining(gate: &Process) {
    gate.signal("TERM");
    gate.line(|line| line.contains("draining; a second signal stops at once"));
}

#[tokio::test]
async fn requests_in_flight_are_finished_and_then_it_ends_well() {
    let world = World::new();
    let mut backend = Held::start().await;
    let gate = Process::run(&config(&world, backend.address, "10m"));
    let address = gate.address();
    let mut idle = Vec::new();
    for speak in Speak::BOTH {
        idle.push(Session::open(Client::good(&world), address, speak).await.unwrap());
    }
    let requests = Speak::BOTH.map(|speak| {
        let client = Client::good(&world);
        tokio::spawn(async move {
            let mut session = Session::open(client, address, speak).await.unwrap();
            let answer = session.get("/").await;
            // Nothing follows: HTTP/2 is told by GOAWAY, HTTP/1.1 by a field.
            session.closed().await;
            answer
        })
    });
    for _ in &requests {
        backend.arrived.recv().await.unwrap();
    }
    assert_eq!(gate.ask("/ready").await.status, 200);
    draining(&gate);
    for session in idle {
        session.closed().await;
    }
    while TcpStream::connect(address).is_ok() {}
    assert_eq!(gate.ask("/ready").await.status, 503);
    assert_eq!(gate.ask("/live").await.status, 200);
    assert_eq!(gate.metric("portcullis_requests_in_flight").await, 2.0);
    let begun = Instant::now();
    backend.release.send_replace(true);
    for (request, speak) in requests.into_iter().zip(Speak::BOTH) {
        let answer = request.await.unwrap().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "held"), "{speak:?}");
        let close = if speak == Speak::Http1 { "close" } else { "" };
        assert_eq!(answer.header("connection"), close, "{speak:?}");
    }
    let ended = gate.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.ends_with('}') && ended.text.contains("\"stopped\""), "{}", ended.text);
    assert!(begun.elapsed() < Duration::from_secs(30), "the drain's timeout was ten minutes");
}

#[tokio::test]
async fn a_gate_that_does_nothing_ends_at_once() {
    let world = World::new();
    for signal in ["TERM", "INT"] {
        for threads in ["threads = 1", "threads = 2", "threads = 2\nflavor = \"work-stealing\""] {
            let text = world.config("127.0.0.1:9".parse().unwrap()).replace("threads = 1", threads);
            let gate = Process::run(&world.write("gate.toml", &text));
            gate.signal(signal);
            let ended = gate.wait();
            assert_eq!(ended.code, Some(0), "{signal} {threads}: {}", ended.text);
        }
    }
}

#[tokio::test]
async fn a_request_that_outlives_the_drain_is_cut_and_the_end_is_still_good() {
    let world = World::new();
    let mut backend = Held::start().await;
    let gate = Process::run(&config(&world, backend.address, "1s"));
    let address = gate.address();
    let requests = Speak::BOTH.map(|speak| {
        let client = Client::good(&world);
        tokio::spawn(async move { Session::open(client, address, speak).await.unwrap().get("/").await })
    });
    for _ in &requests {
        backend.arrived.recv().await.unwrap();
    }
    let begun = Instant::now();
    draining(&gate);
    for request in requests {
        request.await.unwrap().expect_err("cut");
    }
    let ended = gate.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(begun.elapsed() >= Duration::from_millis(900), "not before its time");
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let world = World::new();
    for signal in ["TERM", "INT"] {
        let mut backend = Held::start().await;
        let gate = Process::run(&config(&world, backend.address, "10m"));
        let address = gate.address();
        let client = Client::good(&world);
        let request =
            tokio::spawn(async move { Session::open(client, address, Speak::Http1).await.unwrap().get("/").await });
        backend.arrived.recv().await.unwrap();
        draining(&gate);
        gate.signal(signal);
        assert_eq!(gate.wait().code, Some(130));
        request.await.unwrap().expect_err("cut");
    }
}

#[tokio::test]
async fn strangers_who_never_finish_a_handshake_do_not_hold_up_the_end_for_long() {
    let world = World::new();
    let text = world.config("127.0.0.1:9".parse().unwrap())
        + "[connection]\nhandshake_timeout = \"1s\"\n[shutdown]\ndrain_timeout = \"10m\"\n";
    let gate = Process::run(&world.write("gate.toml", &text));
    let _silent: Vec<_> = (0..8).map(|_| TcpStream::connect(gate.address()).unwrap()).collect();
    while gate.metric("portcullis_connections_open").await < 8.0 {}
    draining(&gate);
    assert_eq!(gate.wait().code, Some(0));
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_outlive_the_drain() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = Process::run(&config(&world, backend.address, "1s"));
    let mut stream = Client::good(&world).connect_to(gate.address()).await.unwrap();
    stream.write_all(b"GET /bytes/100000000 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 16]).await.unwrap();
    draining(&gate);
    assert_eq!(gate.wait().code, Some(0));
}

#[tokio::test]
async fn a_tunnel_is_cut_at_the_end_of_the_drain() {
    let world = World::new();
    let backend = Backend::echo().await;
    let text = world.config(backend.address).replace("allow = ", "upgrade = [\"websocket\"]\nallow = ")
        + "[shutdown]\ndrain_timeout = \"1s\"\n";
    let gate = Process::run(&world.write("gate.toml", &text));
    let mut stream = Client::good(&world).connect_to(gate.address()).await.unwrap();
    let upgrade = b"GET /ws HTTP/1.1\r\nhost: api.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    draining(&gate);
    assert_eq!(gate.wait().code, Some(0));
}
