//! A gate in a process of its own, a backend, and clients.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// After this long a client has lost its patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// What the backend takes for a request to `/slow`.
const WORK: Duration = Duration::from_millis(10);

pub(crate) type Stream = tokio_rustls::client::TlsStream<TcpStream>;

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Duration),
    Refused,
    Late,
}

pub(crate) struct Client(TlsConnector);

impl Client {
    pub(crate) async fn connect(&self, gate: SocketAddr) -> std::io::Result<Stream> {
        self.speak(gate, b"http/1.1").await
    }

    pub(crate) async fn speak(&self, gate: SocketAddr, alpn: &[u8]) -> std::io::Result<Stream> {
        let tcp = TcpStream::connect(gate).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        self.0.with_alpn(vec![alpn.to_vec()]).connect(name, tcp).await
    }

    /// What it says first.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let mut hello = Vec::new();
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = rustls::ClientConnection::new(Arc::clone(self.0.config()), name).unwrap();
        session.write_tls(&mut hello).unwrap();
        hello
    }

    /// One connection, one handshake, one request.
    pub(crate) async fn once(&self, gate: SocketAddr) -> Outcome {
        let started = Instant::now();
        let all = async {
            let mut stream = self.connect(gate).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 200"))
        };
        match timeout(PATIENCE, all).await {
            Ok(Ok(true)) => Outcome::Done(started.elapsed()),
            Ok(_) => Outcome::Refused,
            Err(_) => Outcome::Late,
        }
    }
}

/// One request and the whole of its answer.
pub(crate) async fn ask(stream: &mut Stream, path: &str) -> Outcome {
    let started = Instant::now();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        // Both kinds of answer are short, and end with their body's last byte.
        while !(answer.ends_with(b"ok") || answer.ends_with(b"}")) {
            let read = stream.read(&mut piece).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&piece[..read]);
        }
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 200"))
    };
    match timeout(PATIENCE, exchange).await {
        Ok(Ok(true)) => Outcome::Done(started.elapsed()),
        Ok(Ok(false)) => Outcome::Refused,
        Ok(Err(error)) => panic!("a connection was cut: {error}"),
        Err(_) => Outcome::Late,
    }
}

pub(crate) fn certificates(dir: &Path, key: &str) -> Client {
    let ca = Authority::new("Bench CA", KeyKind::EcdsaP256).unwrap();
    let names = vec![Name::Dns("localhost".to_owned())];
    fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    if key == "P-256" {
        let server = ca.issue(&LeafSpec::server("localhost", names, Validity::LONG)).unwrap();
        fs::write(dir.join("server.pem"), server.pem()).unwrap();
        fs::write(dir.join("server.key"), server.key_pem().as_bytes()).unwrap();
    } else {
        rsa(dir, &ca);
    }
    let client = ca.issue(&LeafSpec::client("bench", Validity::LONG)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.cert_der()).unwrap();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let builder =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.unwrap().with_root_certificates(roots);
    let mut config = builder.with_client_auth_cert(client.chain_der(), client.key_der()).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Client(TlsConnector::from(Arc::new(config)))
}

/// A server certificate with a key that costs milliseconds to sign with.
fn rsa(dir: &Path, ca: &Authority) {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_4096).unwrap();
    let mut issuer = rcgen::CertificateParams::default();
    issuer.distinguished_name = rcgen::DistinguishedName::new();
    issuer.distinguished_name.push(rcgen::DnType::CommonName, "Bench CA");
    let issuer = rcgen::Issuer::new(issuer, rcgen::KeyPair::from_pem(&ca.key_pem()).unwrap());
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap();
    fs::write(dir.join("server.pem"), certificate.pem()).unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
}

/// Answers `ok`: at once, or after its work where the path says so. On a thread of its own, so that busy clients do
/// not make it slow.
pub(crate) fn backend() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(answer(stream))),
                    // Out of descriptors, as a rule; some come back.
                    Err(_) => sleep(WORK).await,
                }
            }
        });
    });
    address
}

async fn answer(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if buffer[..read].starts_with(b"GET /slow") {
            sleep(WORK).await;
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

pub(crate) struct Gate {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

impl Gate {
    pub(crate) fn start(dir: &Path, backend: SocketAddr, top: &str) -> Self {
        let text = format!(
            r#"
{top}
[[listener]]
address = "127.0.0.1:0"
[[host]]
names = ["localhost"]
certificate = {{ chain = "server.pem", key = "server.key" }}
trust = "bench"
route = {{ path = "/", allow = "any-verified", upstream = "backend" }}
[trust.bench]
anchors = ["ca.pem"]
[upstream.backend]
servers = ["http://{backend}"]
[admin]
address = "127.0.0.1:0"
[log]
access = false
format = "json"
[runtime]
threads = 1
"#
        );
        fs::write(dir.join("gate.toml"), text).unwrap();
        let program = env!("CARGO_BIN_EXE_portcullis");
        let config = dir.join("gate.toml");
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "0", program]);
        let mut plain = Command::new(program);
        let spawn = |command: &mut Command| {
            command.args(["run", "--config"]).arg(&config).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
        };
        let mut child = spawn(&mut pinned).or_else(|_| spawn(&mut plain)).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut address, mut admin) = (None, None);
        while address.is_none() || admin.is_none() {
            let line: serde_json::Value = serde_json::from_str(&lines.next().expect("it starts").unwrap()).unwrap();
            let at = || line["address"].as_str().and_then(|text| text.parse().ok());
            match line["message"].as_str().unwrap_or_default() {
                "listening" => address = at(),
                text if text.starts_with("admin") => admin = at(),
                _ => {}
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.unwrap(), admin: admin.unwrap() }
    }

    pub(crate) fn resident_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Processor time so far, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Refusals by reason, so far.
    pub(crate) async fn rejects(&self) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("portcullis_rejects_total{reason=\""));
        lines
            .filter_map(|line| line.split_once("\"} "))
            .map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()))
            .collect()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
