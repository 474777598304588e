//! What hostile clients do, and what it must not get them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::large_futures,
    clippy::as_conversions,
    reason = "a test that fails panics"
)]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Response;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::{Backend, Client, Gate, Recorder, World};

/// Longer than any bound that is set below, by far.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every wait is short.
const IMPATIENT: &str = r#"
[connection]
idle_timeout = "1s"
handshake_timeout = "2s"
[http]
write_timeout = "1s"
header_timeout = "1s"
"#;

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";
const SWITCH_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET /` for `api.test`, and more fields.
fn get(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84, 0x41, 8];
    block.extend_from_slice(b"api.test");
    for (name, value) in fields {
        block.extend([0, u8::try_from(name.len()).unwrap()]);
        block.extend_from_slice(name.as_bytes());
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    frame(HEADERS, 5, stream, &block)
}

/// SETTINGS with INITIAL_WINDOW_SIZE.
fn window(size: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 4], &size.to_be_bytes()[..]].concat())
}

/// Kind, stream and payload of the next frame.
async fn next(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap()];
    stream.read_exact(&mut payload).await?;
    Ok((head[3], u32::from_be_bytes(head[5..9].try_into().unwrap()), payload))
}

/// Waits until the gate has closed.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    timeout(PATIENCE, async { while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} }).await.is_ok()
}

/// Waits until a metric has a value.
async fn metric_is(gate: &Gate, name: &str, value: f64) -> bool {
    let reached = async {
        while (gate.metric(name).await - value).abs() > f64::EPSILON {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reached).await.is_ok()
}

fn impatient(world: &World, backend: SocketAddr) -> String {
    format!("{IMPATIENT}\n{}", world.config(backend))
}

#[tokio::test]
async fn an_http2_client_that_says_nothing_or_half_a_thing_is_closed_when_it_is_idle() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = Gate::start(&world, &impatient(&world, backend.address));
    let greeting = [PREFACE, &window(65_535)].concat();
    let half = [&greeting[..], &frame(HEADERS, 1, 1, &[0x82, 0x87])].concat();
    for said in [&b""[..], &PREFACE[..10], &greeting, &half, &greeting[..greeting.len() - 3]] {
        let mut stream = Client::good(&world).alpn(&["h2"]).connect(&gate).await.unwrap();
        stream.write_all(said).await.unwrap();
        // It answers no PING and no SETTINGS.
        assert!(closed(&mut stream).await, "{said:?}");
    }
}

const LARGE: &[u8] = &{
    let mut answer = [b'x'; 200_058];
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\ncontent-type: a\r\n\r\n";
    let mut at = 0;
    while at < head.len() {
        answer[at] = head[at];
        at += 1;
    }
    answer
};

#[tokio::test]
async fn an_http2_stream_whose_window_stays_shut_is_reset_and_holds_nothing() {
    let world = World::new();
    let backend = Recorder::answering(LARGE).await;
    let gate = Gate::start(&world, &impatient(&world, backend.address));
    let mut stream = Client::good(&world).alpn(&["h2"]).connect(&gate).await.unwrap();
    let requests: Vec<u8> = [1, 3, 5, 7].into_iter().flat_map(|id| get(id, &[])).collect();
    stream.write_all(&[PREFACE, &window(0), &requests].concat()).await.unwrap();
    let mut reset = 0;
    while reset < 4 {
        let (kind, id, payload) = timeout(PATIENCE, next(&mut stream)).await.expect("a reset").unwrap();
        reset += u32::from(kind == RST_STREAM);
        // A PING now and then, and a byte for one of them: no excuse for the others.
        if kind == HEADERS && id == 1 {
            stream.write_all(&frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())).await.unwrap();
        }
        assert!(kind != DATA || payload.len() <= 1);
    }
    assert!(metric_is(&gate, "portcullis_rejects_total{reason=\"write_timeout\"}", 4.0).await);
    assert!(metric_is(&gate, "portcullis_requests_in_flight", 0.0).await);
    assert!(metric_is(&gate, "portcullis_upstream_in_flight", 0.0).await);
}

#[tokio::test]
async fn a_slow_http2_client_that_takes_every_frame_gets_the_whole_body() {
    let world = World::new();
    let backend = Recorder::answering(LARGE).await;
    let gate = Gate::start(&world, &impatient(&world, backend.address));
    let mut stream = Client::good(&world).alpn(&["h2"]).connect(&gate).await.unwrap();
    stream.write_all(&[PREFACE, &window(16_384), &get(1, &[])].concat()).await.unwrap();
    let mut body = 0;
    while body < 200_000 - 2 {
        let (kind, _, payload) = timeout(PATIENCE, next(&mut stream)).await.expect("a frame").unwrap();
        assert_ne!(kind, RST_STREAM, "after {body}");
        if kind == DATA {
            body += payload.len();
            // 13 frames, and four times the write timeout altogether.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let more = u32::try_from(payload.len()).unwrap().to_be_bytes();
            stream.write_all(&frame(WINDOW_UPDATE, 0, 1, &more)).await.unwrap();
            stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &more)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_backend_that_hangs_leaves_nothing_behind() {
    let world = World::new();
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Gate::start(&world, &world.config(hanging.local_addr().unwrap()));
    for alpn in ["http/1.1", "h2"] {
        let mut stream = Client::good(&world).alpn(&[alpn]).connect(&gate).await.unwrap();
        let request = if alpn == "h2" {
            [PREFACE, &window(9), &get(1, &[])].concat()
        } else {
            b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n".to_vec()
        };
        stream.write_all(&request).await.unwrap();
        let (_backend, _) = hanging.accept().await.unwrap();
        assert!(metric_is(&gate, "portcullis_requests_in_flight", 1.0).await, "{alpn}");
        drop(stream);
        assert!(metric_is(&gate, "portcullis_requests_in_flight", 0.0).await, "{alpn}");
        assert!(metric_is(&gate, "portcullis_upstream_in_flight", 0.0).await, "{alpn}");
    }
}

#[tokio::test]
async fn cookie_crumbs_reach_the_backend_as_one_field() {
    let world = World::new();
    let mut backend = Recorder::start().await;
    let gate = Gate::start(&world, &world.config(backend.address));
    let mut stream = Client::good(&world).alpn(&["h2"]).connect(&gate).await.unwrap();
    let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "session=3")];
    stream.write_all(&[PREFACE, &window(65_535), &get(1, &crumbs)].concat()).await.unwrap();
    let seen = backend.wait_for(|seen| seen.iter().any(|head| head.contains("\r\n\r\n"))).await;
    assert!(seen[0].contains("cookie: a=1; b=2; session=3\r\n"), "{}", seen[0]);
    assert_eq!(seen[0].matches("cookie:").count(), 1, "{}", seen[0]);
}

#[tokio::test]
async fn a_proxy_that_is_no_longer_listed_speaks_for_nobody_on_its_open_connection() {
    let world = World::new();
    let backend = Backend::echo().await;
    let with = |trusted: &str| format!("[forwarded]\ntrusted = [{trusted}]\n{}", world.config(backend.address));
    let gate = Gate::start(&world, &with("\"127.0.0.1\""));
    let mut stream = Client::good(&world).connect(&gate).await.unwrap();
    for (reload, expected) in [(false, "203.0.113.9, 127.0.0.1"), (true, "127.0.0.1")] {
        if reload {
            gate.reload(&with("")).unwrap();
        }
        stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nx-forwarded-for: 203.0.113.9\r\n\r\n").await.unwrap();
        let mut text = String::new();
        while !text.contains("x-forwarded-for: ") || !text.ends_with('\n') {
            let mut buffer = [0; 4096];
            let read = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
            assert!(read > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        assert!(text.contains(&format!("x-forwarded-for: {expected}\n")), "{text}");
    }
}

#[tokio::test]
async fn a_configuration_that_is_written_while_another_starts_is_loaded_by_the_next_reload() {
    let world = World::new();
    let backend = Backend::echo().await;
    let old = world.config(backend.address);
    let file = world.write("gate.toml", &old);
    let loaded = portcullis::config::load(&file).unwrap();
    let narrower = old.replace("path = \"/\"", "path = \"/only\"");
    world.write("gate.toml", &narrower);
    let running = portcullis::app::start_with(file, loaded, portcullis::clock::Clock::system()).unwrap();
    running.reload().unwrap();
    let metrics = crate::harness::plain_get(running.admin.unwrap(), "/metrics").await.text();
    running.drain();
    assert!(metrics.contains("portcullis_config_generation 2"), "the change was taken for loaded");
}

#[tokio::test]
async fn an_upgrade_with_a_body_or_in_http_1_0_is_none() {
    let world = World::new();
    let backend = Recorder::answering(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
    )
    .await;
    let routes =
        "[[host.route]]\npath = \"/\"\nallow = \"any-verified\"\nupstream = \"backend\"\nupgrade = [\"websocket\"]\n";
    let gate =
        Gate::start(&world, &world.config_with("", &format!("servers = [\"http://{}\"]", backend.address), routes));
    let client = Client::good(&world);
    let fields = "host: api.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    let answer = client.raw(&gate, format!("GET / HTTP/1.1\r\n{fields}content-length: 5\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(backend.seen().is_empty());
    let answer = client.raw(&gate, format!("GET / HTTP/1.0\r\n{fields}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(!backend.seen()[0].to_lowercase().contains("upgrade"), "{:?}", backend.seen());
}

#[tokio::test]
async fn a_websocket_is_told_1008_when_its_certificate_is_not_welcome_any_more() {
    const SWITCH: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x05hello";
    let world = World::new();
    let backend = Recorder::answering(SWITCH).await;
    let routes =
        "[[host.route]]\npath = \"/\"\nallow = \"any-verified\"\nupstream = \"backend\"\nupgrade = [\"websocket\"]\n";
    let config = world.config_with("", &format!("servers = [\"http://{}\"]", backend.address), routes);
    let gate = Gate::start(&world, &config);
    let mut tunnel = Client::good(&world).connect(&gate).await.unwrap();
    tunnel
        .write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await
        .unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"hello") {
        assert!(timeout(PATIENCE, tunnel.read_buf(&mut text)).await.unwrap().unwrap() > 0);
    }
    gate.reload(&config.replace("ca.pem", "foreign-ca.pem")).unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(1), tunnel.read_to_end(&mut rest)).await.expect("within a second").ok();
    // RFC 6455 §5.5.1: a close frame of two bytes, which are 1008.
    assert_eq!(rest, [0x88, 2, 0x03, 0xf0]);
}

#[tokio::test]
async fn a_tunnel_and_an_idle_connection_end_when_their_authority_is_taken_away() {
    const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";
    let world = World::new();
    let backend = Recorder::answering(SWITCH).await;
    let routes =
        "[[host.route]]\npath = \"/\"\nallow = \"any-verified\"\nupstream = \"backend\"\nupgrade = [\"websocket\"]\n";
    let config = world.config_with("", &format!("servers = [\"http://{}\"]", backend.address), routes);
    let gate = Gate::start(&world, &config);
    let client = Client::good(&world);
    let mut idle = client.connect(&gate).await.unwrap();
    let mut idle2 = Client::good(&world).alpn(&["h2"]).connect(&gate).await.unwrap();
    idle2.write_all(&[PREFACE, &window(9)].concat()).await.unwrap();
    let mut tunnel = client.connect(&gate).await.unwrap();
    tunnel
        .write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await
        .unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"hello") {
        assert!(timeout(PATIENCE, tunnel.read_buf(&mut text)).await.unwrap().unwrap() > 0);
    }
    // A change that takes nothing away does not disturb it.
    gate.reload(&format!("{config}\n[limit.unused]\nkey = \"all\"\nrate = \"1/s\"\n")).unwrap();
    tunnel.write_all(b"still here").await.unwrap();
    let mut backend = backend;
    backend.wait_for(|seen| seen.iter().any(|bytes| bytes.ends_with("still here"))).await;

    gate.reload(&config.replace("ca.pem", "foreign-ca.pem")).unwrap();
    assert!(closed(&mut tunnel).await && closed(&mut idle).await);
    // This one does not even answer the PING behind the GOAWAY.
    assert!(closed(&mut idle2).await);
}

/// A backend over HTTP/2 that answers `hello` with its length, and never says that this was all.
async fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = hyper::service::service_fn(|_| async {
        let hello = stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"hello"))) });
        let body = StreamBody::new(hello.chain(stream::pending()));
        Ok::<_, Infallible>(Response::builder().header("content-length", 5).body(body).unwrap())
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test]
async fn a_client_that_took_all_that_was_announced_has_not_gone() {
    let world = World::new();
    let backend = endless().await;
    let config = world.config_with("", &format!("servers = [\"h2c://{backend}\"]"), crate::harness::ROUTE);
    let gate = Gate::start(&world, &config);
    let answer = Client::good(&world).get(&gate, "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert!(metric_is(&gate, "portcullis_requests_in_flight", 0.0).await);
    assert!(metric_is(&gate, "portcullis_upstream_in_flight", 0.0).await);
    assert_eq!(gate.metric("portcullis_rejects_total{reason=\"client_gone\"}").await, 0.0);
}

#[tokio::test]
async fn a_tunnel_ends_when_a_rule_denies_it() {
    let world = World::new();
    let mut backend = Recorder::answering(SWITCH).await;
    let routes =
        "[[host.route]]\npath = \"/\"\nallow = \"any-verified\"\nupstream = \"backend\"\nupgrade = [\"websocket\"]\n";
    let config = world.config_with("", &format!("servers = [\"http://{}\"]", backend.address), routes);
    let gate = Gate::start(&world, &config);
    let mut tunnel = Client::good(&world).connect(&gate).await.unwrap();
    tunnel.write_all(SWITCH_REQUEST).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"hello") {
        assert!(timeout(PATIENCE, tunnel.read_buf(&mut text)).await.unwrap().unwrap() > 0);
    }
    gate.reload(&config.replace("upstream = \"backend\"", "upstream = \"backend\"\nlimit = []")).unwrap();
    tunnel.write_all(b"still here").await.unwrap();
    backend.wait_for(|seen| seen.iter().any(|bytes| bytes.ends_with("still here"))).await;
    gate.reload(&config.replace("allow = ", "deny = { subject_cn = \"good\" }\nallow = ")).unwrap();
    assert!(closed(&mut tunnel).await);
    assert!(metric_is(&gate, "portcullis_rejects_total{reason=\"identity_denied\"}", 1.0).await);
    assert!(metric_is(&gate, "portcullis_requests_in_flight", 0.0).await);
}

/// A connection from an address of its own.
async fn from(address: Ipv4Addr, gate: &Gate) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((address, 0)))?;
    socket.connect(gate.address).await
}

/// A connection that says hello, and then nothing.
async fn hanging(address: Ipv4Addr, gate: &Gate, world: &World) -> TcpStream {
    let mut stream = from(address, gate).await.unwrap();
    // One that is refused may be gone already.
    let _ = stream.write_all(&Client::good(world).hello()).await;
    stream
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn one_address_that_lets_its_handshakes_hang_does_not_lock_out_the_others() {
    let world = World::new();
    let backend = Backend::echo().await;
    let top = "[connection]\nhandshakes = 50\nhandshakes_per_address = \"20/s\"\nper_address = 100000\n";
    let gate = Gate::start(&world, &format!("{top}{}", world.config(backend.address)));
    let attacker = Ipv4Addr::new(127, 66, 0, 1);
    let mut held = Vec::new();
    for round in 1..=5 {
        for _ in 0..20 {
            held.push(hanging(attacker, &gate, &world).await);
        }
        assert!(metric_is(&gate, "portcullis_connections_total", f64::from(round * 20)).await);
        gate.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
}

#[tokio::test]
async fn handshakes_that_hang_give_way_to_those_that_do_not_however_many_addresses_they_come_from() {
    let world = World::new();
    let backend = Backend::echo().await;
    let top = "[connection]\nhandshakes = 50\nhandshake_timeout = \"60s\"\n";
    let gate = Gate::start(&world, &format!("{top}{}", world.config(backend.address)));
    let mut held = Vec::new();
    for n in 0..60 {
        held.push(hanging(Ipv4Addr::new(127, 66, n + 1, 1), &gate, &world).await);
    }
    assert!(metric_is(&gate, "portcullis_connections_open", 50.0).await);
    gate.clock.advance(Duration::from_secs(2));
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    assert!(closed(&mut held[0]).await);
}

#[tokio::test]
async fn slow_heads_and_idle_connections_cost_little_and_keep_nobody_out() {
    const EACH: u8 = 100;
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = Gate::start(&world, &world.config(backend.address));
    let (client, before) = (Client::good(&world), resident());
    let mut held = Vec::new();
    for n in 0..EACH {
        let mut idle = client.over(from(Ipv4Addr::new(127, 67, 0, n / 50 + 1), &gate).await.unwrap()).await.unwrap();
        if n % 2 == 0 {
            idle.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
        }
        held.push(idle);
    }
    assert!(metric_is(&gate, "portcullis_connections_open", f64::from(EACH)).await);
    assert_eq!(client.get(&gate, "/").await.status, 200);
    // Both ends of each are in this process, and other tests too.
    let each = resident().saturating_sub(before) / u64::from(EACH);
    assert!(each < 1024, "{each} KiB a connection");
}
