//! What a request and a handshake cost the gate, by thread model: whole processes, real sockets,
//! CPU time as the kernel accounts it.
//!
//! `cargo bench --bench flavors -- [rounds]`. With `PORTCULLIS_BEFORE=path` in the environment, a gate of that binary
//! takes part, to compare a change with what was before it. Gates of each kind run at the same time and are
//! driven in turn, round by round, so that a noisy machine is noisy to all of them. The figure is
//! CPU-microseconds (user and system) of the gate per unit of work; only ratios within one run
//! mean anything.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::pedantic,
    reason = "a measuring program: it prints, and it may stop when something is not as it should be"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::tools::pki::{Authority, Issued, KeyKind, LeafSpec, Name, Validity};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// Connections that send requests at once, requests of each, and streams of an HTTP/2 connection.
const CONNECTIONS: usize = 16;
const REQUESTS: usize = 500;
const STREAMS: usize = 16;
/// Bulk bodies of one round, and the bytes of each.
const BULKS: usize = 160;
const BULK: usize = 1 << 20;
/// Handshakes of one round.
const HANDSHAKES: usize = 500;
/// The body of every response.
const BODY: usize = 1024;

fn main() {
    let rounds = std::env::args().filter_map(|arg| arg.parse().ok()).next_back().unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(rounds));
}

async fn measure(rounds: usize) {
    let backend = backend().await;
    let dir = tempfile::tempdir().unwrap();
    let client = certificates(dir.path());
    let own = env!("CARGO_BIN_EXE_portcullis");
    let mut gates: Vec<_> =
        ["thread-per-core", "work-stealing"].map(|flavor| Gate::start(dir.path(), own, flavor, flavor, backend)).into();
    if let Ok(before) = std::env::var("PORTCULLIS_BEFORE") {
        gates.insert(0, Gate::start(dir.path(), &before, "before", "thread-per-core", backend));
    }
    println!("CPU-µs of the gate per unit: median (min-max) of {rounds} rounds; ratio to {}", gates[0].name);
    for work in [Work::Http1, Work::Http2, Work::Handshake, Work::Download, Work::Upload] {
        let mut figures = vec![Vec::new(); gates.len()];
        for round in 0..=rounds {
            for (gate, figures) in gates.iter().zip(&mut figures) {
                let before = gate.cpu_micros();
                let units = work.run(gate.address, &client).await;
                let cost = (gate.cpu_micros() - before) / units as f64;
                // The first round warms up.
                if round > 0 {
                    figures.push(cost);
                }
            }
        }
        let first = median(&mut figures[0].clone());
        for (gate, figures) in gates.iter().zip(&mut figures) {
            let middle = median(figures);
            let (least, most) = (figures[0], figures[figures.len() - 1]);
            println!("{work:?}\t{}\t{middle:.1} ({least:.1}-{most:.1})\t{:.2}", gate.name, middle / first);
        }
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[derive(Clone, Copy, Debug)]
enum Work {
    /// Requests over HTTP/1.1, one at a time on each connection.
    Http1,
    /// Requests over HTTP/2, many at a time on each connection.
    Http2,
    /// A full mTLS handshake and one request, on a new connection each.
    Handshake,
    /// 1 MiB to the client, over HTTP/1.1.
    Download,
    /// 1 MiB from the client, over HTTP/1.1.
    Upload,
}

impl Work {
    /// Does it and says how many units it was.
    async fn run(self, gate: SocketAddr, client: &Arc<Client>) -> usize {
        let tasks = (0..CONNECTIONS).map(|_| {
            let client = Arc::clone(client);
            tokio::spawn(async move {
                match self {
                    Self::Http1 => http1(&client, gate, REQUESTS, "/bench", 0, BODY).await,
                    Self::Http2 => http2(&client, gate).await,
                    Self::Handshake => {
                        for _ in 0..HANDSHAKES / CONNECTIONS {
                            http1(&client, gate, 1, "/bench", 0, BODY).await;
                        }
                    }
                    Self::Download => http1(&client, gate, BULKS / CONNECTIONS, "/bulk", 0, BULK).await,
                    Self::Upload => http1(&client, gate, BULKS / CONNECTIONS, "/upload", BULK, BODY).await,
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        match self {
            Self::Http1 | Self::Http2 => CONNECTIONS * REQUESTS,
            Self::Handshake => HANDSHAKES / CONNECTIONS * CONNECTIONS,
            Self::Download | Self::Upload => BULKS,
        }
    }
}

async fn http1(client: &Client, gate: SocketAddr, requests: usize, path: &str, sent: usize, received: usize) {
    let stream = client.connect(gate, b"http/1.1").await;
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..requests {
        let method = if sent == 0 { "GET" } else { "PUT" };
        let body = Full::new(Bytes::from_static(&ZEROS[..sent]));
        let request = Request::builder().method(method).uri(path).header("host", "localhost").body(body).unwrap();
        let response = send.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().into_data().map_or(0, |data| data.len());
        }
        assert_eq!(length, received);
    }
}

async fn http2(client: &Client, gate: SocketAddr) {
    let stream = client.connect(gate, b"h2").await;
    let (send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let streams = (0..STREAMS).map(|_| {
        let mut send = send.clone();
        tokio::spawn(async move {
            for _ in 0..REQUESTS.div_ceil(STREAMS) {
                let request = Request::get("https://localhost/bench").body(Full::<Bytes>::default()).unwrap();
                let response = send.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), BODY);
            }
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        stream.await.unwrap();
    }
}

struct Client {
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Client {
    fn new(ca: &Authority, issued: &Issued) -> Self {
        let connector = |alpn: &[u8]| {
            let mut roots = RootCertStore::empty();
            roots.add(ca.cert_der()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let builder = builder.with_root_certificates(roots);
            let mut config = builder.with_client_auth_cert(issued.chain_der(), issued.key_der()).unwrap();
            config.alpn_protocols = vec![alpn.to_vec()];
            config.resumption = rustls::client::Resumption::disabled();
            TlsConnector::from(Arc::new(config))
        };
        Self { http1: connector(b"http/1.1"), http2: connector(b"h2") }
    }

    async fn connect(&self, gate: SocketAddr, alpn: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let tcp = TcpStream::connect(gate).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let connector = if alpn == b"h2" { &self.http2 } else { &self.http1 };
        connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
    }
}

/// Writes the gate's files and returns the client that it lets in.
fn certificates(dir: &Path) -> Arc<Client> {
    let ca = Authority::new("Bench CA", KeyKind::EcdsaP256).unwrap();
    let names = vec![Name::Dns("localhost".to_owned())];
    let server = ca.issue(&LeafSpec::server("localhost", names, Validity::LONG)).unwrap();
    let client = ca.issue(&LeafSpec::client("bench", Validity::LONG)).unwrap();
    fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    fs::write(dir.join("server.pem"), server.pem()).unwrap();
    fs::write(dir.join("server.key"), &*server.key_pem()).unwrap();
    Arc::new(Client::new(&ca, &client))
}

static ZEROS: [u8; BULK] = [0; BULK];

/// A server that answers every request with the same bytes, once it has the whole of it.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let [answer, bulk] = [BODY, BULK].map(|length| {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b'x');
        &*answer.leak()
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let mut buffer = vec![0; 64 * 1024];
                // The gate sends each head in one write, or the beginning of the body behind it.
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if buffer.starts_with(b"PUT ") {
                        let head = buffer[..count].windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
                        let mut left = BULK - (count - head);
                        while left > 0 {
                            match stream.read(&mut buffer).await {
                                Ok(count @ 1..) => left -= count,
                                _ => return,
                            }
                        }
                    }
                    let answer = if buffer.starts_with(b"GET /bulk") { bulk } else { answer };
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

struct Gate {
    name: &'static str,
    child: Child,
    address: SocketAddr,
}

impl Gate {
    fn start(dir: &Path, binary: &str, name: &'static str, flavor: &str, backend: SocketAddr) -> Self {
        let file = dir.join(format!("{name}.toml"));
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
allow = [{{ subject_cn = "bench" }}]
limit = "never"
upstream = "backend"
[trust.bench]
anchors = ["ca.pem"]
[limit.never]
key = "identity"
rate = "1000000/s"
burst = 1000000
[upstream.backend]
servers = ["http://{backend}"]
forward = ["plain"]
[connection]
handshakes_per_address = "100000/s"
max_requests = 1000000
[log]
format = "json"
access = false
[runtime]
flavor = "{flavor}"
threads = 1
"#
        );
        fs::write(&file, config).unwrap();
        // Pinned, so that the client and the backend do not take turns with it.
        let mut child = Command::new("taskset")
            .args(["-c", "0", binary, "run", "--config"])
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("taskset (util-linux) and the gate");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.find_map(|line| line.ok().filter(|line| line.contains("\"listening\""))).unwrap();
        let line: serde_json::Value = serde_json::from_str(&listening).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { name, child, address }
    }

    /// CPU time so far, user and system. `schedstat` counts nanoseconds, but per thread.
    fn cpu_micros(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos: f64 = tasks
            .map(|task| {
                let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
                stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0)
            })
            .sum();
        nanos / 1000.0
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
