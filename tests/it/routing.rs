//! Which requests go through, to whom they are matched, and what the backend gets to see of the path.

use http::Request;

use portcullis::tools::pki::{Name, Validity};

use crate::harness::{Backend, Client, Gate, PROTOCOLS, Recorder, Talk, World, empty};

fn route(lines: &str) -> String {
    format!("[[host.route]]\nupstream = \"backend\"\n{lines}\n")
}

fn gate(world: &World, backend: std::net::SocketAddr, routes: &str) -> Gate {
    Gate::start(world, &world.config_with("", &format!("servers = [\"http://{backend}\"]"), routes))
}

#[tokio::test]
async fn routes_are_chosen_by_exact_path_glob_and_prefix() {
    let world = World::new();
    let backend = Backend::echo().await;
    let routes = [
        route("name = \"exact\"\npath = { exact = \"/a\" }\nallow = \"any-verified\""),
        route("name = \"prefix\"\npath = \"/v1\"\nallow = \"any-verified\""),
        route("name = \"glob\"\npath = { glob = \"/t/*/open\" }\nallow = \"any-verified\""),
    ];
    let gate = gate(&world, backend.address, &routes.concat());
    let table = [
        ("/a", Some("exact")),
        ("/a/b", None),
        ("/A", None),
        ("/v1", Some("prefix")),
        ("/v1/", Some("prefix")),
        ("/v1/x?y=/a", Some("prefix")),
        ("/v10", None),
        ("/V1", None),
        ("/t/1/open", Some("glob")),
        ("/t/1/2/open", None),
        ("/t//open", None),
        ("/", None),
        ("/%76%31/x", Some("prefix")),
    ];
    for protocol in PROTOCOLS {
        let mut talk = Talk::good(&world, &gate, protocol).await;
        for (path, expected) in table {
            let answer = talk.get(path).await;
            let line = gate.request_line(&answer).await;
            match expected {
                Some(route) => {
                    assert_eq!(answer.status, 200, "{protocol} {path}");
                    assert!(line.contains(&format!("\"route\":\"{route}\"")), "{path}: {line}");
                    assert!(line.contains("\"status\":200") && !line.contains("\"reason\""), "{line}");
                }
                None => {
                    let code = if path.contains("//") { "path_invalid" } else { "route_unknown" };
                    assert_eq!(answer.code(), code, "{protocol} {path}");
                    assert_eq!(answer.status, if code == "route_unknown" { 404 } else { 400 });
                    assert_eq!(answer.header("content-type"), "application/problem+json");
                    assert!(line.contains(&format!("\"reason\":\"{code}\"")), "{line}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_refused_method_is_told_which_would_do() {
    let world = World::new();
    let recorder = Recorder::start().await;
    let routes = [
        route("path = \"/x\"\nmethods = [\"GET\", \"PUT\"]\nallow = \"any-verified\""),
        route("path = { exact = \"/x\" }\nmethods = [\"DELETE\"]\nallow = \"any-verified\""),
    ];
    let gate = gate(&world, recorder.address, &routes.concat());
    for protocol in PROTOCOLS {
        let mut talk = Talk::good(&world, &gate, protocol).await;
        for method in ["POST", "PATCH", "TRACE", "HEAD", "get"] {
            let answer = talk.ask(Request::builder().method(method).uri("/x/y").body(empty()).unwrap()).await;
            assert_eq!(answer.status, 405, "{protocol} {method}");
            if method != "HEAD" {
                assert_eq!(answer.code(), "method_not_allowed");
            }
            assert_eq!(answer.header("allow"), "GET, PUT");
        }
    }
    assert!(recorder.seen().is_empty());
}

#[tokio::test]
async fn deny_beats_allow_and_silence_denies() {
    let world = World::new();
    let recorder = Recorder::start().await;
    let routes = [
        route("path = \"/all\"\nallow = \"any-verified\"\ndeny = [{ subject_cn = \"go*\" }]"),
        route("path = \"/same\"\nallow = [{ subject_cn = \"good\" }]\ndeny = [{ subject_cn = \"good\" }]"),
        route("path = \"/others\"\nallow = [{ subject_cn = \"better\" }]"),
    ];
    let gate = gate(&world, recorder.address, &routes.concat());
    for protocol in PROTOCOLS {
        let mut talk = Talk::good(&world, &gate, protocol).await;
        for (path, code) in
            [("/all", "identity_denied"), ("/same", "identity_denied"), ("/others", "identity_not_allowed")]
        {
            let answer = talk.get(path).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, code), "{protocol} {path}");
            // What is told is the same, so that nobody learns who is on which list.
            assert!(answer.text().contains("not permitted") && !answer.text().contains("good"), "{}", answer.text());
            assert!(gate.request_line(&answer).await.contains("\"subject\":\"CN=good\""));
        }
    }
    let silent = world.config_with(
        "",
        "servers = [\"http://127.0.0.1:1\"]",
        "[[host.route]]\npath = \"/\"\nupstream = \"backend\"\n",
    );
    assert!(Gate::try_start(&world, &silent).is_err_and(|problems| problems.contains("allow")));
    assert!(recorder.seen().is_empty());
}

#[tokio::test]
async fn every_field_of_an_identity_can_be_matched() {
    let world = World::new();
    let backend = Backend::echo().await;
    let issued = world.client(|spec| {
        spec.cn = "device-7".to_owned();
        spec.organization = Some("Example".to_owned());
        spec.names = vec![
            Name::Dns("a.example.com".to_owned()),
            Name::Uri("spiffe://example.com/app/x".to_owned()),
            Name::Email("ann@example.com".to_owned()),
            Name::Ip("10.1.2.3".parse().unwrap()),
        ];
        spec.validity = Validity::LONG;
    });
    let described = {
        // Serial and digests as the gate itself prints them to its backend.
        let gate = gate(&world, backend.address, crate::harness::ROUTE);
        Client::with(&world, &issued).get(&gate, "/").await.text()
    };
    let printed = |name: &str| {
        let line = described.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{described}"));
        line.split_once(": ").unwrap().1.to_owned()
    };
    let der = issued.cert_der();
    let spki = x509_parser::parse_x509_certificate(&der).unwrap().1.tbs_certificate.subject_pki.raw;
    let spki = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki);
    let spki: String = spki.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let (serial, fingerprint) = (printed("x-client-cert-serial"), printed("x-client-cert-fingerprint"));
    let fields = [
        ("subject_cn", "device-*".to_owned(), "device"),
        ("subject_o", "Example".to_owned(), "example"),
        ("subject", printed("x-client-cert-subject"), "CN=device-7"),
        ("issuer_cn", "Test CA".to_owned(), "Foreign CA"),
        ("issuer", "CN=Test CA".to_owned(), "CN=Test"),
        ("serial", serial, "01:02"),
        ("dns", "*.example.com".to_owned(), "example.com"),
        ("uri", "spiffe://example.com/app/*".to_owned(), "spiffe://example.com/*"),
        ("email", "*@example.com".to_owned(), "bob@example.com"),
        ("ip", "10.0.0.0/8".to_owned(), "11.0.0.0/8"),
        ("fingerprint", fingerprint, &"0".repeat(64)),
        ("spki", spki, &"0".repeat(64)),
    ];
    let mut routes = String::new();
    for (field, good, bad) in &fields {
        routes += &route(&format!("path = \"/good/{field}\"\nallow = [{{ {field} = \"{good}\" }}]"));
        routes += &route(&format!("path = \"/bad/{field}\"\nallow = [{{ {field} = \"{bad}\" }}]"));
        routes +=
            &route(&format!("path = \"/both/{field}\"\nallow = [{{ {field} = \"{good}\", issuer_o = \"Nobody\" }}]"));
        routes +=
            &route(&format!("path = \"/deny/{field}\"\nallow = \"any-verified\"\ndeny = [{{ {field} = \"{good}\" }}]"));
    }
    let gate = gate(&world, backend.address, &routes);
    for protocol in PROTOCOLS {
        let mut talk = Talk::open(Client::with(&world, &issued), &gate, protocol).await;
        for (field, ..) in &fields {
            for (path, status) in [("good", 200), ("bad", 403), ("both", 403), ("deny", 403)] {
                assert_eq!(talk.get(&format!("/{path}/{field}")).await.status, status, "{protocol} {path} {field}");
            }
        }
    }
}

#[tokio::test]
async fn a_route_for_anyone_serves_strangers_and_any_other_does_not() {
    let world = World::new();
    let backend = Backend::echo().await;
    let hosts = ["optional", "none"].map(|mode| {
        let trust = if mode == "none" { "" } else { "trust = \"test\"\n" };
        let name = if mode == "none" { "open.test" } else { "other.test" };
        format!(
            "[[host]]\nnames = [\"{name}\"]\ncertificate = {{ chain = \"server.pem\", key = \"server.key\" }}\n\
             client_certificate = \"{mode}\"\n{trust}{}{}",
            route("path = \"/public\"\nallow = \"anyone\""),
            if mode == "none" { String::new() } else { route("path = \"/\"\nallow = \"any-verified\"") }
        )
    });
    let gate = gate(&world, backend.address, &(crate::harness::ROUTE.to_owned() + &hosts.concat()));
    for protocol in PROTOCOLS {
        for (host, path, status, code) in [
            ("open.test", "/public", 200, ""),
            ("other.test", "/public", 200, ""),
            ("other.test", "/private", 403, "identity_required"),
            ("open.test", "/private", 404, "route_unknown"),
        ] {
            let answer = Client::anonymous(&world).server_name(host).alpn(&[protocol]).get(&gate, path).await;
            assert_eq!(answer.status, status, "{protocol} {host} {path}");
            if !code.is_empty() {
                assert_eq!(answer.code(), code);
            }
        }
        // The certificate is for the connection's host only.
        for host in ["open.test", "other.test", "unknown.test", "API.test.", "api.test:443"] {
            let mut talk = Talk::good(&world, &gate, protocol).await;
            let answer = talk.ask(Request::get("/public").header("host", host).body(empty()).unwrap()).await;
            let same = host.to_ascii_lowercase().starts_with("api.test");
            assert_eq!(answer.status, if same { 200 } else { 421 }, "{protocol} {host}");
        }
    }
}

/// Paths that some backends read differently than others.
const TRICKS: &[(&str, Option<&str>)] = &[
    ("/a//b", None),
    ("//a", None),
    ("/a/./b", None),
    ("/a/../b", None),
    ("/a/..", None),
    ("/a/.", None),
    ("/a/%2e%2e/b", None),
    ("/a/%2E%2e/b", None),
    ("/a/.%2e/b", None),
    ("/a/%2e/b", None),
    ("/a%2fb", None),
    ("/a%2Fb", None),
    ("/a%5cb", None),
    ("/a\\b", None),
    ("/a%00", None),
    ("/a%0d%0aX:y", None),
    ("/a%7f", None),
    ("/a;b", None),
    ("/a%3bb", None),
    ("/a/..;/b", None),
    ("/a%252e", None),
    ("/a%252fb", None),
    ("/a%25%32%65", None),
    ("/a%", None),
    ("/a%4", None),
    ("/a%zz", None),
    ("/a%ff", None),
    ("/a%c0%af", None),
    ("/a%ed%a0%80", None),
    ("/%61", Some("/a")),
    ("/a%7Eb", Some("/a~b")),
    ("/a%c3%a9", Some("/a%C3%A9")),
    ("/a%C3%a9?x=%2f%2e//;", Some("/a%C3%A9?x=%2f%2e//;")),
    ("/a%20b", Some("/a%20b")),
    ("/a%25b", Some("/a%25b")),
    ("/a...b", Some("/a...b")),
    ("/...", Some("/...")),
];

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused_and_any_other_is_forwarded_as_matched() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = gate(&world, backend.address, crate::harness::ROUTE);
    for (path, forwarded) in TRICKS {
        let request = format!("GET {path} HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n");
        let answer = Client::good(&world).raw(&gate, request.as_bytes()).await;
        match forwarded {
            Some(forwarded) => assert!(answer.contains(&format!("GET {forwarded} HTTP/1.1\n")), "{path}: {answer}"),
            None => {
                assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
                assert!(!answer.contains("x-client-cert"), "{path}: {answer}");
            }
        }
        // The other way to write a target (RFC 9112 §3.2.2).
        let request = format!("GET http://api.test{path} HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n");
        let absolute = Client::good(&world).raw(&gate, request.as_bytes()).await;
        assert_eq!(absolute.get(..12), answer.get(..12), "{path}");
    }
}

#[tokio::test]
async fn the_same_holds_for_paths_over_http2() {
    use crate::harness::frames::{END_STREAM, Frames, HEADERS, RST_STREAM, get, headers};
    let world = World::new();
    let recorder = Recorder::answering(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    let gate = gate(&world, recorder.address, crate::harness::ROUTE);
    for (path, forwarded) in TRICKS {
        let mut frames = Frames::good(&world, &gate).await;
        frames.write(&headers(1, END_STREAM, &get(path))).await;
        let answer = frames.wait_for(&[HEADERS, RST_STREAM]).await.unwrap();
        let before = recorder.seen().len();
        match forwarded {
            Some(forwarded) => {
                assert_eq!(answer.status(), "204", "{path}");
                let seen = recorder.seen();
                assert!(seen.last().unwrap().starts_with(&format!("GET {forwarded} HTTP/1.1\r\n")), "{path} {seen:?}");
            }
            None => {
                assert!(answer.kind == RST_STREAM || answer.status() == "400", "{path}: {answer:?}");
                assert_eq!(recorder.seen().len(), before, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_host_may_tolerate_what_its_backend_reads_as_we_do() {
    let world = World::new();
    let backend = Backend::echo().await;
    let routes =
        format!("allow_in_path = [\"semicolon\", \"encoded-slash\", \"empty-segment\"]\n{}", crate::harness::ROUTE);
    let gate = gate(&world, backend.address, &routes);
    for protocol in PROTOCOLS {
        let mut talk = Talk::good(&world, &gate, protocol).await;
        for path in ["/a;b=c", "/a%2Fb", "/a//b"] {
            let answer = talk.get(path).await;
            assert!(answer.text().starts_with(&format!("GET {path} ")), "{protocol}: {}", answer.text());
        }
        for path in ["/a/..;/b", "/a%2F..%2Fb", "/a//../b", "/a%5cb"] {
            assert_eq!(talk.get(path).await.status, 400, "{protocol} {path}");
        }
    }
}
