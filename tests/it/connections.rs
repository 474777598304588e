//! How many connections, from whom, and for how long.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::reject::Reason;
use portcullis::tools::pki::{LeafSpec, Validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::frames::{END_STREAM, Frames, GOAWAY, HEADERS, get, headers};
use crate::harness::{Backend, Client, Gate, Heard, ROUTE, World, cut, unix};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n";

/// A gate with these settings of connections, in front of the echo backend.
async fn gate(world: &World, connection: &str) -> (Gate, Backend) {
    let backend = Backend::echo().await;
    let upstream = format!("servers = [\"http://{}\"]", backend.address);
    let config = world.config_with(&format!("[connection]\n{connection}"), &upstream, ROUTE);
    (Gate::start(world, &config), backend)
}

/// A TCP connection from another address of this machine.
async fn from(gate: &Gate, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(gate.address).await.unwrap()
}

/// Repeats `attempt` until it holds; the gate learns of closed connections in its own time.
async fn eventually(mut attempt: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !attempt().await {
        assert!(started.elapsed() < Duration::from_secs(10), "it never happened");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn served(heard: &Heard) -> bool {
    matches!(heard, Heard::Data(answer) if answer.starts_with("HTTP/1.1 200"))
}

#[tokio::test]
async fn an_address_holds_so_many_connections_and_no_more() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "per_address = 2").await;
    let first = Client::good(&world).connect(&gate).await.unwrap();
    // A connection counts from its first moment, handshake or not.
    let (second, _) = gate.tcp().await;
    eventually(async || gate.metric("portcullis_connections_open").await as u64 == 2).await;
    gate.refuses(&Client::good(&world), Reason::ConnectionsPerAddress).await;
    // Other addresses have their own.
    assert!(served(&Client::good(&world).hears(from(&gate, "127.0.0.2").await).await));
    drop(first);
    eventually(async || served(&Client::good(&world).hears(gate.tcp().await.0).await)).await;
    drop(second);
}

#[tokio::test]
async fn refused_connections_give_their_place_back() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "per_address = 1\nmax = 1").await;
    for _ in 0..10 {
        eventually(async || {
            let (tcp, _) = gate.tcp().await;
            Client::anonymous(&world).hears(tcp).await == Heard::Alert("certificate_required".to_owned())
        })
        .await;
    }
    eventually(async || served(&Client::good(&world).hears(gate.tcp().await.0).await)).await;
    eventually(async || gate.metric("portcullis_connections_open").await as u64 == 0).await;
}

#[tokio::test]
async fn there_are_so_many_connections_in_all_and_no_more() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "max = 2").await;
    let first = Client::good(&world).connect(&gate).await.unwrap();
    let second = Client::good(&world).over(from(&gate, "127.0.0.2").await).await.unwrap();
    let line = gate.refuses(&Client::good(&world), Reason::Connections).await;
    assert_eq!(line["level"], "ERROR", "the gate's own bound");
    drop(second);
    eventually(async || served(&Client::good(&world).hears(gate.tcp().await.0).await)).await;
    drop(first);
}

#[tokio::test]
async fn an_address_starts_handshakes_at_its_rate() {
    let world = World::new();
    // A rate below ten a second lets ten come at once.
    let (gate, _backend) = gate(&world, "handshakes_per_address = \"1/s\"").await;
    let mut refused = 0;
    for _ in 0..14 {
        let (tcp, _) = gate.tcp().await;
        refused += u64::from(!served(&Client::good(&world).hears(tcp).await));
    }
    assert!((2..=4).contains(&refused), "{refused}");
    assert_eq!(gate.rejects(Reason::HandshakesPerAddress).await, refused);
    // What a connection does after its handshake is another matter, and so are other addresses.
    assert!(served(&Client::good(&world).hears(from(&gate, "127.0.0.3").await).await));
    gate.clock.advance(Duration::from_secs(10));
    gate.serves(&Client::good(&world)).await;
}

#[tokio::test]
async fn there_are_so_many_handshakes_under_way_and_no_more() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "handshakes = 1\nhandshake_timeout = \"60s\"").await;
    // It says hello and no more, and holds the only place.
    let (mut hanging, _) = gate.tcp().await;
    hanging.write_all(&Client::good(&world).hello()).await.unwrap();
    hanging.read_u8().await.unwrap();
    gate.refuses(&Client::good(&world), Reason::HandshakesInFlight).await;
    drop(hanging);
    eventually(async || served(&Client::good(&world).hears(gate.tcp().await.0).await)).await;
    // An admitted connection holds none.
    let _idle = Client::good(&world).connect(&gate).await.unwrap();
    eventually(async || served(&Client::good(&world).hears(gate.tcp().await.0).await)).await;
}

/// A client whose certificate has between `left - 1` and `left` seconds left, by the gate's clock.
fn ending(world: &World, gate: &Gate, left: u64) -> Client {
    let not_after = Duration::from_secs(unix().as_secs()) + Duration::from_hours(1);
    let validity = Validity { not_before: Duration::ZERO, not_after };
    let issued = world.client(|spec| spec.validity = validity);
    // notAfter itself still counts: the certificate is over a second later.
    gate.clock.advance(Duration::from_hours(1) + Duration::from_secs(1) - Duration::from_secs(left));
    Client::with(world, &issued)
}

#[tokio::test]
async fn an_idle_connection_ends_before_its_certificate() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let client = ending(&world, &gate, 7);
    let mut stream = client.connect(&gate).await.unwrap();
    let started = Instant::now();
    stream.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    // Kept alive: the end is the gate's doing.
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(!String::from_utf8_lossy(&answer).to_ascii_lowercase().contains("connection: close"));
}

#[tokio::test]
async fn an_idle_http2_connection_ends_before_its_certificate() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let client = ending(&world, &gate, 7).alpn(&["h2"]);
    let stream = client.connect(&gate).await.unwrap();
    let started = Instant::now();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = || Request::get("https://api.test/").body(Full::<bytes::Bytes>::default()).unwrap();
    assert_eq!(send.send_request(request()).await.unwrap().status(), 200);
    connection.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(send.send_request(request()).await.is_err());
}

/// Nothing is answered later than this after the handshake of a certificate with seven seconds left.
const OVER: std::ops::Range<Duration> = Duration::from_secs(5)..Duration::from_millis(8500);

#[tokio::test]
async fn a_busy_connection_is_cut_at_the_end_of_its_certificate() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let mut stream = ending(&world, &gate, 7).connect(&gate).await.unwrap();
    let started = Instant::now();
    stream.write_all(b"GET /slow?ms=10000 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    assert!(OVER.contains(&started.elapsed()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_busy_http2_connection_is_cut_at_the_end_of_its_certificate() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let stream = ending(&world, &gate, 7).alpn(&["h2"]).connect(&gate).await.unwrap();
    let started = Instant::now();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://api.test/slow?ms=10000").body(Full::<bytes::Bytes>::default()).unwrap();
    assert!(send.send_request(request).await.is_err());
    assert!(OVER.contains(&started.elapsed()), "{:?}", started.elapsed());
}

/// As [`ending`], but it is the certificate above the client's that ends.
fn ending_above(world: &World, gate: &Gate, left: u64) -> Client {
    let not_after = Duration::from_secs(unix().as_secs()) + Duration::from_hours(1);
    let validity = Validity { not_before: Duration::ZERO, not_after };
    let above = world.pki.ca.intermediate_within("Short", validity).unwrap();
    let issued = above.issue(&LeafSpec::client("below", Validity::LONG)).unwrap();
    gate.clock.advance(Duration::from_hours(1) + Duration::from_secs(1) - Duration::from_secs(left));
    Client::with(world, &issued)
}

#[tokio::test]
async fn a_connection_ends_with_an_intermediate_that_ends_before_its_leaf() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let client = ending_above(&world, &gate, 7);
    let mut idle = client.connect(&gate).await.unwrap();
    let mut busy = client.connect(&gate).await.unwrap();
    let started = Instant::now();
    idle.write_all(GET).await.unwrap();
    busy.write_all(b"GET /slow?ms=10000 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    idle.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    answer.clear();
    let _ = busy.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    assert!(OVER.contains(&started.elapsed()), "{:?}", started.elapsed());
    // And nobody comes in by it any more.
    assert_eq!(client.refused(&gate).await, "CertificateExpired");
}

#[tokio::test]
async fn http2_is_told_goaway_before_an_intermediate_ends_and_what_is_in_flight_is_cut_with_it() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let client = ending_above(&world, &gate, 7);
    let mut frames = Frames::of(client, &gate).await;
    let started = Instant::now();
    frames.write(&headers(1, END_STREAM, &get("/"))).await;
    frames.write(&headers(3, END_STREAM, &get("/slow?ms=10000"))).await;
    assert_eq!(frames.wait_for(&[HEADERS]).await.unwrap().status(), "200");
    let goaway = frames.wait_for(&[GOAWAY]).await.expect("before the end");
    assert_eq!(goaway.error(), 0, "NO_ERROR: what is in flight may finish");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let rest = frames.rest().await;
    assert!(OVER.contains(&started.elapsed()), "{:?}", started.elapsed());
    assert!(rest.iter().all(|frame| frame.kind != HEADERS), "nothing is answered any more: {rest:?}");
}

#[tokio::test]
async fn a_clock_that_steps_over_the_end_of_a_certificate_ends_it() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    let client = ending(&world, &gate, 1800);
    let mut stream = client.connect(&gate).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    // A suspended machine, or a clock that was set: timers know nothing of it.
    gate.clock.advance(Duration::from_hours(1));
    stream.write_all(GET).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains("HTTP/1.1 400") && rest.contains("cert_expired"), "{rest}");
}

/// A gate whose listener takes PROXY protocol from these networks.
async fn behind(world: &World, from: &str, connection: &str) -> (Gate, Backend) {
    let backend = Backend::echo().await;
    let config = world.config(backend.address).replacen(
        "address = \"127.0.0.1:0\"",
        &format!("address = \"127.0.0.1:0\"\nproxy_protocol = {{ from = [{from}] }}"),
        1,
    );
    (Gate::start(world, &format!("[connection]\n{connection}\n{config}")), backend)
}

/// A version 2 header for TCP over IPv4 with an additional field (type 0xEA).
fn version2(source: [u8; 4], port: u16) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11".to_vec();
    header.extend(source);
    header.extend([127, 0, 0, 1]);
    header.extend(port.to_be_bytes());
    header.extend(443_u16.to_be_bytes());
    header.extend([0xea, 0, 2, 1, 2]);
    header
}

fn version1(source: &str, port: u16) -> Vec<u8> {
    let (family, destination) = if source.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
    format!("PROXY {family} {source} {destination} {port} 443\r\n").into_bytes()
}

/// What `client` hears when this comes first, in a segment of its own.
async fn announced(gate: &Gate, client: &Client, header: &[u8]) -> (Heard, SocketAddr) {
    let (mut tcp, peer) = gate.tcp().await;
    tcp.write_all(header).await.unwrap();
    (client.hears(tcp).await, peer)
}

#[tokio::test]
async fn a_listed_proxy_says_who_the_client_is() {
    let world = World::new();
    let (gate, _backend) = behind(&world, "\"127.0.0.0/8\"", "").await;
    for (header, address, peer) in [
        (version1("203.0.113.7", 5555), "203.0.113.7", "203.0.113.7:5555"),
        (version1("2001:db8::7", 5556), "2001:db8::7", "[2001:db8::7]:5556"),
        (version2([198, 51, 100, 9], 5557), "198.51.100.9", "198.51.100.9:5557"),
    ] {
        let (heard, _) = announced(&gate, &Client::good(&world), &header).await;
        assert!(served(&heard), "{heard:?}");
        let Heard::Data(answer) = heard else { unreachable!() };
        let line = answer.lines().find(|line| line.starts_with("x-forwarded-for:")).unwrap();
        assert_eq!(line, format!("x-forwarded-for: {address}"));
        let (heard, _) = announced(&gate, &Client::anonymous(&world), &header).await;
        assert_eq!(heard, Heard::Alert("certificate_required".to_owned()));
        assert_eq!(gate.refusal_line(peer.parse().unwrap())["reason"], "cert_missing");
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_is_its_own_client() {
    let world = World::new();
    let (gate, _backend) = behind(&world, "\"127.0.0.1\"", "").await;
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let (heard, _) = announced(&gate, &Client::good(&world), header).await;
        let Heard::Data(answer) = heard else { panic!("{heard:?}") };
        assert!(answer.contains("x-forwarded-for: 127.0.0.1"), "{answer}");
    }
}

/// A header and a first flight to what is sent.
type Way = fn(Vec<u8>, Vec<u8>) -> Vec<Vec<u8>>;

#[tokio::test]
async fn a_proxy_header_may_come_in_any_pieces() {
    let world = World::new();
    let (gate, _backend) = behind(&world, "\"127.0.0.1\"", "").await;
    for header in [version1("203.0.113.7", 5555), version2([203, 0, 113, 7], 5555)] {
        // Byte by byte; in one piece with the ClientHello; and cut behind the header's start.
        let ways: [Way; 3] = [
            |header, flight| header.into_iter().map(|byte| vec![byte]).chain([flight]).collect(),
            |header, flight| vec![[header, flight].concat()],
            |header, flight| {
                let (start, rest) = header.split_at(14);
                vec![start.to_vec(), [rest, &flight].concat()]
            },
        ];
        for way in ways {
            let (tcp, _) = gate.tcp().await;
            let header = header.clone();
            let heard = Client::good(&world).hears(cut(tcp, move |flight| way(header, flight))).await;
            assert!(served(&heard), "{heard:?}");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_listed_is_refused_whatever_it_says() {
    let world = World::new();
    let (gate, _backend) = behind(&world, "\"10.0.0.0/8\", \"127.0.0.2\"", "").await;
    for header in [version1("10.0.0.1", 5555), version2([10, 0, 0, 1], 5555), Vec::new()] {
        let (heard, peer) = announced(&gate, &Client::good(&world), &header).await;
        assert!(matches!(heard, Heard::End | Heard::Reset), "{heard:?}");
        assert_eq!(gate.refusal_line(peer)["reason"], "proxy_peer_untrusted");
    }
    assert_eq!(gate.rejects(Reason::ProxyPeerUntrusted).await, 3);
    let mut listed = from(&gate, "127.0.0.2").await;
    listed.write_all(&version1("10.0.0.1", 5555)).await.unwrap();
    assert!(served(&Client::good(&world).hears(listed).await));
}

#[tokio::test]
async fn a_proxy_header_that_is_missing_or_wrong_is_refused() {
    let world = World::new();
    let (gate, _backend) = behind(&world, "\"127.0.0.1\"", "").await;
    let mut too_long = version2([203, 0, 113, 7], 5555);
    too_long[14..16].copy_from_slice(&[0xff, 0xff]);
    let headers = [
        &b""[..],
        b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 99999\r\n",
        b"PROXY TCP4 evil.test 127.0.0.1 5555 443\r\n",
        b"PROXY TCP4 2001:db8::7 127.0.0.1 5555 443\r\n",
        b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 443\n\n",
        b"proxy TCP4 203.0.113.7 127.0.0.1 5555 443\r\n",
        &[b'P'; 200],
        &too_long,
    ];
    for header in headers {
        let (heard, peer) = announced(&gate, &Client::good(&world), header).await;
        assert!(matches!(heard, Heard::End | Heard::Reset), "{heard:?}");
        assert_eq!(gate.refusal_line(peer)["reason"], "proxy_header_invalid", "{header:?}");
    }
    assert_eq!(gate.rejects(Reason::ProxyHeaderInvalid).await, headers.len() as u64);
}

#[tokio::test]
async fn a_proxy_header_that_never_ends_is_waited_for_like_a_handshake() {
    let world = World::new();
    let (gate, _backend) = behind(&world, "\"127.0.0.1\"", "handshake_timeout = \"100ms\"").await;
    for start in [&b""[..], b"PROXY TCP4 203.0.113.7"] {
        let (mut tcp, peer) = gate.tcp().await;
        tcp.write_all(start).await.unwrap();
        let _ = tcp.read(&mut [0; 16]).await;
        let line = gate.refusal_line(peer);
        assert_eq!((&line["reason"], &line["detail"]), (&"proxy_header_invalid".into(), &"timed out".into()));
    }
}

#[tokio::test]
async fn limits_count_the_address_that_the_proxy_names() {
    let world = World::new();
    let (gate, _backend) = behind(&world, "\"127.0.0.1\"", "per_address = 1").await;
    let (mut tcp, _) = gate.tcp().await;
    tcp.write_all(&version1("203.0.113.7", 1001)).await.unwrap();
    let _held = Client::good(&world).over(tcp).await.unwrap();
    let (heard, _) = announced(&gate, &Client::good(&world), &version1("203.0.113.7", 1002)).await;
    assert!(!served(&heard), "{heard:?}");
    assert_eq!(gate.refusal_line("203.0.113.7:1002".parse().unwrap())["reason"], "connections_per_address");
    // An IPv4-mapped address is the same address; another one is another.
    let (heard, _) = announced(&gate, &Client::good(&world), &version1("::ffff:203.0.113.7", 1003)).await;
    assert!(!served(&heard), "{heard:?}");
    let (heard, _) = announced(&gate, &Client::good(&world), &version1("203.0.113.8", 1004)).await;
    assert!(served(&heard), "{heard:?}");
}

#[tokio::test]
async fn a_listener_without_proxy_protocol_believes_no_header() {
    let world = World::new();
    let (gate, _backend) = gate(&world, "").await;
    for header in [version1("203.0.113.7", 5555), version2([203, 0, 113, 7], 5555)] {
        let (heard, peer) = announced(&gate, &Client::good(&world), &header).await;
        assert!(!served(&heard), "{heard:?}");
        assert_eq!(gate.refusal_line(peer)["reason"], "client_hello_invalid");
    }
}
