//! Names: the one that the handshake is for decides who may come in, and no request gets out of it.

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::reject::Reason;
use portcullis::tools::pki::{LeafSpec, Validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Backend, Client, Gate, Heard, Recorder, Tool, World, openssl};

/// `api.test` and `*.wild.test` are for the test CA, `other.test` and `exact.wild.test` for the foreign CA,
/// `open.test` for everybody and `maybe.wild.test` for both.
fn config(backend: std::net::SocketAddr, listener: &str) -> String {
    let host = |names: &str, admission: &str, routes: &str| {
        format!(
            "[[host]]\nnames = [{names}]\ncertificate = {{ chain = \"server.pem\", key = \"server.key\" }}\n{admission}\n{routes}\n"
        )
    };
    let route = |path: &str, allow: &str| {
        format!("[[host.route]]\npath = \"{path}\"\nallow = \"{allow}\"\nupstream = \"backend\"\n")
    };
    let verified = route("/", "any-verified");
    let hosts = [
        host("\"api.test\", \"localhost\"", "trust = \"test\"", &verified),
        host("\"other.test\"", "trust = \"foreign\"", &verified),
        host("\"open.test\"", "client_certificate = \"none\"", &route("/", "anyone")),
        host("\"*.wild.test\"", "trust = \"test\"", &verified),
        host("\"exact.wild.test\"", "trust = \"foreign\"", &verified),
        host(
            "\"maybe.wild.test\"",
            "trust = \"test\"\nclient_certificate = \"optional\"",
            &[route("/public", "anyone"), route("/private", "any-verified")].concat(),
        ),
    ]
    .concat();
    format!(
        r#"
[[listener]]
address = "127.0.0.1:0"
{listener}
{hosts}
[trust.test]
anchors = ["ca.pem"]
[trust.foreign]
anchors = ["foreign-ca.pem"]
[upstream.backend]
servers = ["http://{backend}"]
[admin]
address = "127.0.0.1:0"
[runtime]
threads = 1
"#
    )
}

struct Town {
    world: World,
    gate: Gate,
    backend: Recorder,
}

impl Town {
    async fn build(listener: &str) -> Self {
        let world = World::new();
        let backend = Recorder::start().await;
        let gate = Gate::start(&world, &config(backend.address, listener));
        world.write("good.pem", &world.pki.good.pem());
        world.write("good.key", &world.pki.good.key_pem());
        Self { world, gate, backend }
    }

    fn good(&self, name: &str) -> Client {
        Client::good(&self.world).server_name(name)
    }

    fn foreign(&self, name: &str) -> Client {
        let issued = self.world.pki.foreign_ca.issue(&LeafSpec::client("foreigner", Validity::LONG)).unwrap();
        Client::with(&self.world, &issued).server_name(name)
    }

    fn anonymous(&self, name: &str) -> Client {
        Client::anonymous(&self.world).server_name(name)
    }

    /// `openssl s_client` with the good certificate, which asks for `host` then.
    async fn s_client(&self, name: &[&str], host: &str) -> Tool {
        let address = self.gate.address.to_string();
        let args = ["s_client", "-connect", &address, "-cert", "good.pem", "-key", "good.key", "-quiet"];
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        openssl(self.world.path(), &[&args, name].concat(), request.as_bytes()).await
    }

    /// A raw exchange on a connection for `name`.
    async fn raw(&self, client: Client, request: &str) -> String {
        client.raw(&self.gate, request.as_bytes()).await
    }
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test]
async fn each_host_has_its_own_ca() {
    let town = Town::build("").await;
    for tls12 in [false, true] {
        let version = |client: Client| if tls12 { client.tls12() } else { client };
        for name in ["api.test", "a.wild.test"] {
            assert_eq!(status(&town.raw(version(town.good(name)), &get(name)).await), "200", "{name}");
            town.gate.refuses(&version(town.foreign(name)), Reason::CertUnknownIssuer).await;
            town.gate.refuses(&version(town.anonymous(name)), Reason::CertMissing).await;
        }
        for name in ["other.test", "exact.wild.test"] {
            assert_eq!(status(&town.raw(version(town.foreign(name)), &get(name)).await), "200", "{name}");
            let line = town.gate.refuses(&version(town.good(name)), Reason::CertUnknownIssuer).await;
            assert_eq!(line["server_name"], name);
            town.gate.refuses(&version(town.anonymous(name)), Reason::CertMissing).await;
        }
    }
}

#[tokio::test]
async fn several_names_and_wildcards_find_their_host() {
    let town = Town::build("").await;
    for name in ["api.test", "localhost", "a.wild.test", "b-c.wild.test"] {
        assert_eq!(status(&town.raw(town.good(name), &get(name)).await), "200", "{name}");
    }
}

#[tokio::test]
async fn a_server_name_is_found_whatever_its_case_and_with_a_trailing_dot() {
    let town = Town::build("").await;
    for (name, host) in [
        ("API.TEST", "api.test"),
        ("Api.Test", "API.test."),
        ("LOCALHOST", "localhost"),
        ("A.WILD.test", "a.wild.test"),
        ("a.Wild.Test", "a.wild.test"),
    ] {
        let tool = town.s_client(&["-servername", name], host).await;
        assert!(tool.said.contains("200 OK"), "{name}: {}", tool.said);
    }
    // Upper case does not get past the host that an exact name leads to.
    for name in ["EXACT.wild.test", "Other.Test"] {
        let tool = town.s_client(&["-servername", name], name).await;
        assert!(tool.said.contains("alert number 48") && !tool.said.contains("HTTP/1.1"), "{name}: {}", tool.said);
    }
}

#[tokio::test]
async fn a_server_name_with_a_trailing_dot_leads_to_the_same_host() {
    let town = Town::build("").await;
    for (name, host) in [("other.test.", "other.test"), ("exact.wild.test.", "exact.wild.test")] {
        let tool = town.s_client(&["-servername", name], host).await;
        assert!(tool.said.contains("alert number 48") && !tool.said.contains("HTTP/1.1"), "{name}: {}", tool.said);
    }
    let tool = town.s_client(&["-servername", "api.test."], "api.test").await;
    assert!(tool.said.contains("200 OK"), "{}", tool.said);
}

#[tokio::test]
async fn an_unknown_server_name_is_refused() {
    let town = Town::build("").await;
    for name in ["evil.test", "wild.test", "a.b.wild.test", "xapi.test", "api.test.evil.test"] {
        let tool = town.s_client(&["-servername", name], "api.test").await;
        assert!(tool.said.contains("alert number 112"), "{name}: {}", tool.said);
        assert!(town.gate.log_line(&format!("no host named {name}")).contains("server_name_unknown"));
    }
    assert_eq!(town.gate.rejects(Reason::ServerNameUnknown).await, 5);
    for client in [town.good("evil.test"), town.good("evil.test").tls12()] {
        town.gate.refuses(&client, Reason::ServerNameUnknown).await;
    }
    assert!(town.backend.seen().is_empty());
}

#[tokio::test]
async fn odd_server_names_are_refused() {
    let town = Town::build("default_host = \"api.test\"").await;
    for name in ["api.test..", ".api.test", "api test", "*.wild.test", "api.test:443", "[::1]"] {
        let tool = town.s_client(&["-servername", name], "api.test").await;
        assert!(!tool.said.contains("HTTP/1.1") && tool.said.contains("alert"), "{name}: {}", tool.said);
    }
    assert!(town.backend.seen().is_empty());
}

#[tokio::test]
async fn without_a_server_name_there_is_no_host() {
    let town = Town::build("").await;
    for client in [town.good("api.test"), town.good("api.test").tls12(), town.anonymous("open.test")] {
        town.gate.refuses(&client.no_server_name(), Reason::ServerNameMissing).await;
    }
    // An address is no server name (RFC 6066 §3).
    for name in ["127.0.0.1", "::1"] {
        let tool = town.s_client(&["-servername", name], "api.test").await;
        assert!(tool.said.contains("alert number 112"), "{name}: {}", tool.said);
    }
    assert!(town.backend.seen().is_empty());
}

#[tokio::test]
async fn the_default_host_serves_clients_without_a_server_name_by_its_own_rules() {
    let town = Town::build("default_host = \"api.test\"").await;
    let answer = town.raw(town.good("api.test").no_server_name(), &get("api.test")).await;
    assert_eq!(status(&answer), "200");
    let tool = town.s_client(&["-servername", "127.0.0.1"], "api.test").await;
    assert!(tool.said.contains("200 OK"), "{}", tool.said);
    town.gate.refuses(&town.anonymous("api.test").no_server_name(), Reason::CertMissing).await;
    town.gate.refuses(&town.foreign("api.test").no_server_name(), Reason::CertUnknownIssuer).await;
    // It is the default host, not any host.
    for host in ["open.test", "other.test", "a.wild.test", "127.0.0.1"] {
        let answer = town.raw(town.good("api.test").no_server_name(), &get(host)).await;
        assert_eq!(status(&answer), "421", "{host}: {answer}");
    }
    // A name that is sent is meant.
    town.gate.refuses(&town.good("evil.test"), Reason::ServerNameUnknown).await;
}

/// What names a protected host, however it is written.
const PROTECTED: &[&str] = &[
    "api.test",
    "API.TEST",
    "Api.Test",
    "api.test.",
    "API.test.",
    "api.test:443",
    "api.test.:8443",
    "localhost",
    "other.test",
    "OTHER.test",
    "a.wild.test",
    "A.Wild.TEST",
    "exact.wild.test",
    "exact.wild.test.",
    "maybe.wild.test",
    "evil.test",
];

#[tokio::test]
async fn a_connection_for_the_open_host_gets_nothing_of_another() {
    // More handshakes than one address may start in a second by default.
    let town = Town::build("[connection]\nhandshakes_per_address = \"10000/s\"").await;
    for host in PROTECTED {
        for client in [town.anonymous("open.test"), town.anonymous("open.test").tls12(), town.good("open.test")] {
            let answer = town.raw(client, &get(host)).await;
            assert_eq!(status(&answer), "421", "{host}: {answer}");
            assert!(answer.contains("misdirected"), "{answer}");
        }
        // In absolute form, whatever Host says; two names are two too many.
        for header in ["open.test", host] {
            let request = format!("GET https://{host}/ HTTP/1.1\r\nhost: {header}\r\nconnection: close\r\n\r\n");
            let answer = town.raw(town.anonymous("open.test"), &request).await;
            assert!(["421", "400"].contains(&status(&answer)), "{host} {header}: {answer}");
        }
        let request = format!("GET https://open.test/ HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = town.raw(town.anonymous("open.test"), &request).await;
        assert!(["421", "400"].contains(&status(&answer)), "{host}: {answer}");
        let request = format!("GET / HTTP/1.1\r\nhost: open.test\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = town.raw(town.anonymous("open.test"), &request).await;
        assert_eq!(status(&answer), "400", "{host}: {answer}");
    }
    assert!(town.backend.seen().is_empty());
    assert_eq!(status(&town.raw(town.anonymous("open.test"), &get("OPEN.test.:443")).await), "200");
}

#[tokio::test]
async fn a_certificate_for_one_host_is_none_for_another_on_the_same_connection() {
    let town = Town::build("").await;
    for (name, host) in [("api.test", "other.test"), ("a.wild.test", "exact.wild.test"), ("api.test", "b.wild.test")] {
        let answer = town.raw(town.good(name), &get(host)).await;
        assert_eq!(status(&answer), "421", "{name} {host}: {answer}");
    }
    assert!(town.backend.seen().is_empty());
    // Names of one host entry share its admission.
    for (name, host) in [("api.test", "localhost"), ("a.wild.test", "b.wild.test")] {
        let answer = town.raw(town.good(name), &get(host)).await;
        assert_eq!(status(&answer), "200", "{name} {host}: {answer}");
    }
}

#[tokio::test]
async fn a_later_request_of_a_connection_is_checked_like_the_first() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = Gate::start(&world, &config(backend.address, ""));
    for host in PROTECTED {
        let mut stream = Client::anonymous(&world).server_name("open.test").connect(&gate).await.unwrap();
        let both = format!("GET /one HTTP/1.1\r\nhost: open.test\r\n\r\n{}", get(host));
        stream.write_all(both.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(status(&answer), "200", "{answer}");
        assert!(answer.contains("HTTP/1.1 421") && answer.matches("HTTP/1.1 200").count() == 1, "{host}: {answer}");
    }
}

#[tokio::test]
async fn http2_is_checked_stream_by_stream() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = Gate::start(&world, &config(backend.address, ""));
    let client = Client::anonymous(&world).server_name("open.test").alpn(&["h2"]);
    let stream = client.connect(&gate).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<bytes::Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut ask = async |authority: &str, host: Option<&str>| {
        let mut request = Request::get(format!("https://{authority}/"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        send.ready().await.unwrap();
        let answer = send.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        (status, String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).into_owned())
    };
    assert_eq!(ask("open.test", None).await.0, 200);
    for host in PROTECTED {
        let (status, body) = ask(host, None).await;
        assert_eq!(status, 421, "{host}");
        assert!(body.contains("misdirected"), "{body}");
        // Two authorities that differ (RFC 9113 §8.3.1): no request at all.
        for (authority, header) in [("open.test", *host), (*host, "open.test")] {
            let (status, body) = ask(authority, Some(header)).await;
            assert!([400, 421].contains(&status), "{authority} {header}: {status} {body}");
        }
        assert_eq!(ask("Open.test", None).await.0, 200, "the connection goes on");
    }
}

#[tokio::test]
async fn where_certificates_are_optional_the_routes_decide() {
    let town = Town::build("").await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: maybe.wild.test\r\nconnection: close\r\n\r\n");
    for tls12 in [false, true] {
        let version = |client: Client| if tls12 { client.tls12() } else { client };
        for (path, client, expected) in [
            ("/public", town.anonymous("maybe.wild.test"), "200"),
            ("/public", town.good("maybe.wild.test"), "200"),
            ("/private", town.good("maybe.wild.test"), "200"),
            ("/private", town.anonymous("maybe.wild.test"), "403"),
            ("/private/below", town.anonymous("maybe.wild.test"), "403"),
            ("/elsewhere", town.anonymous("maybe.wild.test"), "404"),
        ] {
            let answer = town.raw(version(client), &request(path)).await;
            assert_eq!(status(&answer), expected, "{path}: {answer}");
        }
    }
    assert!(town.gate.rejects(Reason::IdentityRequired).await == 4);
}

#[tokio::test]
async fn where_certificates_are_optional_a_bad_one_is_worse_than_none() {
    let town = Town::build("").await;
    let late = town.world.client(|spec| spec.validity = Validity::over(crate::harness::unix()));
    for tls12 in [false, true] {
        let version = |client: Client| if tls12 { client.tls12() } else { client };
        town.gate.refuses(&version(town.foreign("maybe.wild.test")), Reason::CertUnknownIssuer).await;
        let late = Client::with(&town.world, &late).server_name("maybe.wild.test");
        town.gate.refuses(&version(late), Reason::CertExpired).await;
    }
    assert!(town.backend.seen().is_empty());
}

#[tokio::test]
async fn a_host_without_client_certificates_does_not_ask_for_one() {
    let town = Town::build("").await;
    // What is presented here proves nothing and is not looked at.
    let answer = town.raw(town.foreign("open.test"), &get("open.test")).await;
    assert_eq!(status(&answer), "200");
    let seen = town.backend.seen().concat().to_ascii_lowercase();
    assert!(!seen.contains("foreigner"), "{seen}");
    assert!(!matches!(town.anonymous("open.test").hears(town.gate.tcp().await.0).await, Heard::Alert(_)));
}
