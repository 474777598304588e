//! The demonstration's certificates in other people's hands.

use portcullis::clock::Clock;
use portcullis::tools::pki::{self, Force, P12_PASSWORD};

use crate::harness::{Backend, Gate, World, curl, openssl};

/// A gate with the demonstration's PKI, in whose folder it is.
async fn demonstration(world: &World) -> (Gate, Backend) {
    let backend = Backend::echo().await;
    pki::make(&world.path().join("dev"), Force::Keep, &Clock::system()).unwrap();
    let config = world.config(backend.address).replace("api.test", "localhost");
    let config = config.replace("server.", "dev/server.").replace("\"ca.pem\"", "\"dev/ca.pem\"");
    (Gate::start(world, &config), backend)
}

#[tokio::test]
async fn openssl_reads_the_p12() {
    let world = World::new();
    pki::make(&world.path().join("dev"), Force::Keep, &Clock::system()).unwrap();
    let args = ["pkcs12", "-in", "dev/client.p12", "-passin", "file:dev/client.p12.password", "-nodes"];
    let tool = openssl(world.path(), &args, b"").await;
    assert!(tool.success, "{}", tool.said);
    for part in ["BEGIN CERTIFICATE", "PRIVATE KEY", "demo-device-0001"] {
        assert!(tool.said.contains(part), "{part}: {}", tool.said);
    }
    let wrong = ["pkcs12", "-in", "dev/client.p12", "-passin", "pass:wrong", "-nodes"];
    let tool = openssl(world.path(), &wrong, b"").await;
    assert!(!tool.success && !tool.said.contains("PRIVATE KEY"), "{}", tool.said);
}

#[tokio::test]
async fn curl_gets_in_with_the_p12_and_with_the_pem_files() {
    let world = World::new();
    let (gate, _backend) = demonstration(&world).await;
    let url = format!("https://localhost:{}/hello", gate.address.port());
    let here = format!("localhost:{}:127.0.0.1", gate.address.port());
    let common = ["-sS", "--max-time", "10", "--cacert", "dev/ca.pem", "--resolve", &here];
    let p12 = format!("dev/client.p12:{P12_PASSWORD}");
    for version in [["--http1.1", "--tlsv1.2"], ["--http2", "--tlsv1.3"]] {
        for certificate in
            [&["--cert-type", "P12", "--cert", &p12][..], &["--cert", "dev/client.pem", "--key", "dev/client.key"]]
        {
            let tool = curl(world.path(), &[&common[..], &version, certificate, &[&url]].concat()).await;
            assert!(tool.success, "{}", tool.said);
            assert!(tool.said.contains("CN=demo-device-0001"), "{}", tool.said);
        }
    }
}

#[tokio::test]
async fn curl_stays_out_without_a_certificate_and_with_a_bad_one() {
    let world = World::new();
    let (gate, _backend) = demonstration(&world).await;
    let url = format!("https://localhost:{}/", gate.address.port());
    let here = format!("localhost:{}:127.0.0.1", gate.address.port());
    let common = ["-sS", "--max-time", "10", "--cacert", "dev/ca.pem", "--resolve", &here];
    for (certificate, told) in [
        (&[][..], "alert certificate required"),
        (&["--cert", "dev/expired.pem", "--key", "dev/expired.key"], "alert certificate expired"),
        (&["--cert", "dev/foreign.pem", "--key", "dev/foreign.key"], "alert unknown ca"),
    ] {
        let tool = curl(world.path(), &[&common[..], certificate, &[&url]].concat()).await;
        assert!(!tool.success && tool.said.contains(told), "{told}: {}", tool.said);
    }
}
