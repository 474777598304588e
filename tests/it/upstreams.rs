//! Backends that are slow, wrong, dead or picky.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use portcullis::tools::pki::{Issued, LeafSpec, Name, Validity};

use crate::harness::{
    Backend, Client, Gate, OK, PROTOCOLS, ROUTE, Server, Talk, World, answer_all, closed_address, empty, read_head,
};

fn gate(world: &World, upstream: &str) -> Gate {
    Gate::start(world, &world.config_with("", upstream, ROUTE))
}

/// A server configuration with this certificate, which asks for one of the test CA if `verify`.
fn tls(world: &World, issued: &Issued, verify: Verify) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match verify {
        Verify::Nobody => builder.with_no_client_auth(),
        Verify::Gate => {
            let mut roots = RootCertStore::empty();
            roots.add(world.pki.ca.cert_der()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(issued.chain_der(), issued.key_der()).unwrap()
}

enum Verify {
    Nobody,
    Gate,
}

#[tokio::test]
async fn an_https_backend_is_verified_by_its_own_authority_and_name() {
    let world = World::new();
    let names = vec![Name::Dns("backend.internal".to_owned())];
    let issued = world.pki.foreign_ca.issue(&LeafSpec::server("b", names, Validity::LONG)).unwrap();
    let backend = Server::tls(tls(&world, &issued, Verify::Nobody)).await;
    for (anchors, name, reason) in [
        ("foreign-ca.pem", "server_name = \"backend.internal\"", None),
        ("ca.pem", "server_name = \"backend.internal\"", Some("upstream_tls")),
        ("foreign-ca.pem", "server_name = \"other.internal\"", Some("upstream_tls")),
        ("foreign-ca.pem", "", Some("upstream_tls")),
    ] {
        let comma = if name.is_empty() { "" } else { ", " };
        let servers = format!(
            "servers = [\"https://{}\"]\ntls = {{ anchors = [\"{anchors}\"]{comma}{name} }}\neject_after = 0",
            backend.address
        );
        let gate = gate(&world, &servers);
        for protocol in PROTOCOLS {
            let answer = Talk::good(&world, &gate, protocol).await.get("/").await;
            let line = gate.request_line(&answer).await;
            match reason {
                None => assert_eq!((answer.status, answer.text().as_str()), (200, "ok")),
                Some(reason) => {
                    assert_eq!((answer.status, answer.code().as_str()), (502, reason), "{anchors} {name}");
                    assert!(line.contains("\"level\":\"WARN\"") && line.contains("upstream_tls"), "{line}");
                    // Where the backend is and what is wrong with it is nobody's business.
                    assert!(!answer.text().contains(&backend.address.port().to_string()), "{}", answer.text());
                }
            }
        }
    }
}

#[tokio::test]
async fn the_gate_shows_its_own_certificate_to_a_backend_that_asks() {
    let world = World::new();
    let backend = Server::tls(tls(&world, &world.pki.server, Verify::Gate)).await;
    let own = world.client(|spec| spec.cn = "gate".to_owned());
    world.write("own.pem", &own.pem());
    world.write("own.key", &own.key_pem());
    for (certificate, status) in [(", certificate = { chain = \"own.pem\", key = \"own.key\" }", 200), ("", 502)] {
        let servers = format!(
            "servers = [\"https://{}\"]\ntls = {{ anchors = [\"ca.pem\"], server_name = \"api.test\"{certificate} }}",
            backend.address
        );
        let answer = Client::good(&world).get(&gate(&world, &servers), "/").await;
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 502 {
            assert_eq!(answer.code(), "upstream_tls");
        }
    }
}

#[tokio::test]
async fn a_backend_that_is_down_is_ejected_and_comes_back() {
    let world = World::new();
    let address = closed_address().await;
    let gate = gate(&world, &format!("servers = [\"http://{address}\"]\neject_after = 2"));
    let mut talk = Talk::good(&world, &gate, "h2").await;
    for _ in 0..2 {
        let answer = talk.get("/").await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_connect"));
        assert!(gate.request_line(&answer).await.contains("\"reason\":\"upstream_connect\""));
    }
    let answer = talk.get("/").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    let _back = Server::on(TcpListener::bind(address).await.unwrap(), |_, stream| answer_all(stream, OK));
    assert_eq!(talk.get("/").await.status, 503);
    gate.clock.advance(Duration::from_secs(11));
    for _ in 0..3 {
        assert_eq!(talk.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_group_of_two_survives_one_that_is_down() {
    let world = World::new();
    let healthy = Backend::echo().await;
    let down = closed_address().await;
    let upstream = format!("servers = [\"http://{down}\", \"http://{}\"]\neject_after = 0", healthy.address);
    let gate = gate(&world, &upstream);
    for protocol in PROTOCOLS {
        let mut talk = Talk::good(&world, &gate, protocol).await;
        for _ in 0..6 {
            let request = http::Request::post("/echo").body(crate::harness::full("body")).unwrap();
            let answer = talk.ask(request).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
        }
    }
}

#[tokio::test]
async fn a_backend_that_does_not_answer_in_time_is_answered_for() {
    let world = World::new();
    let silent = Server::tcp(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gate = gate(&world, &format!("servers = [\"http://{}\"]\nresponse_timeout = \"1s\"", silent.address));
    for protocol in PROTOCOLS {
        let answer = Talk::good(&world, &gate, protocol).await.get("/").await;
        assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
        assert!(gate.request_line(&answer).await.contains("\"reason\":\"upstream_timeout\""));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_502_and_nothing_of_it_is_shown() {
    let world = World::new();
    for answer in [
        "SSH-2.0-secret\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\nsecret",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: secret\r\nconnection: upgrade\r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\nbad header: secret\r\n\r\n",
        "",
    ] {
        let backend = Server::tcp(move |_, mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await;
        let gate = gate(&world, &format!("servers = [\"http://{}\"]\neject_after = 0", backend.address));
        for protocol in PROTOCOLS {
            let got = Talk::good(&world, &gate, protocol).await.get("/").await;
            assert_eq!((got.status, got.code().as_str()), (502, "upstream_invalid"), "{answer:?}");
            assert!(!format!("{got:?}").contains("secret"), "{got:?}");
        }
    }
}

#[tokio::test]
async fn requests_are_spread_as_the_operator_wants() {
    let world = World::new();
    let (one, two) = (Server::answering(OK_CLOSE).await, Server::answering(OK_CLOSE).await);
    let servers = format!("servers = [\"http://{}\", \"http://{}\"]", one.address, two.address);
    let even = gate(&world, &servers);
    let mut talk = Talk::good(&world, &even, "http/1.1").await;
    for _ in 0..10 {
        assert_eq!(talk.get("/").await.status, 200);
    }
    assert_eq!((one.connections(), two.connections()), (5, 5));

    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let stuck = Server::tcp(move |_, mut stream| {
        let arrived = arrived.clone();
        async move {
            read_head(&mut stream).await;
            arrived.send(()).unwrap();
            read_head(&mut stream).await;
        }
    })
    .await;
    let quick = Server::answering(OK_CLOSE).await;
    let servers = format!("servers = [\"http://{}\", \"http://{}\"]", stuck.address, quick.address);
    let gate = gate(&world, &format!("{servers}\nbalance = \"least-in-flight\""));
    let mut held = Talk::good(&world, &gate, "http/1.1").await;
    let held = tokio::spawn(async move { drop(held.send(http::Request::get("/").body(empty()).unwrap()).await) });
    arrivals.recv().await.unwrap();
    let mut talk = Talk::good(&world, &gate, "h2").await;
    for _ in 0..6 {
        assert_eq!(talk.get("/").await.status, 200);
    }
    assert_eq!((stuck.connections(), quick.connections()), (1, 6));
    held.abort();
}

const OK_CLOSE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

#[tokio::test]
async fn a_response_that_breaks_off_never_looks_complete() {
    let world = World::new();
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\nZZ\r\n",
    ] {
        let backend = Server::tcp(move |_, mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let gate = gate(&world, &format!("servers = [\"http://{}\"]\neject_after = 0", backend.address));
        for protocol in PROTOCOLS {
            use http_body_util::BodyExt;
            let mut talk = Talk::good(&world, &gate, protocol).await;
            let outcome = async {
                let response = talk.send(http::Request::get("/broken").body(empty()).unwrap()).await?;
                let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
                Ok::<_, hyper::Error>((id, response.into_body().collect().await.map(|body| body.to_bytes())))
            };
            let (id, body) = outcome.await.unwrap();
            assert!(body.is_err(), "{protocol} {answer:?}: {body:?}");
            let line = gate.logged(|line| line.contains(&id)).await;
            assert!(line.contains("\"reason\":\"upstream_body_broken\"") && line.contains("\"status\":200"), "{line}");
        }
        let raw = Client::good(&world).raw(&gate, b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        assert!(raw.contains("part") && !raw.ends_with("0\r\n\r\n"), "{raw}");
    }
}

#[tokio::test]
async fn a_response_body_that_stops_is_cut_after_the_idle_timeout() {
    use http_body_util::BodyExt;
    let world = World::new();
    let backend = Server::tcp(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart").await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let gate = gate(&world, &format!("servers = [\"http://{}\"]\nidle_timeout = \"1s\"", backend.address));
    for protocol in PROTOCOLS {
        let mut talk = Talk::good(&world, &gate, protocol).await;
        let response = talk.send(http::Request::get("/").body(empty()).unwrap()).await.unwrap();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(response.into_body().collect().await.is_err(), "{protocol}");
        assert!(gate.logged(|line| line.contains(&id)).await.contains("\"reason\":\"upstream_body_timeout\""));
    }
}

#[tokio::test]
async fn a_connection_that_its_backend_closed_meanwhile_costs_a_get_nothing_and_a_post_is_not_repeated() {
    let world = World::new();
    let (heads, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    // Each connection answers one request and closes when it has read the next.
    let backend = Server::tcp(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            let first = read_head(&mut stream).await;
            heads.send(first).unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            heads.send(read_head(&mut stream).await).unwrap();
        }
    })
    .await;
    let gate = gate(&world, &format!("servers = [\"http://{}\"]\neject_after = 0", backend.address));
    let mut talk = Talk::good(&world, &gate, "http/1.1").await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(talk.get(path).await.status, 200, "{path}");
    }
    let request = http::Request::post("/4").body(crate::harness::full("x")).unwrap();
    let answer = talk.ask(request).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_invalid"));
    let mut posts = 0;
    while let Ok(head) = arrivals.try_recv() {
        posts += usize::from(head.starts_with("POST"));
    }
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn a_redirect_a_status_and_an_odd_reason_go_through_as_they_are() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = gate(&world, &format!("servers = [\"http://{}\"]", backend.address));
    for protocol in PROTOCOLS {
        let mut talk = Talk::good(&world, &gate, protocol).await;
        for status in [200, 201, 301, 400, 401, 403, 404, 418, 429, 499, 500, 502, 503, 504, 599] {
            let answer = talk.get(&format!("/status/{status}")).await;
            assert_eq!(answer.status, status, "{protocol}");
            assert!(answer.text().starts_with(&status.to_string()), "{}", answer.text());
        }
    }
}
