//! The first bytes: cut, fragmented, oversized, late, wrong; and what two sides agree on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::reject::{Reason, Wire};
use portcullis::tools::pki::{KeyKind, LeafSpec, Name, Validity};
use rustls::crypto::aws_lc_rs::kx_group::{MLKEM768, SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use rustls::{HandshakeKind, NamedGroup};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::harness::{Backend, Client, Gate, Heard, Recorder, World, cut, fragmented, openssl};

/// A gate with these settings at its top, in front of a backend that keeps what it gets.
async fn gate(world: &World, connection: &str) -> (Gate, Recorder) {
    let backend = Recorder::start().await;
    let top = format!("[connection]\nhandshakes_per_address = \"100000/s\"\n{connection}");
    let upstream = format!("servers = [\"http://{}\"]", backend.address);
    let config = world.config_with(&top, &upstream, crate::harness::ROUTE);
    (Gate::start(world, &config), backend)
}

fn served(heard: &Heard) -> bool {
    matches!(heard, Heard::Data(answer) if answer.starts_with("HTTP/1.1 200"))
}

/// A client with a long ClientHello, which takes more than one segment.
fn long(world: &World) -> Client {
    Client::good(world).groups(&[X25519MLKEM768, X25519])
}

#[tokio::test]
async fn a_client_hello_in_two_segments_is_the_same_client_hello() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    // Every position of the record and handshake headers and of the version, then every seventh.
    for at in (1..45).chain((45..1200).step_by(7)) {
        let (tcp, peer) = gate.tcp().await;
        let io = cut(tcp, move |flight| {
            let (first, rest) = flight.split_at(at.min(flight.len()));
            vec![first.to_vec(), rest.to_vec()]
        });
        let heard = long(&world).hears(io).await;
        assert!(served(&heard), "cut at {at}: {heard:?} from {peer}");
    }
}

#[tokio::test]
async fn a_client_hello_byte_by_byte_is_the_same_client_hello() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    for client in [Client::good(&world), Client::good(&world).tls12(), long(&world)] {
        let (tcp, _) = gate.tcp().await;
        let io = cut(tcp, |flight| flight.into_iter().map(|byte| vec![byte]).collect());
        let heard = client.hears(io).await;
        assert!(served(&heard), "{heard:?}");
    }
}

#[tokio::test]
async fn a_client_hello_in_several_records_is_the_same_client_hello() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    for size in [1, 2, 3, 4, 5, 16, 37, 64, 100, 200, 500, 1000] {
        for client in [Client::good(&world), Client::good(&world).tls12(), long(&world)] {
            let (tcp, _) = gate.tcp().await;
            let heard = client.hears(cut(tcp, move |flight| fragmented(&flight, size))).await;
            assert!(served(&heard), "records of {size}: {heard:?}");
        }
    }
}

#[tokio::test]
async fn a_fragmented_client_hello_never_leads_to_a_weaker_host() {
    let world = World::new();
    let (gate, backend) = gate(&world, "").await;
    for size in [1, 5, 50, 150] {
        for (client, reason) in [
            (Client::anonymous(&world), Reason::CertMissing),
            (Client::anonymous(&world).tls12(), Reason::CertMissing),
            (Client::good(&world).server_name("evil.test"), Reason::ServerNameUnknown),
            (Client::good(&world).no_server_name(), Reason::ServerNameMissing),
        ] {
            let (tcp, peer) = gate.tcp().await;
            let heard = client.hears(cut(tcp, move |flight| fragmented(&flight, size))).await;
            assert_eq!(gate.refusal_line(peer)["reason"], reason.code());
            let Wire::Alert(name) = reason.row().wire else { unreachable!() };
            assert_eq!(heard, Heard::Alert(name.to_owned()), "records of {size}");
        }
    }
    assert!(backend.seen().is_empty());
}

/// A client whose ClientHello has about this many bytes.
fn sized(world: &World, bytes: usize) -> Client {
    let name = "x".repeat(250);
    let mut protocols = vec!["http/1.1"];
    protocols.extend(std::iter::repeat_n(name.as_str(), bytes / 251));
    Client::good(world).alpn(&protocols)
}

#[tokio::test]
async fn a_client_hello_that_is_too_large() {
    let world = World::new();
    let (gate, backend) = gate(&world, "client_hello_bytes = \"4KiB\"").await;
    gate.serves(&sized(&world, 3_000)).await;
    for bytes in [4_096, 5_000, 15_000] {
        let line = gate.refuses(&sized(&world, bytes), Reason::ClientHelloTooLarge).await;
        assert!(line["detail"].as_str().unwrap().contains("4096"), "{line}");
    }
    // What counts is what is received: records of one byte weigh six.
    let (tcp, peer) = gate.tcp().await;
    let heard = sized(&world, 1_000).hears(cut(tcp, |flight| fragmented(&flight, 1))).await;
    assert!(!served(&heard), "{heard:?}");
    assert_eq!(gate.refusal_line(peer)["reason"], "client_hello_too_large");
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn a_client_hello_that_never_ends() {
    let world = World::new();
    for most in ["4KiB", "64KiB"] {
        let (gate, _backend) = gate(&world, &format!("client_hello_bytes = \"{most}\"")).await;
        let (mut tcp, peer) = gate.tcp().await;
        // A handshake message of 64 KiB less one, in full records.
        let mut record = [vec![22, 3, 1, 0x40, 0], vec![0; 0x4000]].concat();
        record[5..9].copy_from_slice(&[1, 0, 0xff, 0xff]);
        let _ = tcp.write_all(&record).await;
        let more = [vec![22, 3, 1, 0x40, 0], vec![0; 0x4000]].concat();
        for _ in 0..4 {
            let _ = tcp.write_all(&more).await;
        }
        let line = gate.refusal_line(peer);
        assert!(
            ["client_hello_too_large", "client_hello_invalid"].contains(&line["reason"].as_str().unwrap()),
            "{line}"
        );
    }
}

/// Sends these bytes, half-closes, and returns what comes back and the line of the log.
async fn bytes(gate: &Gate, sent: &[u8]) -> (Vec<u8>, Value) {
    let (mut tcp, peer) = gate.tcp().await;
    tcp.write_all(sent).await.unwrap();
    let _ = tcp.shutdown().await;
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    (answer, gate.refusal_line(peer))
}

#[tokio::test]
async fn first_bytes_that_are_no_client_hello() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    for sent in [
        &b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 443\r\n",
        &[0; 64],
        &[0xff; 64],
        // SSLv2's ClientHello.
        &[0x80, 0x2e, 1, 3, 3, 0, 0x15, 0, 0, 0, 0x10, 0, 0, 5, 0, 0, 4, 0, 0, 0x2f],
        // A ClientHello of nothing.
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
        // A record longer than records are.
        &[22, 3, 1, 0xff, 0xff, 1, 0, 0, 0],
    ] {
        let (answer, line) = bytes(&gate, sent).await;
        assert_eq!(line["reason"], "client_hello_invalid", "{sent:?} {line}");
        // An alert (record type 21), fatal: decode_error (50) or, for what is TLS, unexpected_message (10).
        assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, 50 | 10]), "{sent:?}: {answer:?}");
    }
}

#[tokio::test]
async fn another_handshake_message_first() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    // Finished; a ServerHello that is none; application data.
    for sent in [&[22, 3, 3, 0, 5, 20, 0, 0, 1, 0][..], &[22, 3, 3, 0, 5, 2, 0, 0, 1, 0], &[23, 3, 3, 0, 2, 1, 2]] {
        let (_, line) = bytes(&gate, sent).await;
        assert_eq!(line["reason"], "client_hello_invalid", "{sent:?} {line}");
    }
    let (_, line) = bytes(&gate, &[21, 3, 3, 0, 2, 2, 40]).await;
    assert!(["handshake_alert", "client_hello_invalid"].contains(&line["reason"].as_str().unwrap()), "{line}");
}

#[tokio::test]
async fn a_client_that_says_nothing() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "handshake_timeout = \"100ms\"").await;
    let (mut tcp, peer) = gate.tcp().await;
    assert_eq!(tcp.read(&mut [0; 16]).await.unwrap(), 0, "closed without a word");
    let line = gate.refusal_line(peer);
    assert_eq!(line["reason"], "handshake_timeout");
    assert!(line["detail"].as_str().unwrap().contains("100ms"), "{line}");
    assert_eq!(gate.rejects(Reason::HandshakeTimeout).await, 1);
}

#[tokio::test]
async fn a_client_that_drips_gets_no_more_time() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "handshake_timeout = \"300ms\"").await;
    let (mut tcp, peer) = gate.tcp().await;
    let started = Instant::now();
    // The start of a record of 512 bytes, whose bytes come one by one and would for many minutes.
    let _ = tcp.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await;
    while tcp.write_all(&[0]).await.is_ok() && started.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(gate.refusal_line(peer)["reason"], "handshake_timeout");
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "handshake_timeout = \"200ms\"").await;
    // Its ClientHello is complete, and then it neither answers nor closes.
    for tls12 in [false, true] {
        let (tcp, peer) = gate.tcp().await;
        let client = if tls12 { Client::good(&world).tls12() } else { Client::good(&world) };
        let mut hello = Vec::new();
        let name = "api.test".try_into().unwrap();
        rustls::ClientConnection::new(Arc::new(client.config()), name).unwrap().write_tls(&mut hello).unwrap();
        let mut tcp = tcp;
        tcp.write_all(&hello).await.unwrap();
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer).await;
        assert!(answer.len() > 200, "a ServerHello came");
        let line = gate.refusal_line(peer);
        assert_eq!(
            (&line["reason"], &line["server_name"]),
            (&"handshake_timeout".into(), &"api.test".into()),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_client_that_goes_away() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let mut hello = Vec::new();
    let config = Arc::new(Client::good(&world).config());
    rustls::ClientConnection::new(config, "api.test".try_into().unwrap()).unwrap().write_tls(&mut hello).unwrap();
    for length in [0, 1, 5, 50, hello.len() - 1, hello.len()] {
        let (mut tcp, peer) = gate.tcp().await;
        tcp.write_all(&hello[..length]).await.unwrap();
        drop(tcp);
        assert_eq!(gate.refusal_line(peer)["reason"], "handshake_aborted", "after {length} bytes");
    }
    assert_eq!(gate.rejects(Reason::HandshakeAborted).await, 6);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_gate() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    for client in [Client::good(&world), Client::good(&world).tls12()] {
        let (tcp, peer) = gate.tcp().await;
        let heard = client.trusting(world.pki.foreign_ca.cert_der()).hears(tcp).await;
        assert!(matches!(heard, Heard::Own(_)), "{heard:?}");
        let line = gate.refusal_line(peer);
        assert_eq!(line["reason"], "handshake_alert", "{line}");
        assert!(line["detail"].as_str().unwrap().contains("UnknownCA"), "{line}");
    }
}

#[tokio::test]
async fn a_client_that_speaks_neither_http1_nor_http2() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    for protocols in [&["h3"][..], &["http/1.0", "spdy/3.1", "H2"]] {
        for client in [Client::good(&world), Client::good(&world).tls12()] {
            gate.refuses(&client.alpn(protocols), Reason::AlpnUnsupported).await;
        }
    }
    gate.serves(&Client::good(&world).alpn(&[])).await;
    gate.serves(&Client::good(&world).alpn(&["h3", "http/1.1"])).await;
}

/// `openssl s_client` with these arguments and the good certificate: what it said, and the gate's line if any.
async fn s_client(world: &World, gate: &Gate, args: &str) -> String {
    world.write("good.pem", &world.pki.good.pem());
    world.write("good.key", &world.pki.good.key_pem());
    let address = gate.address.to_string();
    let always = "s_client -cert good.pem -key good.key -servername api.test -CAfile ca.pem -ign_eof -connect";
    let args: Vec<_> =
        always.split(' ').chain([&*address]).chain(args.split(' ').filter(|arg| !arg.is_empty())).collect();
    let request = b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n";
    openssl(world.path(), &args, request).await.said
}

#[tokio::test]
async fn old_versions_of_tls() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    for (n, version) in ["-tls1", "-tls1_1"].into_iter().enumerate() {
        let said = s_client(&world, &gate, &format!("{version} -cipher ALL:@SECLEVEL=0")).await;
        assert!(said.contains("alert number 40"), "{version}: {said}");
        assert_eq!(gate.rejects(Reason::HandshakeIncompatible).await, n as u64 + 1);
    }
    assert!(gate.log_line("older than TLS 1.2").contains("handshake_incompatible"));
}

#[tokio::test]
async fn nothing_in_common() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    for (n, args) in [
        // RSA key exchange, CBC, and no ECDHE at all; a curve that we do not have.
        "-tls1_2 -cipher AES128-SHA",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA",
        "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256",
        "-tls1_2 -groups P-521",
        "-tls1_3 -groups P-521",
        // Signatures that our key cannot make.
        "-tls1_2 -sigalgs RSA-PSS+SHA256",
        "-tls1_3 -sigalgs RSA-PSS+SHA256",
    ]
    .into_iter()
    .enumerate()
    {
        let said = s_client(&world, &gate, args).await;
        assert!(said.contains("alert number 40"), "{args}: {said}");
        assert_eq!(gate.rejects(Reason::HandshakeIncompatible).await, n as u64 + 1, "{args}");
    }
}

#[tokio::test]
async fn the_post_quantum_group_is_used_where_it_is_offered() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    for (groups, expected) in [
        (&[X25519MLKEM768, X25519][..], NamedGroup::X25519MLKEM768),
        (&[X25519MLKEM768], NamedGroup::X25519MLKEM768),
        (&[X25519], NamedGroup::X25519),
        (&[SECP256R1], NamedGroup::secp256r1),
        (&[SECP384R1], NamedGroup::secp384r1),
        // A group that we do not have in front: a HelloRetryRequest, and a second ClientHello.
        (&[MLKEM768, X25519], NamedGroup::X25519),
        (&[MLKEM768, X25519MLKEM768], NamedGroup::X25519MLKEM768),
    ] {
        let client = Client::good(&world).groups(groups);
        let stream = client.connect(&gate).await.unwrap();
        let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, expected, "{groups:?}");
        gate.serves(&client).await;
    }
    gate.refuses(&Client::good(&world).groups(&[MLKEM768]), Reason::HandshakeIncompatible).await;
}

#[tokio::test]
async fn a_retried_client_hello_is_checked_like_any() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let retried = || Client::anonymous(&world).groups(&[MLKEM768, X25519]);
    gate.refuses(&retried(), Reason::CertMissing).await;
    gate.refuses(&retried().server_name("evil.test"), Reason::ServerNameUnknown).await;
}

#[tokio::test]
async fn of_several_certificates_the_client_gets_one_that_it_can_verify() {
    let world = World::new();
    let backend = Backend::echo().await;
    let names = || vec![Name::Dns("api.test".to_owned())];
    let mut certificates = Vec::new();
    for (file, key) in [("rsa", KeyKind::Rsa2048), ("ec", KeyKind::EcdsaP256), ("ed", KeyKind::Ed25519)] {
        let issued =
            world.pki.ca.issue(&LeafSpec { key, ..LeafSpec::server("api.test", names(), Validity::LONG) }).unwrap();
        world.write(&format!("{file}.pem"), &issued.pem());
        world.write(&format!("{file}.key"), &issued.key_pem());
        certificates.push(format!("{{ chain = \"{file}.pem\", key = \"{file}.key\" }}"));
    }
    let several = format!("certificate = [{}]", certificates.join(", "));
    let config = world.config(backend.address);
    let gate = Gate::start(
        &world,
        &config.replace("certificate = { chain = \"server.pem\", key = \"server.key\" }", &several),
    );
    for (args, signed) in [
        ("-tls1_3", "RSA-PSS"),
        ("-tls1_3 -sigalgs ECDSA+SHA256", "ECDSA"),
        ("-tls1_3 -sigalgs ed25519:ECDSA+SHA384", "ed25519"),
        ("-tls1_2", "RSA-PSS"),
        ("-tls1_2 -sigalgs ECDSA+SHA256", "ECDSA"),
        // In TLS 1.2 the cipher suite says what may sign.
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA"),
        ("-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", "RSA"),
    ] {
        let said = s_client(&world, &gate, args).await;
        assert!(said.contains(&format!("Peer signature type: {signed}")), "{args}: {said}");
        // Whether the client can prove itself with these signatures is another matter.
        assert!(said.contains("Verify return code: 0"), "{args}: {said}");
    }
}

#[tokio::test]
async fn every_type_of_key_serves() {
    for key in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519, KeyKind::Rsa2048, KeyKind::Rsa3072] {
        let world = World::new();
        let names = vec![Name::Dns("api.test".to_owned())];
        let above = world.pki.ca.intermediate("Server CA").unwrap();
        let issued = above.issue(&LeafSpec { key, ..LeafSpec::server("api.test", names, Validity::LONG) }).unwrap();
        world.write("server.pem", &issued.pem());
        world.write("server.key", &issued.key_pem());
        let (gate, _backend) = gate(&world, "").await;
        for client in [Client::good(&world), Client::good(&world).tls12()] {
            gate.serves(&client).await;
        }
    }
}

#[tokio::test]
async fn no_session_is_resumed_where_resumption_is_off() {
    let world = World::new();
    let (gate, _backend) = gate(&world, OFF).await;
    for client in [Client::good(&world), Client::good(&world).tls12()] {
        let mut config = client.config();
        config.enable_early_data = true;
        let connector = TlsConnector::from(Arc::new(config));
        for n in 0..4 {
            let (tcp, _) = gate.tcp().await;
            let mut stream = connector.connect("api.test".try_into().unwrap(), tcp).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"));
            let session = stream.get_ref().1;
            assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full), "connection {n}");
            assert_eq!(session.tls13_tickets_received(), 0);
            assert!(!session.is_early_data_accepted());
        }
    }
}

#[tokio::test]
async fn no_session_is_resumed_by_openssl_either_where_resumption_is_off() {
    let world = World::new();
    let (gate, _backend) = gate(&world, OFF).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let said = s_client(&world, &gate, &format!("{version} -reconnect")).await;
        assert!(said.contains("New, TLSv1") && !said.contains("Reused"), "{said}");
        assert!(!said.contains("session ticket:") && !said.contains("New Session Ticket arrived"), "{said}");
        // What there is of a session, it is no use to the next connection.
        s_client(&world, &gate, &format!("{version} -sess_out session.pem")).await;
        if world.path().join("session.pem").exists() {
            let said = s_client(&world, &gate, &format!("{version} -sess_in session.pem")).await;
            assert!(said.contains("New, TLSv1") && !said.contains("Reused"), "{said}");
            assert!(said.contains("200 OK"), "{said}");
        }
    }
}

#[tokio::test]
async fn nothing_is_renegotiated() {
    let world = World::new();
    let (gate, backend) = gate(&world, "idle_timeout = \"1s\"").await;
    world.write("good.pem", &world.pki.good.pem());
    world.write("good.key", &world.pki.good.key_pem());
    let address = gate.address.to_string();
    let args = "s_client -tls1_2 -cert good.pem -key good.key -servername api.test -connect";
    let args: Vec<_> = args.split(' ').chain([&*address]).collect();
    // A line that starts with R makes s_client renegotiate.
    let said = openssl(world.path(), &args, b"R\n").await.said;
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation") || said.contains("handshake failure"), "{said}");
    assert!(backend.seen().is_empty());
}

/// Every handshake is a full one.
const OFF: &str = "[resumption]\nenabled = false\n";
