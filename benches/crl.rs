//! What revocation lists cost: to load, to ask, and what a handshake notices of them (nothing).

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]
#![expect(clippy::print_stderr, reason = "the sizes are a result too")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis::clock::Clock;
use portcullis::message::target::PathRules;
use portcullis::policy::HostTable;
use portcullis::policy::spec::{CertificateSpec, ClientCertificateMode, HostSpec};
use portcullis::revocation::{Crl, DenyList};
use portcullis::tls::{
    Attempt, Chains, CrlMissing, Doors, HostConfig, HostTls, LoadedCrls, TrustSpec, TrustStore, anchors, handshake,
    host, provider, revocation_lists,
};
use portcullis::tools::pki::{Authority, Issued, KeyKind, LeafSpec, Name, RevocationSpec, Validity};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;

const SIZES: [u32; 3] = [0, 100_000, 1_000_000];
/// More than a handshake with hybrid post-quantum keys has in one direction.
const PIPE_BYTES: usize = 64 * 1024;

/// An authority, a server and a client of it, and its list on disk.
struct World {
    dir: tempfile::TempDir,
    client: Issued,
    roots: RootCertStore,
    spec: TrustSpec,
    clock: Clock,
}

impl World {
    fn new(entries: u32) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let ca = Authority::new("Bench CA", KeyKind::EcdsaP256).expect("minted");
        let names = vec![Name::Dns("api.test".to_owned())];
        let server = ca.issue(&LeafSpec::server("api.test", names, Validity::LONG)).expect("minted");
        let client = ca.issue(&LeafSpec::client("client", Validity::LONG)).expect("minted");
        let clock = Clock::system();
        let list = RevocationSpec { serials: (0..entries).map(serial).collect(), ..RevocationSpec::new(clock.unix()) };
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
        write("ca.pem", ca.pem().as_bytes());
        write("server.pem", server.pem().as_bytes());
        write("server.key", server.key_pem().as_bytes());
        let der = ca.revocation_list(&list).expect("minted");
        write("ca.crl", &der);
        let mut roots = RootCertStore::empty();
        roots.add(ca.cert_der()).expect("an anchor");
        let world = Self { spec: spec(dir.path()), dir, client, roots, clock };
        let crl = world.newest();
        let per_entry = crl.serials.bytes().checked_div(crl.serials.len()).unwrap_or(0);
        eprintln!(
            "{entries} entries: {} bytes of DER, {} bytes in memory, {per_entry} an entry",
            der.len(),
            crl.serials.bytes()
        );
        world
    }

    fn unix(&self) -> i64 {
        i64::try_from(self.clock.unix().as_secs()).expect("in range")
    }

    /// From disk: read, parsed, verified, in a table.
    fn load(&self) -> LoadedCrls {
        let anchors = anchors(&self.spec.anchors, self.unix(), &mut Vec::new()).expect("good");
        let algorithms = provider().signature_verification_algorithms;
        revocation_lists(&self.spec, &anchors, &algorithms, self.unix(), None, Vec::new()).expect("good")
    }

    fn newest(&self) -> Arc<Crl> {
        self.load().newest().pop().expect("one list")
    }

    fn store(&self) -> Arc<TrustStore> {
        let anchors = anchors(&self.spec.anchors, self.unix(), &mut Vec::new()).expect("good");
        let algorithms = provider().signature_verification_algorithms;
        Arc::new(TrustStore::new(self.spec.clone(), anchors, algorithms, self.load().newest(), DenyList::default()))
    }

    fn certificates(&self) -> Vec<CertificateSpec> {
        let at = |name: &str| self.dir.path().join(name);
        vec![CertificateSpec { chain: at("server.pem"), key: at("server.key") }]
    }

    fn host(&self, store: &Arc<TrustStore>, chains: &Arc<Chains>) -> Vec<HostConfig> {
        let certificates = self.certificates();
        let tls = HostTls {
            certificates: &certificates,
            mode: ClientCertificateMode::Require,
            trust: Some((store, chains)),
            resumption: None,
        };
        vec![host(&provider(), &self.clock, &tls).expect("good")]
    }

    fn hosts(&self) -> HostTable {
        let spec = HostSpec {
            names: vec!["api.test".into()],
            certificates: self.certificates(),
            client_certificate: ClientCertificateMode::Require,
            trust: Some("bench".into()),
            paths: PathRules::default(),
            routes: Vec::new(),
        };
        HostTable::new(vec![spec]).expect("good")
    }

    fn connector(&self) -> TlsConnector {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("known");
        let builder = builder.with_root_certificates(self.roots.clone());
        let config = builder.with_client_auth_cert(self.client.chain_der(), self.client.key_der()).expect("a key");
        TlsConnector::from(Arc::new(config))
    }
}

fn spec(dir: &Path) -> TrustSpec {
    let base = TrustSpec::new("bench", vec![dir.join("ca.pem")]);
    TrustSpec { crl: vec![dir.join("ca.crl")], crl_missing: CrlMissing::Reject, ..base }
}

/// Sixteen octets that look like chance: the multiplier is odd, so no two are the same.
fn serial(index: u32) -> Vec<u8> {
    const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let mixed = u128::from(index).wrapping_add(1).wrapping_mul(ODD) & (u128::MAX >> 1) | (1 << 126);
    mixed.to_be_bytes().to_vec()
}

async fn shake(hosts: &HostTable, configs: &[HostConfig], connector: &TlsConnector) {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let doors = Doors { hosts, configs, default_host: None, client_hello_bytes: 16 * 1024, first_look: &|_| Ok(()) };
    let mut attempt = Attempt::default();
    let name = ServerName::try_from("api.test").expect("a name");
    let (served, client) = tokio::join!(handshake(far, &doors, &mut attempt), connector.connect(name, near));
    let (mut stream, client) = (served.expect("let in").stream, client.expect("a server"));
    drop(client);
    // The client's end, so that nothing of the handshake is left to do.
    let _ = stream.read(&mut [0; 1]).await;
}

fn benchmark(criterion: &mut Criterion) {
    #[expect(clippy::disallowed_methods, reason = "a benchmark has a runtime of its own")]
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for entries in SIZES {
        let world = World::new(entries);
        let mut slow = criterion.benchmark_group("crl/load");
        slow.sample_size(10).measurement_time(Duration::from_secs(3));
        slow.bench_function(entries.to_string(), |bencher| bencher.iter(|| world.load()));
        slow.finish();

        let crl = world.newest();
        let (there, elsewhere) = (serial(entries / 2), serial(entries.saturating_add(7)));
        criterion.bench_function(&format!("crl/look-up/{entries}/revoked"), |bencher| {
            bencher.iter(|| crl.revokes(black_box(&there)));
        });
        criterion.bench_function(&format!("crl/look-up/{entries}/good"), |bencher| {
            bencher.iter(|| crl.revokes(black_box(&elsewhere)));
        });

        let (store, hosts, connector) = (world.store(), world.hosts(), world.connector());
        let warm = world.host(&store, &Arc::default());
        criterion.bench_function(&format!("crl/handshake/{entries}/warm"), |bencher| {
            bencher.iter(|| runtime.block_on(shake(&hosts, &warm, &connector)));
        });
        criterion.bench_function(&format!("crl/handshake/{entries}/cold"), |bencher| {
            bencher.iter_batched(
                || world.host(&store, &Arc::default()),
                |cold| runtime.block_on(shake(&hosts, &cold, &connector)),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
