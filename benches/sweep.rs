//! What honest requests notice while every open connection is judged again and half of them are cut.
//!
//! `cargo bench --bench sweep -- [connections] [sweeps]`. The gate is a process of its own, of one
//! thread, pinned to CPU 0; connections and honest clients are in this process, pinned to CPU 1, so
//! that each has descriptors for all of them. Losers are not read until it is over: what their
//! client does with a closed connection must not be measured with the gate.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::pedantic,
    reason = "a measuring program: it prints, and it may stop when something is not as it should be"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use portcullis::tools::pki::{Authority, Issued, KeyKind, LeafSpec, Name, Validity};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Honest clients, each with a connection of its own and a request every [`PACE`].
const HONEST: usize = 8;
const PACE: Duration = Duration::from_millis(10);
/// How long is measured before the change, and after it: a second is promised.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(1);

type Connection = TlsStream<TcpStream>;

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse().ok());
    let (connections, sweeps) = (numbers.next().unwrap_or(10_000), numbers.next().unwrap_or(3));
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let pinned = Command::new("taskset").args(["-cp", "1"]).arg(std::process::id().to_string()).output();
    pinned.expect("taskset (util-linux)");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..sweeps {
        runtime.block_on(sweep(connections));
    }
}

async fn sweep(connections: usize) {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let gate = Gate::start(dir.path(), backend().await);
    let losers = crowd(&pki.lost, gate.address, connections / 2).await;
    let mut survivors = crowd(&pki.good, gate.address, connections - connections / 2).await;

    let started = Instant::now();
    let honest = (0..HONEST).map(|_| tokio::spawn(honest(pki.good.clone(), gate.address, started)));
    let honest: Vec<_> = honest.collect();
    tokio::time::sleep(BEFORE).await;
    let changed = started.elapsed();
    assert!(gate.ask("POST /deny", DENY).await.starts_with("HTTP/1.1 201"));
    let answered = started.elapsed();
    let mut requests = Vec::new();
    for task in honest {
        requests.extend(task.await.unwrap());
    }
    let of = |from: Duration, to: Duration| {
        let mut took: Vec<_> =
            requests.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, took)| *took).collect();
        took.sort();
        took
    };
    println!("{connections} connections, half of them cut; POST /deny answered in {:?}", answered - changed);
    print("before", &of(Duration::from_millis(500), changed));
    print("in the second after", &of(changed, changed + AFTER));
    for mut loser in losers {
        let mut rest = Vec::new();
        let gone = tokio::time::timeout(Duration::from_secs(5), loser.read_to_end(&mut rest)).await;
        assert!(gone.is_ok(), "a loser lives on");
    }
    for survivor in &mut survivors {
        ask(survivor).await;
    }
    let metrics = gate.ask("GET /metrics", "").await;
    let enforced = metrics.lines().filter(|line| line.starts_with("portcullis_revocation_enforced_seconds"));
    enforced.for_each(|line| println!("  {line}"));
}

fn print(what: &str, took: &[Duration]) {
    let at = |part: usize| took[(took.len() * part / 1000).min(took.len() - 1)];
    println!("  {what}: {} requests, p50 {:?}, p99 {:?}, longest {:?}", took.len(), at(500), at(990), at(1000));
}

/// Requests until the measurement is over: when each began, and how long it took.
async fn honest(client: TlsConnector, gate: SocketAddr, started: Instant) -> Vec<(Duration, Duration)> {
    let mut connection = connect(&client, gate).await;
    let mut requests = Vec::new();
    let mut pace = tokio::time::interval(PACE);
    while started.elapsed() < BEFORE + AFTER + PACE {
        // When it was due, not when it could be sent: a pause counts for every request that it delays.
        let due = pace.tick().await.into_std();
        ask(&mut connection).await;
        requests.push((due.saturating_duration_since(started), due.elapsed()));
    }
    requests
}

async fn crowd(client: &TlsConnector, gate: SocketAddr, size: usize) -> Vec<Connection> {
    let connect = |_| async {
        let mut stream = connect(client, gate).await;
        ask(&mut stream).await;
        stream
    };
    stream::iter(0..size).map(connect).buffer_unordered(32).collect().await
}

async fn connect(client: &TlsConnector, gate: SocketAddr) -> Connection {
    let tcp = TcpStream::connect(gate).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    client.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

async fn ask(stream: &mut Connection) {
    stream.write_all(b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "closed");
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

const DENY: &str = r#"{"trust":"bench","match":{"subject_cn":"lost"},"reason":"stolen","author":"bench"}"#;

struct Pki {
    good: TlsConnector,
    lost: TlsConnector,
}

impl Pki {
    /// Writes the gate's files.
    fn new(dir: &Path) -> Self {
        let ca = Authority::new("Bench CA", KeyKind::EcdsaP256).unwrap();
        let names = vec![Name::Dns("localhost".to_owned())];
        let server = ca.issue(&LeafSpec::server("localhost", names, Validity::LONG)).unwrap();
        fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
        fs::write(dir.join("server.pem"), server.pem()).unwrap();
        fs::write(dir.join("server.key"), &*server.key_pem()).unwrap();
        let client = |cn| connector(&ca, &ca.issue(&LeafSpec::client(cn, Validity::LONG)).unwrap());
        Self { good: client("good"), lost: client("lost") }
    }
}

fn connector(ca: &Authority, issued: &Issued) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(ca.cert_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = builder.with_client_auth_cert(issued.chain_der(), issued.key_der()).unwrap();
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

struct Gate {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Gate {
    fn start(dir: &Path, backend: SocketAddr) -> Self {
        let file = dir.join("gate.toml");
        let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            r#"
[[listener]]
address = "127.0.0.1:0"
[[host]]
names = ["localhost"]
certificate = {{ chain = "server.pem", key = "server.key" }}
trust = "bench"
[[host.route]]
path = "/"
allow = "any-verified"
upstream = "backend"
[trust.bench]
anchors = ["ca.pem"]
deny_state = "denied.toml"
[upstream.backend]
servers = ["http://{backend}"]
[connection]
max = 40000
per_address = 40000
handshakes_per_address = "100000/s"
[admin]
address = "{admin}"
[log]
format = "json"
access = false
[reload]
interval = "0s"
[runtime]
threads = 1
"#
        );
        fs::write(&file, config).unwrap();
        let mut child = Command::new("taskset")
            .args(["-c", "0", env!("CARGO_BIN_EXE_portcullis"), "run", "--config"])
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("taskset (util-linux) and the gate");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.find_map(|line| line.ok().filter(|line| line.contains("\"listening\""))).unwrap();
        let line: serde_json::Value = serde_json::from_str(&listening).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, admin }
    }

    /// The whole answer of the admin listener.
    async fn ask(&self, line: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let head = "host: localhost\r\nconnection: close\r\ncontent-type: application/json";
        let text = format!("{line} HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
