//! What is taken away is gone: for new handshakes, and for every connection that lives.

use std::time::Duration;

use portcullis::tools::pki::{LeafSpec, RevocationSpec, Validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Backend, Client, Gate, World};

const TRUST: &str = "[trust.test]\nanchors = [\"ca.pem\"]";

/// The usual gate with these keys in its trust store.
fn config(world: &World, backend: &Backend, trust: &str) -> String {
    world.config(backend.address).replace(TRUST, &format!("{TRUST}\n{trust}"))
}

fn write_crl(world: &World, spec: &RevocationSpec) {
    std::fs::write(world.path().join("ca.crl"), world.pki.ca.revocation_list(spec).unwrap()).unwrap();
}

fn now() -> Duration {
    crate::harness::unix()
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_others_of_the_same_ca_are_not() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let lost = world.client(|_| ());
    write_crl(&world, &RevocationSpec::new(now()).revoke(&lost).unwrap());
    let gate = Gate::start(&world, &config(&world, &backend, "crl = [\"ca.crl\"]"));
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked");
    assert!(gate.log_line("cert_revoked").contains("CN=client"));
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    assert_eq!(Client::with(&world, &lost).tls12().refused(&gate).await, "CertificateRevoked");
}

#[tokio::test]
async fn a_crl_of_one_ca_does_not_lock_out_the_clients_of_another_unless_told_so() {
    let (world, backend) = (World::new(), Backend::echo().await);
    write_crl(&world, &RevocationSpec::new(now()));
    let both = "crl = [\"ca.crl\"]".to_owned();
    let text =
        config(&world, &backend, &both).replace("anchors = [\"ca.pem\"]", "anchors = [\"ca.pem\", \"foreign-ca.pem\"]");
    let gate = Gate::start(&world, &text);
    let other = world.pki.foreign_ca.issue(&LeafSpec::client("other", Validity::LONG)).unwrap();
    assert_eq!(Client::with(&world, &other).get(&gate, "/").await.status, 200);
    gate.reload(&text.replace(&both, &format!("{both}\ncrl_missing = \"reject\""))).unwrap();
    assert_eq!(Client::with(&world, &other).refused(&gate).await, "UnknownCA");
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
}

#[tokio::test]
async fn a_crl_past_its_next_update_is_worth_what_the_trust_store_says() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let lost = world.client(|_| ());
    write_crl(&world, &RevocationSpec::new(now()).revoke(&lost).unwrap());
    for (policy, after_a_day_more) in [("reject", false), ("48h", true), ("12h", false), ("warn", true)] {
        let gate =
            Gate::start(&world, &config(&world, &backend, &format!("crl = [\"ca.crl\"]\ncrl_expired = \"{policy}\"")));
        assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200, "{policy}");
        gate.clock.advance(Duration::from_hours(8 * 24));
        if after_a_day_more {
            assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200, "{policy}");
        } else {
            assert_eq!(Client::good(&world).refused(&gate).await, "UnknownCA", "{policy}");
        }
        assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked", "{policy}");
    }
}

#[tokio::test]
async fn a_crl_that_is_not_what_it_should_be_stops_a_start_and_changes_nothing_at_a_reload() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (lost, text) = (world.client(|_| ()), config(&world, &backend, "crl = [\"ca.crl\"]"));
    let good = RevocationSpec { number: 7, ..RevocationSpec::new(now()).revoke(&lost).unwrap() };
    let der = world.pki.ca.revocation_list(&good).unwrap();
    let future = RevocationSpec::new(now() + Duration::from_hours(1));
    let older = RevocationSpec { number: 6, ..RevocationSpec::new(now()) };
    let bad: [(&str, Vec<u8>, &str); 7] = [
        ("empty", Vec::new(), "no CRL in it"),
        ("garbage", b"not a crl".to_vec(), "no CRL in it"),
        ("truncated", der[..der.len() - 9].to_vec(), "not a usable CRL"),
        ("another CA's", world.pki.foreign_ca.revocation_list(&good).unwrap(), "neither an anchor"),
        (
            "altered",
            {
                let mut der = der.clone();
                let at = der.len() - 100;
                der[at] ^= 1;
                der
            },
            "ca.crl",
        ),
        ("issued tomorrow", world.pki.ca.revocation_list(&future).unwrap(), "in the future"),
        ("older", world.pki.ca.revocation_list(&older).unwrap(), "older than the one that is in force"),
    ];
    for (what, bytes, said) in &bad {
        std::fs::write(world.path().join("ca.crl"), &der).unwrap();
        let gate = Gate::start(&world, &text);
        std::fs::write(world.path().join("ca.crl"), bytes).unwrap();
        let problems = gate.reload(&text).expect_err(what).join("\n");
        assert!(
            problems.contains(said) && problems.contains("ca.crl") && problems.contains("gate.toml:"),
            "{what}: {problems}"
        );
        assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked", "{what}");
        assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200, "{what}");
        // At a start there is nothing to be older than.
        if *what != "older" {
            let problems = Gate::try_start(&world, &text).err().expect(what);
            assert!(problems.contains(said), "{what}: {problems}");
        }
    }
    std::fs::write(world.path().join("ca.crl"), &der).unwrap();
    let gate = Gate::start(&world, &text);
    std::fs::remove_file(world.path().join("ca.crl")).unwrap();
    assert!(gate.reload(&text).is_err());
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked");
}

#[tokio::test]
async fn a_folder_of_crls_in_pem_and_der_is_read_whole() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let lost = world.client(|_| ());
    let folder = world.path().join("crls");
    std::fs::create_dir(&folder).unwrap();
    let der = world.pki.ca.revocation_list(&RevocationSpec::new(now()).revoke(&lost).unwrap()).unwrap();
    std::fs::write(folder.join("a.crl"), &der).unwrap();
    let text = config(&world, &backend, "crl = [\"crls\"]");
    let gate = Gate::start(&world, &text);
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked");
    let next = RevocationSpec { number: 2, ..RevocationSpec::new(now()).revoke(&world.pki.good).unwrap() };
    let der = world.pki.ca.revocation_list(&next).unwrap();
    let pem = openssl_pem(&der);
    std::fs::write(folder.join("b.pem"), pem).unwrap();
    gate.reload(&text).unwrap();
    assert_eq!(Client::good(&world).refused(&gate).await, "CertificateRevoked");
}

/// DER as PEM, by another implementation.
fn openssl_pem(der: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut openssl = Command::new("openssl")
        .args(["crl", "-inform", "DER", "-outform", "PEM"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the openssl command, which these tests need");
    openssl.stdin.take().unwrap().write_all(der).unwrap();
    openssl.wait_with_output().unwrap().stdout
}

#[tokio::test]
async fn the_deny_list_refuses_what_verifies_and_ends_when_it_says() {
    let (world, backend) = (World::new(), Backend::echo().await);
    world.write(
        "denied.toml",
        "[[deny]]\nmatch = { subject_cn = \"stolen-*\" }\nreason = \"stolen\"\nauthor = \"ops\"\n",
    );
    let text = config(&world, &backend, "deny = \"denied.toml\"");
    let gate = Gate::start(&world, &text);
    let stolen = world.client(|spec| spec.cn = "stolen-7".to_owned());
    assert_eq!(Client::with(&world, &stolen).refused(&gate).await, "AccessDenied");
    let line = gate.log_line("cert_denied");
    assert!(line.contains("stolen (by ops)") && line.contains("CN=stolen-7"), "{line}");
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    // A typo keeps the list that is in force.
    world.write("denied.toml", "[[deny]]\nmatch = { subject_cm = \"stolen-*\" }\nreason = \"x\"\n");
    let problems = gate.reload(&text).unwrap_err().join("\n");
    assert!(problems.contains("denied.toml:2:11") && problems.contains("did you mean"), "{problems}");
    assert_eq!(Client::with(&world, &stolen).refused(&gate).await, "AccessDenied");
    world.write("denied.toml", "");
    gate.reload(&text).unwrap();
    assert_eq!(Client::with(&world, &stolen).get(&gate, "/").await.status, 200);
}

/// What a trust change may be; each takes the ground from the certificate `lost`.
fn changes(world: &World, text: &str, lost: &portcullis::tools::pki::Issued) -> Vec<(&'static str, String)> {
    world.write("denied.toml", "[[deny]]\nmatch = { subject_cn = \"lost\" }\nreason = \"stolen\"\n");
    write_crl(world, &RevocationSpec::new(now()).revoke(lost).unwrap());
    vec![
        ("cert_denied", text.replace(TRUST, &format!("{TRUST}\ndeny = \"denied.toml\""))),
        ("cert_revoked", text.replace(TRUST, &format!("{TRUST}\ncrl = [\"ca.crl\"]"))),
        ("trust_withdrawn", text.replace("anchors = [\"ca.pem\"]", "anchors = [\"foreign-ca.pem\"]")),
        ("trust_withdrawn", text.replace("\"api.test\"", "\"moved.test\"")),
        ("cert_chain_too_large", text.replace(TRUST, &format!("{TRUST}\nmax_chain_bytes = \"1KiB\""))),
    ]
}

#[tokio::test]
async fn every_live_connection_answers_to_a_change_within_a_second() {
    let (world, backend) = (World::new(), Backend::echo().await);
    // Larger than a kilobyte, for the last of the changes.
    let lost = world.client(|spec| {
        spec.cn = "lost".to_owned();
        spec.organization = Some("o".repeat(700));
    });
    let text = world.config(backend.address);
    for (reason, changed) in changes(&world, &text, &lost) {
        let gate = Gate::start(&world, &text);
        let client = Client::with(&world, &lost);
        let mut idle = client.connect(&gate).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        idle.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        let mut busy = client.connect(&gate).await.unwrap();
        busy.write_all(b"GET /slow?ms=10000 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
        let mut upload = client.connect(&gate).await.unwrap();
        upload.write_all(b"POST /echo HTTP/1.1\r\nhost: api.test\r\ncontent-length: 1000\r\n\r\nx").await.unwrap();
        gate.wait_for_metric("portcullis_requests_in_flight", 2.0).await;
        gate.reload(&changed).unwrap();
        for (what, stream) in [("idle", &mut idle), ("busy", &mut busy), ("upload", &mut upload)] {
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "{reason}: the {what} connection lives on");
        }
        gate.wait_for_metric("portcullis_revocation_enforced_seconds_count", 3.0).await;
        assert!(gate.log_line(reason).contains("CN=lost"), "{reason}");
        assert_eq!(gate.metric("portcullis_revocation_enforced_seconds_bucket{le=\"1.0\"}").await, 3.0, "{reason}");
    }
}

#[tokio::test]
async fn http2_streams_are_reset_and_told_goaway() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let lost = world.client(|spec| spec.cn = "lost".to_owned());
    let text = world.config(backend.address);
    let gate = Gate::start(&world, &text);
    let stream = Client::with(&world, &lost).alpn(&["h2"]).connect(&gate).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = |path: &str| {
        let uri = format!("https://api.test{path}");
        http::Request::get(uri).body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap()
    };
    let waiting = send.send_request(ask("/slow?ms=10000"));
    gate.wait_for_metric("portcullis_requests_in_flight", 1.0).await;
    let changed = &changes(&world, &text, &lost)[0].1;
    gate.reload(changed).unwrap();
    let error = tokio::time::timeout(Duration::from_secs(1), waiting).await.expect("within a second").unwrap_err();
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<h2::Error>());
    assert!(source.is_some_and(h2::Error::is_remote), "{error:?}");
    tokio::time::timeout(Duration::from_secs(1), connection).await.expect("the connection has ended").unwrap().ok();
    assert!(
        gate.find_log(|line| line.contains("/slow") && line.contains("\"reason\":\"cert_denied\"")).contains("CN=lost")
    );
}

#[tokio::test]
async fn survivors_notice_nothing() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let lost = world.client(|spec| spec.cn = "lost".to_owned());
    let text = world.config(backend.address);
    let gate = Gate::start(&world, &text);
    let mut survivor = Client::good(&world).connect(&gate).await.unwrap();
    survivor.write_all(b"GET /slow?ms=300 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    gate.wait_for_metric("portcullis_requests_in_flight", 1.0).await;
    for (_, changed) in changes(&world, &text, &lost).into_iter().take(2) {
        gate.reload(&changed).unwrap();
    }
    let mut head = [0; 12];
    survivor.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_verdict_on_a_chain_is_remembered_only_for_its_anchors() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = world.config(backend.address);
    let gate = Gate::start(&world, &text);
    for _ in 0..3 {
        assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    }
    gate.reload(&text.replace("anchors = [\"ca.pem\"]", "anchors = [\"foreign-ca.pem\"]")).unwrap();
    assert_eq!(Client::good(&world).refused(&gate).await, "UnknownCA");
    gate.reload(&text).unwrap();
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
}
