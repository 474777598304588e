//! Certificates that are pinned to the software they were issued for.

use std::sync::Arc;
use std::time::Duration;

use portcullis::fingerprint::Tally;
use portcullis::reject::Reason;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Backend, Client, Gate, ROUTE, Talk, World};
use crate::prints::print_of;

/// The usual file with this `[trust.test.stack]`.
fn config(world: &World, backend: &Backend, stack: &str) -> String {
    let trust = "[trust.test]\nanchors = [\"ca.pem\"]";
    world.config(backend.address).replace(trust, &format!("{trust}\n[trust.test.stack]\n{stack}\n"))
}

async fn stable(client: &Client) -> String {
    print_of(client).await.stable.to_string()
}

#[tokio::test]
async fn other_software_is_refused_although_its_certificate_is_good() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let app = || Client::good(&world);
    let allow = format!("mode = \"enforce\"\nallow = [\"{}\"]", stable(&app()).await);
    let gate = Gate::start(&world, &config(&world, &backend, &allow));
    assert_eq!(app().get(&gate, "/").await.status, 200);
    // Another protocol, another version: what a script would have.
    for other in [app().alpn(&["h2"]), app().tls12()] {
        let line = gate.refuses(&other, Reason::StackNotAllowed).await;
        // Whose certificate it is, and what to add if it is one of ours.
        assert_eq!(line["subject"], "CN=good");
        assert!(line["detail"].as_str().unwrap().starts_with(&stable(&other).await), "{line}");
    }
    // Who has no good certificate hears of that first.
    gate.refuses(&Client::anonymous(&world).tls12(), Reason::CertMissing).await;
}

#[tokio::test]
async fn parts_may_be_left_open() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let app = || Client::good(&world);
    let head = stable(&app()).await.split('_').next().unwrap().to_owned();
    let gate = Gate::start(&world, &config(&world, &backend, &format!("mode = \"enforce\"\nallow = \"{head}_*\"")));
    assert_eq!(app().get(&gate, "/").await.status, 200);
    gate.refuses(&app().alpn(&["h2"]), Reason::StackNotAllowed).await;
    let text = stable(&app()).await;
    let (_, hashes) = text.split_once('_').unwrap();
    gate.reload(&config(&world, &backend, &format!("mode = \"enforce\"\nallow = \"*_{hashes}\""))).unwrap();
    assert_eq!(app().alpn(&["h2"]).get(&gate, "/").await.status, 200);
    gate.refuses(&app().tls12(), Reason::StackNotAllowed).await;
}

#[tokio::test]
async fn a_resumed_session_is_of_the_app_and_a_ticket_in_other_software_is_not() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let app = Client::good(&world);
    let allow = format!("mode = \"enforce\"\nallow = [\"{}\"]", stable(&app).await);
    let gate = Gate::start(&world, &config(&world, &backend, &allow));
    let config = Arc::new(app.config());
    let ask = |config: &Arc<rustls::ClientConfig>| {
        let (config, address) = (Arc::clone(config), gate.address);
        async move {
            let tcp = TcpStream::connect(address).await?;
            let name = ServerName::try_from("api.test").unwrap();
            let mut stream = TlsConnector::from(config).connect(name, tcp).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        }
    };
    for _ in 0..3 {
        assert!(ask(&config).await.unwrap().starts_with("HTTP/1.1 200"));
    }
    let resumed =
        "portcullis_handshakes_total{host=\"api.test\",version=\"TLSv1_3\",protocol=\"HTTP/1.1\",kind=\"resumed\"";
    assert_eq!(gate.metric(resumed).await, 2.0);
    // The ticket is taken along into software that offers no protocol at all.
    let mut stolen = rustls::ClientConfig::clone(&config);
    stolen.alpn_protocols.clear();
    let answer = ask(&Arc::new(stolen)).await;
    assert!(answer.as_ref().map_or(true, |answer| answer.is_empty()), "{answer:?}");
    // It counts behind the connection's last byte.
    gate.wait_for_metric("portcullis_rejects_total{reason=\"stack_not_allowed\"}", 1.0).await;
}

#[tokio::test]
async fn live_connections_answer_to_a_changed_set_like_to_every_change_of_trust() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (one, two) = (Client::good(&world), Client::good(&world).alpn(&["h2"]));
    let both = format!("mode = \"enforce\"\nallow = [\"{}\", \"{}\"]", stable(&one).await, stable(&two).await);
    let gate = Gate::start(&world, &config(&world, &backend, &both));
    let mut stays = Talk::good(&world, &gate, "http/1.1").await;
    let mut goes = Talk::good(&world, &gate, "h2").await;
    assert_eq!((stays.get("/").await.status, goes.get("/").await.status), (200, 200));
    let fewer = format!("mode = \"enforce\"\nallow = [\"{}\"]", stable(&one).await);
    gate.reload(&config(&world, &backend, &fewer)).unwrap();
    gate.wait_for_metric("portcullis_rejects_total{reason=\"stack_not_allowed\"}", 1.0).await;
    assert_eq!(stays.get("/").await.status, 200);
    assert_eq!(gate.metric("portcullis_revocation_enforced_seconds_count").await, 1.0);
}

#[tokio::test]
async fn a_shadow_counts_and_logs_and_refuses_nobody() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let allow = format!("mode = \"shadow\"\nallow = [\"{}\"]", stable(&Client::good(&world)).await);
    let gate = Gate::start(&world, &config(&world, &backend, &allow));
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    assert_eq!(gate.metric("portcullis_stack_shadowed_total").await, 0.0);
    let named = world.client(|spec| "shadowed one".clone_into(&mut spec.cn));
    let other = Client::with(&world, &named).tls12();
    assert_eq!(other.get(&gate, "/").await.status, 200);
    assert_eq!(gate.metric("portcullis_stack_shadowed_total{trust=\"test\"}").await, 1.0);
    let line = gate.logged(|line| line.contains("would be refused") && line.contains("shadowed one")).await;
    assert!(line.contains(&stable(&other).await), "{line}");
}

#[tokio::test]
async fn what_was_learned_is_on_disk_at_the_end_goes_on_and_enforces_what_was_seen() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let learn = config(&world, &backend, "mode = \"learn\"\nlearned = \"learned.toml\"");
    let file = world.path().join("learned.toml");
    let clients = || [Client::good(&world), Client::good(&world).alpn(&["h2"])];
    for round in 1..=2 {
        let gate = Gate::start(&world, &learn);
        for client in clients() {
            assert_eq!(client.get(&gate, "/").await.status, 200);
        }
        // Who proves nothing teaches nothing.
        gate.refuses(&Client::anonymous(&world).tls12(), Reason::CertMissing).await;
        gate.running.drain();
        gate.running.join();
        let tally = Tally::of_toml(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let mut kinds: Vec<_> = tally.kinds().into_iter().map(|(ja4, count)| (ja4.to_string(), count)).collect();
        kinds.sort();
        let mut expected = Vec::new();
        for client in clients() {
            expected.push((stable(&client).await, round));
        }
        expected.sort();
        assert_eq!(kinds, expected);
    }
    // The list, as it stands.
    let text = std::fs::read_to_string(&file).unwrap();
    let gate = Gate::start(&world, &config(&world, &backend, &format!("mode = \"enforce\"\n{text}")));
    for client in clients() {
        assert_eq!(client.get(&gate, "/").await.status, 200);
    }
    gate.refuses(&Client::good(&world).tls12(), Reason::StackNotAllowed).await;
}

#[tokio::test]
async fn what_was_learned_is_written_while_the_gate_runs_and_when_it_stops_to_learn() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &config(&world, &backend, "mode = \"learn\"\nlearned = \"learned.toml\""));
    let file = world.path().join("learned.toml");
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    // Every five seconds; a loaded machine takes its time.
    let mut waited = 0;
    while !file.exists() {
        waited += 1;
        assert!(waited < 3000, "never written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(Client::good(&world).tls12().get(&gate, "/").await.status, 200);
    gate.reload(&config(&world, &backend, "mode = \"off\"")).unwrap();
    assert_eq!(Tally::of_toml(&std::fs::read_to_string(&file).unwrap()).unwrap().kinds().len(), 2);
    assert_eq!(gate.metric("portcullis_config_generation").await, 2.0, "a file that is written is not read again");
}

#[tokio::test]
async fn what_cannot_be_meant_is_a_problem() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let foreign = world.write("foreign.toml", "allow = []\n");
    for (stack, said) in [
        ("mode = \"enforce\"", "trust.test.stack.allow: missing or empty"),
        ("mode = \"shadow\"\nallow = []", "trust.test.stack.allow: missing or empty"),
        ("mode = \"learn\"", "trust.test.stack.learned: missing"),
        ("mode = \"enforce\"\nallow = \"*\"", "describes every client"),
        ("mode = \"enforce\"\nallow = \"t13d1516h2\"", "not a JA4 like"),
        ("mode = \"enforced\"\nallow = \"t13d1516h2_*\"", "did you mean \"enforce\"?"),
        ("mode = \"learn\"\nlearned = \"foreign.toml\"", "not what the gate wrote"),
        ("mode = \"learn\"\nlearned = \"gate.toml\"", "not what the gate wrote"),
    ] {
        let problems = Gate::try_start(&world, &config(&world, &backend, stack)).err().expect(stack);
        assert!(problems.contains(said), "{stack}\n{problems}");
    }
    assert_eq!(std::fs::read_to_string(foreign).unwrap(), "allow = []\n");
}

#[tokio::test]
async fn a_host_that_can_do_without_a_certificate_asks_only_those_that_show_one() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let allow = format!("mode = \"enforce\"\nallow = [\"{}\"]", stable(&Client::good(&world)).await);
    let text = config(&world, &backend, &allow)
        .replace("trust = \"test\"", "trust = \"test\"\nclient_certificate = \"optional\"")
        .replace(ROUTE, &ROUTE.replace("any-verified", "anyone"));
    let gate = Gate::start(&world, &text);
    assert_eq!(Client::anonymous(&world).tls12().get(&gate, "/").await.status, 200);
    gate.refuses(&Client::good(&world).tls12(), Reason::StackNotAllowed).await;
}
