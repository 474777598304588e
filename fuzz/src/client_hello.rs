//! The first bytes of a connection: a ClientHello, or whatever a stranger sends in its place.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use portcullis::clock::Clock;
use portcullis::message::target::{PathRules, normalize_host};
use portcullis::policy::HostTable;
use portcullis::policy::spec::{Allow, CertificateSpec, ClientCertificateMode, HostSpec, PathPattern, RouteSpec};
use portcullis::reject::Reason;
use portcullis::revocation::DenyList;
use portcullis::tls::{
    Attempt, Chains, Doors, HostConfig, HostTls, TrustSpec, TrustStore, anchors, handshake, host, provider,
};
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};

use super::run::{Client, Pieces, Then, stream, to_the_end};

/// No bytes alone complete a handshake; what is kept and answered is bounded; and however they arrive, the
/// verdict is the same.
///
/// # Panics
/// When that is not so.
pub fn check(bytes: &[u8]) {
    let whole = to_the_end(attempt(bytes, Pieces::Whole));
    assert!(whole.answered <= MOST_ANSWERED, "{} bytes in answer", whole.answered);
    if let Some(name) = &whole.name {
        assert_eq!(normalize_host(name).as_deref().ok(), Some(&**name));
    }
    assert!(whole.reason != Reason::ClientHelloTooLarge || bytes.len() >= CLIENT_HELLO_BYTES);
    if bytes.len() <= 4096 {
        let single = to_the_end(attempt(bytes, Pieces::Single));
        assert_eq!((single.reason, single.name), (whole.reason, whole.name), "cutting changes the verdict");
    }
}

struct Verdict {
    reason: Reason,
    name: Option<Box<str>>,
    answered: usize,
}

async fn attempt(bytes: &[u8], pieces: Pieces) -> Verdict {
    let (server, client) = stream();
    let world = &*WORLD;
    let doors = Doors {
        hosts: &world.hosts,
        configs: &world.configs,
        default_host: world.hosts.find(OPEN),
        client_hello_bytes: CLIENT_HELLO_BYTES,
        first_look: &|_| Ok(()),
    };
    let mut attempt = Attempt::default();
    let shaking = async {
        match handshake(server, &doors, &mut attempt).await {
            Ok(_) => panic!("a handshake without a key"),
            Err(refused) => refused.reject.reason,
        }
    };
    let (reason, answer) = tokio::join!(shaking, Client::talk(client, bytes, pieces, Then::Close));
    assert!(attempt.client_hello.len() <= CLIENT_HELLO_BYTES, "{} bytes are kept", attempt.client_hello.len());
    assert!(bytes.starts_with(&attempt.client_hello), "what is kept is not what came");
    Verdict { reason, name: attempt.server_name, answered: answer.len() }
}

/// A host that requires a certificate, and one that asks for none.
struct World {
    hosts: HostTable,
    configs: Vec<HostConfig>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key, ca) =
        (folder.path().join("server.pem"), folder.path().join("server.key"), folder.path().join("ca.pem"));
    let authority = Authority::new("Fuzz CA", KeyKind::EcdsaP256).expect("an authority");
    let names = [CLOSED, OPEN].map(|name| Name::Dns(name.to_owned())).into();
    let server = authority.issue(&LeafSpec::server(CLOSED, names, Validity::LONG)).expect("a certificate");
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("it can be written");
    write(&chain, &server.pem());
    write(&key, &server.key_pem());
    write(&ca, &authority.pem());
    let clock = Clock::system();
    let unix = i64::try_from(clock.unix().as_secs()).expect("this century");
    let spec_of_trust = TrustSpec::new("clients", vec![ca]);
    let anchors = anchors(&spec_of_trust.anchors, unix, &mut Vec::new()).expect("an anchor");
    let algorithms = provider().signature_verification_algorithms;
    let store = Arc::new(TrustStore::new(spec_of_trust, anchors, algorithms, Vec::new(), DenyList::default()));
    let chains = Arc::new(Chains::default());
    let certificates = [CertificateSpec { chain, key }];
    let modes = [(CLOSED, ClientCertificateMode::Require), (OPEN, ClientCertificateMode::None)];
    let config = |(_, mode)| {
        let trust = (mode != ClientCertificateMode::None).then_some((&store, &chains));
        host(&Arc::clone(&provider()), &clock, &HostTls { certificates: &certificates, mode, trust, resumption: None })
            .expect("a configuration")
    };
    let hosts = HostTable::new(modes.map(|(name, mode)| spec(name, mode)).into()).expect("a table");
    World { hosts, configs: modes.map(config).into() }
});

fn spec(name: &str, mode: ClientCertificateMode) -> HostSpec {
    let route = RouteSpec {
        name: "all".into(),
        path: PathPattern::Prefix("/".into()),
        methods: Vec::new(),
        allow: Allow::Anyone,
        deny: Vec::new(),
        limits: Vec::new(),
        upstream: "backend".into(),
        upgrades: Vec::new(),
        body_bytes: None,
    };
    HostSpec {
        names: vec![name.into()],
        certificates: Vec::new(),
        client_certificate: mode,
        trust: (mode != ClientCertificateMode::None).then(|| "clients".into()),
        paths: PathRules::default(),
        routes: vec![route],
    }
}

const CLOSED: &str = "api.test";
const OPEN: &str = "open.test";

/// The default of the configuration.
const CLIENT_HELLO_BYTES: usize = 16 * 1024;

/// Our flight: a certificate of P-256 and a key share of ML-KEM, with room to spare.
const MOST_ANSWERED: usize = 8 * 1024;
