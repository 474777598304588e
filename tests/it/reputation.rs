//! The behaviour of a certificate over real sockets, from many source addresses: who is caught, who must not be, and
//! what becomes of those who are.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use portcullis::app;
use portcullis::clock::Clock;
use portcullis::tools::pki::{Authority, Issued, KeyKind, LeafSpec, Validity};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Backend, Client, Gate, Process, Recorder, World};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine";
const NO: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
const DECOY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\ndecoy";

/// A gate before a backend where `/bad` fails, `/good` succeeds and `/free` is exempt; the rest of its file is `ladder`.
struct Scene {
    world: World,
    gate: Gate,
    text: String,
    decoy: Recorder,
    _backends: [Recorder; 2],
}

impl Scene {
    async fn new(ladder: &str) -> Self {
        Self::weighing(1, ladder).await
    }

    /// With failures of this weight.
    async fn weighing(weight: u32, ladder: &str) -> Self {
        let world = World::new();
        let (good, bad, decoy) =
            (Recorder::answering(OK).await, Recorder::answering(NO).await, Recorder::answering(DECOY).await);
        let route = |path: &str, upstream: &str, more: &str| {
            format!(
                "[[host.route]]\npath = \"{path}\"\nallow = \"any-verified\"\nupstream = \"{upstream}\"\n\
                 outcome = {{ statuses = [401, 403], weight = {weight} }}\n{more}\n"
            )
        };
        let routes = [
            route("/bad", "bad", ""),
            route("/good", "backend", "pacing = true"),
            route("/free", "backend", "exempt = true"),
        ];
        let server = |recorder: &Recorder| format!("servers = [\"http://{}\"]", recorder.address);
        let upstreams =
            format!("{}\n[upstream.bad]\n{}\n[upstream.decoy]\n{}", server(&good), server(&bad), server(&decoy));
        let text = world.config_with(ladder, &upstreams, &routes.concat());
        let text = text.replace("anchors = [\"ca.pem\"]", "anchors = [\"ca.pem\"]\ndeny_state = \"denied.toml\"");
        let gate = Gate::start(&world, &text);
        Self { world, gate, text, decoy, _backends: [good, bad] }
    }

    fn client(&self, cn: &str) -> Issued {
        self.world.client(|spec| spec.cn = cn.to_owned())
    }

    /// One connection from this address with one request: status and body, or how the connection failed.
    async fn ask(&self, who: &Issued, from: Ipv4Addr, path: &str) -> io::Result<(u16, String)> {
        let mut stream = Client::with(&self.world, who).over(self.connect(from).await?).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: api.test\r\nx-client-reputation: 0;cause=none\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((status, answer))
    }

    async fn connect(&self, from: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        socket.connect(self.gate.address).await
    }

    /// The status of a request that is answered.
    async fn status(&self, who: &Issued, from: Ipv4Addr, path: &str) -> u16 {
        self.ask(who, from, path).await.unwrap().0
    }

    async fn admin(&self, line: &str) -> (u16, Value) {
        admin(&self.gate, line).await
    }

    /// The metric lines with this name.
    async fn count(&self, name: &str) -> f64 {
        self.gate.metric(name).await
    }
}

async fn admin(gate: &Gate, line: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(gate.admin.unwrap()).await.unwrap();
    let text =
        format!("{line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

/// An address in a /24 of its own.
fn elsewhere(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x7f10_0001 + (n << 8))
}

const HERE: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);

fn rung(score: u32, action: &str) -> String {
    format!("[[reputation.ladder]]\nscore = {score}\n{action}\n")
}

/// A ladder without the spread's say.
fn ladder(rungs: &[String]) -> String {
    format!("[reputation.spread]\nnetworks = 10000\n{}", rungs.concat())
}

#[tokio::test]
async fn a_slow_stuffer_with_many_addresses_and_one_certificate_is_caught_by_the_certificate() {
    let scene =
        Scene::new(&ladder(&[rung(20, "action = \"reject\"\nfor = \"1h\"\nreason = \"too many failures\"")])).await;
    let (stolen, honest) = (scene.client("stuffer"), scene.client("honest"));
    let mut caught = None;
    for n in 0..60 {
        // Two attempts a minute, each from another network.
        scene.gate.clock.advance(Duration::from_secs(30));
        match scene.status(&stolen, elsewhere(n), "/bad").await {
            401 => assert_eq!(caught, None, "let in again at attempt {n}"),
            403 => _ = caught.get_or_insert(n),
            other => panic!("{other} at attempt {n}"),
        }
    }
    assert!(caught.is_some_and(|n| n < 30), "{caught:?}");
    let (_, answer) = scene.ask(&stolen, elsewhere(99), "/good").await.unwrap();
    assert!(answer.contains("\"code\":\"reputation_rejected\""), "{answer}");
    assert_eq!(scene.status(&honest, elsewhere(99), "/good").await, 200);
    let line = scene.gate.find_log(|line| line.contains("climbed") && line.contains("CN=stuffer"));
    for part in ["\"cause\":\"outcome\"", "\"action\":\"reject\"", "\"by\":\"identity\"", "too many failures"] {
        assert!(line.contains(part), "{line}");
    }
}

#[tokio::test]
async fn many_certificates_from_one_network_are_caught_by_the_network_and_dropped_before_the_handshake() {
    let scene = Scene::new(&ladder(&[rung(20, "action = \"drop\"\nfor = \"1h\"")])).await;
    let mut dropped = 0;
    for n in 0..40 {
        let who = scene.client(&format!("device-{n}"));
        match scene.ask(&who, Ipv4Addr::new(127, 5, 5, 1 + n), "/bad").await {
            Ok((401, _)) => assert_eq!(dropped, 0, "let in again at {n}"),
            Ok((status, answer)) => panic!("{status} {answer}"),
            Err(_) => dropped += 1,
        }
    }
    assert!(dropped > 15, "{dropped}");
    let handshakes = scene.count("portcullis_handshakes_total").await;
    assert!(scene.ask(&scene.client("new"), Ipv4Addr::new(127, 5, 5, 200), "/good").await.is_err());
    assert_eq!(scene.count("portcullis_handshakes_total").await, handshakes, "a handshake was paid for");
    assert_eq!(scene.status(&scene.client("new"), Ipv4Addr::new(127, 5, 6, 200), "/good").await, 200);
    let (_, told) = scene.admin("GET /reputation/127.5.5.0/24").await;
    assert_eq!((&told["kind"], &told["rung"]), (&Value::from("network"), &Value::from("drop")), "{told}");
}

#[tokio::test]
async fn an_extracted_certificate_is_caught_by_its_spread() {
    let scene = Scene::new(&rung(10, "action = \"challenge\"\nstatus = 401")).await;
    let stolen = scene.client("extracted");
    let mut caught = None;
    for n in 0..40 {
        let status = scene.status(&stolen, elsewhere(n), "/good").await;
        if status == 401 {
            caught.get_or_insert(n);
        }
    }
    // Twelve networks are a device's, and ten more make a score of ten.
    assert_eq!(caught, Some(21), "the 22nd network");
    let (_, answer) = scene.ask(&stolen, elsewhere(1), "/good").await.unwrap();
    assert!(answer.contains("\"code\":\"reputation_unauthorized\""), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("www-authenticate: reputation"), "{answer}");
    assert_eq!(scene.status(&stolen, elsewhere(1), "/free").await, 200, "where the app can meet the challenge");
}

#[tokio::test]
async fn carrier_nat_and_a_phone_between_two_networks_are_not_flagged() {
    let scene = Scene::new(&rung(10, "action = \"reject\"")).await;
    for n in 0..80 {
        let who = scene.client(&format!("phone-{}", n % 40));
        // Every eighth login is mistyped, and whoever mistypes tries again.
        let path = if n % 8 == 0 { "/bad" } else { "/good" };
        let expected = if n % 8 == 0 { 401 } else { 200 };
        assert_eq!(scene.status(&who, HERE, path).await, expected, "login {n}");
    }
    let traveller = scene.client("traveller");
    for n in 0..40 {
        assert_eq!(scene.status(&traveller, elsewhere(n % 2), "/good").await, 200);
    }
    assert_eq!(scene.count("portcullis_reputation_steps_total").await, 0.0);
}

#[tokio::test]
async fn a_forger_is_told_of_at_first_sight_and_his_address_is_dropped_but_nobody_who_shares_it() {
    let scene = Scene::new(&ladder(&[rung(20, "action = \"drop\"\nfor = \"1h\"\nby = \"address\"")])).await;
    let honest = scene.client("honest");
    let shared = Ipv4Addr::new(127, 7, 7, 7);
    assert_eq!(scene.status(&honest, shared, "/good").await, 200);
    // A CA with the name of ours, and somebody else's certificate without its key.
    let fake = Authority::new("Test CA", KeyKind::EcdsaP256).unwrap();
    let forged = fake.issue(&LeafSpec::client("forged", Validity::LONG)).unwrap();
    let other = scene.client("other");
    for from in [HERE, shared] {
        for _ in 0..3 {
            assert!(scene.ask(&forged, from, "/good").await.is_err());
            let stolen = Client::holding(&scene.world, honest.chain_der(), other.key_der());
            // The fourth forgery was one too many, where nobody vouches.
            if let Ok(mut stream) = stolen.over(scene.connect(from).await.unwrap()).await {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.ok();
                assert!(stream.read_to_end(&mut Vec::new()).await.is_err());
            }
        }
    }
    for kind in ["wrong_signature", "stolen"] {
        assert!(scene.count(&format!("portcullis_forgeries_total{{kind=\"{kind}\"}}")).await >= 1.0, "{kind}");
        scene
            .gate
            .find_log(|line| line.contains("FORGED CERTIFICATE") && line.contains(&format!("\"kind\":\"{kind}\"")));
    }
    assert!(scene.ask(&honest, HERE, "/good").await.is_err(), "the forger's own address is closed");
    assert_eq!(scene.status(&honest, shared, "/good").await, 200, "where somebody in good standing was, it is not");
    let (status, _) = scene.admin(&format!("GET /reputation/{}", fingerprint(&honest))).await;
    assert_eq!(status, 200);
    let (_, told) = scene.admin(&format!("GET /reputation/{}", fingerprint(&honest))).await;
    assert_eq!(told["score"], 0.0, "{told}");
}

#[tokio::test]
async fn a_metronome_is_seen_and_told_to_the_backend_whatever_the_client_says_of_itself() {
    let scene = Scene::new(&ladder(&[rung(5, "action = \"tag\"")])).await;
    let echo = Backend::echo().await;
    let text = scene.text.replace("\"decoy\"", "\"backend\"");
    let servers = text.split("[upstream.backend]\nservers = [\"http://").nth(1).unwrap().split('"').next().unwrap();
    scene.gate.reload(&text.replace(servers, &echo.address.to_string())).unwrap();
    let clicker = scene.client("clicker");
    let (_, first) = scene.ask(&clicker, HERE, "/good").await.unwrap();
    assert!(!first.to_ascii_lowercase().contains("x-client-reputation: "), "{first}");
    for _ in 0..60 {
        scene.gate.clock.advance(Duration::from_secs(3));
        assert_eq!(scene.status(&clicker, HERE, "/good").await, 200);
    }
    let (_, last) = scene.ask(&clicker, HERE, "/good").await.unwrap();
    let last = last.to_ascii_lowercase();
    assert!(last.contains("cause=pacing;by=identity") && !last.contains("cause=none"), "{last}");
}

#[tokio::test]
async fn suspects_go_to_the_quarantine_and_come_back() {
    let scene = Scene::weighing(
        30,
        &ladder(&[rung(20, "action = \"quarantine\"\nupstream = \"decoy\"\nfor = \"10m\"\nby = \"identity\"")]),
    )
    .await;
    let suspect = scene.client("suspect");
    assert_eq!(scene.status(&suspect, HERE, "/bad").await, 401);
    let (_, answer) = scene.ask(&suspect, HERE, "/good").await.unwrap();
    assert!(answer.ends_with("decoy"), "{answer}");
    let seen = scene.decoy.seen().concat();
    assert!(
        seen.contains("cause=outcome;by=identity") && seen.to_ascii_lowercase().contains("x-client-cert-subject"),
        "{seen}"
    );
    scene.gate.clock.advance(Duration::from_mins(90));
    let (_, answer) = scene.ask(&suspect, HERE, "/good").await.unwrap();
    assert!(answer.ends_with("fine"), "{answer}");
}

#[tokio::test]
async fn suspects_wait_and_beyond_the_bound_on_waiting_they_are_refused() {
    let bounded = |sleepers: u32| {
        format!("[reputation]\nsleepers = {sleepers}\n{}", ladder(&[rung(20, "action = \"slow\"\ndelay = \"300ms\"")]))
    };
    let scene = Scene::weighing(30, &bounded(10)).await;
    let suspect = scene.client("suspect");
    assert_eq!(scene.status(&suspect, HERE, "/bad").await, 401);
    let began = Instant::now();
    assert_eq!(scene.status(&suspect, HERE, "/good").await, 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    scene.gate.reload(&scene.text.replace("sleepers = 10", "sleepers = 0")).unwrap();
    let (status, answer) = scene.ask(&suspect, HERE, "/good").await.unwrap();
    assert!(status == 429 && answer.contains("reputation_slowed"), "{answer}");
    assert_eq!(scene.status(&scene.client("honest"), elsewhere(5), "/good").await, 200);
}

#[tokio::test]
async fn suspects_meet_a_stricter_limit() {
    let strict = "[limit.strict]\nkey = \"identity\"\nrate = \"1/h\"\nburst = 2\n";
    let scene =
        Scene::weighing(30, &format!("{strict}{}", ladder(&[rung(20, "action = \"limit\"\nlimit = \"strict\"")])))
            .await;
    let suspect = scene.client("suspect");
    for _ in 0..3 {
        assert_eq!(scene.status(&suspect, HERE, "/good").await, 200);
    }
    assert_eq!(scene.status(&suspect, HERE, "/bad").await, 401);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(scene.status(&suspect, HERE, "/good").await);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn a_dry_rung_counts_and_does_nothing() {
    let scene =
        Scene::weighing(30, &ladder(&[rung(20, "action = \"reject\"\ndry_run = true\nby = \"identity\"")])).await;
    let suspect = scene.client("suspect");
    assert_eq!(scene.status(&suspect, HERE, "/bad").await, 401);
    assert_eq!(scene.status(&suspect, HERE, "/good").await, 200);
    let steps = "portcullis_reputation_steps_total{action=\"reject\",by=\"identity\",dry_run=\"true\"}";
    assert_eq!(scene.count(steps).await, 1.0);
    assert_eq!(scene.count("portcullis_reputation_applied_total").await, 0.0);
    let (_, told) = scene.admin(&format!("GET /reputation/{}", fingerprint(&suspect))).await;
    assert_eq!((&told["dry_run"], &told["rung"]), (&Value::from("reject"), &Value::Null), "{told}");
}

#[tokio::test]
async fn a_restart_is_no_amnesty_and_an_operator_may_give_one() {
    let reject = rung(20, "action = \"reject\"\nfor = \"1d\"\nby = \"identity\"");
    let scene = Scene::weighing(30, &format!("[reputation]\nstate = \"state.json\"\n{}", ladder(&[reject]))).await;
    let thief = scene.client("thief");
    assert_eq!(scene.status(&thief, HERE, "/bad").await, 401);
    assert_eq!(scene.status(&thief, HERE, "/good").await, 403);
    let state = scene.world.path().join("state.json");
    for _ in 0..1000 {
        if std::fs::read_to_string(&state).is_ok_and(|text| text.contains(&fingerprint(&thief))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let Scene { world, gate, text, decoy, _backends } = scene;
    drop(gate);
    let gate = Gate::start(&world, &text);
    let scene = Scene { world, gate, text, decoy, _backends };
    assert_eq!(scene.status(&thief, HERE, "/good").await, 403);
    let (status, list) = scene.admin("GET /reputation").await;
    assert_eq!((status, &list["worst"][0]["rung"]), (200, &Value::from("reject")), "{list}");
    let (status, _) = scene.admin(&format!("DELETE /reputation/{}", fingerprint(&thief))).await;
    assert_eq!(status, 200);
    assert_eq!(scene.status(&thief, HERE, "/good").await, 200);
    for _ in 0..1000 {
        if std::fs::read_to_string(&state).is_ok_and(|text| text.contains("\"entries\":0")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{}", std::fs::read_to_string(&state).unwrap());
}

#[tokio::test]
async fn a_state_file_that_is_not_whole_starts_nothing() {
    let text = format!("[reputation]\nstate = \"state.json\"\n{}", rung(20, "action = \"reject\""));
    let scene = Scene::new(&text).await;
    for broken in ["", "{", "{\"entries\":1,\"bans\":[]}", "{\"entries\":1,\"bans\":[{\"id\":\"x\"}]}", "[]"] {
        scene.world.write("state.json", broken);
        let problems = Gate::try_start(&scene.world, &scene.text).err().expect("a problem");
        assert!(problems.contains("state.json"), "{broken}: {problems}");
    }
    scene.world.write("state.json", "{\"entries\":0,\"bans\":[]}");
    drop(Gate::start(&scene.world, &scene.text));
}

#[tokio::test]
async fn the_deny_rung_writes_the_deny_list_and_the_next_handshake_is_refused() {
    let deny = rung(20, "action = \"deny\"\nfor = \"1d\"\nreason = \"stuffing\"");
    let scene = Scene::weighing(30, &ladder(&[deny])).await;
    let thief = scene.client("thief");
    assert_eq!(scene.status(&thief, HERE, "/bad").await, 401);
    scene.gate.wait_for_metric("portcullis_config_generation", 2.0).await;
    let (_, list) = scene.admin("GET /deny").await;
    let entry = &list["deny"][0];
    assert_eq!(entry["author"], "reputation", "{list}");
    assert!(entry["reason"].as_str().unwrap().contains("stuffing") && entry["expires"].is_string(), "{list}");
    assert_eq!(Client::with(&scene.world, &thief).refused(&scene.gate).await, "AccessDenied");
    assert_eq!(scene.status(&scene.client("honest"), elsewhere(3), "/good").await, 200);
}

#[tokio::test]
async fn what_smuggles_is_held_against_the_certificate() {
    let scene = Scene::new(&ladder(&[rung(5, "action = \"reject\"")])).await;
    let smuggler = scene.client("smuggler");
    let raw =
        b"POST /good HTTP/1.1\r\nhost: api.test\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = Client::with(&scene.world, &smuggler).raw(&scene.gate, raw).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(scene.status(&smuggler, HERE, "/good").await, 403);
    let (_, told) = scene.admin(&format!("GET /reputation/{}", fingerprint(&smuggler))).await;
    assert!(told["causes"]["abuse"].as_f64().is_some_and(|score| score >= 5.0), "{told}");
}

#[tokio::test]
async fn the_admin_listener_takes_ids_only_and_no_change_from_a_page() {
    let scene = Scene::new("").await;
    for (line, expected) in [
        ("GET /reputation", 200),
        ("GET /reputation/nobody", 400),
        ("GET /reputation/192.0.2.1", 404),
        ("DELETE /reputation/192.0.2.1", 404),
        ("POST /reputation", 405),
        ("DELETE /reputation", 405),
    ] {
        assert_eq!(scene.admin(line).await.0, expected, "{line}");
    }
    let mut stream = TcpStream::connect(scene.gate.admin.unwrap()).await.unwrap();
    let page = "DELETE /reputation/192.0.2.1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\norigin: https://evil.example\r\nconnection: close\r\n\r\n";
    stream.write_all(page.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn banned_software_is_dropped_behind_its_client_hello_where_the_operator_asks_for_that() {
    let asked = rung(20, "action = \"drop\"\nfor = \"1h\"\nby = \"fingerprint\"");
    let scene = Scene::weighing(30, &ladder(&[asked])).await;
    assert_eq!(scene.status(&scene.client("bot"), HERE, "/bad").await, 401);
    let handshakes = scene.count("portcullis_handshakes_total").await;
    assert!(scene.ask(&scene.client("another"), elsewhere(3), "/good").await.is_err());
    assert_eq!(scene.count("portcullis_handshakes_total").await, handshakes);
    // Not the same software: it offers HTTP/2 first.
    let other = Client::with(&scene.world, &scene.client("phone")).alpn(&["h2"]);
    assert_eq!(other.get(&scene.gate, "/good").await.status, 200);
}

#[tokio::test]
async fn an_operator_asks_and_forgives_on_the_command_line() {
    let scene = Scene::weighing(30, &ladder(&[rung(20, "action = \"reject\"\nby = \"identity\"")])).await;
    let socket = scene.world.path().join("admin.sock");
    let config = scene.world.write(
        "cli.toml",
        &scene.text.replacen(
            "[admin]\naddress = \"127.0.0.1:0\"",
            &format!("[admin]\naddress = \"unix:{}\"\ntoken_file = \"token\"", socket.display()),
            1,
        ),
    );
    scene.world.write("token", "0123456789abcdef0123456789abcdef\n");
    let gate = start(&config);
    let Scene { world, text, decoy, _backends, gate: _first } = scene;
    let scene = Scene { world, gate, text, decoy, _backends };
    let thief = scene.client("thief");
    assert_eq!(scene.status(&thief, HERE, "/bad").await, 401);
    assert_eq!(scene.status(&thief, HERE, "/good").await, 403);
    let (config, id) = (config.to_str().unwrap().to_owned(), fingerprint(&thief));
    let run = |arguments: Vec<String>| async move {
        tokio::task::spawn_blocking(move || Process::ended(arguments.iter().map(String::as_str))).await.unwrap()
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let shown = run(words(&["reputation", "show", &id, "--config", &config])).await;
    assert!(shown.code == Some(0) && shown.text.contains("\"rung\": \"reject\""), "{shown:?}");
    let worst = run(words(&["reputation", "show", "--config", &config])).await;
    assert!(worst.code == Some(0) && worst.text.contains(&id), "{worst:?}");
    let cleared = run(words(&["reputation", "clear", &id, "--config", &config])).await;
    assert!(cleared.code == Some(0), "{cleared:?}");
    assert_eq!(scene.status(&thief, HERE, "/good").await, 200);
    let nobody = run(words(&["reputation", "clear", "192.0.2.1", "--config", &config])).await;
    assert!(nobody.code == Some(1) && nobody.text.contains("nothing is known of 192.0.2.1"), "{nobody:?}");
}

#[tokio::test]
async fn banned_software_hears_nothing_at_all_no_server_hello_and_no_alert() {
    let asked = rung(20, "action = \"drop\"\nfor = \"1h\"\nby = \"fingerprint\"");
    let scene = Scene::weighing(30, &ladder(&[asked])).await;
    // What the gate says to a ClientHello and no more.
    let says = async |hello: Vec<u8>, from: Ipv4Addr| {
        let mut tcp = scene.connect(from).await.unwrap();
        tcp.write_all(&hello).await.unwrap();
        let mut first = [0; 5];
        let read = tokio::time::timeout(Duration::from_secs(20), tcp.read(&mut first)).await.expect("an end");
        // Closed with or without a reset: not a byte in either case.
        read.map(|read| first[..read].to_vec()).unwrap_or_default()
    };
    let bot = scene.client("bot");
    let hello = || Client::with(&scene.world, &bot).hello();
    let first = says(hello(), elsewhere(1)).await;
    assert_eq!(first[..2], [22, 3], "a ServerHello");
    assert_eq!(scene.status(&bot, HERE, "/bad").await, 401);
    for n in 2..6 {
        assert_eq!(says(hello(), elsewhere(n)).await, b"", "something was said");
    }
    scene.gate.wait_for_metric("portcullis_rejects_total{reason=\"reputation_dropped\"}", 4.0).await;
    let other = Client::with(&scene.world, &bot).alpn(&["h2"]).hello();
    assert_eq!(says(other, elsewhere(7)).await[..2], [22, 3], "other software");
}

#[tokio::test]
async fn on_the_command_line_every_mistake_is_told_with_its_cause_and_is_a_failure() {
    let scene = Scene::new(&ladder(&[rung(20, "action = \"reject\"")])).await;
    let admin = scene.gate.admin.unwrap();
    let with = |name: &str, admin: &str| {
        let text = scene.text.replacen("[admin]\naddress = \"127.0.0.1:0\"", admin, 1);
        scene.world.write(name, &text).to_str().unwrap().to_owned()
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = scene.world.path().join("nobody.sock");
    let running = with("running.toml", &format!("[admin]\naddress = \"{admin}\""));
    let away = with("away.toml", &format!("[admin]\naddress = \"{closed}\""));
    let no_socket = with("socket.toml", &format!("[admin]\naddress = \"unix:{}\"", socket.display()));
    let none = with("none.toml", "");
    let no_token = with("token.toml", &format!("[admin]\naddress = \"{admin}\"\ntoken_file = \"missing-token\""));
    let wrong = scene.world.write("wrong.toml", "[admin]\nadress = \"127.0.0.1:1\"").to_str().unwrap().to_owned();
    let unknown = "00".repeat(32);
    let typo = format!("{}x", "00".repeat(31));
    for (words, config, told) in [
        (&["show", &typo][..], &running, "not an ID"),
        (&["show", "192.0.2"], &running, "not an ID"),
        (&["show", "192.0.2.0/23"], &running, "not an ID"),
        (&["clear", "2001:db8::/47"], &running, "not an ID"),
        (&["show", "../metrics"], &running, "not an ID"),
        (&["show", &unknown], &running, "nothing is known of 0000"),
        (&["clear", &unknown], &running, "nothing is known of 0000"),
        (&["show", "2001:db8::/48"], &running, "nothing is known of 2001:db8::/48"),
        (&["show", &unknown], &away, "cannot be asked"),
        (&["clear", &unknown], &away, "cannot be asked"),
        (&["show"], &away, "cannot be asked"),
        (&["show"], &no_socket, "nobody.sock cannot be asked"),
        (&["show"], &none, "no [admin] section"),
        (&["show"], &no_token, "token of the admin listener cannot be read"),
        (&["show"], &wrong, "did you mean `address`?"),
        (&["show"], &"/missing/gate.toml".to_owned(), "/missing/gate.toml: cannot be read"),
    ] {
        let mut arguments = vec!["reputation"];
        arguments.extend(words);
        arguments.extend(["--config", config]);
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let said = arguments.join(" ");
        let ended = tokio::task::spawn_blocking(move || Process::ended(arguments.iter().map(String::as_str)));
        let ended = ended.await.unwrap();
        assert_eq!(ended.code, Some(1), "{said}: {}", ended.text);
        assert!(ended.text.contains(told), "{said}: {told:?} is not in {}", ended.text);
    }
    // Without words for whom, `clear` clears nobody.
    let ended = tokio::task::spawn_blocking(move || Process::ended(["reputation", "clear", "--config", &running]));
    assert_eq!(ended.await.unwrap().code, Some(2));
}

fn start(config: &std::path::Path) -> Gate {
    let clock = Clock::adjustable();
    let running = app::start(config.to_owned(), clock.clone()).unwrap();
    Gate { address: running.addresses[0], admin: running.admin, clock, config: config.to_owned(), running }
}

fn fingerprint(issued: &Issued) -> String {
    portcullis::identity::Digest::of(&issued.cert_der()).to_string()
}
