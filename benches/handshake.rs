//! What a full mTLS handshake costs, both sides together, in memory, by the type of the keys; and what it costs the gate
//! to refuse one right behind the ClientHello.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::clock::Clock;
use portcullis::message::target::PathRules;
use portcullis::policy::HostTable;
use portcullis::policy::spec::{CertificateSpec, ClientCertificateMode, HostSpec};
use portcullis::reject::Reason;
use portcullis::revocation::DenyList;
use portcullis::tls::{
    Attempt, Chains, Doors, HostConfig, HostTls, TrustSpec, TrustStore, anchors, handshake, host, provider,
};
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

#[expect(clippy::disallowed_methods, reason = "a bench has no runtime.rs")]
fn handshakes(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (tls13, tls12) = (&rustls::version::TLS13, &rustls::version::TLS12);
    for (name, kind, version) in [
        ("p256", KeyKind::EcdsaP256, tls13),
        ("p256_tls12", KeyKind::EcdsaP256, tls12),
        ("p384", KeyKind::EcdsaP384, tls13),
        ("ed25519", KeyKind::Ed25519, tls13),
        ("rsa2048", KeyKind::Rsa2048, tls13),
        ("rsa3072", KeyKind::Rsa3072, tls13),
    ] {
        let world = World::new(kind, version);
        criterion.bench_function(&format!("handshake/{name}"), |bencher| {
            bencher.iter(|| runtime.block_on(world.shake_hands()));
        });
    }
    let world = World::new(KeyKind::EcdsaP256, tls13);
    let hello = runtime.block_on(world.hello());
    criterion.bench_function("handshake/refused_at_hello", |bencher| {
        bencher.iter(|| runtime.block_on(world.refuse(&hello)));
    });
}

/// A host that requires a certificate, and a client that has one.
struct World {
    hosts: HostTable,
    configs: Vec<HostConfig>,
    client: TlsConnector,
}

impl World {
    fn new(kind: KeyKind, version: &'static SupportedProtocolVersion) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = Authority::new("CA", kind).expect("an authority");
        let spec = HostSpec {
            names: vec![HOST.into()],
            certificates: Vec::new(),
            client_certificate: ClientCertificateMode::Require,
            trust: Some("clients".into()),
            paths: PathRules::default(),
            routes: Vec::new(),
        };
        Self {
            hosts: HostTable::new(vec![spec]).expect("a table"),
            configs: vec![server(folder.path(), &ca, kind)],
            client: client(&ca, kind, version),
        }
    }

    async fn shake_hands(&self) {
        // More than either side has to say before it listens.
        let (near, far) = tokio::io::duplex(64 * 1024);
        let doors = Doors {
            hosts: &self.hosts,
            configs: &self.configs,
            default_host: None,
            client_hello_bytes: 16 * 1024,
            first_look: &|_| Ok(()),
        };
        let mut attempt = Attempt::default();
        let name = HOST.try_into().expect("a name");
        let (shaken, connected) = tokio::join!(handshake(far, &doors, &mut attempt), self.client.connect(name, near));
        assert!(shaken.is_ok_and(|shaken| shaken.identity.is_some()) && connected.is_ok());
    }
}

impl World {
    /// What the client says first.
    async fn hello(&self) -> Vec<u8> {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let name = HOST.try_into().expect("a name");
        let listen = async move {
            let mut bytes = vec![0; 4096];
            let read = far.read(&mut bytes).await.expect("a ClientHello");
            bytes.truncate(read);
            bytes
        };
        // It is left without an answer.
        tokio::join!(listen, self.client.connect(name, near)).0
    }

    /// A client that is not welcome, whatever it would show.
    async fn refuse(&self, hello: &[u8]) {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        near.write_all(hello).await.expect("there is room");
        let doors = Doors {
            hosts: &self.hosts,
            configs: &self.configs,
            default_host: None,
            client_hello_bytes: 16 * 1024,
            first_look: &|look| if look.print.is_some() { Err(Reason::IdentityDenied.into()) } else { Ok(()) },
        };
        let mut attempt = Attempt::default();
        let refused = handshake(far, &doors, &mut attempt).await;
        assert!(refused.is_err_and(|refused| refused.reject.reason == Reason::IdentityDenied));
    }
}

fn server(folder: &Path, ca: &Authority, kind: KeyKind) -> HostConfig {
    let leaf = LeafSpec { key: kind, ..LeafSpec::server(HOST, vec![Name::Dns(HOST.to_owned())], Validity::LONG) };
    let issued = ca.issue(&leaf).expect("a certificate");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).expect("the file is written");
        path
    };
    let certificates =
        [CertificateSpec { chain: write("server.pem", &issued.pem()), key: write("server.key", &issued.key_pem()) }];
    let trust = TrustSpec::new("clients", vec![write("ca.pem", &ca.pem())]);
    let clock = Clock::system();
    let unix = i64::try_from(clock.unix().as_secs()).expect("this century");
    let anchors = anchors(&trust.anchors, unix, &mut Vec::new()).expect("anchors");
    let mode = ClientCertificateMode::Require;
    let algorithms = provider().signature_verification_algorithms;
    let store = Arc::new(TrustStore::new(trust, anchors, algorithms, Vec::new(), DenyList::default()));
    let chains = Arc::new(Chains::default());
    host(
        &provider(),
        &clock,
        &HostTls { certificates: &certificates, mode, trust: Some((&store, &chains)), resumption: None },
    )
    .expect("a configuration")
}

fn client(ca: &Authority, kind: KeyKind, version: &'static SupportedProtocolVersion) -> TlsConnector {
    let leaf = LeafSpec { key: kind, ..LeafSpec::client("device-0001", Validity::LONG) };
    let issued = ca.issue(&leaf).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(ca.cert_der()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_client_auth_cert(issued.chain_der(), issued.key_der())
        .expect("a client certificate");
    // Every handshake is a full one.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

const HOST: &str = "api.example.com";

criterion_group!(benches, handshakes);
criterion_main!(benches);
