//! Handshakes without a network: the pipe decides how the bytes are cut.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use zeroize::Zeroizing;

use super::{
    Attempt, Doors, FirstLook, HostConfig, HostTls, KEY_BYTES, Resumption, TicketKeys, TrustSpec, TrustStore,
    handshake, host, provider, revocation_lists,
};
use crate::clock::Clock;
use crate::fingerprint::TlsPrint;
use crate::identity::Digest;
use crate::message::target::PathRules;
use crate::policy::HostTable;
use crate::policy::spec::{CertificateSpec, ClientCertificateMode, HostSpec, Matcher};
use crate::reject::{Reason, Reject};
use crate::revocation::{DenyList, DenySpec};
use crate::tools::pki::{Authority, Issued, KeyKind, LeafSpec, Name, RevocationSpec, Validity};

/// One host, `a.test`, that requires a certificate.
struct House {
    ca: Authority,
    certificate: CertificateSpec,
    trust: TrustSpec,
    hosts: HostTable,
    configs: Vec<HostConfig>,
    roots: Arc<RootCertStore>,
    client: Issued,
    dir: TempDir,
}

impl House {
    fn build() -> Self {
        let ca = Authority::new("Test CA", KeyKind::EcdsaP256).unwrap();
        let names = vec![Name::Dns("a.test".to_owned())];
        let server = ca.issue(&LeafSpec::server("a.test", names, Validity::LONG)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let certificate =
            CertificateSpec { chain: write("server.pem", &server.pem()), key: write("server.key", &server.key_pem()) };
        let trust = TrustSpec::new("test", vec![write("ca.pem", &ca.pem())]);
        let anchors = super::anchors(&trust.anchors, 1_000_000_000, &mut Vec::new()).unwrap();
        let roots = Arc::clone(&anchors.roots);
        let algorithms = provider().signature_verification_algorithms;
        let store = TrustStore::new(trust.clone(), anchors, algorithms, Vec::new(), DenyList::default());
        let store = Arc::new(store);
        let tls = HostTls {
            certificates: std::slice::from_ref(&certificate),
            mode: ClientCertificateMode::Require,
            trust: Some((&store, &Arc::default())),
            resumption: None,
        };
        let configs = vec![host(&provider(), &Clock::system(), &tls).unwrap()];
        let hosts = HostTable::new(vec![HostSpec {
            names: vec!["a.test".into()],
            certificates: vec![certificate.clone()],
            client_certificate: ClientCertificateMode::Require,
            trust: Some("test".into()),
            paths: PathRules::default(),
            routes: Vec::new(),
        }])
        .unwrap();
        let client = ca.issue(&LeafSpec::client("client", Validity::LONG)).unwrap();
        Self { ca, certificate, trust, hosts, configs, roots, client, dir }
    }

    fn doors(&self) -> Doors<'_> {
        Doors {
            hosts: &self.hosts,
            configs: &self.configs,
            default_host: None,
            client_hello_bytes: 4096,
            first_look: &|_| Ok(()),
        }
    }

    fn client_config(&self) -> Arc<ClientConfig> {
        self.client_of(&self.client, &rustls::version::TLS13)
    }

    /// A client that keeps its tickets.
    fn client_of(&self, issued: &Issued, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_root_certificates(Arc::clone(&self.roots));
        Arc::new(builder.with_client_auth_cert(issued.chain_der(), issued.key_der()).unwrap())
    }

    /// The same host under another trust, with these keys and a seal that whoever has the keys may choose.
    fn sealed(&self, keys: &Arc<TicketKeys>, clock: &Clock, crl: Option<&[u8]>, denied: Vec<DenySpec>) -> HostConfig {
        let anchors = super::anchors(&self.trust.anchors, 1_000_000_000, &mut Vec::new()).unwrap();
        let algorithms = provider().signature_verification_algorithms;
        let mut spec = self.trust.clone();
        if let Some(list) = crl {
            let path = self.dir.path().join("ca.crl");
            std::fs::write(&path, list).unwrap();
            spec.crl = vec![path];
        }
        let unix = i64::try_from(clock.unix().as_secs()).unwrap();
        let lists = revocation_lists(&spec, &anchors, &algorithms, unix, None, Vec::new()).unwrap().newest();
        let store = Arc::new(TrustStore::new(spec, anchors, algorithms, lists, DenyList::new(denied).unwrap()));
        let resumption = Resumption { keys, seal: Digest([3; 32]), max_age: Duration::from_hours(3) };
        let tls = HostTls {
            certificates: std::slice::from_ref(&self.certificate),
            mode: ClientCertificateMode::Require,
            trust: Some((&store, &Arc::default())),
            resumption: Some(resumption),
        };
        host(&provider(), clock, &tls).unwrap()
    }

    /// A visit to the host as it is under `config`: how the client's handshake went, and what the gate made of it.
    async fn visit(&self, client: &Arc<ClientConfig>, config: HostConfig) -> (Option<HandshakeKind>, Option<Reason>) {
        let (client_io, server_io) = duplex(64 * 1024);
        let (mut attempt, configs) = (Attempt::default(), [config]);
        let doors = Doors { configs: &configs, ..self.doors() };
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(client));
        let connect = async {
            let mut stream = connector.connect(ServerName::try_from("a.test").unwrap(), client_io).await.ok()?;
            // The ticket comes behind the handshake.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            stream.get_ref().1.handshake_kind()
        };
        let take = async {
            match handshake(server_io, &doors, &mut attempt).await {
                Ok(mut done) => {
                    let _ = done.stream.shutdown().await;
                    None
                }
                Err(refused) => Some(refused.reject.reason),
            }
        };
        tokio::join!(connect, take)
    }

    /// The first flight of a client of `name`.
    fn hello(&self, name: &str) -> Vec<u8> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut hello = Vec::new();
        ClientConnection::new(self.client_config(), name).unwrap().write_tls(&mut hello).unwrap();
        hello
    }

    /// What comes of a client that sends these bytes through a pipe of `width` bytes, and no more.
    async fn sent(&self, bytes: &[u8], width: usize) -> (Reject, Attempt) {
        let (mut client, server) = duplex(width);
        let mut attempt = Attempt::default();
        let doors = self.doors();
        let talk = async {
            let _ = client.write_all(bytes).await;
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut Vec::new()).await;
        };
        let take = async { handshake(server, &doors, &mut attempt).await.err().map(|refused| refused.reject) };
        let ((), reject) = tokio::join!(talk, take);
        (reject.expect("no handshake ends well with half of it"), attempt)
    }
}

/// Record and handshake headers have 5 and 4 bytes: widths around them, and none, half and all of a ClientHello.
const WIDTHS: [usize; 11] = [1, 2, 3, 4, 5, 6, 9, 64, 500, 1024, 8192];

/// The records of one flight, with at most `size` bytes in each.
fn fragmented(record: &[u8], size: usize) -> Vec<u8> {
    let (header, payload) = record.split_at(5);
    let framed = |part: &[u8]| [&header[..3], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
    payload.chunks(size).flat_map(framed).collect()
}

#[tokio::test]
async fn the_bytes_of_a_client_hello_are_kept_as_they_came_however_they_were_cut() {
    let house = House::build();
    let hello = house.hello("a.test");
    for bytes in [hello.clone(), fragmented(&hello, 100), fragmented(&hello, 600)] {
        for width in WIDTHS {
            let (reject, attempt) = house.sent(&bytes, width).await;
            assert_eq!(reject.reason, Reason::HandshakeAborted, "{width}: {reject}");
            assert_eq!(attempt.client_hello, bytes, "{width}");
            assert_eq!(attempt.server_name.as_deref(), Some("a.test"));
            assert!(attempt.host.is_some() && attempt.presented.is_none());
        }
    }
}

#[tokio::test]
async fn the_decision_about_a_name_does_not_depend_on_how_the_client_hello_is_cut() {
    let house = House::build();
    for (name, reason) in [("b.test", Reason::ServerNameUnknown), ("127.0.0.1", Reason::ServerNameMissing)] {
        let hello = house.hello(name);
        for bytes in [hello.clone(), fragmented(&hello, 1), fragmented(&hello, 77)] {
            for width in WIDTHS {
                let (reject, attempt) = house.sent(&bytes[..], width).await;
                let large = bytes.len() > 4096;
                let expected = if large { Reason::ClientHelloTooLarge } else { reason };
                assert_eq!(reject.reason, expected, "{name} {width}");
                assert!(attempt.host.is_none());
            }
        }
    }
}

#[tokio::test]
async fn a_client_hello_that_ends_early_is_an_abort_and_never_a_host() {
    let house = House::build();
    let hello = house.hello("a.test");
    for length in 0..hello.len() {
        let (reject, attempt) = house.sent(&hello[..length], 8192).await;
        assert_eq!(reject.reason, Reason::HandshakeAborted, "{length}");
        assert!(attempt.host.is_none() && attempt.server_name.is_none(), "{length}");
    }
}

#[tokio::test]
async fn no_byte_of_a_client_hello_turned_around_makes_the_gate_panic() {
    let house = House::build();
    let hello = house.hello("a.test");
    for at in 0..hello.len() {
        let mut bytes = hello.clone();
        bytes[at] ^= 0xff;
        // It may be refused for many reasons, or be another valid ClientHello; but it is refused, since nothing follows.
        let (reject, _) = house.sent(&bytes, 8192).await;
        assert_ne!(reject.reason, Reason::Abandoned, "{at}");
    }
}

#[tokio::test]
async fn no_more_than_the_limit_is_read_of_a_client_hello() {
    let house = House::build();
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 16 * 1024]].concat();
    for width in WIDTHS {
        let (reject, attempt) = house.sent(&endless, width).await;
        assert_eq!(reject.reason, Reason::ClientHelloTooLarge, "{width}");
        assert!(attempt.host.is_none());
    }
}

#[tokio::test]
async fn a_whole_handshake_through_a_narrow_pipe_states_the_identity() {
    let house = House::build();
    // Below 6 bytes, a change_cipher_spec, client and server would wait for each other: the library does not read
    // while it has something to write. No socket is that narrow.
    for width in [6, 7, 16, 512, 8192] {
        let (client, server) = duplex(width);
        let mut attempt = Attempt::default();
        let doors = house.doors();
        let connector = tokio_rustls::TlsConnector::from(house.client_config());
        let connect = async {
            let mut stream = connector.connect(ServerName::try_from("a.test").unwrap(), client).await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let both = async { tokio::join!(connect, handshake(server, &doors, &mut attempt)) };
        let both = tokio::time::timeout(Duration::from_secs(20), both).await;
        let (_client, done) = both.unwrap_or_else(|_| panic!("width {width} hangs"));
        let done = done.unwrap_or_else(|refused| panic!("{}", refused.reject));
        let super::Verified { identity, chain, .. } = done.identity.unwrap();
        assert_eq!(&*identity.subject.text, "CN=client");
        assert_eq!(chain, house.client.chain_der());
        assert_eq!(done.version, "TLSv1_3");
    }
}

#[tokio::test]
async fn a_first_look_refuses_before_a_byte_is_answered_and_sees_who_it_is() {
    let house = House::build();
    let hello = house.hello("A.test.");
    for bytes in [hello.clone(), fragmented(&hello, 600)] {
        let (mut client, server) = duplex(8192);
        client.write_all(&bytes).await.unwrap();
        let seen = parking_lot::Mutex::new(None);
        let look = |look: &FirstLook<'_>| {
            *seen.lock() = Some((look.print, look.server_name.map(str::to_owned), look.host));
            Err(Reason::IdentityDenied.into())
        };
        let doors = Doors { first_look: &look, ..house.doors() };
        let mut attempt = Attempt::default();
        let Err(refused) = handshake(server, &doors, &mut attempt).await else { panic!("let in") };
        assert_eq!(refused.reject.reason, Reason::IdentityDenied);
        assert!(refused.io.is_none(), "nothing is said");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
        let print = TlsPrint::of(&hello);
        assert!(print.is_some() && attempt.print == print && attempt.presented.is_none());
        let host = house.hosts.find("a.test").unwrap();
        assert_eq!(seen.into_inner(), Some((print, Some("a.test".to_owned()), host)));
    }
}

/// Whoever has a key of tickets knows what they are sealed to, too, and makes one that opens. It is no more than the
/// certificate in it.
#[tokio::test]
async fn a_ticket_made_with_stolen_keys_opens_and_gets_a_denied_revoked_or_expired_certificate_nothing() {
    let house = House::build();
    let clock = Clock::adjustable();
    let keys = [Zeroizing::new([9; KEY_BYTES])];
    let gate = Arc::new(TicketKeys::shared(&keys, clock.clone()).unwrap());
    let thief = Arc::new(TicketKeys::shared(&keys, clock.clone()).unwrap());
    let now = clock.unix();
    let validity = Validity { not_before: Duration::ZERO, not_after: now + Duration::from_hours(1) };
    let lost = house.ca.issue(&LeafSpec::client("lost", validity)).unwrap();
    let crl = house.ca.revocation_list(&RevocationSpec::new(now).revoke(&lost).unwrap()).unwrap();
    let matcher = Matcher { subject_cn: vec!["lost".into()], ..Matcher::default() };
    let denied = vec![DenySpec { matcher, reason: "stolen".into(), ..DenySpec::default() }];
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    for version in versions {
        for (crl, denied, reason) in [
            (None, Vec::new(), None),
            (None, denied.clone(), Some(Reason::CertDenied)),
            (Some(&*crl), Vec::new(), Some(Reason::CertRevoked)),
        ] {
            let client = house.client_of(&lost, version);
            // The thief's own host, where anybody may come.
            let (kind, refused) = house.visit(&client, house.sealed(&thief, &clock, None, Vec::new())).await;
            assert_eq!((kind, refused), (Some(HandshakeKind::Full), None));
            let (kind, refused) = house.visit(&client, house.sealed(&gate, &clock, crl, denied)).await;
            assert_eq!((kind, refused), (Some(HandshakeKind::Resumed), reason), "{version:?}");
        }
    }
    let clients = versions.map(|version| house.client_of(&lost, version));
    for client in &clients {
        house.visit(client, house.sealed(&thief, &clock, None, Vec::new())).await;
    }
    clock.advance(Duration::from_hours(2));
    for client in &clients {
        let (kind, refused) = house.visit(client, house.sealed(&gate, &clock, None, Vec::new())).await;
        assert_eq!((kind, refused), (Some(HandshakeKind::Resumed), Some(Reason::CertExpired)));
    }
}
