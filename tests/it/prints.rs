//! What software a client is: in the log, in limits, in rules, and for the backend.

use portcullis::fingerprint::{TlsPrint, ja4_raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::frames::{END_STREAM, Frames, HEADERS, WINDOW_UPDATE, frame};
use crate::harness::{Backend, Client, Gate, OK, PROTOCOLS, ROUTE, Server, Talk, World, openssl, read_head};

/// What a client's ClientHello says, read from the wire by somebody who answers nothing.
pub async fn print_of(client: &Client) -> TlsPrint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = async {
        // It ends when the other side hangs up.
        let _ = client.connect_to(address).await;
    };
    let reading = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut some = [0; 2048];
            let read = stream.read(&mut some).await.unwrap();
            bytes.extend_from_slice(&some[..read]);
            if let Some(print) = TlsPrint::of(&bytes) {
                return print;
            }
            assert_ne!(read, 0, "no ClientHello");
        }
    };
    tokio::join!(connecting, reading).1
}

fn field(line: &str, name: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line[name].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn every_request_and_every_refused_handshake_says_what_software_it_came_from() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &world.config(backend.address));
    for protocol in PROTOCOLS {
        let client = Client::good(&world).alpn(&[protocol]);
        let print = print_of(&client).await;
        let answer = client.get(&gate, "/").await;
        let line = gate.request_line(&answer).await;
        assert_eq!(field(&line, "ja4"), print.ja4.to_string(), "{line}");
        assert!(
            print.ja4.as_str().starts_with("t13d") && print.ja4.as_str()[8..10] == protocol.replace("http/1.1", "h1")
        );
        // hyper's own settings, whatever they are, and its order.
        let http2 = field(&line, "h2");
        assert_eq!(http2.ends_with("|0|m,s,a,p") && http2.starts_with("2:0;"), protocol == "h2", "{line}");
        assert_eq!(http2.is_empty(), protocol != "h2", "{line}");
    }
    let stranger = Client::anonymous(&world);
    let line = gate.refuses(&stranger, portcullis::reject::Reason::CertMissing).await;
    assert_eq!(line["ja4"], print_of(&stranger).await.ja4.to_string());
    let old = Client::anonymous(&world).tls12();
    let line = gate.refuses(&old, portcullis::reject::Reason::CertMissing).await;
    assert!(line["ja4"].as_str().unwrap().starts_with("t12d"), "{line}");
}

#[tokio::test]
async fn a_resumed_session_is_of_the_same_stack_although_its_ja4_is_another() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &world.config(backend.address));
    let client = Client::good(&world);
    let config = std::sync::Arc::new(client.config());
    let mut lines = Vec::new();
    for _ in 0..2 {
        let tcp = tokio::net::TcpStream::connect(gate.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("api.test").unwrap();
        let mut stream =
            tokio_rustls::TlsConnector::from(std::sync::Arc::clone(&config)).connect(name, tcp).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap().to_owned();
        lines.push(gate.logged(|line| line.contains(&id) && line.contains("portcullis::request")).await);
    }
    assert_eq!(
        gate.metric(
            "portcullis_handshakes_total{host=\"api.test\",version=\"TLSv1_3\",protocol=\"HTTP/1.1\",kind=\"resumed\""
        )
        .await,
        1.0
    );
    let (full, resumed) = (field(&lines[0], "ja4"), field(&lines[1], "ja4"));
    assert_ne!(full, resumed);
    let stable = print_of(&client).await.stable.to_string();
    assert_eq!(full, stable);
}

/// A backend that answers each request with the head that it got.
async fn mirror() -> Server {
    Server::tcp(|_, mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
            if head.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_backend_that_asks_is_told_the_fingerprints_and_a_clients_own_claims_never_arrive() {
    let (world, backend) = (World::new(), mirror().await);
    for asked in [true, false] {
        let forward = if asked { "forward = [\"fingerprint\"]" } else { "forward = [\"plain\"]" };
        let upstream = format!("servers = [\"http://{}\"]\n{forward}", backend.address);
        let gate = Gate::start(&world, &world.config_with("", &upstream, ROUTE));
        for protocol in PROTOCOLS {
            let client = Client::good(&world).alpn(&[protocol]);
            let print = print_of(&client).await;
            let mut request = http::Request::get("/").header("host", "api.test");
            for name in ["x-client-ja4", "x_client_ja4", "x-client-ja4-stable", "x-client-h2", "x_client.h2"] {
                request = request.header(name, "forged");
            }
            let head = client.send(&gate, request.body(http_body_util::Full::default()).unwrap()).await.text();
            assert!(!head.contains("forged"), "{head}");
            let told = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let ja4 = asked.then(|| print.ja4.to_string());
            assert_eq!(told("x-client-ja4: "), ja4, "{head}");
            assert_eq!(told("x-client-ja4-stable: "), asked.then(|| print.stable.to_string()), "{head}");
            assert_eq!(told("x-client-h2: ").is_some(), asked && protocol == "h2", "{head}");
            assert_eq!(head.contains("x-client-cert-verified: true"), !asked, "{head}");
        }
    }
}

#[tokio::test]
async fn an_http2_fingerprint_is_of_what_came_before_the_first_request() {
    let (world, backend) = (World::new(), mirror().await);
    let upstream = format!("servers = [\"http://{}\"]\nforward = [\"fingerprint\"]", backend.address);
    let gate = Gate::start(&world, &world.config_with("", &upstream, ROUTE));
    let mut frames = Frames::good(&world, &gate).await;
    frames.write(&frame(WINDOW_UPDATE, 0, 0, &15_663_105_u32.to_be_bytes())).await;
    // `:method GET`, `:path /`, `:authority api.test`, `:scheme https`.
    let block = [&[0x82, 0x84, 0x41, 8][..], b"api.test", &[0x87]].concat();
    for byte in frame(HEADERS, 4 | END_STREAM, 1, &block) {
        frames.write(&[byte]).await;
    }
    let answer = frames.wait_for(&[crate::harness::frames::DATA]).await.unwrap();
    let head = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(head.contains("x-client-h2: |15663105|0|m,p,a,s\r\n"), "{head}");
    // What comes later changes nothing.
    frames.write(&frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())).await;
    let block = [&[0x82, 0x87, 0x84, 0x41, 8][..], b"api.test"].concat();
    frames.write(&frame(HEADERS, 4 | END_STREAM, 3, &block)).await;
    let answer = frames.wait_for(&[crate::harness::frames::DATA]).await.unwrap();
    let answer = if answer.payload.is_empty() {
        frames.wait_for(&[crate::harness::frames::DATA]).await.unwrap()
    } else {
        answer
    };
    let head = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(head.contains("x-client-h2: |15663105|0|m,p,a,s\r\n"), "{head}");
}

#[tokio::test]
async fn a_limit_by_fingerprint_counts_everybody_who_uses_the_same_software() {
    let (world, backend) = (World::new(), Server::answering(OK).await);
    let route = format!("{ROUTE}limit = [\"l\"]\n");
    let limit = "[limit.l]\nkey = \"fingerprint\"\nrate = \"1/m\"\nburst = 2\n";
    let upstream = format!("servers = [\"http://{}\"]", backend.address);
    let gate = Gate::start(&world, &world.config_with(limit, &upstream, &route));
    let other = world.client(|spec| "somebody else".clone_into(&mut spec.cn));
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    assert_eq!(Client::with(&world, &other).get(&gate, "/").await.status, 200);
    for client in [Client::good(&world), Client::with(&world, &other)] {
        assert_eq!(client.get(&gate, "/").await.code(), "rate_limited");
    }
    // Other software: another protocol, another version.
    assert_eq!(Client::good(&world).tls12().get(&gate, "/").await.status, 200);
    assert_eq!(Talk::good(&world, &gate, "h2").await.get("/").await.status, 200);
}

#[tokio::test]
async fn software_can_be_denied_on_a_route_and_with_certain_certificates() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let old = print_of(&Client::good(&world).tls12()).await;
    let config = world.config(backend.address);
    let denied = config
        .replace("upstream = \"backend\"", &format!("deny = {{ ja4 = \"{}\" }}\nupstream = \"backend\"", old.ja4));
    let gate = Gate::start(&world, &denied);
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    assert_eq!(Client::good(&world).tls12().get(&gate, "/").await.code(), "identity_denied");

    let head = old.ja4.as_str().split('_').next().unwrap();
    let entry = format!("[[deny]]\nmatch = {{ ja4 = \"{head}_*\", subject_cn = \"stolen*\" }}\nreason = \"script\"\n");
    world.write("deny.toml", &entry);
    let listed = config.replace("anchors = [\"ca.pem\"]", "anchors = [\"ca.pem\"]\ndeny = \"deny.toml\"");
    let gate = Gate::start(&world, &listed);
    let stolen = world.client(|spec| "stolen 1".clone_into(&mut spec.cn));
    assert_eq!(Client::with(&world, &stolen).get(&gate, "/").await.status, 200);
    assert_eq!(Client::good(&world).tls12().get(&gate, "/").await.status, 200);
    let line = gate.refuses(&Client::with(&world, &stolen).tls12(), portcullis::reject::Reason::CertDenied).await;
    assert!(line["detail"].as_str().unwrap().contains("script"), "{line}");

    for (wrong, said) in
        [("{ ja4 = \"t13d15*\" }", "whole parts"), ("{ h2 = \"2:0|00|0|m\" }", "only known once requests come")]
    {
        world.write("deny.toml", &format!("[[deny]]\nmatch = {wrong}\nreason = \"x\"\n"));
        let problems = Gate::try_start(&world, &listed).err().expect(wrong);
        assert!(problems.contains(said), "{problems}");
    }
}

#[tokio::test]
async fn the_whole_fingerprint_can_be_read_from_a_hello_in_any_pieces() {
    // openssl's, as it comes: a second opinion on what a ClientHello is.
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let arguments = ["s_client", "-connect", &address, "-servername", "api.test", "-tls1_3"];
    let reading = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while TlsPrint::of(&bytes).is_none() {
            let mut some = [0; 2048];
            let read = stream.read(&mut some).await.unwrap();
            assert_ne!(read, 0, "no ClientHello");
            bytes.extend_from_slice(&some[..read]);
        }
        bytes
    };
    let (_, bytes) = tokio::join!(openssl(world.path(), &arguments, b""), reading);
    let raw = ja4_raw(&bytes).unwrap();
    assert!(raw.starts_with("t13d0") && raw.contains("1301,1302,1303_"), "{raw}");
}
