//! Another configuration while it runs: whole or not at all, and nobody's request is lost.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use portcullis::tools::pki::{Authority, Issued, LeafSpec, Name, Validity};

use crate::harness::{Backend, Client, Gate, Process, Session, Speak, World};

/// Looks at its files ten times a second.
const WATCHFUL: &str = "[reload]\ninterval = \"100ms\"\n";
const OK: &str = "portcullis_config_reloads_total{result=\"ok\"}";
const REFUSED: &str = "portcullis_config_reloads_total{result=\"refused\"}";
const UNCHANGED: &str = "portcullis_config_reloads_total{result=\"unchanged\"}";

/// One exact route and nothing else.
fn only(path: &str) -> String {
    format!("[[host.route]]\npath = {{ exact = \"{path}\" }}\nallow = \"any-verified\"\nupstream = \"backend\"\n")
}

fn servers(backend: &Backend) -> String {
    format!("servers = [\"http://{}\"]", backend.address)
}

async fn status(world: &World, gate: SocketAddr, path: &str) -> u16 {
    let mut session = Session::open(Client::good(world), gate, Speak::Http1).await.unwrap();
    session.get(path).await.unwrap().status
}

/// Waits until `gate` has loaded its configuration number `generation`.
fn loaded(gate: &Process, generation: u64) {
    gate.line(|line| line.contains("configuration loaded") && line.contains(&format!("\"generation\":{generation},")));
}

fn refusals(gate: &Process, count: usize) {
    gate.lines_until(count, |line| line.contains("configuration REFUSED; the running one stays"));
}

fn server_of(ca: &Authority) -> Issued {
    let names = vec![Name::Dns("api.test".to_owned())];
    ca.issue(&LeafSpec::server("api.test", names, Validity::LONG)).unwrap()
}

fn rename_over(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

#[tokio::test]
async fn a_hangup_loads_a_new_route_and_an_unchanged_file_is_no_new_configuration() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let off = "[reload]\ninterval = \"0s\"\n";
    let file = world.write("gate.toml", &world.config_with(off, &servers(&backend), &only("/old")));
    let gate = Process::run(&file);
    assert_eq!(status(&world, gate.address(), "/new").await, 404);
    gate.signal("HUP");
    while gate.metric(UNCHANGED).await < 1.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.write("gate.toml", &world.config_with(off, &servers(&backend), &(only("/old") + &only("/new"))));
    gate.signal("HUP");
    loaded(&gate, 2);
    assert_eq!(status(&world, gate.address(), "/new").await, 200);
    assert_eq!(gate.metric(OK).await, 2.0, "the start, and the reload");
    assert_eq!(gate.metric("portcullis_config_generation").await, 2.0);
}

#[tokio::test]
async fn a_hangup_in_the_first_moment_kills_nobody() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let file = world.write("gate.toml", &world.config(backend.address));
    for _ in 0..20 {
        let mut gate = Process::run(&file);
        gate.signal("HUP");
        gate.signal("HUP");
        while gate.metric(UNCHANGED).await < 1.0 {
            assert!(gate.alive());
        }
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_over_written_in_place_or_swapped_behind_a_link_is_loaded() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = |path: &str| world.config_with(WATCHFUL, &servers(&backend), &only(path));
    for version in ["one", "two", "three"] {
        let folder = world.path().join(version);
        fs::create_dir(&folder).unwrap();
        for file in ["ca.pem", "server.pem", "server.key"] {
            fs::copy(world.path().join(file), folder.join(file)).unwrap();
        }
        fs::write(folder.join("gate.toml"), text(&format!("/{version}"))).unwrap();
    }
    // As Kubernetes mounts a ConfigMap: files are links into `..data`, which is swapped.
    let mount = world.path().join("mount");
    fs::create_dir(&mount).unwrap();
    symlink(world.path().join("one"), mount.join("..data")).unwrap();
    for file in ["gate.toml", "ca.pem", "server.pem", "server.key"] {
        symlink(Path::new("..data").join(file), mount.join(file)).unwrap();
    }
    let gate = Process::run(&mount.join("gate.toml"));
    assert_eq!(status(&world, gate.address(), "/one").await, 200);

    symlink(world.path().join("two"), mount.join("..tmp")).unwrap();
    fs::rename(mount.join("..tmp"), mount.join("..data")).unwrap();
    loaded(&gate, 2);
    assert_eq!(status(&world, gate.address(), "/one").await, 404);
    assert_eq!(status(&world, gate.address(), "/two").await, 200);

    rename_over(&world.path().join("two/gate.toml"), &text("/renamed"));
    loaded(&gate, 3);
    assert_eq!(status(&world, gate.address(), "/renamed").await, 200);

    fs::write(world.path().join("two/gate.toml"), text("/in-place")).unwrap();
    loaded(&gate, 4);
    assert_eq!(status(&world, gate.address(), "/in-place").await, 200);
}

#[tokio::test]
async fn a_new_server_certificate_serves_new_connections_and_leaves_old_ones_alone() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config_with(WATCHFUL, &servers(&backend), &only("/"));
    let gate = Process::run(&world.write("gate.toml", &config));
    let mut old = Session::open(Client::good(&world), gate.address(), Speak::Http2).await.unwrap();
    assert_eq!(old.get("/").await.unwrap().status, 200);
    let new = server_of(&world.pki.ca);
    // One after the other, as a rotation does: between them the key does not match.
    world.write("server.pem", &new.pem());
    world.write("server.key", &new.key_pem());
    loaded(&gate, 2);
    let stream = Client::good(&world).connect_to(gate.address()).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], new.cert_der());
    assert_eq!(old.get("/").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_key_that_comes_late_is_awaited_on_the_old_certificate() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config_with(WATCHFUL, &servers(&backend), &only("/"));
    let gate = Process::run(&world.write("gate.toml", &config));
    let new = server_of(&world.pki.ca);
    world.write("server.pem", &new.pem());
    refusals(&gate, 1);
    assert_eq!(status(&world, gate.address(), "/").await, 200);
    world.write("server.key", &new.key_pem());
    loaded(&gate, 2);
    assert_eq!(status(&world, gate.address(), "/").await, 200);
}

#[tokio::test]
async fn a_removed_authority_lets_in_nobody_new_and_sends_old_connections_away() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config_with(WATCHFUL, &servers(&backend), &only("/"));
    let both = format!("{}{}", world.pki.ca.pem(), world.pki.foreign_ca.pem());
    world.write("ca.pem", &both);
    let gate = Process::run(&world.write("gate.toml", &config));
    let foreign = world.pki.foreign_ca.issue(&LeafSpec::client("foreign", Validity::LONG)).unwrap();
    let mut sessions = Vec::new();
    for speak in Speak::BOTH {
        let mut session = Session::open(Client::with(&world, &foreign), gate.address(), speak).await.unwrap();
        assert_eq!(session.get("/").await.unwrap().status, 200);
        sessions.push(session);
    }
    world.write("ca.pem", &world.pki.ca.pem());
    loaded(&gate, 2);
    for mut session in sessions {
        // Cut already, or told so by a request that was faster.
        assert!(!session.get("/").await.is_ok_and(|answer| answer.status == 200));
    }
    let refused = Session::open(Client::with(&world, &foreign), gate.address(), Speak::Http1).await;
    if let Ok(mut session) = refused {
        session.get("/").await.expect_err("an alert");
    }
    assert!(gate.line(|line| line.contains("cert_unknown_issuer")).contains("connection refused"));
    assert_eq!(status(&world, gate.address(), "/").await, 200);
}

#[tokio::test]
async fn a_broken_file_changes_nothing_is_told_and_is_loaded_once_it_is_mended() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let good = |path: &str| world.config_with(WATCHFUL, &servers(&backend), &only(path));
    let gate = Process::run(&world.write("gate.toml", &good("/one")));
    let mut open = Session::open(Client::good(&world), gate.address(), Speak::Http1).await.unwrap();
    let breaks = [
        good("/two").replace("upstream = \"backend\"", "upstream = \"backen\""),
        good("/two").replace("ca.pem", "missing.pem"),
        good("/two").replace("ca.pem", "server.pem"),
        "[[listener".to_owned(),
        String::new(),
    ];
    for (index, broken) in breaks.iter().enumerate() {
        world.write("gate.toml", broken);
        refusals(&gate, index + 1);
        assert_eq!(open.get("/one").await.unwrap().status, 200);
        assert_eq!(status(&world, gate.address(), "/one").await, 200);
        assert_eq!(status(&world, gate.address(), "/two").await, 404);
        assert_eq!(gate.metric(REFUSED).await, (index + 1) as f64);
        assert_eq!(gate.metric(OK).await, 1.0);
        assert_eq!(gate.ask("/ready").await.status, 200);
    }
    for told in ["there is no upstream \\\"backen\\\"", "missing.pem: No such file", "is not a CA certificate"] {
        let line = gate.line(|line| line.contains(told));
        assert!(line.contains("\"ERROR\"") && line.contains("gate.toml:"), "{line}");
    }
    world.write("gate.toml", &good("/two"));
    loaded(&gate, 2);
    assert_eq!(status(&world, gate.address(), "/two").await, 200);
    assert_eq!(open.get("/one").await.unwrap().status, 404);
}

#[tokio::test]
async fn the_file_that_a_refused_configuration_lacked_is_noticed_when_it_comes() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config_with(WATCHFUL, &servers(&backend), &only("/"));
    let gate = Process::run(&world.write("gate.toml", &config));
    world.write("gate.toml", &config.replace("\"ca.pem\"", "\"ca.pem\", \"second-ca.pem\""));
    refusals(&gate, 1);
    world.write("second-ca.pem", &world.pki.foreign_ca.pem());
    loaded(&gate, 2);
    let foreign = world.pki.foreign_ca.issue(&LeafSpec::client("foreign", Validity::LONG)).unwrap();
    let mut session = Session::open(Client::with(&world, &foreign), gate.address(), Speak::Http1).await.unwrap();
    assert_eq!(session.get("/").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_not_read() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let slow = "[reload]\ninterval = \"400ms\"\n";
    let config = world.config_with(slow, &servers(&backend), &only("/"));
    let gate = Process::run(&world.write("gate.toml", &config));
    let refusing =
        config.replace("allow = \"any-verified\"", "allow = \"any-verified\"\ndeny = [{ subject_cn = \"good\" }]");
    // Every line is a valid end of a file to somebody; the last one is what makes it strict.
    let file = world.path().join("gate.toml");
    let lines: Vec<_> = refusing.lines().collect();
    for end in 1..=lines.len() {
        fs::write(&file, lines[..end].join("\n")).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    loaded(&gate, 2);
    assert_eq!(gate.metric(REFUSED).await, 0.0);
    assert_eq!(gate.metric(OK).await, 2.0);
    assert_eq!(status(&world, gate.address(), "/").await, 403);
}

#[tokio::test]
async fn an_open_connection_gets_the_new_rules_with_its_next_request() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config(backend.address);
    let gate = Gate::start(&world, &config);
    for speak in Speak::BOTH {
        let mut session = Session::open(Client::good(&world), gate.address, speak).await.unwrap();
        assert_eq!(session.get("/").await.unwrap().status, 200);
        gate.reload(&config.replace("allow = \"any-verified\"", "allow = [{ subject_cn = \"other\" }]")).unwrap();
        let answer = session.get("/").await.unwrap();
        assert_eq!((answer.status, answer.code()), (403, "identity_not_allowed".to_owned()), "{speak:?}");
        gate.reload(&config).unwrap();
        assert_eq!(session.get("/").await.unwrap().status, 200, "{speak:?}");
    }
}

#[tokio::test]
async fn a_change_ends_only_the_connections_that_it_takes_the_ground_from() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config(backend.address);
    for (changed, stays) in [
        (config.replace("\"ca.pem\"", "\"ca.pem\", \"foreign-ca.pem\""), true),
        (config.replace("[trust.test]", "[trust.test]\nmin_rsa_bits = 3072"), true),
        (config.replace("trust = \"test\"", "trust = \"test\"\nclient_certificate = \"optional\""), true),
        (config.replace("names = [\"api.test\"]", "names = [\"other.test\"]"), false),
    ] {
        let gate = Gate::start(&world, &config);
        for speak in Speak::BOTH {
            gate.reload(&config).unwrap();
            let mut session = Session::open(Client::good(&world), gate.address, speak).await.unwrap();
            assert_eq!(session.get("/").await.unwrap().status, 200);
            gate.reload(&changed).unwrap();
            let answer = session.get("/").await;
            assert_eq!(answer.is_ok_and(|answer| answer.status == 200), stays, "{speak:?} {changed}");
        }
    }
}

#[tokio::test]
async fn counts_of_a_limit_survive_a_reload() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let route = format!("{}limit = [\"few\"]\n", only("/"));
    let config =
        world.config_with("", &servers(&backend), &route) + "[limit.few]\nkey = \"identity\"\nrate = \"3/h\"\n";
    let gate = Gate::start(&world, &config);
    let mut session = Session::open(Client::good(&world), gate.address, Speak::Http2).await.unwrap();
    for generation in 0..3 {
        assert_eq!(session.get("/").await.unwrap().status, 200);
        gate.reload(&format!("{config}\n# {generation}\n")).unwrap();
    }
    assert_eq!(session.get("/").await.unwrap().code(), "rate_limited");
    let mut other = Session::open(Client::good(&world), gate.address, Speak::Http1).await.unwrap();
    assert_eq!(other.get("/").await.unwrap().code(), "rate_limited");
}

#[tokio::test]
async fn what_a_running_process_cannot_change_is_refused_by_name() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config(backend.address);
    let gate = Gate::start(&world, &config);
    for (section, changed) in [
        ("listener", config.replace("[[listener]]", "[[listener]]\nbacklog = 64")),
        ("listener", format!("{config}\n[[listener]]\naddress = \"127.0.0.2:0\"\n")),
        ("admin", config.replace("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"127.0.0.2:0\"")),
        ("admin", config.replace("[admin]\naddress = \"127.0.0.1:0\"", "")),
        ("log", format!("{config}\n[log]\naccess = false\n")),
        ("runtime", config.replace("threads = 1", "threads = 2")),
    ] {
        // Beside a change that would be no problem: it must not be applied either.
        let changed = changed.replace("path = \"/\"", "path = \"/elsewhere\"");
        let problems = gate.reload(&changed).unwrap_err();
        let told = format!("[{section}] changed, which takes a restart");
        assert!(problems.len() == 1 && problems[0].contains(&told), "{problems:?}");
        assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    }
    gate.reload(&config).unwrap();
}

#[tokio::test]
async fn the_drain_takes_as_long_as_the_configuration_says_now() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config_with("[shutdown]\ndrain_timeout = \"1h\"\n", &servers(&backend), &only("/slow"));
    let gate = Process::run(&world.write("gate.toml", &config));
    world.write("gate.toml", &config.replace("\"1h\"", "\"1s\""));
    gate.signal("HUP");
    loaded(&gate, 2);
    let mut session = Session::open(Client::good(&world), gate.address(), Speak::Http1).await.unwrap();
    let request = tokio::spawn(async move { session.get("/slow?ms=10000").await });
    while gate.metric("portcullis_requests_in_flight").await < 1.0 {}
    gate.signal("TERM");
    assert_eq!(gate.wait().code, Some(0));
    request.await.unwrap().expect_err("cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_under_load_lose_no_request() {
    const RELOADS: usize = 200;
    let (world, backend) = (World::new(), Backend::echo().await);
    // Nothing but a reload may end a connection here.
    let config = world.config(backend.address).replace("threads = 1", "threads = 2")
        + "[connection]\nmax_requests = 1000000000\n";
    let gate = Gate::start(&world, &config);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = tokio::task::JoinSet::new();
    for index in 0..8 {
        let mut session = Session::open(Client::good(&world), gate.address, Speak::BOTH[index % 2]).await.unwrap();
        let stopped = stopped.clone();
        clients.spawn(async move {
            let mut served = 0;
            while !*stopped.borrow() {
                assert_eq!(session.get("/").await.expect("an answer").status, 200);
                served += 1;
            }
            served
        });
    }
    for generation in 0..RELOADS {
        gate.reload(&format!("{config}\n# {generation}\n")).unwrap();
        let mut fresh = Session::open(Client::good(&world), gate.address, Speak::BOTH[generation % 2]).await.unwrap();
        assert_eq!(fresh.get("/").await.unwrap().status, 200);
    }
    stop.send_replace(true);
    let served: Vec<usize> = clients.join_all().await;
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    assert_eq!(gate.metric("portcullis_config_generation").await, (RELOADS + 1) as f64);
}

#[tokio::test]
async fn the_certificate_of_a_host_that_is_gone_wakes_nobody() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config(backend.address);
    let gate = Gate::start(&world, &config);
    let expiry = |host: &str| format!("portcullis_certificate_expiry_timestamp_seconds{{host=\"{host}\"}}");
    assert!(gate.metrics().await.contains(&expiry("api.test")));
    gate.reload(&config.replace("\"api.test\"", "\"other.test\"")).unwrap();
    let text = gate.metrics().await;
    assert!(text.contains(&expiry("other.test")) && !text.contains(&expiry("api.test")), "{text}");
}

/// A file that is never read to its end: nobody writes into it.
fn fifo(world: &World, name: &str) {
    let path = world.path().join(name);
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn a_reload_that_hangs_stops_neither_requests_nor_probes_nor_the_end() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let config = world.config_with(WATCHFUL, &servers(&backend), &only("/"));
    for trigger in ["file", "HUP"] {
        let gate = Process::run(&world.write("gate.toml", &config));
        let name = format!("{trigger}.pem");
        fifo(&world, &name);
        world.write("gate.toml", &config.replace("ca.pem", &name));
        if trigger == "HUP" {
            gate.signal("HUP");
        }
        // Several looks of the watcher later it hangs.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(status(&world, gate.address(), "/").await, 200);
        assert_eq!(gate.ask("/ready").await.status, 200);
        assert_eq!(gate.metric(OK).await, 1.0);
        gate.signal("TERM");
        assert_eq!(gate.wait().code, Some(0), "{trigger}");
    }
}

#[tokio::test]
async fn a_start_that_hangs_can_be_ended() {
    let world = World::new();
    fifo(&world, "ca.fifo");
    let config = world.config("127.0.0.1:9".parse().unwrap()).replace("ca.pem", "ca.fifo");
    let file = world.write("gate.toml", &format!("{config}[log]\nlevel = \"debug\"\n"));
    let gate = Process::spawn(Process::command(["run", "--config", file.to_str().unwrap()]));
    gate.line(|line| line.contains("file descriptors"));
    gate.signal("TERM");
    // Just before it listens to signals, the signal's own effect ends it.
    assert!(matches!(gate.wait().code, Some(130) | None));
}
