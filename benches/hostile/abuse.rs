//! What honest clients notice while somebody attacks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep};

use crate::gate::{Client, Gate, Outcome, ask, backend, certificates};
use crate::overload::Tally;

/// How long each attack lasts.
const LONG: Duration = Duration::from_secs(6);
/// Honest requests, and honest new connections, a second.
const RATE: u32 = 100;
const TOP: &str =
    "[connection]\nper_address = 20000\nhandshakes_per_address = \"1000000/s\"\nhandshake_timeout = \"60s\"\n";

pub(crate) async fn run() {
    let backend = backend();
    println!(
        "\n| Attack | Requests p50 / p99 ms | New connections p50 / p99 ms | Failed | CPU of the gate | RSS MiB | Refusals by reason |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | --- |");
    for attack in [
        Attack::None,
        Attack::Silent,
        Attack::HalfHello,
        Attack::HelloOnly,
        Attack::HugeHello,
        Attack::Garbage,
        Attack::Reset,
        Attack::Settings,
        Attack::Ping,
        Attack::SlowHead,
        Attack::SlowBody,
        Attack::HeadBomb,
        Attack::None,
    ] {
        row(attack, backend).await;
    }
}

async fn row(attack: Attack, backend: SocketAddr) {
    let dir = tempfile::tempdir().unwrap();
    let client = Arc::new(certificates(dir.path(), "P-256"));
    let gate = Gate::start(dir.path(), backend, TOP);
    // Once around, so that nothing is measured that happens only once.
    honest(&client, gate.address, Duration::from_millis(500)).await;
    let before = gate.rejects().await;
    let attackers = attack.begin(&client, gate.address).await;
    let (cpu, started) = (gate.cpu(), Instant::now());
    let (mut kept, mut new, failed) = honest(&client, gate.address, LONG).await;
    let share = (gate.cpu() - cpu).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0;
    let resident = gate.resident_mib();
    let rejects = gate.rejects().await.into_iter().filter_map(|(reason, count)| {
        let more = count - before.get(&reason).copied().unwrap_or(0.0);
        (more > 0.0).then(|| format!("`{reason}` {more}"))
    });
    println!(
        "| {attack:?} | {:.2} / {:.2} | {:.2} / {:.2} | {failed} | {share:.0} % | {resident:.0} | {} |",
        kept.quantile(0.5),
        kept.quantile(0.99),
        new.quantile(0.5),
        new.quantile(0.99),
        rejects.collect::<Vec<_>>().join(", "),
    );
    attackers.iter().for_each(JoinHandle::abort);
}

/// Requests on a connection that is there, and requests on new ones.
async fn honest(client: &Arc<Client>, gate: SocketAddr, long: Duration) -> (Tally, Tally, u64) {
    let (mut kept, mut new) = (Tally::default(), Tally::default());
    let mut stream = client.connect(gate).await.unwrap();
    let staying = async {
        let (mut due, started) = (interval(Duration::from_secs(1) / RATE), Instant::now());
        while started.elapsed() < long {
            due.tick().await;
            kept.count(&ask(&mut stream, "/").await);
        }
    };
    let coming = async {
        let (mut due, started, mut tasks) = (interval(Duration::from_secs(1) / RATE), Instant::now(), Vec::new());
        while started.elapsed() < long {
            due.tick().await;
            let client = Arc::clone(client);
            tasks.push(tokio::spawn(async move { client.once(gate).await }));
        }
        for outcome in join_all(tasks).await {
            new.count(&outcome.unwrap_or(Outcome::Late));
        }
    };
    tokio::join!(staying, coming);
    let failed = kept.failed() + new.failed();
    (kept, new, failed)
}

#[derive(Clone, Copy, Debug)]
enum Attack {
    None,
    /// 10,000 connections that say nothing.
    Silent,
    /// 10,000 that send half a ClientHello.
    HalfHello,
    /// 300 ClientHellos a second, and nothing behind them.
    HelloOnly,
    /// 500 ClientHellos a second that are too large.
    HugeHello,
    /// 1,000 connections a second that speak no TLS.
    Garbage,
    /// HTTP/2 floods, each on 20 connections a second.
    Reset,
    Settings,
    Ping,
    /// 1,000 admitted connections, each with a head byte by byte.
    SlowHead,
    /// 1,000 admitted connections, each with a body byte by byte.
    SlowBody,
    /// 50 heads of 64 KiB a second.
    HeadBomb,
}

impl Attack {
    async fn begin(self, client: &Arc<Client>, gate: SocketAddr) -> Vec<JoinHandle<()>> {
        let hello = client.hello();
        let huge = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 20_000]].concat();
        match self {
            Self::None => Vec::new(),
            Self::Silent => crowd(10_000, gate, Vec::new()).await,
            Self::HalfHello => crowd(10_000, gate, hello[..hello.len() / 2].to_vec()).await,
            Self::HelloOnly => vec![stream_of(300, gate, hello, Duration::from_secs(5))],
            Self::HugeHello => vec![stream_of(500, gate, huge, Duration::ZERO)],
            Self::Garbage => vec![stream_of(1_000, gate, b"GET / HTTP/1.1\r\n\r\n".to_vec(), Duration::ZERO)],
            Self::Reset => vec![flood(client, gate, b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08")],
            Self::Settings => vec![flood(client, gate, b"\0\0\0\x04\0\0\0\0\0")],
            Self::Ping => vec![flood(client, gate, b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0")],
            Self::SlowHead => drip(client, gate, b"GET / HTTP/1.1\r\nx: ").await,
            Self::SlowBody => {
                drip(client, gate, b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n").await
            }
            Self::HeadBomb => vec![bombs(client, gate)],
        }
    }
}

/// A connection from an address of its own: the 500 of one are as many as a crowd behind a carrier's.
async fn from(n: usize, gate: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let part = u8::try_from(n / 500 % 250).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 80, 1, part + 1), 0)))?;
    socket.connect(gate).await
}

/// So many connections that send this and stay.
async fn crowd(count: usize, gate: SocketAddr, bytes: Vec<u8>) -> Vec<JoinHandle<()>> {
    let mut held = Vec::with_capacity(count);
    for n in 0..count {
        let mut tcp = from(n, gate).await.unwrap();
        let _ = tcp.write_all(&bytes).await;
        held.push(tcp);
        if n % 100 == 99 {
            sleep(Duration::from_millis(5)).await;
        }
    }
    sleep(Duration::from_secs(1)).await;
    vec![tokio::spawn(async move {
        let _held = held;
        std::future::pending::<()>().await;
    })]
}

/// So many connections a second that send this, wait for an answer or so long, and go.
fn stream_of(rate: u32, gate: SocketAddr, bytes: Vec<u8>, stay: Duration) -> JoinHandle<()> {
    let bytes: Arc<[u8]> = bytes.into();
    tokio::spawn(async move {
        let mut due = interval(Duration::from_secs(1) / rate);
        for n in 0.. {
            due.tick().await;
            let bytes = Arc::clone(&bytes);
            tokio::spawn(async move {
                let Ok(mut tcp) = from(n, gate).await else { return };
                let _ = tcp.write_all(&bytes).await;
                let _ = tcp.read(&mut [0; 4096]).await;
                sleep(stay).await;
            });
        }
    })
}

fn flood(client: &Arc<Client>, gate: SocketAddr, frame: &'static [u8]) -> JoinHandle<()> {
    let client = Arc::clone(client);
    tokio::spawn(async move {
        let mut due = interval(Duration::from_millis(50));
        loop {
            due.tick().await;
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let Ok(mut stream) = client.speak(gate, b"h2").await else { return };
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
                while stream.write_all(&frame.repeat(100)).await.is_ok() {}
            });
        }
    })
}

async fn drip(client: &Arc<Client>, gate: SocketAddr, start: &'static [u8]) -> Vec<JoinHandle<()>> {
    let mut drips = Vec::new();
    for _ in 0..1_000 {
        let mut stream = client.connect(gate).await.unwrap();
        drips.push(tokio::spawn(async move {
            let _ = stream.write_all(start).await;
            while stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        }));
    }
    drips
}

fn bombs(client: &Arc<Client>, gate: SocketAddr) -> JoinHandle<()> {
    let client = Arc::clone(client);
    tokio::spawn(async move {
        let mut due = interval(Duration::from_millis(20));
        loop {
            due.tick().await;
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let Ok(mut stream) = client.connect(gate).await else { return };
                let _ = stream.write_all(&[&b"GET / HTTP/1.1\r\nx: "[..], &[b'y'; 65_536]].concat()).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    })
}
