//! The operator's own listener.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use portcullis::reject::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Backend, Client, Gate, Speak, World};

/// A request with this method, and all that is answered.
async fn ask(admin: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_answers_get_of_what_it_has_and_nothing_else() {
    let world = World::new();
    let gate = Gate::start(&world, &world.config("127.0.0.1:9".parse().unwrap()));
    let admin = gate.admin.unwrap();
    for (method, path, start) in [
        ("GET", "/live", "HTTP/1.1 200"),
        ("GET", "/ready", "HTTP/1.1 200"),
        ("GET", "/metrics", "HTTP/1.1 200"),
        ("GET", "/metrics?name=x", "HTTP/1.1 200"),
        ("HEAD", "/live", "HTTP/1.1 200"),
        ("POST", "/live", "HTTP/1.1 405"),
        ("PUT", "/metrics", "HTTP/1.1 405"),
        ("DELETE", "/", "HTTP/1.1 405"),
        ("OPTIONS", "*", "HTTP/1.1 405"),
        ("GET", "/", "HTTP/1.1 404"),
        ("GET", "/metrics/", "HTTP/1.1 404"),
        ("GET", "//live", "HTTP/1.1 404"),
        ("GET", "/Live", "HTTP/1.1 404"),
        ("GET", "/debug/pprof", "HTTP/1.1 404"),
    ] {
        let answer = ask(admin, method, path).await;
        assert!(answer.starts_with(start), "{method} {path}: {answer}");
        assert_eq!(answer.contains("\r\nallow: GET, HEAD\r\n"), start.ends_with("405"), "{answer}");
        assert!(answer.contains("\r\ncache-control: no-store\r\n"), "{answer}");
        assert!(method != "HEAD" || answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn metrics_are_open_metrics_with_every_reason_from_the_start() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &world.config(backend.address));
    let text = gate.metrics().await;
    for reason in Reason::ALL {
        let line = format!("portcullis_rejects_total{{reason=\"{reason}\"}} 0\n");
        assert!(text.contains(&line), "{line}");
    }
    for class in ["none", "1xx", "2xx", "3xx", "4xx", "5xx"] {
        assert!(text.contains(&format!("class=\"{class}\"}} 0\n")), "{class}");
    }
    for speak in Speak::BOTH {
        Client::good(&world).alpn(&[speak.alpn()]).get(&gate, "/").await;
    }
    Client::anonymous(&world).refused(&gate).await;
    gate.log_line("connection refused");
    let text = gate.metrics().await;
    let metrics = parse(&text);
    assert_eq!(metrics["portcullis_rejects_total{reason=\"cert_missing\"}"], 1.0);
    let served = text.lines().filter(|line| line.starts_with("portcullis_requests_total{host=\"api.test\""));
    let served: Vec<_> = served.filter(|line| line.contains("class=\"2xx\"") && line.ends_with(" 2")).collect();
    assert_eq!(served.len(), 1, "{text}");
    assert_eq!(metrics["portcullis_connections_total"], 3.0);
    let answer = ask(gate.admin.unwrap(), "GET", "/metrics").await;
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
}

/// Every sample by its name and labels; panics where the text is no OpenMetrics.
fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    let (mut family, mut kind, mut helped) = (String::new(), String::new(), BTreeSet::new());
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (what, name, value) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(!value.is_empty(), "{line}");
            match what {
                "HELP" => {
                    assert!(helped.insert(name.to_owned()), "two families {name}");
                    name.clone_into(&mut family);
                }
                "TYPE" => value.clone_into(&mut kind),
                "UNIT" => {}
                other => panic!("{other}: {line}"),
            }
            assert_eq!(name, family, "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a value");
        let bare = name.split('{').next().unwrap();
        let suffix = bare.strip_prefix(&family).unwrap_or_else(|| panic!("{line} below {family}"));
        let allowed: &[&str] = match &*kind {
            "counter" => &["_total", "_created"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_count", "_sum"],
            other => panic!("{other}"),
        };
        assert!(allowed.contains(&suffix), "{line} of a {kind}");
        assert!(name.starts_with("portcullis_") && bare.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} twice");
    }
    samples
}

#[tokio::test]
async fn names_with_quotes_and_newlines_do_not_break_the_metrics() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config(backend.address).replace("path = \"/\"", "name = \"a\\\"b\\\\c\"\npath = \"/\"");
    // A name that the configuration refuses cannot reach a metric either.
    if let Ok(gate) = Gate::try_start(&world, &config) {
        Client::good(&world).get(&gate, "/").await;
        parse(&gate.metrics().await);
    }
}

#[tokio::test]
async fn many_silent_scrapers_keep_nobody_out_for_long() {
    let world = World::new();
    let gate = Gate::start(&world, &world.config("127.0.0.1:9".parse().unwrap()));
    let admin = gate.admin.unwrap();
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(admin).await.unwrap());
    }
    // The silent ones are cut after five seconds.
    let answer = tokio::time::timeout(std::time::Duration::from_secs(30), ask(admin, "GET", "/live")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn without_the_section_there_is_no_admin_listener() {
    let world = World::new();
    let config = world.config("127.0.0.1:9".parse().unwrap()).replace("[admin]\naddress = \"127.0.0.1:0\"", "");
    assert_eq!(Gate::start(&world, &config).admin, None);
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ENTRY: &str = r#"{"trust":"test","match":{"subject_cn":"taken"},"reason":"stolen"}"#;

/// The usual gate with another `[admin]`, and a deny list of its own.
fn with_admin(world: &World, backend: &Backend, admin: &str) -> String {
    let text = world.config(backend.address);
    let text = text.replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\n{admin}"));
    text.replace("anchors = [\"ca.pem\"]", "anchors = [\"ca.pem\"]\ndeny_state = \"denied.toml\"")
}

/// The head of the answer to a request with these fields.
async fn say(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite,
    line: &str,
    fields: &str,
    body: &str,
) -> String {
    let mut stream = std::pin::pin!(stream);
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{fields}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn with_a_token_nobody_changes_anything_without_it_and_a_reload_brings_the_next_one() {
    let (world, backend) = (World::new(), Backend::echo().await);
    world.write("token", &format!("{TOKEN}\n"));
    let text = with_admin(&world, &backend, "address = \"127.0.0.1:0\"\ntoken_file = \"token\"");
    let gate = Gate::start(&world, &text);
    let tcp = async || TcpStream::connect(gate.admin.unwrap()).await.unwrap();
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    assert!(say(tcp().await, "GET /metrics", "", "").await.starts_with("HTTP/1.1 200"));
    for wrong in [String::new(), bearer("wrong"), bearer(&TOKEN[1..]), "authorization: Basic eDp5\r\n".to_owned()] {
        let answer = say(tcp().await, "POST /deny", &wrong, ENTRY).await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("\r\nwww-authenticate: Bearer\r\n"), "{answer}");
    }
    assert!(say(tcp().await, "DELETE /deny/x", "", "").await.starts_with("HTTP/1.1 401"));
    let lost = world.client(|spec| spec.cn = "taken".to_owned());
    assert_eq!(Client::with(&world, &lost).get(&gate, "/").await.status, 200);
    assert!(say(tcp().await, "POST /deny", &bearer(TOKEN), ENTRY).await.starts_with("HTTP/1.1 201"));
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");

    let next: String = TOKEN.chars().rev().collect();
    world.write("token", &next);
    gate.reload(&text).unwrap();
    assert!(say(tcp().await, "POST /deny", &bearer(TOKEN), ENTRY).await.starts_with("HTTP/1.1 401"));
    assert!(say(tcp().await, "POST /deny", &bearer(&next), ENTRY).await.starts_with("HTTP/1.1 200"));
    world.write("token", "short");
    assert!(gate.reload(&text).unwrap_err().join("").contains("not one token of 32 to 512 characters"));
    for line in gate.lines(|line| line.contains("portcullis::admin")) {
        assert!(!line.contains(TOKEN) && !line.contains(&next), "{line}");
    }
}

#[tokio::test]
async fn others_than_this_machine_get_nothing_but_probes_without_the_token() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let exposed = "address = \"0.0.0.0:0\"\npublic = true";
    let problems = Gate::try_start(&world, &with_admin(&world, &backend, exposed)).err().expect("no token");
    assert!(problems.contains("nothing asks them who they are"), "{problems}");
    world.write("token", TOKEN);
    let gate = Gate::start(&world, &with_admin(&world, &backend, &format!("{exposed}\ntoken_file = \"token\"")));
    let tcp = async || TcpStream::connect(("127.0.0.1", gate.admin.unwrap().port())).await.unwrap();
    for (line, without) in [
        ("GET /live", "200"),
        ("HEAD /ready", "200"),
        ("GET /live/", "401"),
        ("GET /metrics", "401"),
        ("GET /config/status", "401"),
        ("GET /deny", "401"),
        ("POST /live", "401"),
        ("GET /nothing", "401"),
    ] {
        let answer = say(tcp().await, line, "", "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {without}")), "{line}: {answer}");
    }
    let proven = say(tcp().await, "GET /metrics", &format!("authorization: Bearer {TOKEN}\r\n"), "").await;
    assert!(proven.starts_with("HTTP/1.1 200"), "{proven}");
}

#[tokio::test]
async fn a_unix_socket_is_the_gates_users_alone_and_another_gate_does_not_take_it() {
    use std::os::unix::fs::PermissionsExt;
    let (world, backend) = (World::new(), Backend::echo().await);
    let path = world.path().join("admin.sock");
    let text = with_admin(&world, &backend, &format!("address = \"unix:{}\"", path.display()));
    let gate = Gate::start(&world, &text);
    assert_eq!(gate.admin, None);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let unix = async || tokio::net::UnixStream::connect(&path).await.unwrap();
    assert!(say(unix().await, "GET /metrics", "", "").await.starts_with("HTTP/1.1 200"));
    assert!(say(unix().await, "POST /deny", "", ENTRY).await.starts_with("HTTP/1.1 201"));
    let line = gate.find_log(|line| line.contains("deny list changed") && line.contains("\"peer\":\"unix\""));
    assert!(line.contains("\"what\":\"added\""), "{line}");
    let problem = Gate::try_start(&world, &text).err().expect("it is served");
    assert!(problem.contains("admin.sock") && problem.contains("another process serves it"), "{problem}");
    assert!(say(unix().await, "GET /live", "", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_web_page_reads_nothing_and_changes_nothing() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &with_admin(&world, &backend, "address = \"127.0.0.1:0\""));
    for (line, fields, status) in [
        ("GET /metrics", "sec-fetch-site: none\r\n", 200),
        ("GET /metrics", "sec-fetch-site: cross-site\r\n", 403),
        ("GET /config/status", "origin: https://evil.example\r\n", 403),
        ("GET /deny", "sec-fetch-site: same-origin\r\n", 403),
        ("POST /deny", "origin: null\r\n", 403),
    ] {
        let tcp = TcpStream::connect(gate.admin.unwrap()).await.unwrap();
        let answer = say(tcp, line, fields, ENTRY).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line} {fields}: {answer}");
    }
    // A name of its own that was pointed here.
    let mut tcp = TcpStream::connect(gate.admin.unwrap()).await.unwrap();
    tcp.write_all(b"GET /config/status HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}
