//! What is written down: one line for each thing that happened, in one piece, and no secrets.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use portcullis::clock::Clock;
use portcullis::config;
use portcullis::snapshot::{Contents, Inputs, build};
use portcullis::telemetry::{AccessLog, Telemetry};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Backend, Client, Process, Session, Speak, World};

/// Every line so far, as JSON.
fn parsed(gate: &Process) -> Vec<Value> {
    let lines = gate.lines();
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn finished(gate: Process) -> Vec<Value> {
    gate.signal("TERM");
    let ended = gate.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let lines = ended.text.lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn about(lines: &[Value], message: &str) -> usize {
    lines.iter().filter(|line| line["message"] == message).count()
}

#[tokio::test]
async fn every_request_has_one_line_and_every_refused_connection_has_one() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Process::run(&world.write("gate.toml", &world.config(backend.address)));
    for speak in Speak::BOTH {
        let mut session = Session::open(Client::good(&world), gate.address(), speak).await.unwrap();
        for _ in 0..5 {
            session.get("/some/path").await.unwrap();
        }
        assert_eq!(session.get("/a//b").await.unwrap().status, 400);
        assert_eq!(session.get("/status/503").await.unwrap().status, 503);
        assert_eq!(session.send(Request::head("/")).await.unwrap().status, 200);
    }
    for _ in 0..3 {
        if let Ok(mut session) = Session::open(Client::anonymous(&world), gate.address(), Speak::Http1).await {
            session.get("/").await.unwrap_err();
        }
        drop(TcpStream::connect(gate.address()).unwrap());
    }
    gate.lines_until(6, |line| line.contains("connection refused"));
    let lines = finished(gate);
    assert_eq!(about(&lines, "request"), 16);
    assert_eq!(about(&lines, "connection refused"), 6);
    let request = lines.iter().find(|line| line["path"] == "/some/path").unwrap();
    for (key, value) in [("method", "GET"), ("host", "api.test"), ("subject", "CN=good"), ("tls", "TLSv1_3")] {
        assert_eq!(request[key], value, "{request}");
    }
    assert_eq!(request["status"], 200);
    let refused = lines.iter().find(|line| line["path"] == "/a//b").unwrap();
    assert_eq!((&refused["reason"], &refused["status"]), (&Value::from("path_invalid"), &Value::from(400)));
}

#[tokio::test]
async fn hostile_bytes_break_no_line_and_make_none_up() {
    let (world, backend) = (World::new(), Backend::echo().await);
    for format in ["json", "text"] {
        let config = format!("{}[log]\nformat = \"{format}\"\n", world.config(backend.address));
        let file = world.write("gate.toml", &config);
        let gate = Process::spawn(Process::command(["run", "--config", file.to_str().unwrap()]));
        let line = gate.line(|line| line.contains("listening"));
        let address = if format == "json" {
            gate.address()
        } else {
            let from = line.find("address=").unwrap() + "address=".len();
            line[from..].split_whitespace().next().unwrap().parse().unwrap()
        };
        let forged = "{\"message\":\"request\",\"forged\":true}";
        let hostile: Vec<Vec<u8>> = vec![
            format!("GET /a\r{forged} HTTP/1.1\r\nhost: api.test\r\n\r\n").into_bytes(),
            format!("GET /\"}}{forged} HTTP/1.1\r\nhost: api.test\r\n\r\n").into_bytes(),
            format!("GET / HTTP/1.1\r\nhost: api.test\r\nx-request-id: a\"}}\n{forged}\r\n\r\n").into_bytes(),
            format!("GET / HTTP/1.1\r\nhost: api.test\n{forged}\r\n\r\n").into_bytes(),
            format!("{forged}\n{forged} / HTTP/1.1\r\nhost: api.test\r\n\r\n").into_bytes(),
            format!("GET /%0a{forged} HTTP/1.1\r\nhost: api.test\r\n\r\n").into_bytes(),
            b"GET /\x1b[31m HTTP/1.1\r\nhost: a\x1b[2J.test\r\n\r\n".to_vec(),
            b"GET /\xff\xfe\x00\x1b[2J\xe2\x80\xa8 HTTP/1.1\r\nhost: api.test\r\n\r\n".to_vec(),
            b"GET /caf\xc3\xa9\xc2\x85 HTTP/1.1\r\nhost: api.test\r\nx-a: \x80\x9b31m\r\n\r\n".to_vec(),
            b"\x1b[2J / HTTP/1.1\r\nhost: api.test\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nhost: api.test\r\nexpect: \x1b[2J\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nhost: \x1b]0;x\x07\r\n\r\n".to_vec(),
        ];
        let count = hostile.len();
        for bytes in hostile {
            let mut stream = Client::good(&world).connect_to(address).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        // Names in certificates are written by whoever made them; what a ClientHello asks for, too.
        let named = world.client(|spec| spec.cn = format!("x\u{1b}[2J\n{forged}"));
        if let Ok(mut session) = Session::open(Client::with(&world, &named), address, Speak::Http1).await {
            let _ = session.get("/").await;
        }
        gate.signal("TERM");
        let text = gate.wait().text;
        assert!(text.lines().count() >= count, "{text}");
        assert!(!text.bytes().any(|byte| byte == 0x1b || byte == 0x07 || byte == 0x9b), "{text}");
        for line in text.lines() {
            if format == "json" {
                let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(line.get("forged").is_none(), "{line}");
            } else {
                // A time, not words of a stranger.
                assert!(line.starts_with("20") && line.as_bytes()[10] == b'T', "{line}");
            }
        }
    }
}

#[tokio::test]
async fn queries_credentials_cookies_and_bodies_are_never_written_down() {
    const SECRET: &str = "hunter2-s3cr3t";
    let (world, backend) = (World::new(), Backend::echo().await);
    for level in ["info", "trace"] {
        let gone = "[upstream.gone]\nservers = [\"http://127.0.0.1:9\"]\n";
        let gone_route =
            "[[host.route]]\npath = \"/gone\"\nallow = \"any-verified\"\nupstream = \"gone\"\n[trust.test]";
        let config = world.config(backend.address).replace("[trust.test]", gone_route);
        let config = format!("{config}{gone}[log]\nlevel = \"{level}\"\n");
        let gate = Process::run(&world.write("gate.toml", &config));
        let query = format!("?token={SECRET}");
        for speak in Speak::BOTH {
            let mut session = Session::open(Client::good(&world), gate.address(), speak).await.unwrap();
            for path in ["/", "/gone", "/a//b", "/nowhere%zz", "/ws", "/status/404", "/slow"] {
                let request = Request::post(format!("{path}{query}"))
                    .header("authorization", format!("Bearer {SECRET}"))
                    .header("cookie", format!("session={SECRET}"))
                    .header("x-api-key", SECRET)
                    .header("expect", if path == "/slow" { SECRET } else { "100-continue" });
                // Whether it is served is not asked here.
                let Ok(_) = session.send(request).await else {
                    session = Session::open(Client::good(&world), gate.address(), speak).await.unwrap();
                    continue;
                };
            }
        }
        for bytes in [
            format!("GET /{query} HTTP/1.1\r\nhost: api.test\r\nbad header {SECRET}\r\n\r\n"),
            format!("GET /{query}\u{1} HTTP/1.1\r\nhost: api.test\r\n\r\n"),
            format!("GET /{query} HTTP/9.9\r\nhost: api.test\r\nauthorization: {SECRET}\r\n\r\n"),
            format!("GET http://api.test/{query} HTTP/1.1\r\nhost: other.test\r\nauthorization: {SECRET}\r\n\r\n"),
            format!("GET http://user:{SECRET}@api.test/ HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n"),
            format!("POST / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n{SECRET}\r\n"),
            format!("POST / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\ncontent-length: 14\r\n\r\n{SECRET}"),
            format!("GET / HTTP/1.1\r\nhost: api.test\r\ncontent-length: {SECRET}\r\n\r\n"),
            format!(
                "GET / HTTP/1.1\r\nhost: api.test\r\nconnection: upgrade\r\nupgrade: websocket\r\nauthorization: {SECRET}\r\n\r\n"
            ),
        ] {
            let mut stream = Client::good(&world).connect_to(gate.address()).await.unwrap();
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        let metrics = gate.ask("/metrics").await.text();
        assert!(!metrics.contains(SECRET), "{metrics}");
        let lines = parsed(&gate);
        assert!(about(&lines, "request") >= 14, "{level}");
        gate.signal("TERM");
        let text = gate.wait().text;
        let hex = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        for line in text.lines() {
            assert!(!line.contains(SECRET) && !line.contains(&hex), "{level}: {line}");
        }
    }
}

#[tokio::test]
async fn no_key_is_in_what_anything_prints_of_itself() {
    let world = World::new();
    world.write("upstream.pem", &world.pki.good.pem());
    world.write("upstream.key", &world.pki.good.key_pem());
    let tls = "servers = [\"https://127.0.0.1:9\"]\ntls = { anchors = [\"ca.pem\"], server_name = \"api.test\", \
        certificate = { chain = \"upstream.pem\", key = \"upstream.key\" } }";
    let text = world.config_with("", tls, crate::harness::ROUTE);
    let file = world.write("gate.toml", &text);
    let loaded = config::load(&file).unwrap();
    let mut printed = format!("{loaded:?}{loaded:#?}");
    let contents = Contents::read(&loaded);
    let (clock, telemetry) = (Clock::system(), Telemetry::new(Clock::system(), AccessLog::All));
    let inputs = Inputs {
        config: loaded.config,
        contents,
        previous: None,
        seats: 1,
        clock: &clock,
        metrics: &telemetry.metrics,
    };
    printed += &format!("{inputs:?}");
    let snapshot = build(inputs).unwrap();
    printed += &format!("{snapshot:?}{snapshot:#?}{telemetry:?}");
    let gate = crate::harness::Gate::start(&world, &text);
    printed += &format!("{:?}", gate.running);
    let printed: String = printed.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(printed.contains("api.test"));
    for issued in [&world.pki.server, &world.pki.good] {
        let (der, pem) = (issued.key_der(), issued.key_pem());
        assert!(!has_key(&printed, der.secret_der()));
        // It would be found.
        assert!(has_key(&format!("{:?}", der.secret_der()).replace(' ', ""), der.secret_der()));
        assert!(has_key(&pem.replace('\n', ""), der.secret_der()));
    }
}

/// Whether any few bytes of the private key are in `printed`, however they are written.
fn has_key(printed: &str, der: &[u8]) -> bool {
    // PKCS#8 of P-256: 36 bytes say what kind of key follows, then come its 32 bytes.
    let private = &der[36..68];
    let spelled = |bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let decimal = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        [hex.to_uppercase(), hex, decimal]
    };
    let numbers = private.windows(6).flat_map(spelled);
    let base64 = private.chunks_exact(6).map(|bytes| STANDARD.encode(bytes));
    numbers.chain(base64).any(|shown| printed.contains(&shown))
}

/// Reads a gate's log up to the line that says where it listens.
fn until_listening(log: &mut impl BufRead) -> SocketAddr {
    let line = log.lines().map(|line| line.unwrap()).find(|line| line.contains("\"listening\"")).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_stops_neither_requests_nor_the_end() {
    // A pipe holds 64 KiB; a line has some 400 bytes.
    const REQUESTS: usize = 500;
    let (world, backend) = (World::new(), Backend::echo().await);
    let file = world.write("gate.toml", &world.config(backend.address));
    for gone in [false, true] {
        let mut command = Process::command(["run", "--config", file.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let address = until_listening(&mut log);
        // Either there is a reader that does not read, or there is none.
        let log = (!gone).then_some(log);
        let mut session = Session::open(Client::good(&world), address, Speak::Http1).await.unwrap();
        for _ in 0..REQUESTS {
            assert_eq!(session.get("/").await.unwrap().status, 200);
        }
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        drop(session);
        assert_eq!(child.wait().unwrap().code(), Some(0), "gone: {gone}");
        drop(log);
    }
}
