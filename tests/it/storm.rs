//! Many at once: long revocation lists, reloads under traffic, and the half that loses together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use portcullis::tools::pki::{Issued, RevocationSpec};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::{Backend, Client, Gate, World};

const TRUST: &str = "[trust.test]\nanchors = [\"ca.pem\"]";
/// A list of some megabytes.
const MANY: u32 = 200_000;
/// Of each kind, those who lose and those who stay: 1,000, or what `STORM_HALF` says. Two descriptors
/// go with each connection, and other tests want some too.
fn half() -> u32 {
    std::env::var("STORM_HALF").ok().map_or(1000, |half| half.parse().unwrap())
}

fn config(world: &World, backend: &Backend, trust: &str) -> String {
    world.config(backend.address).replace(TRUST, &format!("{TRUST}\n{trust}"))
}

/// A list that revokes `MANY` numbers that nobody has, and `lost`.
fn long_list(world: &World, lost: &Issued, number: u64) -> Vec<u8> {
    let mut spec = RevocationSpec { number, ..RevocationSpec::new(crate::harness::unix()) }.revoke(lost).unwrap();
    let serial = |index: u32| (u128::from(index) << 64 | 1 << 120 | u128::from(number)).to_be_bytes().to_vec();
    spec.serials.extend((0..MANY).map(serial));
    world.pki.ca.revocation_list(&spec).unwrap()
}

#[tokio::test]
async fn a_list_of_200_000_numbers_is_loaded_and_requests_are_served_while_the_next_one_is() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (lost, next) = (world.client(|_| ()), world.client(|_| ()));
    let path = world.path().join("ca.crl");
    std::fs::write(&path, long_list(&world, &lost, 1)).unwrap();
    let text = config(&world, &backend, "crl = [\"ca.crl\"]\ncrl_missing = \"reject\"");
    let text = format!("{text}\n[reload]\ninterval = \"0s\"\n");
    let gate = Arc::new(Gate::start(&world, &text));
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked");
    assert_eq!(Client::with(&world, &next).get(&gate, "/").await.status, 200);

    std::fs::write(&path, long_list(&world, &next, 2)).unwrap();
    let reload = tokio::task::spawn_blocking({
        let gate = Arc::clone(&gate);
        move || gate.running.reload()
    });
    let mut during = 0;
    loop {
        assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
        if reload.is_finished() {
            break;
        }
        during += 1;
    }
    reload.await.unwrap().unwrap();
    assert!(during > 0, "the reload held the requests up");
    assert_eq!(Client::with(&world, &next).refused(&gate).await, "CertificateRevoked");
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
}

#[tokio::test]
async fn half_of_the_connections_are_cut_within_a_second_and_the_others_answer() {
    rlimit::increase_nofile_limit(20_000).unwrap();
    let half = f64::from(half());
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = config(&world, &backend, "deny_state = \"state.toml\"");
    let bounds = "[connection]\nper_address = 20000\nhandshakes_per_address = \"100000/s\"\n";
    let gate = Gate::start(&world, &format!("{text}\n{bounds}"));
    let lost = world.client(|spec| spec.cn = "lost".to_owned());
    let losers = crowd(&gate, &Client::with(&world, &lost)).await;
    let mut survivors = crowd(&gate, &Client::good(&world)).await;

    let entry = r#"{"trust":"test","match":{"subject_cn":"lost"},"reason":"stolen","author":"ops"}"#;
    let request = http::Request::post("/deny").header("host", "localhost").header("content-type", "application/json");
    let request = request.body(http_body_util::Full::<bytes::Bytes>::from(entry)).unwrap();
    let tcp = TcpStream::connect(gate.admin.unwrap()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(tcp);
    let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(send.send_request(request).await.unwrap().status(), 201);

    for mut loser in losers {
        let mut rest = Vec::new();
        let gone = tokio::time::timeout(Duration::from_secs(5), loser.read_to_end(&mut rest));
        assert!(gone.await.is_ok(), "a loser lives on");
    }
    const ENFORCED: &str = "portcullis_revocation_enforced_seconds";
    gate.wait_for_metric(&format!("{ENFORCED}_count"), half).await;
    assert_eq!(gate.metric(&format!("{ENFORCED}_bucket{{le=\"1.0\"}}")).await, half);
    let metrics = gate.metrics().await;
    metrics.lines().filter(|line| line.starts_with(ENFORCED)).for_each(|line| println!("{line}"));
    for survivor in &mut survivors {
        ask(survivor).await;
    }
    assert_eq!(gate.metric(&format!("{ENFORCED}_count")).await, half);
}

/// Connections that have had an answer each.
async fn crowd(gate: &Gate, client: &Client) -> Vec<TlsStream<TcpStream>> {
    let connect = |_| async {
        let mut stream = client.connect(gate).await.unwrap();
        ask(&mut stream).await;
        stream
    };
    stream::iter(0..half()).map(connect).buffer_unordered(32).collect().await
}

/// One request and the whole of its answer.
async fn ask(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"HEAD / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "closed");
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn an_intermediate_that_may_not_sign_certificates_signs_for_nobody() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &world.config(backend.address));
    for (usages, let_in) in [
        (vec![rcgen::KeyUsagePurpose::KeyCertSign], true),
        (vec![rcgen::KeyUsagePurpose::CrlSign, rcgen::KeyUsagePurpose::DigitalSignature], false),
    ] {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
        let root = rcgen::Issuer::new(params, rcgen::KeyPair::from_pem(&world.pki.ca.key_pem()).unwrap());
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Middle CA");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = usages;
        let middle = rcgen::CertifiedIssuer::signed_by(params, rcgen::KeyPair::generate().unwrap(), &root).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        // With the key of another certificate, which a client of these tests has.
        let good = rcgen::KeyPair::from_pem(&world.pki.good.key_pem()).unwrap();
        let leaf = params.signed_by(&good, &middle).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone(), middle.der().clone()];
        let client = Client::good(&world).chain(chain);
        if let_in {
            assert_eq!(client.get(&gate, "/").await.status, 200);
        } else {
            client.refused(&gate).await;
            assert!(gate.log_line("connection refused").contains("cert_constraint"));
        }
    }
}
