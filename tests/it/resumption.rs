//! Sessions are resumed, and a ticket opens nothing that a full handshake would not open now.

use std::sync::Arc;
use std::time::Duration;

use portcullis::tools::pki::{Issued, KeyKind, RevocationSpec, Validity};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Backend, Client, Gate, World, unix};

/// A client that keeps its tickets.
struct Returning(Arc<ClientConfig>);

/// What came of a connection.
#[derive(Debug, PartialEq)]
enum Came {
    /// Let in, after this kind of handshake.
    In(HandshakeKind),
    /// Refused.
    Out,
}

use Came::{In, Out};
use HandshakeKind::{Full, Resumed};

impl Returning {
    fn new(client: &Client) -> Self {
        Self(Arc::new(client.config()))
    }

    /// One connection with one request to `host`, and the answer.
    async fn visit(&self, gate: &Gate, host: &str) -> (Came, String) {
        let tcp = TcpStream::connect(gate.address).await.unwrap();
        let connector = TlsConnector::from(Arc::clone(&self.0));
        let Ok(mut stream) = connector.connect(host.to_owned().try_into().unwrap(), tcp).await else {
            return (Out, String::new());
        };
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        (if answer.starts_with("HTTP/1.1 200") { In(kind) } else { Out }, answer)
    }

    async fn comes(&self, gate: &Gate) -> Came {
        self.visit(gate, "api.test").await.0
    }
}

/// In both versions, a client that has a ticket of the gate, and the gate.
async fn with_tickets(world: &World, backend: &Backend, text: &str, issued: &Issued) -> Vec<(Gate, Returning)> {
    let mut all = Vec::new();
    for client in [Client::with(world, issued), Client::with(world, issued).tls12()] {
        let gate = Gate::start(world, text);
        let client = Returning::new(&client);
        assert_eq!(client.comes(&gate).await, In(Full));
        assert_eq!(client.comes(&gate).await, In(Resumed));
        all.push((gate, client));
    }
    assert!(backend.address.port() > 0);
    all
}

/// What the backend was told, less what differs between requests.
fn told(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| line.starts_with("x-client-cert") || line.starts_with("client-cert")).collect()
}

#[tokio::test]
async fn a_resumed_session_has_the_identity_of_the_full_handshake() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &world.config(backend.address));
    for client in [Client::good(&world), Client::good(&world).tls12()] {
        let client = Returning::new(&client);
        let (came, first) = client.visit(&gate, "api.test").await;
        assert_eq!(came, In(Full));
        for _ in 0..3 {
            let (came, again) = client.visit(&gate, "api.test").await;
            assert_eq!(came, In(Resumed));
            assert_eq!(told(&first), told(&again));
            assert!(told(&again).len() > 5);
        }
    }
    assert_eq!(
        gate.metric(
            "portcullis_handshakes_total{host=\"api.test\",version=\"TLSv1_3\",protocol=\"HTTP/1.1\",kind=\"resumed\"}"
        )
        .await,
        3.0
    );
}

#[tokio::test]
async fn whatever_takes_the_ground_from_a_certificate_takes_it_from_its_tickets() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let lost = world.client(|spec| spec.cn = "lost".to_owned());
    let text = world.config(backend.address);
    const TRUST: &str = "[trust.test]\nanchors = [\"ca.pem\"]";
    world.write("denied.toml", "[[deny]]\nmatch = { subject_cn = \"lost\" }\nreason = \"stolen\"\n");
    let crl = world.pki.ca.revocation_list(&RevocationSpec::new(unix()).revoke(&lost).unwrap()).unwrap();
    std::fs::write(world.path().join("ca.crl"), crl).unwrap();
    for changed in [
        text.replace(TRUST, &format!("{TRUST}\ndeny = \"denied.toml\"")),
        text.replace(TRUST, &format!("{TRUST}\ncrl = [\"ca.crl\"]")),
        text.replace("anchors = [\"ca.pem\"]", "anchors = [\"foreign-ca.pem\"]"),
        text.replace("\"api.test\"", "\"moved.test\""),
    ] {
        for (gate, client) in with_tickets(&world, &backend, &text, &lost).await {
            gate.reload(&changed).unwrap();
            assert_eq!(client.comes(&gate).await, Out, "{changed}");
        }
    }
}

#[tokio::test]
async fn any_change_of_trust_costs_one_full_handshake_and_no_more() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = world.config(backend.address);
    for (changed, first) in [
        (text.replace("anchors = [\"ca.pem\"]", "anchors = [\"ca.pem\", \"foreign-ca.pem\"]"), Full),
        (text.replace("anchors = [\"ca.pem\"]", "anchors = [\"ca.pem\"]\nmax_names = 63"), Full),
        (text.replace("trust = \"test\"", "trust = \"test\"\nclient_certificate = \"optional\""), Full),
        (format!("{text}\n[http]\nheader_count = 99\n"), Resumed),
    ] {
        for (gate, client) in with_tickets(&world, &backend, &text, &world.pki.good).await {
            gate.reload(&changed).unwrap();
            assert_eq!(client.comes(&gate).await, In(first), "{changed}");
            assert_eq!(client.comes(&gate).await, In(Resumed), "{changed}");
        }
    }
}

#[tokio::test]
async fn a_ticket_of_one_host_is_no_ticket_of_another() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let host = |name: &str, rest: &str| {
        format!(
            "[[host]]\nnames = [\"{name}\"]\ncertificate = {{ chain = \"server.pem\", key = \"server.key\" }}\n{rest}\n\
             [[host.route]]\npath = \"/\"\nallow = \"{}\"\nupstream = \"backend\"\n",
            if rest.contains("none") { "anyone" } else { "any-verified" }
        )
    };
    let text = world.config(backend.address)
        + &host("open.test", "client_certificate = \"none\"")
        + &host("other.test", "trust = \"other\"")
        + "[trust.other]\nanchors = [\"foreign-ca.pem\"]\n";
    let gate = Gate::start(&world, &text);
    for client in [Client::good(&world), Client::good(&world).tls12()] {
        for (from, to) in [("open.test", "api.test"), ("api.test", "other.test"), ("open.test", "other.test")] {
            let mut config = client.config();
            // The client believes that both are the same server, and offers the ticket of one to the other.
            config.enable_sni = true;
            let store = Arc::new(Believing(rustls::client::ClientSessionMemoryCache::new(8)));
            config.resumption = rustls::client::Resumption::store(store);
            let client = Returning(Arc::new(config));
            assert_eq!(client.visit(&gate, from).await.0, In(Full), "{from}");
            let expected = if to == "other.test" { Out } else { In(Full) };
            assert_eq!(client.visit(&gate, to).await.0, expected, "{from} {to}");
        }
    }
}

/// A cache of sessions that takes every server for the same.
#[derive(Debug)]
struct Believing(rustls::client::ClientSessionMemoryCache);

mod believing {
    use rustls::NamedGroup;
    use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
    use rustls::pki_types::ServerName;

    fn one() -> ServerName<'static> {
        ServerName::try_from("one.test").unwrap()
    }

    impl ClientSessionStore for super::Believing {
        fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
            self.0.set_kx_hint(one(), group);
        }
        fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
            self.0.kx_hint(&one())
        }
        fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
            self.0.set_tls12_session(one(), value);
        }
        fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
            self.0.tls12_session(&one())
        }
        fn remove_tls12_session(&self, _: &ServerName<'static>) {
            self.0.remove_tls12_session(&one());
        }
        fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
            self.0.insert_tls13_ticket(one(), value);
        }
        fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
            self.0.take_tls13_ticket(&one())
        }
    }
}

#[tokio::test]
async fn a_lineage_of_tickets_ends_at_its_age_and_with_its_certificate() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = world.config(backend.address) + "[resumption]\nmax_age = \"3h\"\n";
    for (gate, client) in with_tickets(&world, &backend, &text, &world.pki.good).await {
        for _ in 0..2 {
            gate.clock.advance(Duration::from_hours(1));
            assert_eq!(client.comes(&gate).await, In(Resumed));
        }
        // Renewed an hour ago, but three hours old.
        gate.clock.advance(Duration::from_hours(1));
        assert_eq!(client.comes(&gate).await, In(Full));
        assert_eq!(client.comes(&gate).await, In(Resumed));
    }
    let short = world.client(|spec| {
        spec.validity = Validity { not_before: Duration::ZERO, not_after: unix() + Duration::from_hours(1) };
    });
    for (gate, client) in with_tickets(&world, &backend, &text, &short).await {
        gate.clock.advance(Duration::from_hours(2));
        assert_eq!(client.comes(&gate).await, Out);
    }
}

#[tokio::test]
async fn keys_are_changed_and_old_ones_open_until_their_last_ticket_has_ended() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = world.config(backend.address) + "[resumption]\nmax_age = \"2h\"\nrotate = \"30m\"\n";
    for (gate, client) in with_tickets(&world, &backend, &text, &world.pki.good).await {
        gate.clock.advance(Duration::from_mins(45));
        // Another client makes the next key; this one's ticket is of the key before.
        Client::good(&world).get(&gate, "/").await;
        assert_eq!(client.comes(&gate).await, In(Resumed));
    }
}

#[tokio::test]
async fn gates_that_share_a_key_file_resume_each_others_sessions_and_a_changed_key_ends_them() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = world.config(backend.address) + "[resumption]\nkey_file = \"tickets.keys\"\n";
    world.write("tickets.keys", &format!("{}\n{}\n", "ab".repeat(32), "cd".repeat(32)));
    let other = Gate::start(&world, &text);
    for (_gate, client) in with_tickets(&world, &backend, &text, &world.pki.good).await {
        assert_eq!(client.comes(&other).await, In(Resumed));
    }
    for (gate, client) in with_tickets(&world, &backend, &text, &world.pki.good).await {
        // A new first key, the old one still opens.
        world.write("tickets.keys", &format!("{}\n{}\n", "ef".repeat(32), "ab".repeat(32)));
        gate.reload(&text).unwrap();
        assert_eq!(client.comes(&gate).await, In(Resumed));
        world.write("tickets.keys", &format!("{}\n", "01".repeat(32)));
        gate.reload(&text).unwrap();
        assert_eq!(client.comes(&gate).await, In(Full));
        for (bad, said) in [("", "no key in it"), ("abc", "line 1: not 64 hexadecimal digits")] {
            world.write("tickets.keys", bad);
            let problems = gate.reload(&text).unwrap_err().join("\n");
            assert!(problems.contains(said) && problems.contains("tickets.keys"), "{problems}");
        }
        world.write("tickets.keys", &format!("{}\n{}\n", "ab".repeat(32), "cd".repeat(32)));
    }
}

#[tokio::test]
async fn long_chains_and_large_leaves_do_not_travel_in_tickets() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &world.config(backend.address));
    let above = world.pki.ca.intermediate("One").unwrap().intermediate("Two").unwrap();
    let mut spec = portcullis::tools::pki::LeafSpec::client("large", Validity::LONG);
    spec.key = KeyKind::Rsa2048;
    spec.organization = Some("o".repeat(60));
    let large = above.issue(&spec).unwrap();
    for client in [Client::with(&world, &large), Client::with(&world, &large).tls12()] {
        let client = Returning::new(&client);
        assert_eq!(client.comes(&gate).await, In(Full));
        for _ in 0..3 {
            let (came, answer) = client.visit(&gate, "api.test").await;
            assert_eq!(came, In(Resumed));
            assert!(answer.contains("CN=large"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_key_file_that_others_may_write_is_refused_and_one_that_they_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = world.config(backend.address) + "[resumption]\nkey_file = \"tickets.keys\"\n";
    let path = world.write("tickets.keys", &format!("{}\n", "ab".repeat(32)));
    let mode = |mode: u32| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let address = path.display().to_string();
    let warned =
        |gate: &Gate| !gate.lines(|line| line.contains(&address) && line.contains("may be read by")).is_empty();
    for owners in [0o400, 0o600] {
        mode(owners);
        assert!(!warned(&Gate::start(&world, &text)), "{owners:o}");
    }
    for others in [0o620, 0o602, 0o666] {
        mode(others);
        let problems = Gate::try_start(&world, &text).err().expect("a problem");
        let said = format!("tickets.keys: may be written by others (mode {others:04o})");
        assert!(problems.contains(&said) && problems.contains("chmod 0400"), "{problems}");
    }
    for others in [0o640, 0o444] {
        mode(others);
        let gate = Gate::start(&world, &text);
        let said = format!("may be read by others (mode {others:04o})");
        gate.find_log(|line| line.contains(&address) && line.contains(&said) && line.contains("\"WARN\""));
    }
    // What runs, runs on.
    let gate = Gate::start(&world, &text);
    mode(0o646);
    assert!(gate.reload(&format!("{text}\n# again\n")).unwrap_err().join("\n").contains("may be written by others"));
    gate.serves(&Client::good(&world)).await;
}
