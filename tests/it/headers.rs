//! What the backend is told about a client, and that nobody but the gate tells it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use portcullis::tools::pki::{LeafSpec, Name, Validity};

use crate::harness::{Client, Gate, ROUTE, Recorder, Server, Talk, World, empty, read_head, with_trailers};

/// All formats, and hosts `open.test` and `other.test` that do not require a certificate.
fn config(world: &World, backend: std::net::SocketAddr, top: &str) -> String {
    let upstream = format!(
        "servers = [\"http://{backend}\"]\nforward = [\"client-cert\", \"client-cert-chain\", \"plain\", \"xfcc\"]"
    );
    let host = |name: &str, rest: &str| {
        format!(
            "[[host]]\nnames = [\"{name}\"]\ncertificate = {{ chain = \"server.pem\", key = \"server.key\" }}\n{rest}\n{}",
            ROUTE.replace("any-verified", "anyone")
        )
    };
    let open = host("open.test", "client_certificate = \"none\"");
    let optional = host("other.test", "client_certificate = \"optional\"\ntrust = \"test\"");
    world.config_with(top, &upstream, &[ROUTE, &open, &optional].concat())
}

/// A backend that answers each request with the head that it got.
async fn mirror() -> Server {
    Server::tcp(|_, mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// The value of the only field of this name in a head.
fn field<'h>(head: &'h str, name: &str) -> &'h str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": ")).filter(|(found, _)| *found == name);
    let (_, value) = lines.next().unwrap_or_else(|| panic!("no {name} in {head}"));
    assert!(lines.next().is_none(), "{name} twice in {head}");
    value
}

/// Every field that could be taken for an identity, as CGI would fold it.
fn claims(head: &str) -> Vec<String> {
    let fold = |name: &str| {
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect::<String>()
    };
    let mut claims: Vec<String> = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (fold(name), value.trim().to_owned()))
        .filter(|(name, _)| {
            ["client-cert", "x-ssl", "ssl-client", "x-arr", "l5d", "x-amzn-mtls", "x-portcullis", "tls-client"]
                .iter()
                .any(|part| name.contains(part))
        })
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    claims.sort();
    claims
}

#[tokio::test]
async fn the_backend_gets_the_certificate_its_chain_and_its_names() {
    let world = World::new();
    let middle = world.pki.ca.intermediate("Middle CA").unwrap();
    let issued = middle
        .issue(&LeafSpec {
            names: vec![Name::Dns("a.example".to_owned()), Name::Uri("spiffe://example/x;y,z".to_owned())],
            ..LeafSpec::client("a \"quoted\", name", Validity::LONG)
        })
        .unwrap();
    let backend = mirror().await;
    let gate = Gate::start(&world, &config(&world, backend.address, ""));
    for protocol in crate::harness::PROTOCOLS {
        let head = Client::with(&world, &issued).alpn(&[protocol]).get(&gate, "/").await.text();
        let decode = |value: &str| STANDARD.decode(value.trim_matches(':')).unwrap();
        assert_eq!(decode(field(&head, "client-cert")), issued.cert_der().as_ref());
        let chain: Vec<_> = field(&head, "client-cert-chain").split(", ").map(decode).collect();
        assert_eq!(chain[0], middle.cert_der().as_ref());
        assert_eq!(field(&head, "x-client-cert-verified"), "true");
        assert_eq!(field(&head, "x-client-cert-subject"), "CN=a \\\"quoted\\\"\\, name");
        assert_eq!(field(&head, "x-client-cert-issuer"), "CN=Middle CA");
        let san = field(&head, "x-client-cert-san");
        assert!(san.contains("a.example") && san.contains("spiffe://example/x"), "{san}");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &issued.cert_der());
        let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(field(&head, "x-client-cert-fingerprint").replace(':', "").to_ascii_lowercase(), hash);
        let xfcc = field(&head, "x-forwarded-client-cert");
        assert!(xfcc.contains(&format!("Hash={hash}")) && xfcc.contains("Subject="), "{xfcc}");
        assert_eq!(xfcc.matches("Hash=").count(), 1);
    }
}

#[tokio::test]
async fn a_backend_gets_only_the_formats_it_wants_and_about_strangers_only_that_they_are() {
    let world = World::new();
    let backend = mirror().await;
    let config = config(&world, backend.address, "");
    let gate = Gate::start(&world, &config);
    for host in ["open.test", "other.test"] {
        for protocol in crate::harness::PROTOCOLS {
            let client = Client::anonymous(&world).server_name(host).alpn(&[protocol]);
            assert_eq!(claims(&client.get(&gate, "/").await.text()), ["x-client-cert-verified: false"], "{host}");
        }
    }
    // A certificate where none was asked for is none.
    let silent = Client::good(&world).server_name("open.test").get(&gate, "/").await.text();
    assert_eq!(claims(&silent), ["x-client-cert-verified: false"]);
    let known = Client::good(&world).server_name("other.test").get(&gate, "/").await.text();
    assert_eq!(field(&known, "x-client-cert-subject"), "CN=good");
    let wants = config.replace("\"client-cert\", \"client-cert-chain\", \"plain\", \"xfcc\"", "\"client-cert\"");
    let gate = Gate::start(&world, &wants);
    let head = Client::good(&world).get(&gate, "/").await.text();
    assert_eq!(claims(&head).len(), 1, "{head}");
    field(&head, "client-cert");
    assert!(claims(&Client::anonymous(&world).server_name("open.test").get(&gate, "/").await.text()).is_empty());
}

const NAMES: [&str; 24] = [
    "client-cert",
    "client-cert-chain",
    "x-client-cert",
    "x-client-cert-subject",
    "x-client-cert-issuer",
    "x-client-cert-serial",
    "x-client-cert-fingerprint",
    "x-client-cert-san",
    "x-client-cert-not-after",
    "x-client-cert-verified",
    "x-client-cert-anything",
    "x-client-certificate",
    "x-forwarded-client-cert",
    "x-forwarded-client-cert-chain",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-ssl-client-cert",
    "x-ssl-client-verify",
    "ssl-client-cert",
    "ssl-client-subject-dn",
    "x-arr-clientcert",
    "x-amzn-mtls-clientcert-leaf",
    "l5d-client-id",
    "x-portcullis-identity",
];

/// Every name in every spelling that some backend folds into it.
fn spellings(name: &str) -> Vec<String> {
    let capitals = |name: &str| {
        name.split('-').map(|part| part[..1].to_ascii_uppercase() + &part[1..]).collect::<Vec<_>>().join("-")
    };
    let mixed = name.replacen('-', "_", 1);
    let base = [name.to_owned(), name.to_ascii_uppercase(), capitals(name)];
    let folds = base.iter().flat_map(|name| [name.replace('-', "_"), name.replace('-', "."), name.replace('-', "~")]);
    base.iter().cloned().chain(folds).chain([mixed]).collect()
}

#[tokio::test]
async fn no_spelling_of_an_identity_header_gets_past_the_gate() {
    let world = World::new();
    let backend = mirror().await;
    let gate = Gate::start(&world, &config(&world, backend.address, ""));
    for (host, client) in [
        ("api.test", Client::good(&world)),
        ("open.test", Client::anonymous(&world).server_name("open.test")),
        ("other.test", Client::anonymous(&world).server_name("other.test")),
    ] {
        let ours = claims(&client.get(&gate, "/").await.text());
        let mut stream = client.connect(&gate).await.unwrap();
        let before = gate.metric("portcullis_spoofed_headers_total").await;
        let mut sent = 0;
        for name in NAMES {
            let spellings = spellings(name);
            let lines: String = spellings
                .iter()
                .flat_map(|name| [format!("{name}: EVIL\r\n"), format!("{name}:\r\n"), format!("{name}: EVIL\r\n")])
                .collect();
            sent += spellings.len() * 3;
            let nominations = format!("Connection: keep-alive, {name}, {}\r\n", name.to_ascii_uppercase());
            let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n{nominations}{lines}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_head(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            let mut body = vec![0; field(&answer, "content-length").parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            let head = String::from_utf8(body).unwrap();
            assert_eq!(claims(&head), ours, "{host} {name}");
            assert!(!head.contains("EVIL"), "{head}");
        }
        let counted = gate.metric("portcullis_spoofed_headers_total").await - before;
        // A spoofed field that `Connection` nominates goes with it, uncounted, but for those that may not be nominated.
        assert!(counted > sent as f64 * 0.5, "{counted} of {sent}");
    }
}

#[tokio::test]
async fn nor_does_one_over_http2() {
    let world = World::new();
    let backend = mirror().await;
    let gate = Gate::start(&world, &config(&world, backend.address, ""));
    for (host, client) in [
        ("api.test", Client::good(&world)),
        ("open.test", Client::anonymous(&world).server_name("open.test")),
        ("other.test", Client::anonymous(&world).server_name("other.test")),
    ] {
        let ours = claims(&client.get(&gate, "/").await.text());
        let mut talk = Talk::open(client, &gate, "h2").await;
        for name in NAMES {
            let mut request = Request::get("/").header("host", host);
            let mut sent = 0.0;
            for name in spellings(name).iter().map(|name| name.to_ascii_lowercase()) {
                request = request.header(&name, "EVIL").header(&name, "").header(&name, "EVIL, EVIL");
                sent += 3.0;
            }
            let before = gate.metric("portcullis_spoofed_headers_total").await;
            let head = talk.ask(request.body(empty()).unwrap()).await.text();
            assert_eq!(claims(&head), ours, "{host} {name}");
            assert!(!head.contains("EVIL"), "{head}");
            assert_eq!(gate.metric("portcullis_spoofed_headers_total").await - before, sent, "{name}");
        }
    }
}

#[tokio::test]
async fn trailers_say_nothing_about_identity_or_origin() {
    let world = World::new();
    let mut recorder = Recorder::start().await;
    let gate = Gate::start(&world, &config(&world, recorder.address, ""));
    let more = ["x-forwarded-for", "x_forwarded_for", "forwarded", "x-real-ip", "connection"];
    let names: Vec<String> = NAMES.iter().flat_map(|name| spellings(name)).chain(more.map(str::to_owned)).collect();
    let announced = format!("x-fine, {}", names.join(", "));

    let mut trailers = String::from("x-fine: yes\r\n");
    let mut batches = Vec::new();
    for name in &names {
        trailers += &format!("{name}: EVIL\r\n");
        if trailers.lines().count() == 60 {
            batches.push(std::mem::replace(&mut trailers, String::from("x-fine: yes\r\n")));
        }
    }
    batches.push(trailers);
    for (index, trailers) in batches.iter().enumerate() {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: api.test\r\nte: trailers\r\ntrailer: {announced}\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{trailers}\r\n"
        );
        Client::good(&world)
            .raw(&gate, (request.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1)).as_bytes())
            .await;
        let seen = recorder.wait_for(|seen| seen.get(index).is_some_and(|seen| seen.contains("\r\n0\r\n"))).await;
        let seen = seen.last().unwrap();
        assert!(!seen.contains("EVIL") && seen.contains("2\r\nhi\r\n"), "{seen}");
        assert!(seen.ends_with("\r\n0\r\nx-fine: yes\r\n\r\n"), "{seen}");
    }

    let before = batches.len();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-fine", HeaderValue::from_static("yes"));
    for name in names.iter().filter(|name| *name != "connection") {
        trailers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("EVIL"));
    }
    let mut talk = Talk::good(&world, &gate, "h2").await;
    let request = Request::post("/").header("te", "trailers").header("trailer", &announced);
    assert_eq!(talk.ask(request.body(with_trailers("hi", trailers)).unwrap()).await.status, 200);
    let seen = recorder.wait_for(|seen| seen.get(before).is_some_and(|seen| seen.contains("\r\n0\r\n"))).await;
    let seen = seen.last().unwrap();
    assert!(!seen.contains("EVIL") && seen.ends_with("\r\n0\r\nx-fine: yes\r\n\r\n"), "{seen}");
}

const ORIGIN: &str = "x-forwarded-for: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nx-forwarded-proto: http\r\n\
    x-forwarded-host: evil.test\r\nx-forwarded-port: 666\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n\
    x-request-id: chosen-id\r\n";

#[tokio::test]
async fn a_stranger_does_not_say_where_its_request_came_from() {
    let world = World::new();
    let backend = mirror().await;
    let gate = Gate::start(&world, &config(&world, backend.address, "[forwarded]\nrfc7239 = true\n"));
    for connection in ["close", "close, x-forwarded-for, Forwarded, X-Request-Id"] {
        let request = format!("GET / HTTP/1.1\r\nhost: api.test:8443\r\nconnection: {connection}\r\n{ORIGIN}\r\n");
        let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
        let (answer, head) = answer.split_once("\r\n\r\n").unwrap();
        // Our own name for the request may have any digits.
        let said = head.replace(field(head, "x-request-id"), "");
        assert!(!said.contains("6.6.6.6") && !said.contains("evil") && !said.contains("666"), "{head}");
        assert_eq!(field(head, "x-forwarded-for"), "127.0.0.1");
        assert_eq!(field(head, "x-forwarded-proto"), "https");
        assert_eq!(field(head, "x-forwarded-host"), "api.test:8443");
        assert_eq!(field(head, "forwarded"), "for=127.0.0.1;host=\"api.test:8443\";proto=https");
        assert_eq!(field(head, "host"), "api.test:8443");
        assert_eq!(field(head, "via"), "1.1 portcullis");
        let id = field(head, "x-request-id");
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert!(answer.contains(&format!("x-request-id: {id}")), "{answer}");
    }
}

#[tokio::test]
async fn a_listed_proxy_does_and_its_own_address_is_added() {
    let world = World::new();
    let backend = mirror().await;
    let top = "[forwarded]\nrfc7239 = true\ntrusted = [\"127.0.0.0/8\"]\n";
    let gate = Gate::start(&world, &config(&world, backend.address, top));
    let request = format!("GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\nclient-cert: EVIL\r\n{ORIGIN}\r\n");
    let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
    let head = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(field(head, "x-forwarded-for"), "6.6.6.6, 127.0.0.1");
    assert_eq!(field(head, "x-forwarded-proto"), "http");
    assert_eq!(field(head, "x-forwarded-host"), "evil.test");
    assert_eq!(field(head, "forwarded"), "for=6.6.6.6, for=127.0.0.1;host=\"api.test\";proto=https");
    assert_eq!(field(head, "x-request-id"), "chosen-id");
    assert!(!head.to_ascii_lowercase().contains("x_forwarded_for") && !head.contains("EVIL"), "{head}");
    // In HTTP/2 the same.
    let mut talk = Talk::good(&world, &gate, "h2").await;
    let request = Request::get("/").header("x-forwarded-for", "1.1.1.1").header("x-forwarded-for", "2.2.2.2");
    let head = talk.ask(request.body(empty()).unwrap()).await.text();
    assert_eq!(field(&head, "x-forwarded-for"), "1.1.1.1, 2.2.2.2, 127.0.0.1");
    assert_eq!(field(&head, "via"), "2 portcullis");
}

#[tokio::test]
async fn fields_of_one_connection_end_with_it() {
    let world = World::new();
    let backend = mirror().await;
    let gate = Gate::start(&world, &config(&world, backend.address, ""));
    let request = "GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close, x-mine, te, authorization, cookie, host\r\n\
        x-mine: 1\r\nkeep-alive: 5\r\nproxy-connection: keep-alive\r\nproxy-authorization: x\r\nte: gzip\r\n\
        http2-settings: AAAA\r\nproxy: http://evil\r\nauthorization: Bearer t\r\ncookie: c=1\r\ncookie: d=2\r\n\r\n";
    let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
    let head = answer.split_once("\r\n\r\n").unwrap().1;
    for gone in ["x-mine", "keep-alive", "proxy", "\nte:", "http2-settings", "connection: close"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    assert_eq!(field(head, "authorization"), "Bearer t");
    assert!(head.contains("cookie: c=1") && head.contains("d=2"), "{head}");
    let mut talk = Talk::good(&world, &gate, "h2").await;
    let crumbs = Request::get("/").header("cookie", "c=1").header("cookie", "d=2").body(empty()).unwrap();
    let head = talk.ask(crumbs).await.text();
    assert_eq!(field(&head, "cookie"), "c=1; d=2", "RFC 9113 §8.2.3");
}
