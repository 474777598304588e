//! What the gate itself says in a request is said once, whoever sends the request, however, and wherever it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::harness::frames::{END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, frame};
use crate::harness::{Client, Gate, OK, ROUTE, Recorder, Server, Talk, World, empty, full, read_head, with_trailers};

/// Each of them is the gate's to say, and there is one of each.
const ALWAYS: [&str; 6] =
    ["x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-client-cert-verified"];
/// Those that go by the formats that an upstream wants, and by who is there.
const BY_FORMAT: [&str; 12] = [
    "client-cert",
    "client-cert-chain",
    "x-forwarded-client-cert",
    "x-client-cert-subject",
    "x-client-cert-issuer",
    "x-client-cert-serial",
    "x-client-cert-fingerprint",
    "x-client-cert-san",
    "x-client-cert-not-after",
    "x-client-ja4",
    "x-client-ja4-stable",
    "x-client-h2",
];
const ALL: &str = "forward = [\"client-cert\", \"client-cert-chain\", \"plain\", \"xfcc\", \"fingerprint\"]";
const LISTED: &str = "trusted = [\"127.0.0.0/8\"]\n";

fn gate(world: &World, servers: &str, forward: &str, trusted: &str) -> Gate {
    let top = format!("[forwarded]\nrfc7239 = true\n{trusted}");
    let upstream = format!("servers = [{servers}]\n{forward}\neject_after = 0");
    Gate::start(world, &world.config_with(&top, &upstream, &format!("{ROUTE}upgrade = [\"websocket\"]\n")))
}

/// The fields of a head by their names as CGI folds them, each with its values.
fn folded(head: &str) -> BTreeMap<String, Vec<String>> {
    let fold = |name: &str| {
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect::<String>()
    };
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in head.lines().skip(1).take_while(|line| !line.is_empty()).filter_map(|l| l.split_once(':')) {
        fields.entry(fold(name)).or_default().push(value.trim().to_owned());
    }
    fields
}

/// Whether each own field is there once, or not at all if it is not wanted.
fn check(head: &str, by_format: &[&str], via: &[&str]) {
    let fields = folded(head);
    let count = |name: &str| fields.get(name).map_or(0, Vec::len);
    for name in ALWAYS {
        let wanted = name != "x-client-cert-verified" || by_format.contains(&"x-client-cert-subject");
        assert_eq!(count(name), usize::from(wanted), "{name} in {head}");
    }
    for name in BY_FORMAT {
        assert_eq!(count(name), usize::from(by_format.contains(&name)), "{name} in {head}");
    }
    assert_eq!(fields.get("via").map(Vec::as_slice).unwrap_or_default(), via, "{head}");
    assert!(count("content-length") + count("transfer-encoding") <= 1, "{head}");
    for gone in ["x-client-reputation", "x-real-ip", "x-portcullis-identity"] {
        assert_eq!(count(gone), 0, "{gone} in {head}");
    }
    if head.contains(" HTTP/1.1\r\n") {
        let (_, rest) = head.split_once("\r\n").unwrap();
        assert!(rest.starts_with("host: api.test:8443\r\n") && count("host") == 1, "{head}");
    } else {
        assert!(head.starts_with("api.test:8443\r\n") && count("host") == 0, "{head}");
    }
}

/// What a client of the good certificate is told of in these formats.
fn of_formats(forward: &str, http2: bool) -> Vec<&'static str> {
    let mut wanted = Vec::new();
    for (format, names) in [
        ("\"client-cert\"", &["client-cert"][..]),
        ("\"xfcc\"", &["x-forwarded-client-cert"]),
        (
            "\"plain\"",
            &[
                "x-client-cert-subject",
                "x-client-cert-issuer",
                "x-client-cert-serial",
                "x-client-cert-fingerprint",
                "x-client-cert-not-after",
            ],
        ),
        ("\"fingerprint\"", &["x-client-ja4", "x-client-ja4-stable"]),
    ] {
        wanted.extend(names.iter().filter(|_| forward.contains(format)));
    }
    wanted.extend((http2 && forward.contains("fingerprint")).then_some("x-client-h2"));
    wanted
}

/// Each own field as a client would say it, in spellings that some backend folds into one, and twice.
fn claims() -> Vec<(String, &'static str)> {
    let names = ALWAYS.iter().chain(&BY_FORMAT).chain(&["x-client-reputation"]);
    let spelt = names.flat_map(|name| [(*name).to_owned(), name.replace('-', "_"), name.replacen('-', ".", 1)]);
    let twice = spelt.chain(["x-forwarded-for", "x-request-id", "client-cert", "forwarded"].map(str::to_owned));
    twice.map(|name| (name, "EVIL")).collect()
}

/// A backend that speaks HTTP/2 and keeps every head, with its authority in place of the request line.
async fn keeper() -> (Server, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    let server = Server::h2c(move |request: Request<_>| {
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let mut head = format!("{authority}\r\n");
        for (name, value) in request.headers() {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        kept.lock().push(head);
        async { Response::new(full("ok")) }
    });
    (server.await, heads)
}

/// In which fields the client is heard.
fn spoken(head: &str) -> Vec<String> {
    let heard = folded(head).into_iter().filter(|(_, values)| values.iter().any(|value| value.contains("EVIL")));
    heard.map(|(name, _)| name).collect()
}

/// And in which it may be.
fn believed(trusted: &str) -> &'static [&'static str] {
    if trusted.is_empty() { &[] } else { &["forwarded", "x-forwarded-for", "x-forwarded-host"] }
}

/// What the recorder's connection of this number was sent, once this is in it.
async fn nth(recorder: &mut Recorder, number: usize, part: &str) -> String {
    let enough = recorder.wait_for(|seen| seen.get(number).is_some_and(|seen| seen.contains(part)));
    let seen = timeout(Duration::from_secs(30), enough).await;
    seen.unwrap_or_else(|_| panic!("no {part:?} on connection {number}"))[number].clone()
}

const NOMINATED: &str = "x-request-id, X-Forwarded-For, via, client-cert, x_request_id, x-client-cert-verified, host, \
    x-forwarded-client-cert, forwarded, x-client-ja4";

#[tokio::test]
async fn no_form_of_a_request_gets_a_field_of_the_gate_said_twice_or_not_at_all() {
    let world = World::new();
    let mut recorder = Recorder::start().await;
    let (keeper, kept) = keeper().await;
    let lines: String = claims().iter().map(|(name, value)| format!("{}: {value}\r\n", name.to_uppercase())).collect();
    let (mut at_recorder, mut at_keeper) = (0, 0);
    for forward in [ALL, "forward = []", "forward = [\"xfcc\"]", "forward = [\"fingerprint\", \"client-cert\"]"] {
        for (trusted, http2) in [("", false), ("", true), (LISTED, false), (LISTED, true)] {
            let server = if http2 {
                format!("\"h2c://{}\"", keeper.address)
            } else {
                format!("\"http://{}\"", recorder.address)
            };
            let gate = gate(&world, &server, forward, trusted);
            for (line, more, via) in [
                ("GET / HTTP/1.1", "", "1.1"),
                ("GET https://api.test:8443/ HTTP/1.1", "", "1.1"),
                ("GET / HTTP/1.0", "", "1.0"),
                ("POST / HTTP/1.1", "content-length: 0\r\n", "1.1"),
                ("GET / HTTP/1.1", "upgrade: websocket\r\n", "1.1"),
            ] {
                let upgrade = !more.is_empty() && line.starts_with("GET");
                if upgrade && http2 {
                    continue;
                }
                let options = if upgrade { "upgrade, " } else { "close, " };
                let request = format!(
                    "{line}\r\nhost: api.test:8443\r\nvia: 1.0 first\r\n{lines}connection: {options}{NOMINATED}\r\n{more}via: 1.1 second\r\n\r\n"
                );
                let mut stream = Client::good(&world).connect(&gate).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                let answer = read_head(&mut stream).await;
                assert!(answer.contains(" 200 "), "{line} {trusted} {http2}: {answer}");
                let head = if http2 {
                    at_keeper += 1;
                    kept.lock()[at_keeper - 1].clone()
                } else {
                    at_recorder += 1;
                    nth(&mut recorder, at_recorder - 1, "\r\n\r\n").await
                };
                let via = format!("{via} portcullis");
                check(&head, &of_formats(forward, false), &["1.0 first", "1.1 second", &via]);
                assert_eq!(spoken(&head), believed(trusted), "{head}");
                assert_eq!(head.contains("\r\nconnection: upgrade\r\nupgrade: websocket\r\n"), upgrade, "{head}");
            }

            let mut talk = Talk::good(&world, &gate, "h2").await;
            let mut request = Request::get("/").header("host", "api.test:8443").header("via", "1.0 first");
            for (name, value) in claims() {
                request = request.header(name, value);
            }
            let request = request.header("te", "trailers").header("via", "1.1 second").body(empty()).unwrap();
            assert_eq!(talk.ask(request).await.status, 200);
            let head = if http2 {
                at_keeper += 1;
                kept.lock()[at_keeper - 1].clone()
            } else {
                at_recorder += 1;
                nth(&mut recorder, at_recorder - 1, "\r\n\r\n").await
            };
            check(&head, &of_formats(forward, true), &["1.0 first", "1.1 second", "2 portcullis"]);
            assert_eq!(spoken(&head), believed(trusted), "{head}");
        }
    }
}

/// Two servers: one that ends its connection at the second request and is not there any more, and another.
async fn moved(world: &World, servers: &str, trusted: &str, leave: impl FnOnce()) -> Gate {
    let gate = gate(world, servers, ALL, trusted);
    let mut talk = Talk::good(world, &gate, "h2").await;
    // In turn, so that both are known.
    for _ in 0..2 {
        assert_eq!(talk.get("/").await.status, 200);
    }
    leave();
    let request = Request::get("/").header("host", "api.test:8443").header("via", "1.1 client");
    let request = request.header("x-request-id", "EVIL").header("x_forwarded_for", "EVIL");
    assert_eq!(talk.ask(request.body(empty()).unwrap()).await.status, 200);
    gate
}

/// Answers the first stream of an HTTP/2 connection, and refuses the next.
async fn refusing(mut stream: TcpStream, refused: mpsc::UnboundedSender<()>) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut answered = false;
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l2, l1, l0]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        let id = u32::from_be_bytes([s3, s2, s1, s0]);
        let answer = match kind {
            SETTINGS if flags == 0 => frame(SETTINGS, 1, 0, &[]),
            HEADERS if answered => {
                refused.send(()).unwrap();
                // REFUSED_STREAM: nothing was done (RFC 9113 §8.7).
                frame(RST_STREAM, 0, id, &7_u32.to_be_bytes())
            }
            HEADERS => {
                answered = true;
                // `:status: 200` is in the static table.
                frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x88])
            }
            _ => continue,
        };
        stream.write_all(&answer).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_goes_to_a_server_of_the_other_protocol_in_the_end_says_everything_once() {
    let world = World::new();
    for trusted in ["", LISTED] {
        // From HTTP/2 to HTTP/1.1.
        let mut recorder = Recorder::start().await;
        let (refuse, mut refused) = mpsc::unbounded_channel();
        let first = Server::tcp(move |_, stream| refusing(stream, refuse.clone())).await;
        let servers = format!("\"h2c://{}\", \"http://{}\"", first.address, recorder.address);
        let _gate = moved(&world, &servers, trusted, || drop(first)).await;
        assert!(refused.try_recv().is_ok(), "the first server was not asked again");
        let seen = nth(&mut recorder, 1, "\r\n\r\n").await;
        check(&seen, &of_formats(ALL, true), &["1.1 client", "2 portcullis"]);
        assert_eq!(seen.matches("EVIL").count(), usize::from(!trusted.is_empty()), "{seen}");

        // From HTTP/1.1 to HTTP/2.
        let (asked, mut again) = mpsc::unbounded_channel();
        let first = Server::tcp(move |_, mut stream| {
            let asked = asked.clone();
            async move {
                read_head(&mut stream).await;
                stream.write_all(OK.as_bytes()).await.unwrap();
                asked.send(read_head(&mut stream).await).unwrap();
            }
        })
        .await;
        let (second, kept) = keeper().await;
        let servers = format!("\"http://{}\", \"h2c://{}\"", first.address, second.address);
        let _gate = moved(&world, &servers, trusted, || drop(first)).await;
        let before = again.recv().await.unwrap();
        let after = kept.lock()[1].clone();
        for head in [&before, &after] {
            check(head, &of_formats(ALL, true), &["1.1 client", "2 portcullis"]);
        }
        assert_eq!(folded(&before)["x-request-id"], folded(&after)["x-request-id"]);
    }
}

/// What somebody acts upon before a body ends, and what the gate has said at its head: RFC 9110 §6.5.1.
const NEVER_BEHIND: [&str; 15] = [
    "x-request-id",
    "X_Request_Id",
    "via",
    "host",
    "authorization",
    "cookie",
    "content-type",
    "content-encoding",
    "expect",
    "trailer",
    "x-forwarded-for",
    "forwarded",
    "client-cert",
    "x-client-ja4",
    "x-client-reputation",
];

#[tokio::test]
async fn nothing_that_the_gate_has_said_at_the_head_is_said_again_behind_the_body() {
    let world = World::new();
    let mut recorder = Recorder::start().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let keeper = Server::h2c(move |request: Request<hyper::body::Incoming>| {
        let tell = tell.clone();
        async move {
            let trailers = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().trailers().cloned();
            tell.send(trailers.unwrap_or_default()).unwrap();
            Response::new(full("ok"))
        }
    })
    .await;
    let lines: String = NEVER_BEHIND.iter().map(|name| format!("{name}: EVIL\r\n")).collect();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-fine: yes\r\n{lines}\r\n"
    );
    let mut trailers = HeaderMap::new();
    trailers.insert("x-fine", HeaderValue::from_static("yes"));
    for name in NEVER_BEHIND {
        trailers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("EVIL"));
    }
    for trusted in ["", LISTED] {
        let (h1, h2) = (format!("\"http://{}\"", recorder.address), format!("\"h2c://{}\"", keeper.address));
        for server in [&h1, &h2] {
            let gate = gate(&world, server, ALL, trusted);
            let before = recorder.seen().len();
            let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
            assert!(answer.contains(" 200 "), "{answer}");
            let mut talk = Talk::good(&world, &gate, "h2").await;
            let post = Request::post("/").header("te", "trailers");
            assert_eq!(talk.ask(post.body(with_trailers("hi", trailers.clone())).unwrap()).await.status, 200);
            for from in 0..2 {
                if *server == h2 {
                    let told = told.recv().await.unwrap();
                    assert!(told.len() == 1 && told["x-fine"] == "yes", "{from}: {told:?}");
                } else {
                    let seen = nth(&mut recorder, before + from, "\r\n\r\n2\r\nhi\r\n0\r\nx-fine: yes").await;
                    assert!(seen.ends_with("\r\n0\r\nx-fine: yes\r\n\r\n"), "{from}: {seen}");
                }
            }
        }
    }
}
