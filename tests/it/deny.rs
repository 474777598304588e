//! `/deny` on the admin listener: it takes hold at once, it stays, and no web page can speak to it.

use std::time::Duration;

use portcullis::tools::pki::Issued;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Backend, Client, Gate, World};

const TRUST: &str = "[trust.test]\nanchors = [\"ca.pem\"]";
const STATE: &str = "denied.state.toml";

fn config(world: &World, backend: &Backend) -> String {
    world.config(backend.address).replace(TRUST, &format!("{TRUST}\ndeny_state = \"{STATE}\""))
}

/// One raw request to the admin listener: status and body.
async fn raw(gate: &Gate, request: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(gate.admin.unwrap()).await.unwrap();
    let text = format!("{request}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

async fn ask(gate: &Gate, line: &str, body: &str) -> (u16, Value) {
    raw(gate, &format!("{line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"), body).await
}

async fn deny(gate: &Gate, entry: &Value) -> (u16, Value) {
    ask(gate, "POST /deny", &entry.to_string()).await
}

fn lost(world: &World) -> Issued {
    world.client(|spec| spec.cn = "lost".to_owned())
}

fn entry() -> Value {
    json!({"trust": "test", "match": {"subject_cn": "lost"}, "reason": "stolen", "author": "ops"})
}

#[tokio::test]
async fn a_denied_client_is_cut_within_a_second_and_stays_out_through_a_restart() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (text, lost) = (config(&world, &backend), lost(&world));
    let gate = Gate::start(&world, &text);
    let mut live = Client::with(&world, &lost).connect(&gate).await.unwrap();
    live.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    live.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");

    let (status, added) = deny(&gate, &entry()).await;
    assert_eq!(status, 201, "{added}");
    let id = added["id"].as_str().unwrap().to_owned();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(1), live.read_to_end(&mut rest)).await.expect("within a second").ok();
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    gate.wait_for_metric("portcullis_revocation_enforced_seconds_count", 1.0).await;
    let line = gate.find_log(|line| line.contains("deny list changed") && line.contains(&id));
    for part in ["\"author\":\"ops\"", "\"reason\":\"stolen\"", "\"peer\":\"127.0.0.1:", "\"what\":\"added\""] {
        assert!(line.contains(part), "{line}");
    }

    assert_eq!(deny(&gate, &entry()).await, (200, added.clone()), "the same again has the same id");
    let (status, list) = ask(&gate, "GET /deny", "").await;
    assert_eq!((status, &list["deny"][0], list["deny"].as_array().unwrap().len()), (200, &added, 1));

    drop(gate);
    let gate = Gate::start(&world, &text);
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
    let (status, removed) = ask(&gate, &format!("DELETE /deny/{id}"), "").await;
    assert_eq!((status, &removed["id"]), (200, &added["id"]));
    assert_eq!(Client::with(&world, &lost).get(&gate, "/").await.status, 200);
    assert_eq!(ask(&gate, &format!("DELETE /deny/{id}"), "").await.0, 404);
}

#[tokio::test]
async fn a_state_file_that_was_cut_off_or_lost_never_lets_anybody_in_again() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (text, lost, path) = (config(&world, &backend), lost(&world), world.path().join(STATE));
    // What a crash before the rename leaves behind.
    world.write(".denied.state.toml.new", "entries = 9");
    let gate = Gate::start(&world, &text);
    assert_eq!(deny(&gate, &entry()).await.0, 201);
    assert!(!world.path().join(".denied.state.toml.new").exists());
    let whole = std::fs::read_to_string(&path).unwrap();
    for end in [0, 1, whole.len() / 3, whole.len() / 2, whole.len() - 4] {
        std::fs::write(&path, &whole[..end]).unwrap();
        let problems = gate.reload(&text).unwrap_err().join("\n");
        assert!(problems.contains(STATE), "{end}: {problems}");
        assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
        let (status, answer) = deny(&gate, &json!({"trust": "test", "match": {"serial": "1"}, "reason": "x"})).await;
        assert!(status == 500 && answer["error"].as_str().unwrap().contains(STATE), "{status} {answer}");
        assert!(answer["error"].as_str().unwrap().starts_with("in force, but NOT stored"), "{answer}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole[..end], "a broken file is not written over");
        let problems = Gate::try_start(&world, &text).err().expect("a problem");
        assert!(problems.contains(STATE), "{end}: {problems}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(gate.reload(&text).unwrap_err().join("\n").contains("gone, with entries that are in force"));
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
    std::fs::write(&path, &whole).unwrap();
    gate.reload(&text).unwrap();
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
}

#[tokio::test]
async fn whoever_is_denied_is_out_although_the_files_have_a_problem_that_has_nothing_to_do_with_it() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (text, lost) = (config(&world, &backend), lost(&world));
    let gate = Gate::start(&world, &text);
    let mut live = Client::with(&world, &lost).connect(&gate).await.unwrap();
    let (key, broken) = (world.pki.server.key_pem(), format!("{text}\n[http]\nheader_count = 0\n"));
    world.write("server.key", "not a key");
    assert!(gate.reload(&broken).is_err());

    let (status, added) = deny(&gate, &entry()).await;
    assert_eq!(status, 201, "{added}");
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(1), live.read_to_end(&mut rest)).await.expect("within a second").ok();
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
    assert_eq!(Client::with(&world, &lost).tls12().refused(&gate).await, "AccessDenied");
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);

    // And it may be taken back, and stays through the reload that succeeds again.
    let id = added["id"].as_str().unwrap();
    assert_eq!(ask(&gate, &format!("DELETE /deny/{id}"), "").await.0, 200);
    assert_eq!(Client::with(&world, &lost).get(&gate, "/").await.status, 200);
    assert_eq!(deny(&gate, &entry()).await.0, 201);
    world.write("server.key", &key);
    gate.reload(&text).unwrap();
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
}

#[tokio::test]
async fn an_entry_that_could_not_be_stored_stays_in_force_when_the_file_comes_back_without_it() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (text, lost, path) = (config(&world, &backend), lost(&world), world.path().join(STATE));
    let gate = Gate::start(&world, &text);
    let other = json!({"trust": "test", "match": {"serial": "1"}, "reason": "x"});
    assert_eq!(deny(&gate, &other).await.0, 201);
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    assert_eq!(deny(&gate, &entry()).await.0, 500);
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
    let (_, list) = ask(&gate, "GET /deny", "").await;
    let id = list["deny"].as_array().unwrap().iter().find(|entry| entry["reason"] == "stolen").unwrap()["id"].clone();
    assert_eq!(ask(&gate, &format!("DELETE /deny/{}", id.as_str().unwrap()), "").await.0, 500, "nobody is let in");
    std::fs::write(&path, whole).unwrap();
    gate.reload(&format!("{text}\n# mended\n")).unwrap();
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
    // The next change stores all of it.
    let more = json!({"trust": "test", "match": {"serial": "2"}, "reason": "x"});
    assert_eq!(deny(&gate, &more).await.0, 201);
    drop(gate);
    assert_eq!(Client::with(&world, &lost).refused(&Gate::start(&world, &text)).await, "AccessDenied");
}

#[tokio::test]
async fn an_entry_is_in_force_while_a_reload_is_under_way_and_after_it() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let lost = lost(&world);
    let text = format!("{}\n[reload]\ninterval = \"0s\"\n", config(&world, &backend));
    let gate = std::sync::Arc::new(Gate::start(&world, &text));
    for round in 0..20 {
        let changed = format!("{text}\n# {round}\n");
        let reload = tokio::task::spawn_blocking({
            let gate = std::sync::Arc::clone(&gate);
            move || gate.reload(&changed)
        });
        let (status, added) = deny(&gate, &entry()).await;
        assert_eq!(status, 201);
        assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied", "{round}");
        reload.await.unwrap().unwrap();
        assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied", "{round}");
        let id = added["id"].as_str().unwrap();
        assert_eq!(ask(&gate, &format!("DELETE /deny/{id}"), "").await.0, 200);
    }
}

#[tokio::test]
async fn no_web_page_and_no_stranger_to_the_rules_changes_the_list() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let gate = Gate::start(&world, &config(&world, &backend));
    let entry = entry().to_string();
    let json = "content-type: application/json";
    for (head, status) in [
        ("POST /deny HTTP/1.1\r\nhost: localhost".to_owned(), 415),
        ("POST /deny HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain".to_owned(), 415),
        (format!("POST /deny HTTP/1.1\r\nhost: localhost\r\n{json}\r\norigin: http://localhost"), 403),
        (format!("POST /deny HTTP/1.1\r\nhost: localhost\r\n{json}\r\nsec-fetch-site: cross-site"), 403),
        (format!("POST /deny HTTP/1.1\r\nhost: evil.example\r\n{json}"), 421),
        ("GET /deny HTTP/1.1\r\nhost: evil.example".to_owned(), 421),
        ("DELETE /deny/0123456789abcdef HTTP/1.1\r\nhost: localhost".to_owned(), 415),
        (format!("PUT /deny HTTP/1.1\r\nhost: localhost\r\n{json}"), 405),
        (format!("OPTIONS /deny HTTP/1.1\r\nhost: localhost\r\n{json}"), 405),
        (format!("POST /deny/x HTTP/1.1\r\nhost: localhost\r\n{json}"), 404),
        (format!("DELETE /deny HTTP/1.1\r\nhost: localhost\r\n{json}"), 404),
    ] {
        assert_eq!(raw(&gate, &head, &entry).await.0, status, "{head}");
    }
    for (body, status) in [
        (json!({"trust": "other", "match": {"serial": "1"}, "reason": "x"}).to_string(), 404),
        (json!({"trust": "test", "match": {}, "reason": "x"}).to_string(), 400),
        (json!({"trust": "test", "match": {"serial": "1"}, "reason": "x".repeat(65 * 1024)}).to_string(), 413),
        (json!({"trust": "test", "match": {"serial": "1"}, "reason": "x".repeat(513)}).to_string(), 400),
        ("{".to_owned(), 400),
    ] {
        assert_eq!(ask(&gate, "POST /deny", &body).await.0, status, "{:.80}", body);
    }
    assert_eq!(ask(&gate, "GET /deny", "").await.1, json!({"deny": []}));
    assert!(!world.path().join(STATE).exists());
}

#[tokio::test]
async fn a_store_without_a_state_file_says_so_and_the_operators_entries_are_the_operators() {
    let (world, backend) = (World::new(), Backend::echo().await);
    world.write("denied.toml", "[[deny]]\nmatch = { subject_cn = \"lost\" }\nreason = \"stolen\"\n");
    let gate =
        Gate::start(&world, &world.config(backend.address).replace(TRUST, &format!("{TRUST}\ndeny = \"denied.toml\"")));
    let (status, answer) = deny(&gate, &entry()).await;
    assert!(status == 409 && answer["error"].as_str().unwrap().contains("deny_state"), "{status} {answer}");
    let (_, list) = ask(&gate, "GET /deny", "").await;
    assert_eq!(list["deny"][0]["source"], "file");
    let id = list["deny"][0]["id"].as_str().unwrap();
    assert_eq!(ask(&gate, &format!("DELETE /deny/{id}"), "").await.0, 409);
}

#[tokio::test]
async fn an_entry_ends_when_it_says_and_leaves_the_file_with_the_next_change() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (gate, lost) = (Gate::start(&world, &config(&world, &backend)), lost(&world));
    let until = (crate::harness::unix() + Duration::from_hours(1)).as_secs();
    let until = jiff::Timestamp::from_second(i64::try_from(until).unwrap()).unwrap().to_string();
    let mut short = entry();
    short["expires"] = json!(until);
    assert_eq!(deny(&gate, &short).await.1["expires"], until);
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
    gate.clock.advance(Duration::from_hours(2));
    assert_eq!(Client::with(&world, &lost).get(&gate, "/").await.status, 200);
    assert_eq!(ask(&gate, "GET /deny", "").await.1, json!({"deny": []}));
    assert_eq!(deny(&gate, &json!({"trust": "test", "match": {"serial": "1"}, "reason": "x"})).await.0, 201);
    let kept = std::fs::read_to_string(world.path().join(STATE)).unwrap();
    assert!(kept.contains("entries = 1") && !kept.contains("lost"), "{kept}");
}

#[tokio::test]
async fn an_entry_is_in_force_although_the_configuration_file_is_nonsense() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let (text, lost) = (config(&world, &backend), lost(&world));
    let gate = Gate::start(&world, &text);
    std::fs::write(&gate.config, "nonsense").unwrap();
    let (status, answer) = deny(&gate, &entry()).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
    gate.reload(&text).unwrap();
    assert_eq!(Client::with(&world, &lost).refused(&gate).await, "AccessDenied");
}

#[tokio::test]
async fn a_pattern_too_many_is_refused_and_nothing_is_written() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = config(&world, &backend).replace("deny_state", "deny = \"denied.toml\"\ndeny_state");
    let entry = |n: usize| format!("[[deny]]\nmatch = {{ subject_cn = \"*x{n}*\" }}\nreason = \"x\"\n");
    world.write("denied.toml", &(0..100).map(entry).collect::<String>());
    let gate = Gate::start(&world, &text);
    let loose = json!({"trust": "test", "match": {"subject_cn": "*lost*"}, "reason": "x"});
    let (status, answer) = deny(&gate, &loose).await;
    assert!(status == 507 && answer["error"].as_str().unwrap().contains("more than 100 entries"), "{status} {answer}");
    assert!(!world.path().join(STATE).exists());
    // Others have room.
    assert_eq!(deny(&gate, &self::entry()).await.0, 201);
    assert_eq!(Client::with(&world, &lost(&world)).refused(&gate).await, "AccessDenied");
    world.write("denied.toml", &(0..101).map(entry).collect::<String>());
    assert!(gate.reload(&text).unwrap_err().join("\n").contains("deny[100]: more than 100 entries"));
}

const UNCHANGED: &str = "portcullis_config_reloads_total{result=\"unchanged\"}";
const GENERATION: &str = "portcullis_config_generation";

#[tokio::test]
async fn what_the_gate_has_written_itself_is_not_loaded_again_and_what_somebody_else_writes_is() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = config(&world, &backend).replace("deny_state", "deny = \"denied.toml\"\ndeny_state");
    let text = format!("{text}\n[reload]\ninterval = \"100ms\"\n");
    let operators = |cn: &str| format!("[[deny]]\nmatch = {{ subject_cn = \"{cn}\" }}\nreason = \"x\"\n");
    world.write("denied.toml", "");
    let gate = Gate::start(&world, &text);
    // The first entry makes the file, the second replaces it, the third is taken out of it.
    let mut generation = 1.0;
    for change in 1..=3 {
        let (line, body, status) = match change {
            1 => ("POST /deny".to_owned(), entry(), 201),
            2 => (
                "POST /deny".to_owned(),
                json!({"trust": "test", "match": {"subject_cn": "other"}, "reason": "x"}),
                201,
            ),
            _ => {
                let (_, list) = ask(&gate, "GET /deny", "").await;
                let other = list["deny"].as_array().unwrap().iter().find(|entry| entry["reason"] == "x").unwrap();
                (format!("DELETE /deny/{}", other["id"].as_str().unwrap()), Value::Null, 200)
            }
        };
        assert_eq!(ask(&gate, &line, &body.to_string()).await.0, status, "{line}");
        generation += 1.0;
        // The watch has seen that the file is another, and read it.
        gate.wait_for_metric(UNCHANGED, f64::from(change)).await;
        assert_eq!(gate.metric(GENERATION).await, generation, "{line}");
    }
    assert_eq!(Client::with(&world, &lost(&world)).refused(&gate).await, "AccessDenied");

    // In the same instant: another file, and the gate's own.
    let lost_too = world.client(|spec| spec.cn = "lost-too".to_owned());
    assert_eq!(deny(&gate, &json!({"trust": "test", "match": {"serial": "1"}, "reason": "x"})).await.0, 201);
    world.write("denied.toml", &operators("lost-too"));
    gate.wait_for_metric(GENERATION, generation + 2.0).await;
    assert_eq!(Client::with(&world, &lost_too).refused(&gate).await, "AccessDenied");
    let path = world.path().join(STATE);
    let before = std::fs::read(&path).unwrap();
    assert_eq!(deny(&gate, &json!({"trust": "test", "match": {"serial": "2"}, "reason": "x"})).await.0, 201);
    std::fs::write(&path, before).unwrap();
    gate.wait_for_metric(GENERATION, generation + 4.0).await;
    let (_, list) = ask(&gate, "GET /deny", "").await;
    assert!(!list["deny"].as_array().unwrap().iter().any(|entry| entry["match"]["serial"] == "2"), "{list}");
}
