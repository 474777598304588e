//! Little to send, much to work on: certificates, hellos, compression.

use std::time::Instant;

use portcullis::reject::Reason;
use rcgen::{CertificateParams, PublicKeyData, SignatureAlgorithm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::arrivals::from;
use super::gate;
use super::honest::Honest;
use crate::certificates::refused;
use crate::harness::{Client, Forge, Gate, Recorder, World};

/// As much as a trust store can be told to take.
const MOST: &str = "max_chain_length = 10\nmax_chain_bytes = \"64KiB\"\nmax_names = 1000";

#[tokio::test]
async fn a_hundred_intermediates_are_refused_before_anybody_looks_at_one() {
    let world = World::new();
    let mut above = Forge::root(&world.pki.ca);
    for _ in 0..100 {
        // All of one name: whoever builds paths would have to try them all in every order.
        above = above.authority("Bomb CA", |_| ());
    }
    let leaf = above.client("client", |_| ());
    assert!(leaf.chain().len() == 101);
    refused(&world, "", || leaf.presented(&world), Reason::CertChainTooLong).await;
    refused(&world, MOST, || leaf.presented(&world), Reason::CertChainTooLong).await;
}

#[tokio::test]
async fn as_many_intermediates_of_one_name_as_are_let_in_cost_next_to_nothing() {
    let world = World::new();
    // None of them leads anywhere, and each could have signed each.
    let foreign = Forge::root(&world.pki.foreign_ca);
    let mut above = foreign.authority("Bomb CA", |_| ());
    let mut chain = Vec::new();
    for _ in 0..8 {
        above = above.authority("Bomb CA", |_| ());
        chain.push(above.chain()[0].clone());
    }
    let leaf = above.client("client", |_| ());
    chain.insert(0, leaf.chain()[0].clone());
    let make = || Client::holding(&world, chain.clone(), leaf.key());
    let started = Instant::now();
    let backend = Recorder::start().await;
    let config = world.config(backend.address);
    let config = config.replace("anchors = [\"ca.pem\"]", &format!("anchors = [\"ca.pem\"]\n{MOST}"));
    let gate = Gate::start(&world, &config);
    let (tcp, peer) = gate.tcp().await;
    make().hears(tcp).await;
    let line = gate.refusal_line(peer);
    let told = line["reason"].as_str().unwrap();
    assert!(["cert_unknown_issuer", "cert_constraint", "cert_bad_signature"].contains(&told), "{line}");
    assert!(started.elapsed() < super::PATIENCE, "{:?}", started.elapsed());
}

/// An RSA key that nobody has: verifying with it is what costs.
struct Huge(Vec<u8>);

impl Huge {
    /// RSAPublicKey (RFC 8017 appendix A.1.1) with a modulus of so many bits.
    fn new(bits: usize) -> Self {
        let modulus = [&[0, 0xc5][..], &vec![0x5a; bits / 8 - 2], &[0x5b]].concat();
        let integers = [der(2, &modulus), der(2, &[1, 0, 1])].concat();
        Self(der(0x30, &integers))
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let short = [u8::try_from(content.len()).unwrap_or(0)];
    let (mark, length) = if content.len() < 128 { (None, &short[..]) } else { (Some(0x82), &length[6..]) };
    [&[tag][..], mark.as_slice(), length, content].concat()
}

impl PublicKeyData for Huge {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

#[tokio::test]
async fn an_rsa_key_of_16384_bits_verifies_nothing() {
    let world = World::new();
    let root = Forge::root(&world.pki.ca);
    let leaf = root.client("client", |_| ());
    let huge = root.certify(&Huge::new(16_384), "Huge CA", true);
    let above = || Client::holding(&world, vec![leaf.chain()[0].clone(), huge.clone()], leaf.key());
    let line = refused(&world, "", above, Reason::CertKeySize).await;
    assert!(line["detail"].as_str().unwrap().contains("16384"), "{line}");
    let own = root.certify(&Huge::new(16_384), "client", false);
    let line =
        refused(&world, "", || Client::holding(&world, vec![own.clone()], leaf.key()), Reason::CertKeySize).await;
    assert!(line["detail"].as_str().unwrap().contains("16384"), "{line}");
}

#[tokio::test]
async fn ten_thousand_names_are_refused_unread() {
    let world = World::new();
    let named = |count: usize| {
        Forge::root(&world.pki.ca).client("client", |params: &mut CertificateParams| {
            let name = |n: usize| rcgen::SanType::DnsName(format!("{n:x}").try_into().unwrap());
            params.subject_alt_names = (0..count).map(name).collect();
        })
    };
    let (many, more) = (named(10_000), named(12_000));
    assert!(many.chain()[0].len() < 64 << 10, "{}", many.chain()[0].len());
    refused(&world, "", || many.presented(&world), Reason::CertChainTooLarge).await;
    refused(&world, MOST, || many.presented(&world), Reason::CertTooManyNames).await;
    refused(&world, MOST, || more.presented(&world), Reason::HandshakeTooLarge).await;
}

#[tokio::test]
async fn nothing_of_tls_is_ever_decompressed() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let mut compressed = Client::good(&world).tls12().hello();
    // Behind the record, the message, the version, the random and the session id: suites, then methods.
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(compressed[session]);
    let methods = suites + 2 + usize::from(u16::from_be_bytes([compressed[suites], compressed[suites + 1]]));
    assert_eq!(compressed[methods..methods + 2], [1, 0], "one method: none");
    // DEFLATE (RFC 3749), and nothing else.
    compressed[methods + 1] = 1;
    let (mut tcp, peer) = gate.tcp().await;
    tcp.write_all(&compressed).await.unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    assert_eq!(gate.refusal_line(peer)["reason"], "handshake_incompatible");
}

#[tokio::test]
async fn hellos_at_their_bound_by_the_hundred_disturb_nobody() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "[connection]\nhandshakes_per_address = \"100000/s\"\n").await;
    let honest = Honest::at(&world, gate.address).await;
    let name = "x".repeat(250);
    let protocols: Vec<&str> = std::iter::once("http/1.1").chain(std::iter::repeat_n(name.as_str(), 70)).collect();
    let huge = Client::good(&world).alpn(&protocols).hello();
    assert!(huge.len() > 16 << 10);
    for n in 0..200 {
        let mut tcp = from(n, &gate).await;
        let _ = tcp.write_all(&huge).await;
        let _ = tcp.read(&mut [0; 16]).await;
    }
    gate.wait_for_metric("portcullis_rejects_total{reason=\"client_hello_too_large\"}", 200.0).await;
    honest.were_served().await;
}
