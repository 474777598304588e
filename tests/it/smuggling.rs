//! Messages that two programs could read differently: refused, and never a second request.

use crate::harness::frames::{DATA, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, frame, get, headers, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Backend, Client, Gate, ROUTE, Recorder, World};

/// What an attacker wants the backend to see as a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: api.test\r\n\r\n";

const HOST: &str = "host: api.test\r\n";

/// Head (without its empty line, `\n` for CRLF, `|` for a bare LF), what is sent behind it, and the code.
const ROWS: &[(&str, &str, &str)] = &[
    ("POST /N HTTP/1.1\ncontent-length: 5\ntransfer-encoding: chunked", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding: chunked\ncontent-length: 5", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 0", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\ncontent-length: 0\ncontent-length: 0", "", "request_framing"),
    ("POST /N HTTP/1.1\ncontent-length: 0\ncontent-length: 44", "", "request_framing"),
    ("POST /N HTTP/1.1\ncontent-length: 0, 0", "", "request_framing"),
    ("POST /N HTTP/1.1\ncontent-length: +0", "", "request_framing"),
    ("POST /N HTTP/1.1\ncontent-length: 00", "", "request_framing"),
    ("POST /N HTTP/1.1\ncontent-length: 0x0", "", "request_framing"),
    ("POST /N HTTP/1.1\ncontent-length: -1", "", "request_framing"),
    ("POST /N HTTP/1.1\ncontent-length:", "", "request_framing"),
    ("POST /N HTTP/1.1\ncontent-length: 18446744073709551616", "", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding: identity", "", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding: chunked, identity", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding: gzip, chunked", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding: xchunked", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding: chunked\ntransfer-encoding: chunked", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding: chunked\ntransfer-encoding: identity", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding: \"chunked\"", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding: chunked;x", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.0\ntransfer-encoding: chunked", "0\r\n\r\n", "request_framing"),
    ("POST /N HTTP/1.1\ntransfer-encoding:\x0bchunked", "0\r\n\r\n", "request_malformed"),
    ("POST /N HTTP/1.1\ntransfer-encoding : chunked", "0\r\n\r\n", "request_malformed"),
    ("POST /N HTTP/1.1\ncontent-length : 5", "", "request_malformed"),
    ("POST /N HTTP/1.1\n content-length: 5", "", "request_malformed"),
    ("POST /N HTTP/1.1\nx: y\n transfer-encoding: chunked", "0\r\n\r\n", "request_malformed"),
    ("POST /N HTTP/1.1\nx: y\n\tz", "", "request_malformed"),
    ("POST /N HTTP/1.1|content-length: 0", "", "request_malformed"),
    ("POST /N HTTP/1.1\nx: y|content-length: 5", "", "request_malformed"),
    ("GET /N HTTP/1.1\nx: y||", SMUGGLED, "request_malformed"),
    ("GET /N HTTP/1.1\nx: a\rb", "", "request_malformed"),
    ("GET /N HTTP/1.1\nx: a\0b", "", "request_malformed"),
    ("GET /N HTTP/1.1\nx\0: b", "", "request_malformed"),
    ("GET /N HTTP/1.1\nx y: b", "", "request_malformed"),
    ("GET /N HTTP/1.1\n: b", "", "request_malformed"),
    ("GET /N HTTP/1.1\nnothing", "", "request_malformed"),
    ("GET /N\0 HTTP/1.1", "", "request_malformed"),
    ("GET  /N HTTP/1.1", "", "request_malformed"),
    ("GET /N  HTTP/1.1", "", "request_malformed"),
    ("GET\t/N HTTP/1.1", "", "request_malformed"),
    ("GET /N x HTTP/1.1", "", "request_malformed"),
    ("GET /N http/1.1", "", "request_malformed"),
    ("GET /N", "", "request_malformed"),
    ("PRI * HTTP/2.0", "SM\r\n\r\n", "request_malformed"),
    ("GET /N HTTP/2.0", "", "request_version"),
    ("GET /N HTTP/1.2", "", "request_version"),
    ("GET /N HTTP/1.1\nhost: api.test\nconnection: close", "", "authority_invalid"),
    ("GET /N HTTP/1.1\nHost: other.test\nconnection: close", "", "authority_invalid"),
    ("GET http://other.test/N HTTP/1.1\nconnection: close", "", "authority_invalid"),
    ("GET http://x@api.test/N HTTP/1.1\nconnection: close", "", "authority_invalid"),
    ("POST /N HTTP/1.1\nexpect: 200-ok\ncontent-length: 44\nconnection: close", "", "expectation_unknown"),
];

#[tokio::test]
async fn a_message_that_two_programs_read_differently_reaches_nobody() {
    let world = World::new();
    let recorder = Recorder::start().await;
    let gate = Gate::start(&world, &world.config(recorder.address));
    for (index, (head, behind, code)) in ROWS.iter().enumerate() {
        let path = format!("/smuggling-{index}");
        let head = head.replace("/N", &path).replace('\n', "\r\n").replace('|', "\n");
        let (line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        let fields = if fields.is_empty() { String::new() } else { format!("{fields}\r\n") };
        // The host goes last, so that the first field is the one of the table.
        let request = format!("{line}\r\n{fields}{HOST}\r\n{behind}{SMUGGLED}");
        let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{head:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer:?}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        let status = match *code {
            "request_version" => "505",
            "expectation_unknown" => "417",
            _ => "400",
        };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}: {answer:?}");
        if line.contains(" /smuggling")
            && !line.contains('\0')
            && !line.contains('\n')
            && line.matches(' ').count() == 2
        {
            let logged = gate.logged(|line| line.contains(&format!("{path}\""))).await;
            assert!(logged.contains(&format!("\"reason\":\"{code}\"")) && logged.contains("CN=good"), "{logged}");
        }
    }
    assert!(recorder.seen().is_empty(), "{:?}", recorder.seen());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_before_its_end() {
    let world = World::new();
    let recorder = Recorder::start().await;
    let top = "[http]\nheader_bytes = \"8KiB\"\nheader_count = 600\nuri_bytes = \"1KiB\"\n";
    let upstream = format!("servers = [\"http://{}\"]", recorder.address);
    let gate = Gate::start(&world, &world.config_with(top, &upstream, ROUTE));
    let many: String = (0..601).map(|at| format!("x{at}: y\r\n")).collect();
    for (request, status, code) in [
        (format!("GET / HTTP/1.1\r\n{HOST}x: {}", "y".repeat(9000)), 431, "header_bytes"),
        (format!("GET / HTTP/1.1\r\n{HOST}{many}\r\n"), 431, "header_count"),
        (format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "y".repeat(1024)), 414, "uri_too_long"),
        (format!("GET /{}", "y".repeat(1100)), 414, "uri_too_long"),
        (format!("GET / HTTP/1.1\r\n{}", "x: yyyyyyyyyyyyyyy\r\n".repeat(800)), 431, "header_bytes"),
    ] {
        let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer:?}");
        let counted = gate.metric(&format!("portcullis_rejects_total{{reason=\"{code}\"}}")).await;
        assert!(counted >= 1.0, "{code}");
    }
    assert!(recorder.seen().is_empty());
}

#[tokio::test]
async fn a_bad_chunk_never_ends_the_request_nor_begins_another() {
    let world = World::new();
    let recorder = Recorder::answering(b"").await;
    let gate = Gate::start(&world, &world.config(recorder.address));
    let bodies = [
        "5\r\nhello\r\nZZ\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "-1\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "0\n\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\nbad\r\n\r\n",
        "0\r\n x: y\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let head = format!("POST /chunk HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n");
        let answer = Client::good(&world).raw(&gate, format!("{head}{body}{SMUGGLED}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer:?}");
        assert!(answer.contains("\"code\":\"body_malformed\""), "{body:?}: {answer:?}");
    }
    for seen in recorder.seen() {
        assert!(!seen.contains("smuggled") && !seen.ends_with("0\r\n\r\n"), "{seen:?}");
        assert!(seen.matches(" HTTP/1.1\r\n").count() <= 1, "{seen:?}");
    }
}

#[tokio::test]
async fn odd_but_clear_chunks_are_written_anew() {
    let world = World::new();
    let mut recorder = Recorder::start().await;
    let gate = Gate::start(&world, &world.config(recorder.address));
    let head = format!("POST / HTTP/1.1\r\n{HOST}connection: close\r\ntransfer-encoding: CHUNKED\r\n\r\n");
    let body = "0005;ext=x\r\nhello\r\nA\r\n0123456789\r\n000\r\n\r\n";
    let answer = Client::good(&world).raw(&gate, format!("{head}{body}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = recorder.wait_for(|seen| seen.iter().any(|seen| seen.ends_with("0\r\n\r\n"))).await;
    assert!(!seen[0].contains("ext") && seen[0].contains("transfer-encoding: chunked\r\n"), "{seen:?}");
}

#[tokio::test]
async fn what_follows_an_upgrade_that_does_not_happen_is_never_a_request() {
    let world = World::new();
    let routes =
        "[[host.route]]\npath = \"/ws\"\nallow = \"any-verified\"\nupstream = \"backend\"\nupgrade = [\"websocket\"]\n";
    for (path, upgrade, status) in [
        // Not permitted on the route.
        ("/", "websocket", 403),
        ("/ws", "other", 403),
        // Permitted, and declined by the backend.
        ("/ws", "websocket", 200),
        // No upgrade at all: an ordinary request, and the connection's last.
        ("/", "h2c", 200),
    ] {
        let recorder = Recorder::start().await;
        let upstream = format!("servers = [\"http://{}\"]", recorder.address);
        let gate = Gate::start(&world, &world.config_with("", &upstream, &format!("{ROUTE}{routes}")));
        let request = format!(
            "GET {path} HTTP/1.1\r\n{HOST}connection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n{SMUGGLED}"
        );
        let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {upgrade}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        let seen = recorder.seen();
        assert_eq!(seen.len(), usize::from(status == 200), "{seen:?}");
        assert!(seen.iter().all(|seen| !seen.contains("smuggled") && !seen.contains("http2-settings")), "{seen:?}");
        if upgrade == "h2c" {
            assert!(!seen[0].contains("upgrade"), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn connect_is_refused() {
    let world = World::new();
    let recorder = Recorder::start().await;
    let gate = Gate::start(&world, &world.config(recorder.address));
    for target in ["api.test:443", "127.0.0.1:22"] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n{SMUGGLED}");
        let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("connect_refused"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    let table: [&[(&str, &[u8])]; 2] = [
        &[(":method", b"CONNECT"), (":authority", b"api.test")],
        &[
            (":method", b"CONNECT"),
            (":protocol", b"websocket"),
            (":scheme", b"https"),
            (":path", b"/ws"),
            (":authority", b"api.test"),
        ],
    ];
    for fields in table {
        let mut frames = Frames::good(&world, &gate).await;
        frames.write(&headers(1, 0, fields)).await;
        let answer = frames.wait_for(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        assert!(
            answer.kind != HEADERS || ["405", "400"].contains(&&*answer.status()),
            "{answer:?} {}",
            answer.status()
        );
    }
    assert!(recorder.seen().is_empty());
}

#[tokio::test]
async fn a_malformed_http2_request_reaches_nobody() {
    let world = World::new();
    let recorder = Recorder::start().await;
    let gate = Gate::start(&world, &world.config(recorder.address));
    let with = |name: &'static str, value: &'static [u8]| [get("/x"), vec![(name, value)]].concat();
    let without = |name: &str| get("/x").into_iter().filter(|field| field.0 != name).collect::<Vec<_>>();
    let replaced = |name: &'static str, value: &'static [u8]| {
        get("/x").into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect::<Vec<_>>()
    };
    let table = [
        with("x", b"a\r\nGET /smuggled HTTP/1.1"),
        with("x", b"a\nb"),
        with("x", b"a\rb"),
        with("x", b"a\0b"),
        with("x\r\ny", b"a"),
        with("x y", b"a"),
        with("x:y", b"a"),
        with("", b"a"),
        with("X-Upper", b"a"),
        with("transfer-encoding", b"chunked"),
        with("connection", b"close"),
        with("connection", b"client-cert"),
        with("keep-alive", b"5"),
        with("proxy-connection", b"keep-alive"),
        with("upgrade", b"h2c"),
        with("te", b"gzip"),
        with("te", b"trailers, chunked"),
        with("host", b"other.test"),
        with("content-length", b"5"),
        with("content-length", b"x"),
        with(":path", b"/y"),
        with(":method", b"GET"),
        with(":authority", b"other.test"),
        with(":status", b"200"),
        with(":unknown", b"x"),
        with("expect", b"something"),
        [vec![("x", b"y".as_slice())], get("/x")].concat(),
        without(":method"),
        without(":path"),
        without(":scheme"),
        without(":authority"),
        replaced(":path", b""),
        replaced(":path", b"*"),
        replaced(":path", b"x"),
        replaced(":path", b"http://other.test/"),
        replaced(":path", b"/x HTTP/1.1\r\nx: y"),
        replaced(":path", b"/x y"),
        replaced(":path", b"/x\0"),
        replaced(":path", b"/x\\y"),
        replaced(":method", b"GET / HTTP/1.1\r\nx:"),
        replaced(":method", b"G T"),
        replaced(":method", b""),
        replaced(":authority", b"good@api.test"),
        replaced(":authority", b"api.test\r\nx: y"),
        replaced(":authority", b"other.test"),
        replaced(":authority", b""),
    ];
    for fields in table {
        let shown = || {
            fields.iter().map(|(name, value)| format!("{name}={} ", String::from_utf8_lossy(value))).collect::<String>()
        };
        let mut frames = Frames::good(&world, &gate).await;
        frames.write(&headers(1, END_STREAM, &fields)).await;
        let answer = frames.wait_for(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap_or_else(|| panic!("{:?}", shown()));
        if answer.kind == HEADERS {
            assert!(answer.status().starts_with('4'), "{:?} {}", shown(), answer.status());
        } else {
            assert_ne!(answer.error(), 0, "{:?}", shown());
        }
        assert!(recorder.seen().is_empty(), "{:?} {:?}", shown(), recorder.seen());
    }
}

#[tokio::test]
async fn an_http2_body_of_another_length_than_declared_is_never_complete() {
    let world = World::new();
    let recorder = Recorder::answering(b"").await;
    let gate = Gate::start(&world, &world.config(recorder.address));
    for (declared, frames_sent) in [
        ("5", vec![frame(DATA, END_STREAM, 1, b"123")]),
        ("5", vec![frame(DATA, 0, 1, b"123"), frame(DATA, END_STREAM, 1, SMUGGLED.as_bytes())]),
        ("0", vec![frame(DATA, END_STREAM, 1, SMUGGLED.as_bytes())]),
        ("5", vec![frame(DATA, 0, 1, b"123"), headers(1, END_STREAM, &[("x", b"y")])]),
    ] {
        let mut frames = Frames::good(&world, &gate).await;
        let fields = [post("/length"), vec![("content-length", declared.as_bytes())]].concat();
        frames.write(&headers(1, 0, &fields)).await;
        for frame in &frames_sent {
            frames.write(frame).await;
        }
        let answer = frames.wait_for(&[HEADERS, RST_STREAM, GOAWAY]).await.unwrap();
        assert!(answer.kind == RST_STREAM || answer.status() == "400", "{declared}: {answer:?} {}", answer.status());
    }
    for seen in recorder.seen() {
        assert!(!seen.contains("smuggled"), "{seen:?}");
        assert!(!seen.contains("content-length: 0") || seen.ends_with("\r\n\r\n"), "{seen:?}");
    }
}

#[tokio::test]
async fn pseudo_fields_in_trailers_and_late_heads_are_refused() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = Gate::start(&world, &world.config(backend.address));
    for trailers in [&[(":path", b"/admin".as_slice())][..], &[("transfer-encoding", b"chunked")], &[("X", b"y")]] {
        let mut frames = Frames::good(&world, &gate).await;
        frames.write(&headers(1, 0, &post("/echo"))).await;
        frames.write(&headers(1, END_STREAM, trailers)).await;
        let end = loop {
            let Some(frame) = frames.wait_for(&[HEADERS, DATA, RST_STREAM, GOAWAY]).await else { break None };
            if frame.kind == RST_STREAM || frame.kind == GOAWAY || frame.flags & END_STREAM != 0 {
                break Some(frame);
            }
        };
        let end = end.unwrap();
        assert!(
            end.kind != HEADERS || trailers[0].0 == "transfer-encoding" || end.status() != "200",
            "{trailers:?} {end:?}"
        );
    }
}

#[tokio::test]
async fn requests_that_come_one_behind_the_other_and_in_any_pieces_are_answered_each_once() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = Gate::start(&world, &world.config(backend.address));
    let requests = "GET /1 HTTP/1.1\r\nhost: api.test\r\n\r\n\
        POST /2 HTTP/1.1\r\nhost: api.test\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n\
        2\r\nhi\r\n0\r\n\r\n\
        POST /3 HTTP/1.1\r\nhost: api.test\r\ncontent-length: 5\r\n\r\nthree\
        GET /4 HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n";
    for size in [1, 7, 53, 64, requests.len()] {
        let stream = Client::good(&world).connect(&gate).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let sending = async {
            for piece in requests.as_bytes().chunks(size) {
                // A record each, and a turn for the gate, which runs beside us.
                write.write_all(piece).await.unwrap();
                write.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let mut answers = Vec::new();
        let reading = async { drop(read.read_to_end(&mut answers).await) };
        tokio::time::timeout(std::time::Duration::from_secs(30), async { tokio::join!(sending, reading) })
            .await
            .unwrap_or_else(|_| panic!("pieces of {size}"));
        let answers = String::from_utf8_lossy(&answers);
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 4, "pieces of {size}: {answers}");
        assert!(answers.matches("HTTP/1.1 ").count() <= 5, "pieces of {size}: {answers}");
    }
}
