//! `portcullis load` against a real gate: what it says of work whose outcome is known.

use std::net::SocketAddr;
use std::path::Path;

use portcullis::tools::pki::{Authority, KeyKind};
use serde_json::Value;

use crate::harness::{Backend, Ended, Gate, Process, World, closed_address};

/// A gate, its echo backend, and the files of clients.
struct Stage {
    world: World,
    gate: Gate,
    _backend: Backend,
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new() -> Self {
        Self::with(World::config)
    }

    fn with(config: impl Fn(&World, SocketAddr) -> String) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let world = World::new();
        let backend = runtime.block_on(Backend::echo());
        let gate = Gate::start(&world, &config(&world, backend.address));
        world.write("good.pem", &world.pki.good.pem());
        world.write("good.key", &world.pki.good.key_pem());
        world.write("ca.key", &world.pki.ca.key_pem());
        Self { world, gate, _backend: backend, _runtime: runtime }
    }

    fn file(&self, name: &str) -> String {
        self.world.path().join(name).to_str().unwrap().to_owned()
    }

    /// The program with these flags and the good certificate.
    fn load(&self, flags: &str) -> Ended {
        self.load_as(&format!("--cert {} --key {}", self.file("good.pem"), self.file("good.key")), flags)
    }

    fn load_as(&self, who: &str, flags: &str) -> Ended {
        let common = format!(
            "load https://{}/hello --server-name api.test --cacert {} --json --threads 2 --timeout 20s",
            self.gate.address,
            self.file("ca.pem")
        );
        let line = format!("{common} {who} {flags}");
        Process::ended(line.split_whitespace())
    }

    /// What the gate says it has seen of this kind.
    fn handshakes(&self, kind: &str) -> f64 {
        let text = self._runtime.block_on(self.gate.metrics());
        let lines = text.lines().filter(|line| line.starts_with("portcullis_handshakes_total"));
        let ours = lines.filter(|line| line.contains(&format!("kind=\"{kind}\"")));
        ours.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

/// The report, which is all it printed but for lines on standard error.
fn report(ended: &Ended) -> Value {
    let from = ended.text.find('{').unwrap_or_else(|| panic!("no report in {}", ended.text));
    serde_json::from_str(&ended.text[from..]).unwrap_or_else(|error| panic!("{error}: {}", ended.text))
}

fn count(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {report:#}"))
}

#[test]
fn kept_connections_carry_exactly_the_requests_that_were_asked_for() {
    let stage = Stage::new();
    for (flags, protocol, connections) in [("-c 4 -n 203", "http/1.1", 4), ("-c 3 -n 203 --http2 --streams 8", "h2", 3)]
    {
        let ended = stage.load(flags);
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        let report = report(&ended);
        assert_eq!(count(&report, "/requests/done"), 203, "{report:#}");
        assert_eq!(count(&report, "/statuses/200"), 203);
        assert_eq!(count(&report, "/latency_us/count"), 203);
        assert_eq!(report["protocol"], protocol);
        assert_eq!(count(&report, "/handshakes/full"), connections, "{report:#}");
        assert_eq!(count(&report, "/handshakes/resumed"), 0);
        assert_eq!(report["errors"], serde_json::json!({}));
        assert!(report["cpu"]["us_per_request"].as_f64().unwrap() > 0.0);
        assert!(count(&report, "/bytes/wire_received") > count(&report, "/bytes/body_received"));
    }
}

#[test]
fn a_new_connection_is_a_full_handshake_and_a_resumed_one_is_not() {
    let stage = Stage::new();
    for protocol in ["", " --http2"] {
        let fresh = report(&stage.load(&format!("--new-connection -c 3 -n 12{protocol}")));
        assert_eq!((count(&fresh, "/requests/done"), count(&fresh, "/handshakes/full")), (12, 12), "{fresh:#}");
        assert_eq!(count(&fresh, "/handshake_resumed_us/count"), 0);

        let resumed = report(&stage.load(&format!("--resume -c 3 -n 12{protocol}")));
        assert_eq!(count(&resumed, "/requests/done"), 12, "{resumed:#}");
        // One full handshake for each lane, to have something to resume.
        assert_eq!(
            (count(&resumed, "/handshakes/full"), count(&resumed, "/handshakes/resumed")),
            (3, 12),
            "{resumed:#}"
        );
    }
    assert_eq!((stage.handshakes("full"), stage.handshakes("resumed")), (30.0, 24.0));
}

#[test]
fn where_sessions_are_not_resumed_that_is_what_failed() {
    let stage = Stage::with(|world, backend| format!("{}\n[resumption]\nenabled = false\n", world.config(backend)));
    let ended = stage.load("--resume -c 2 -n 6");
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert_eq!(count(&report(&ended), "/errors/not_resumed"), 6, "{}", ended.text);
}

#[test]
fn idle_connections_are_held_and_all_of_them_answer_at_the_end() {
    let stage = Stage::new();
    for protocol in ["", " --http2"] {
        let ended = stage.load(&format!("--idle 40 -c 8 -z 300ms{protocol}"));
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        assert!(ended.text.contains("holding 40 connections"), "{}", ended.text);
        let report = report(&ended);
        assert_eq!((count(&report, "/idle/held"), count(&report, "/idle/alive")), (40, 40), "{report:#}");
        assert_eq!(count(&report, "/handshakes/full"), 40);
    }
}

#[test]
fn an_open_loop_begins_as_many_as_its_rate_says() {
    let stage = Stage::new();
    for protocol in ["", " --http2 --streams 4"] {
        let ended = stage.load(&format!("-c 8 --rate 200 -z 1s{protocol}"));
        let report = report(&ended);
        let all = count(&report, "/requests/done") + count(&report, "/requests/missed");
        assert_eq!(all, 200, "{report:#}");
        assert_eq!((&report["loop"], &report["rate_wanted"]), (&"open".into(), &200.0.into()));
    }
}

#[test]
fn latency_counts_from_when_a_request_was_due_and_not_from_when_there_was_time_for_it() {
    let stage = Stage::new();
    // One lane, a server that takes 50 ms, and a request due each 10 ms: the 20th is 800 ms late.
    let ended = stage.load("--path /slow?ms=50 -c 1 --rate 100 -n 20");
    let report = report(&ended);
    assert_eq!(count(&report, "/requests/done"), 20, "{report:#}");
    let late = report["latency_us"]["max"].as_f64().unwrap();
    assert!(late >= 800_000.0, "{report:#}");
    let served = report["service_us"]["p50"].as_f64().unwrap();
    assert!((50_000.0..late / 2.0).contains(&served), "{report:#}");
}

#[test]
fn refusals_are_told_by_their_alert_and_their_status() {
    let stage = Stage::new();
    let foreign = Authority::new("Another CA", KeyKind::EcdsaP256).unwrap();
    stage.world.write("other.pem", &foreign.pem());
    stage.world.write("other.key", &foreign.key_pem());
    let minted = format!("--identities 3 --ca {} --ca-key {}", stage.file("other.pem"), stage.file("other.key"));
    for (who, alert) in [("", "alert_certificate_required"), (&minted, "alert_unknown_ca")] {
        for protocol in ["", "--http2", "--new-connection", "--resume", "--http2 --resume"] {
            let ended = stage.load_as(who, &format!("-c 2 -n 6 {protocol}"));
            assert_eq!(ended.code, Some(1), "{}", ended.text);
            let report = report(&ended);
            assert_eq!(count(&report, &format!("/errors/{alert}")), 6, "{protocol}: {report:#}");
            assert_eq!((count(&report, "/requests/done"), count(&report, "/requests/failed")), (0, 6));
        }
    }
    let ended = stage.load("--path /status/503 -c 1 -n 4");
    assert_eq!((ended.code, count(&report(&ended), "/errors/status_503")), (Some(1), 4), "{}", ended.text);
    assert_eq!(stage.load("--path /status/503 -c 1 -n 4 --expect 503").code, Some(0));
    assert_eq!(stage.load("--path /status/503 -c 1 -n 4 --max-failures 1").code, Some(0));
}

#[test]
fn what_cannot_be_reached_or_trusted_is_told_and_ends() {
    let stage = Stage::new();
    let closed = stage._runtime.block_on(closed_address());
    let ended = stage.load(&format!("--connect {closed} -c 2 -n 4"));
    assert_eq!((ended.code, count(&report(&ended), "/errors/connect_refused")), (Some(1), 4), "{}", ended.text);

    let ended = Process::ended(["load", "https://127.0.0.1:1/"]);
    assert!(ended.code == Some(1) && ended.text.contains("--cacert"), "{}", ended.text);
    let ended = Process::ended(["load", "http://127.0.0.1:1/", "--identities", "2"]);
    assert!(ended.code == Some(1) && ended.text.contains("--ca"), "{}", ended.text);
}

#[test]
fn every_identity_of_a_folder_and_every_minted_one_connects() {
    let stage = Stage::new();
    let folder = stage.world.path().join("many");
    std::fs::create_dir(&folder).unwrap();
    for name in ["folder-one", "folder-two"] {
        let issued = stage.world.client(|spec| spec.cn = name.to_owned());
        write(&folder, &format!("{name}.pem"), issued.pem().as_bytes());
        write(&folder, &format!("{name}.key"), issued.key_pem().as_bytes());
    }
    let issued = stage.world.client(|spec| spec.cn = "folder-three".to_owned());
    write(&folder, "three.p12", &issued.p12("three", "secret").unwrap());
    write(&folder, "three.p12.password", b"secret\n");
    write(&folder, "no-key.pem", stage.world.pki.ca.pem().as_bytes());

    let minted = format!("--identities 5 --ca {} --ca-key {}", stage.file("ca.pem"), stage.file("ca.key"));
    for (who, names) in [
        (format!("--identities {}", folder.display()), &["CN=folder-one", "CN=folder-two", "CN=folder-three"][..]),
        (minted, &["CN=load-000000", "CN=load-000001", "CN=load-000002", "CN=load-000003", "CN=load-000004"]),
        (format!("--p12 {0}/three.p12 --password-file {0}/three.p12.password", folder.display()), &["CN=folder-three"]),
    ] {
        let report = report(&stage.load_as(&who, "--new-connection -c 2 -n 20"));
        assert_eq!(count(&report, "/identities"), names.len() as u64, "{report:#}");
        for name in names {
            stage.gate.find_log(|line| line.contains(name) && line.contains("portcullis::request"));
        }
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn bodies_have_the_length_that_was_asked_for() {
    let stage = Stage::new();
    for protocol in ["", " --http2 --streams 3"] {
        let down = report(&stage.load(&format!("--path /bytes/300000 --download 300000 -c 2 -n 6{protocol}")));
        assert_eq!(count(&down, "/bytes/body_received"), 1_800_000, "{down:#}");
        let up = report(&stage.load(&format!("--path /echo --upload 300000 --download 300000 -c 2 -n 6{protocol}")));
        assert_eq!(count(&up, "/bytes/body_received"), 1_800_000, "{up:#}");
        assert_eq!(count(&up, "/bytes/body_sent"), 1_800_000, "{up:#}");
        let ended = stage.load(&format!("--path /bytes/10 --download 11 -c 1 -n 3{protocol}"));
        assert_eq!((ended.code, count(&report(&ended), "/errors/length")), (Some(1), 3), "{}", ended.text);
    }
}

#[test]
fn it_connects_from_the_addresses_it_was_given() {
    let stage = Stage::new();
    let ended = stage.load("--source 127.7.0.0/30 -c 2 -n 4 --new-connection");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    for peer in ["127.7.0.1", "127.7.0.2"] {
        stage.gate.find_log(|line| line.contains(peer));
    }
}

#[test]
fn ctrl_c_ends_it_early_and_prints_what_there_is() {
    let stage = Stage::new();
    let line = format!(
        "load https://{}/ --server-name api.test --cacert {} --cert {} --key {} --idle 3 -z 10m",
        stage.gate.address,
        stage.file("ca.pem"),
        stage.file("good.pem"),
        stage.file("good.key")
    );
    let process = Process::spawn(Process::command(line.split_whitespace()));
    process.line(|line| line.contains("holding 3 connections"));
    process.signal("INT");
    let ended = process.wait();
    assert!(ended.text.contains("3 held"), "{}", ended.text);
}

#[test]
fn messages_come_back_on_websockets_that_are_kept() {
    let stage = Stage::with(|world, backend| {
        let route = "[[host.route]]\npath = \"/\"\nallow = \"any-verified\"\nupstream = \"backend\"\nupgrade = [\"websocket\"]\n";
        world.config_with("", &format!("servers = [\"http://{backend}\"]"), route)
    });
    for size in [1, 125, 126, 65_000] {
        let ended = stage.load(&format!("--path /ws --websocket --message {size} -c 3 -n 30"));
        assert_eq!(ended.code, Some(0), "{}", ended.text);
        let report = report(&ended);
        assert_eq!((count(&report, "/requests/done"), count(&report, "/handshakes/full")), (30, 3), "{report:#}");
        assert_eq!(
            (count(&report, "/bytes/body_sent"), count(&report, "/bytes/body_received")),
            (30 * size, 30 * size)
        );
    }
    let ended = stage.load("--path /status/403 --websocket -c 1 -n 2");
    assert_eq!((ended.code, count(&report(&ended), "/errors/status_403")), (Some(1), 2), "{}", ended.text);
}

#[test]
fn the_page_has_the_table_and_two_plots_and_fetches_nothing() {
    let stage = Stage::new();
    let ended = stage.load(&format!("-c 2 -n 50 --report {}", stage.file("report.html")));
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let page = std::fs::read_to_string(stage.world.path().join("report.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(page.contains("full handshake") && page.contains("50 done"), "{page}");
    for fetched in ["src=", "href=", "@import", "url("] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    assert_eq!(stage.load("-c 1 -n 1 --report /nowhere/report.html").code, Some(1));
}

/// Serves each connection of a free port of this machine with `serve`, in the clear.
fn served<F>(serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> (tokio::runtime::Runtime, SocketAddr)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp));
        }
    });
    (runtime, address)
}

#[test]
fn a_server_that_never_answers_does_not_keep_it_from_ending() {
    let (_runtime, address) = served(|tcp| async move {
        std::future::pending::<()>().await;
        drop(tcp);
    });
    let url = format!("http://{address}/");
    for flags in ["", "--http2 --streams 2", "--new-connection", "--websocket"] {
        let line = format!("load {url} --json --timeout 100ms -c 2 -n 4 {flags}");
        let ended = Process::ended(line.split_whitespace());
        assert_eq!((ended.code, count(&report(&ended), "/errors/timeout_request")), (Some(1), 4), "{}", ended.text);
    }
}

#[test]
fn a_server_that_ends_every_connection_in_order_is_not_asked_forever() {
    let (_runtime, address) = served(|tcp| async move {
        let Ok(mut connection) = h2::server::handshake(tcp).await else { return };
        connection.graceful_shutdown();
        while connection.accept().await.is_some() {}
    });
    let line = format!("load http://{address}/ --json --http2 -c 2 -n 6 --timeout 20s");
    let ended = Process::ended(line.split_whitespace());
    let report = report(&ended);
    assert_eq!((ended.code, count(&report, "/requests/failed")), (Some(1), 6), "{report:#}");
}

#[test]
fn connections_that_end_in_order_take_no_request_with_them() {
    // Each connection answers three requests, and says so when it has accepted the third.
    let (_runtime, address) = served(|tcp| async move {
        let Ok(mut connection) = h2::server::handshake(tcp).await else { return };
        let mut answered = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            answered += 1;
            if answered == 3 {
                connection.graceful_shutdown();
            }
            if let Ok(mut body) = respond.send_response(http::Response::new(()), false) {
                let _ = body.send_data("ok".into(), true);
            }
        }
    });
    let line = format!("load http://{address}/ --json --http2 --streams 4 -c 2 -n 40 --timeout 20s");
    let ended = Process::ended(line.split_whitespace());
    let report = report(&ended);
    assert_eq!((count(&report, "/requests/done"), ended.code), (40, Some(0)), "{report:#}");
}
