//! The main job, from end to end.

use crate::harness::{Backend, Client, Gate, World};

#[tokio::test]
async fn a_client_with_the_right_certificate_reaches_the_backend_over_http1_and_http2() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = Gate::start(&world, &world.config(backend.address));
    for alpn in ["http/1.1", "h2"] {
        let answer = Client::good(&world).alpn(&[alpn]).get(&gate, "/hello").await;
        assert_eq!(answer.status, 200, "{alpn}");
        assert!(answer.text().contains("x-client-cert-subject: CN=good"), "{alpn}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_does_not() {
    let world = World::new();
    let backend = Backend::echo().await;
    let gate = Gate::start(&world, &world.config(backend.address));
    let refused = Client::anonymous(&world).refused(&gate).await;
    assert_eq!(refused, "CertificateRequired");
    assert!(gate.log_line("connection refused").contains("cert_missing"));
}
