//! What is taken away is gone: for new handshakes, and for every connection that lives.

use std::time::Duration;

use portcullis::identity::{Bounds, parse};
use portcullis::tools::pki::{LeafSpec, RevocationSpec, Validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

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
async fn a_revoked_intermediate_counts_where_whole_chains_are_looked_up_and_a_revoked_leaf_everywhere() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let between = world.pki.ca.intermediate("Between").unwrap();
    world.write("between.pem", &between.pem());
    let leaf = |cn: &str| between.issue(&LeafSpec::client(cn, Validity::LONG)).unwrap();
    let (good, lost) = (leaf("below"), leaf("lost"));
    let serial = parse(&between.cert_der(), &Bounds::default()).unwrap().serial.0.into();
    let above = RevocationSpec { serials: vec![serial], ..RevocationSpec::new(now()) };
    let below = RevocationSpec::new(now()).revoke(&lost).unwrap();
    std::fs::write(world.path().join("above.crl"), world.pki.ca.revocation_list(&above).unwrap()).unwrap();
    std::fs::write(world.path().join("below.crl"), between.revocation_list(&below).unwrap()).unwrap();
    let lists = "crl = [\"above.crl\", \"below.crl\"]\ncrl_issuers = [\"between.pem\"]";
    let (chain, leaf) =
        (config(&world, &backend, lists), config(&world, &backend, &format!("{lists}\ncrl_depth = \"leaf\"")));

    let gate = Gate::start(&world, &chain);
    for client in [Client::with(&world, &good), Client::with(&world, &good).tls12(), Client::with(&world, &lost)] {
        assert_eq!(client.refused(&gate).await, "CertificateRevoked");
    }
    assert!(gate.log_line("cert_revoked").contains("by CN=Test CA"));
    gate.reload(&leaf).unwrap();
    assert_eq!(Client::with(&world, &good).get(&gate, "/").await.status, 200);
    assert_eq!(Client::with(&world, &good).tls12().get(&gate, "/").await.status, 200);
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked");
    assert!(gate.log_line("by CN=Between").contains("CN=lost"));

    // And live connections answer to it.
    let mut live = Client::with(&world, &good).connect(&gate).await.unwrap();
    live.write_all(b"GET /slow?ms=10000 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    gate.wait_for_metric("portcullis_requests_in_flight", 1.0).await;
    gate.reload(&chain).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(1), live.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "it lives on");
}

/// A list whose successor is due in this many seconds.
fn due_in(seconds: u64) -> RevocationSpec {
    let now = Duration::from_secs(now().as_secs());
    let validity = Validity { not_before: now, not_after: now + Duration::from_secs(seconds) };
    RevocationSpec { validity, ..RevocationSpec::new(now) }
}

#[tokio::test]
async fn live_connections_end_with_their_crl_where_an_old_one_is_worth_nothing() {
    let (world, backend) = (World::new(), Backend::echo().await);
    write_crl(&world, &due_in(3));
    // They share the file, and none is to read what was written for the next.
    let gate = |policy: &str| {
        let text = config(&world, &backend, &format!("crl = [\"ca.crl\"]\ncrl_expired = \"{policy}\""));
        format!("{text}\n[reload]\ninterval = \"0s\"\n")
    };
    let (reject, grace, warn) =
        (Gate::start(&world, &gate("reject")), Gate::start(&world, &gate("2s")), Gate::start(&world, &gate("warn")));
    let mut live = Vec::new();
    for gate in [&reject, &grace, &warn] {
        let mut stream = Client::good(&world).connect(gate).await.unwrap();
        stream.write_all(b"GET /slow?ms=20000 HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
        gate.wait_for_metric("portcullis_requests_in_flight", 1.0).await;
        live.push(stream);
    }
    let ends = async |stream: &mut tokio_rustls::client::TlsStream<TcpStream>, within| {
        tokio::time::timeout(within, stream.read_to_end(&mut Vec::new())).await.is_ok()
    };
    assert!(ends(&mut live[0], Duration::from_secs(6)).await, "reject");
    assert!(reject.log_line("crl_expired").contains("CN=good"));
    assert!(ends(&mut live[1], Duration::from_secs(4)).await, "grace");
    assert!(!ends(&mut live[2], Duration::from_millis(500)).await, "warn");
    for (gate, cut) in [(&reject, 1.0), (&grace, 1.0), (&warn, 0.0)] {
        assert_eq!(gate.metric("portcullis_revocation_enforced_seconds_bucket{le=\"1.0\"}").await, cut);
    }
}

#[tokio::test]
async fn the_next_crl_in_time_keeps_live_connections_and_a_clock_that_steps_over_its_end_does_not() {
    let (world, backend) = (World::new(), Backend::echo().await);
    write_crl(&world, &due_in(3));
    let text = config(&world, &backend, "crl = [\"ca.crl\"]");
    let gate = Gate::start(&world, &text);
    let mut live = Client::good(&world).connect(&gate).await.unwrap();
    write_crl(&world, &RevocationSpec { number: 2, ..RevocationSpec::new(now()) });
    gate.reload(&format!("{text}\n# next\n")).unwrap();
    let mut head = [0; 12];
    // Longer than the first one counted.
    let early = tokio::time::timeout(Duration::from_secs(5), live.read_exact(&mut head)).await;
    assert!(early.is_err(), "it was ended");
    live.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    live.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    gate.clock.advance(Duration::from_hours(8 * 24));
    live.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = live.read_to_end(&mut rest).await;
    assert!(String::from_utf8_lossy(&rest).contains("crl_expired"), "{}", String::from_utf8_lossy(&rest));
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

/// A gate that keeps its state, and the file of it.
fn keeping(world: &World, backend: &Backend) -> (String, std::path::PathBuf) {
    let text = config(world, backend, "crl = [\"ca.crl\"]\ncrl_state = \"crl.state.toml\"");
    (text, world.path().join("crl.state.toml"))
}

#[tokio::test]
async fn a_crl_that_was_rolled_back_while_the_gate_was_down_is_refused_at_the_next_start() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (text, state) = keeping(&world, &backend);
    let lost = world.client(|_| ());
    let older = world.pki.ca.revocation_list(&RevocationSpec { number: 6, ..RevocationSpec::new(now()) }).unwrap();
    let newer = RevocationSpec { number: 7, ..RevocationSpec::new(now()) }.revoke(&lost).unwrap();
    let newer = world.pki.ca.revocation_list(&newer).unwrap();
    let path = world.path().join("ca.crl");
    std::fs::write(&path, &older).unwrap();
    let gate = Gate::start(&world, &text);
    gate.find_log(|line| line.contains("crl.state.toml: not there yet") && line.contains("\"WARN\""));
    std::fs::write(&path, &newer).unwrap();
    gate.reload(&format!("{text}\n# next\n")).unwrap();
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked");
    drop(gate);

    std::fs::write(&path, &older).unwrap();
    let problems = Gate::try_start(&world, &text).err().expect("a rolled back list");
    assert!(problems.contains("the CRL of CN=Test CA is older than the one that is in force, or was"), "{problems}");
    // None at all is no better.
    let empty = world.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let problems = Gate::try_start(&world, &text.replace("[\"ca.crl\"]", "[\"empty\"]")).err().expect("no list");
    assert!(problems.contains("the CRL of CN=Test CA is gone"), "{problems}");
    std::fs::write(&path, &newer).unwrap();
    let gate = Gate::start(&world, &text);
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked");
    drop(gate);

    // On purpose: without its state.
    std::fs::remove_file(&state).unwrap();
    std::fs::write(&path, &older).unwrap();
    assert_eq!(Client::with(&world, &lost).get(&Gate::start(&world, &text), "/").await.status, 200);
}

#[tokio::test]
async fn a_state_of_crls_that_is_not_whole_stops_a_start_and_one_that_cannot_be_written_stops_nothing() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (text, state) = keeping(&world, &backend);
    let lost = world.client(|_| ());
    write_crl(&world, &RevocationSpec::new(now()));
    drop(Gate::start(&world, &text));
    let whole = std::fs::read_to_string(&state).unwrap();
    for bad in ["", "garbage", whole.get(..whole.len() / 2).unwrap()] {
        std::fs::write(&state, bad).unwrap();
        let problems = Gate::try_start(&world, &text).err().expect("a state that is not whole");
        assert!(problems.contains("crl.state.toml"), "{problems}");
    }
    std::fs::write(&state, whole).unwrap();
    let gate = Gate::start(&world, &text);
    // A folder in the way of the new file.
    std::fs::create_dir(world.path().join(".crl.state.toml.new")).unwrap();
    write_crl(&world, &RevocationSpec { number: 2, ..RevocationSpec::new(now()).revoke(&lost).unwrap() });
    gate.reload(&format!("{text}\n# next\n")).unwrap();
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked");
    gate.find_log(|line| line.contains("crl.state.toml: cannot be written") && line.contains("\"ERROR\""));
}

#[tokio::test]
async fn a_ca_may_leave_together_with_its_crl() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let folder = world.path().join("crls");
    std::fs::create_dir(&folder).unwrap();
    let list = |ca: &portcullis::tools::pki::Authority| ca.revocation_list(&RevocationSpec::new(now())).unwrap();
    std::fs::write(folder.join("a.crl"), list(&world.pki.ca)).unwrap();
    std::fs::write(folder.join("b.crl"), list(&world.pki.foreign_ca)).unwrap();
    let both = config(&world, &backend, "crl = [\"crls\"]").replace("[\"ca.pem\"]", "[\"ca.pem\", \"foreign-ca.pem\"]");
    let gate = Gate::start(&world, &both);
    std::fs::remove_file(folder.join("b.crl")).unwrap();
    assert!(gate.reload(&both).unwrap_err().join("\n").contains("the CRL of CN=Foreign CA is gone"));
    gate.reload(&both.replace(", \"foreign-ca.pem\"", "")).unwrap();
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    std::fs::remove_file(folder.join("a.crl")).unwrap();
    assert!(gate.reload(&both.replace(", \"foreign-ca.pem\"", "# x\n")).is_err());
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

/// The most memory that this process has had at once.
fn most_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_file_of_gigabytes_is_refused_without_being_read() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let lost = world.client(|_| ());
    write_crl(&world, &RevocationSpec::new(now()).revoke(&lost).unwrap());
    world.write("denied.toml", "");
    let text = config(&world, &backend, "crl = [\"ca.crl\"]\ndeny = \"denied.toml\"");
    let gate = Gate::start(&world, &text);
    for name in ["ca.crl", "denied.toml", "ca.pem"] {
        let path = world.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        // Sparse: it has no content, and no disk has to have room for it.
        std::fs::File::create(&path).unwrap().set_len(8 << 30).unwrap();
        let problems = gate.reload(&format!("{text}\n# {name}\n")).expect_err(name).join("\n");
        assert!(problems.contains(name) && problems.contains("larger than"), "{problems}");
        // In memory it never was: the whole process, other tests and all, has not had a gigabyte.
        assert!(most_memory_kib() < 1 << 20, "{name}: {} KiB", most_memory_kib());
        assert_eq!(Client::with(&world, &lost).refused(&gate).await, "CertificateRevoked", "{name}");
        assert!(Gate::try_start(&world, &text).err().expect(name).contains("larger than"));
        std::fs::write(&path, whole).unwrap();
    }
    gate.reload(&text).unwrap();
}

#[tokio::test]
async fn lists_that_are_swapped_behind_a_link_renamed_over_or_half_written_are_taken_whole_or_not_at_all() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let clients: Vec<_> = (0..3).map(|n| world.client(|spec| spec.cn = format!("lost-{n}"))).collect();
    let list = |number: usize| {
        let spec = RevocationSpec { number: number as u64, ..RevocationSpec::new(now()) };
        let spec = clients[..number].iter().fold(spec, |spec, lost| spec.revoke(lost).unwrap());
        world.pki.ca.revocation_list(&spec).unwrap()
    };
    for version in ["one", "two"] {
        std::fs::create_dir(world.path().join(version)).unwrap();
    }
    std::fs::write(world.path().join("one/ca.crl"), list(0)).unwrap();
    std::fs::write(world.path().join("two/ca.crl"), list(1)).unwrap();
    std::os::unix::fs::symlink("one", world.path().join("data")).unwrap();
    world.write("denied.toml", "");
    let watched = "\n[reload]\ninterval = \"100ms\"\n";
    let text = config(&world, &backend, "crl = [\"data/ca.crl\"]\ndeny = \"denied.toml\"") + watched;
    let gate = Gate::start(&world, &text);
    let generation = async |least: f64| gate.wait_for_metric("portcullis_config_generation", least).await;

    std::os::unix::fs::symlink("two", world.path().join("next")).unwrap();
    std::fs::rename(world.path().join("next"), world.path().join("data")).unwrap();
    generation(2.0).await;
    assert_eq!(Client::with(&world, &clients[0]).refused(&gate).await, "CertificateRevoked");

    std::fs::write(world.path().join("two/new"), list(2)).unwrap();
    std::fs::rename(world.path().join("two/new"), world.path().join("two/ca.crl")).unwrap();
    generation(3.0).await;
    assert_eq!(Client::with(&world, &clients[1]).refused(&gate).await, "CertificateRevoked");

    let (whole, path) = (list(3), world.path().join("two/ca.crl"));
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    const REFUSED: &str = "portcullis_config_reloads_total{result=\"refused\"}";
    gate.wait_for_metric(REFUSED, 1.0).await;
    assert_eq!(Client::with(&world, &clients[1]).refused(&gate).await, "CertificateRevoked");
    assert_eq!(Client::with(&world, &clients[2]).get(&gate, "/").await.status, 200);
    std::fs::write(&path, &whole).unwrap();
    generation(4.0).await;
    assert_eq!(Client::with(&world, &clients[2]).refused(&gate).await, "CertificateRevoked");

    // A typo in the deny list: what is in force stays, and the line is told.
    world.write("denied.toml", "[[deny]]\nmatch = { subject_cm = \"good\" }\nreason = \"x\"\n");
    gate.wait_for_metric(REFUSED, 2.0).await;
    gate.find_log(|line| line.contains("denied.toml:2:") && line.contains("did you mean `subject_cn`?"));
    assert_eq!(Client::with(&world, &clients[0]).refused(&gate).await, "CertificateRevoked");
    world.write("denied.toml", "[[deny]]\nmatch = { subject_cn = \"good\" }\nreason = \"x\"\n");
    generation(5.0).await;
    assert_eq!(Client::good(&world).refused(&gate).await, "AccessDenied");
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

/// A connection whose first flight passes, and whose second waits for the word.
fn halted(tcp: TcpStream, reached: oneshot::Sender<()>, go: oneshot::Receiver<()>) -> tokio::io::DuplexStream {
    let (client, middle) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let (mut from_gate, mut to_gate) = tcp.into_split();
        let (mut from_client, mut to_client) = tokio::io::split(middle);
        let down = async {
            let _ = tokio::io::copy(&mut from_gate, &mut to_client).await;
            let _ = to_client.shutdown().await;
        };
        let up = async {
            let mut flight = vec![0; 16 * 1024];
            let hello = from_client.read(&mut flight).await.unwrap();
            to_gate.write_all(&flight[..hello]).await.unwrap();
            // The client has answered what the gate said to its ClientHello.
            let answer = from_client.read(&mut flight).await.unwrap();
            reached.send(()).unwrap();
            go.await.unwrap();
            to_gate.write_all(&flight[..answer]).await.unwrap();
            let _ = tokio::io::copy(&mut from_client, &mut to_gate).await;
        };
        tokio::join!(down, up);
    });
    client
}

#[tokio::test]
async fn a_change_in_the_middle_of_a_handshake_ends_the_connection_although_it_never_asks_for_anything() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let lost = world.client(|spec| spec.cn = "lost".to_owned());
    let text = world.config(backend.address);
    let changed = &changes(&world, &text, &lost)[0].1;
    for protocol in ["http/1.1", "h2"] {
        let gate = Gate::start(&world, &text);
        let tcp = TcpStream::connect(gate.address).await.unwrap();
        let ((reached, is_there), (go, wait)) = (oneshot::channel(), oneshot::channel());
        let client = Client::with(&world, &lost).alpn(&[protocol]);
        let io = halted(tcp, reached, wait);
        let connecting = tokio::spawn(async move { client.over(io).await });
        // The gate has answered with what it knew then, and verifies by that what comes.
        is_there.await.unwrap();
        gate.reload(changed).unwrap();
        let published = std::time::Instant::now();
        go.send(()).unwrap();
        let mut stream = connecting.await.unwrap().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "{protocol}: it lives on");
        assert!(published.elapsed() < Duration::from_secs(1));
        // It was admitted, by the old rules, and then cut.
        gate.wait_for_metric("portcullis_revocation_enforced_seconds_count", 1.0).await;
        assert_eq!(gate.metric("portcullis_handshakes_total").await, 1.0, "{protocol}");
    }
}
