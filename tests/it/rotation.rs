//! From an old authority to a new one: both at once, then the old one ends.

use std::time::Duration;

use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Backend, Client, Gate, World, unix};

/// Seconds: a connection is asked to finish five seconds before its end, and a test has to get a
/// request in before that.
const SOON: i64 = 8;
const AFTER_SOON: Duration = Duration::from_secs(10);

/// The usual file, with the test CA ending `seconds` from now, and the other CA beside it.
fn config(world: &World, backend: &Backend, seconds: i64) -> String {
    let end = i64::try_from(unix().as_secs()).unwrap() + seconds;
    let end = portcullis::identity::date(end);
    let anchors = format!("anchors = [{{ file = \"ca.pem\", not_after = {end} }}, \"foreign-ca.pem\"]");
    world.config(backend.address).replace("anchors = [\"ca.pem\"]", &anchors)
}

fn of_new_ca(world: &World) -> Client {
    Client::with(world, &world.pki.foreign_ca.issue(&LeafSpec::client("new", Validity::LONG)).unwrap())
}

#[tokio::test]
async fn an_anchor_past_its_end_lets_nobody_in_and_the_new_one_does() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &config(&world, &backend, 3600));
    for client in [Client::good(&world), Client::good(&world).tls12(), of_new_ca(&world)] {
        assert_eq!(client.get(&gate, "/").await.status, 200);
    }
    let by_anchor =
        |name: &str| format!("portcullis_handshakes_by_anchor_total{{trust=\"test\",anchor=\"CN={name}\"}}");
    assert_eq!(gate.metric(&by_anchor("Test CA")).await, 2.0);
    assert_eq!(gate.metric(&by_anchor("Foreign CA")).await, 1.0);
    gate.clock.advance(Duration::from_secs(3700));
    assert_eq!(Client::good(&world).refused(&gate).await, "CertificateExpired");
    assert_eq!(Client::good(&world).tls12().refused(&gate).await, "CertificateExpired");
    assert!(gate.log_line("cert_expired").contains("its anchor CN=Test CA was trusted until"));
    assert_eq!(of_new_ca(&world).get(&gate, "/").await.status, 200);
}

#[tokio::test]
async fn a_gate_starts_and_reloads_with_an_anchor_whose_end_is_past() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = config(&world, &backend, -10);
    let gate = Gate::start(&world, &text);
    assert_eq!(Client::good(&world).refused(&gate).await, "CertificateExpired");
    gate.reload(&format!("{text}\n[http]\nheader_count = 99\n")).unwrap();
    assert_eq!(of_new_ca(&world).get(&gate, "/").await.status, 200);
}

#[tokio::test]
async fn an_anchor_that_expires_lets_nobody_in_and_keeps_no_change_from_being_made() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let within = |not_after| Validity { not_before: Duration::ZERO, not_after };
    let soon = Authority::within("Soon CA", KeyKind::EcdsaP256, within(unix() + Duration::from_hours(1))).unwrap();
    world.write("soon.pem", &soon.pem());
    let client = soon.issue(&LeafSpec::client("late", Validity::LONG)).unwrap();
    let client = Client::with(&world, &client);

    // The only one, and it ends while the gate runs.
    let only = world.config(backend.address).replace("\"ca.pem\"", "\"soon.pem\"");
    let gate = Gate::start(&world, &only);
    assert_eq!(client.get(&gate, "/").await.status, 200);
    gate.clock.advance(Duration::from_hours(2));
    assert_eq!(client.refused(&gate).await, "CertificateExpired");
    gate.reload(&format!("{only}\n[http]\nheader_count = 99\n")).unwrap();
    let warned = |line: &str| line.contains("soon.pem: CN=Soon CA expired on ") && line.contains("\"WARN\"");
    assert!(!gate.lines(|line| warned(line) && line.contains("portcullis::reload")).is_empty());
    assert_eq!(client.refused(&gate).await, "CertificateExpired");
    // With the new one beside it.
    gate.reload(&only.replace("\"soon.pem\"", "\"soon.pem\", \"ca.pem\"")).unwrap();
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    assert_eq!(client.refused(&gate).await, "CertificateExpired");
}

#[tokio::test]
async fn a_gate_starts_with_an_expired_anchor_beside_one_that_lives_and_not_with_none() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = world.config(backend.address);
    let day = Duration::from_hours(24);
    let (past, future) = (Validity::over(unix()), Validity { not_before: unix() + day, not_after: unix() + 2 * day });
    for (validity, said) in [(past, "Other CA expired on "), (future, "Other CA is not valid before ")] {
        world.write("other.pem", &Authority::within("Other CA", KeyKind::EcdsaP256, validity).unwrap().pem());
        let gate = Gate::start(&world, &text.replace("\"ca.pem\"", "\"other.pem\", \"ca.pem\""));
        assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
        gate.find_log(|line| line.contains(said) && line.contains("\"WARN\""));
        let problems = Gate::try_start(&world, &text.replace("\"ca.pem\"", "\"other.pem\"")).err().expect(said);
        assert!(problems.contains(said), "{problems}");
    }
    // One that is not valid yet waits for its time.
    let soon = Validity { not_before: unix() + Duration::from_hours(1), not_after: unix() + day };
    let other = Authority::within("Other CA", KeyKind::EcdsaP256, soon).unwrap();
    world.write("other.pem", &other.pem());
    let client = Client::with(&world, &other.issue(&LeafSpec::client("early", Validity::LONG)).unwrap());
    let gate = Gate::start(&world, &text.replace("\"ca.pem\"", "\"other.pem\", \"ca.pem\""));
    client.refused(&gate).await;
    assert!(gate.log_line("cert_not_yet_valid").contains("its anchor CN=Other CA before "));
    gate.clock.advance(Duration::from_hours(2));
    assert_eq!(client.get(&gate, "/").await.status, 200);
}

async fn talking(client: &Client, gate: &Gate) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut stream = client.connect(gate).await.unwrap();
    stream.write_all(b"GET /slow?ms=10000 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    stream
}

async fn ends(stream: &mut (impl AsyncReadExt + Unpin), within: Duration) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(within, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn live_connections_of_an_old_anchor_end_with_it() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &config(&world, &backend, SOON));
    let (mut old, mut new) = (talking(&Client::good(&world), &gate).await, talking(&of_new_ca(&world), &gate).await);
    gate.wait_for_metric("portcullis_requests_in_flight", 2.0).await;
    assert!(ends(&mut old, AFTER_SOON).await);
    // The log is the process's: other tests have slow requests too.
    gate.find_log(|line| ["/slow", "\"reason\":\"cert_expired\"", "CN=good"].iter().all(|part| line.contains(part)));
    assert!(!ends(&mut new, Duration::from_millis(100)).await);
}

#[tokio::test]
async fn a_reload_moves_the_end_of_live_connections() {
    let (world, backend) = (World::new(), Backend::echo().await);
    // Sooner: they were to live for long.
    let gate = Gate::start(&world, &world.config(backend.address));
    let mut live = talking(&Client::good(&world), &gate).await;
    gate.wait_for_metric("portcullis_requests_in_flight", 1.0).await;
    gate.reload(&config(&world, &backend, 1)).unwrap();
    assert!(ends(&mut live, AFTER_SOON).await);
    // Later: they were to end.
    let gate = Gate::start(&world, &config(&world, &backend, SOON));
    let mut live = talking(&Client::good(&world), &gate).await;
    gate.wait_for_metric("portcullis_requests_in_flight", 1.0).await;
    gate.reload(&world.config(backend.address)).unwrap();
    assert!(!ends(&mut live, AFTER_SOON).await);
    // Past: now.
    gate.reload(&config(&world, &backend, -1)).unwrap();
    assert!(ends(&mut live, Duration::from_secs(1)).await);
}

#[tokio::test]
async fn an_anchor_with_two_ends_or_a_bad_one_is_a_problem() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = world.config(backend.address);
    for (anchors, said) in [
        (r#"["ca.pem", { file = "ca.pem", not_after = 2027-01-01T00:00:00Z }]"#, "CN=Test CA stands twice"),
        (r#"[{ file = "ca.pem", not_after = "2027-01-01" }]"#, "anchors[0].not_after: expected a time"),
        (r#"[{ file = "ca.pem", not_after = 2027-01-01 }]"#, "anchors[0].not_after: a time without its offset"),
        (r#"[{ not_after = 2027-01-01T00:00:00Z }]"#, "anchors[0].file: missing"),
        (r#"[{ file = "ca.pem", not_afer = 2027-01-01T00:00:00Z }]"#, "did you mean `not_after`?"),
    ] {
        let text = text.replace("[\"ca.pem\"]", anchors);
        let problems = Gate::try_start(&world, &text).err().expect(anchors);
        assert!(problems.contains(said), "{said}\n{problems}");
    }
    let twice = text.replace("[\"ca.pem\"]", "[\"ca.pem\", \"ca.pem\"]");
    assert_eq!(Client::good(&world).get(&Gate::start(&world, &twice), "/").await.status, 200);
}
