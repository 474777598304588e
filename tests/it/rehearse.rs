//! `portcullis rehearse`: whole processes that play whole configurations.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Ended, Process};

/// Everything that leads to an installation leads to nothing here: were any of it used, nothing would start.
const GATE: &str = r#"
[[listener]]
address = "192.0.2.1:443"

[[host]]
names = ["api.example.com"]
certificate = { chain = "missing/api.pem", key = "missing/api.key" }
trust = "mobile"

  [[host.route]]
  path = "/v1/login"
  methods = ["POST"]
  allow = [{ uri = "spiffe://example.com/app/*" }]
  outcome = [{ statuses = [401] }]
  upstream = "api"

  [[host.route]]
  path = "/"
  allow = "any-verified"
  pacing = true
  upstream = "api"

[trust.mobile]
anchors = ["missing/ca.pem"]
crl = ["missing/ca.crl"]
crl_missing = "reject"
deny = "missing/denied.toml"
deny_state = "denied.state.toml"

[upstream.api]
servers = ["https://192.0.2.2:9443"]
tls = { anchors = ["missing/backend-ca.pem"] }

[connection]
handshake_timeout = "3s"

[http]
header_timeout = "2s"

[admin]
address = "unix:/missing/admin.sock"

[reputation]
state = "reputation.state.json"

[reputation.spread]
networks = 4

[reputation.pacing]
requests = 16
least = "50ms"
regularity = 0.5
"#;

const LADDER: &str = r#"
[[reputation.ladder]]
score = 4
action = "tag"
for = "1m"

[[reputation.ladder]]
score = 8
action = "reject"
for = "1h"
by = ["identity"]

[[reputation.ladder]]
score = 12
action = "drop"
for = "1h"
by = ["address", "network"]
"#;

/// A folder with this configuration in it, and nothing else.
struct Scene {
    folder: TempDir,
    file: PathBuf,
}

impl Scene {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gate.toml");
        fs::write(&file, text).unwrap();
        Self { folder, file }
    }

    fn rehearse(&self, flags: &[&str]) -> Ended {
        let fixed = ["rehearse", "--config", self.file.to_str().unwrap()];
        Process::ended(fixed.into_iter().chain(flags.iter().copied()))
    }

    /// The card, and the exit code.
    fn card(&self, flags: &[&str]) -> (Value, Option<i32>) {
        let ended = self.rehearse(&[flags, &["--json"]].concat());
        let card = serde_json::from_str(&ended.text).unwrap_or_else(|error| panic!("{error}: {}", ended.text));
        (card, ended.code)
    }
}

/// The rows of an actor.
fn rows<'a>(card: &'a Value, actor: &str) -> Vec<&'a Value> {
    card["actors"].as_array().unwrap().iter().filter(|row| row["actor"] == actor).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn everybody_is_caught_whom_the_configuration_promises_to_catch_and_nobody_honest_is() {
    let scene = Scene::new(&format!("{GATE}{LADDER}"));
    let (card, code) = scene.card(&["--seconds", "14", "--identities", "24"]);
    assert_eq!((&card["good"], code), (&Value::from(true), Some(0)), "{card:#}");
    for row in card["actors"].as_array().unwrap() {
        assert_eq!(row["verdict"], "caught", "{row:#}");
        assert!(number(&row["attempts"]) > 0.0 && number(&row["caught_after"]) < 12.0, "{row:#}");
    }

    // By what it has done, and not at its first attempt.
    for (actor, cause) in
        [("extracted", "spread"), ("stuffer", "outcome"), ("metronome", "pacing"), ("thief, session", "outcome")]
    {
        let row = rows(&card, actor)[0];
        assert_eq!((&row["cause"], &row["promised"]["action"]), (&cause.into(), &"tag".into()), "{row:#}");
        assert!(number(&row["promised"]["expected_score"]) >= 4.0 && number(&row["score"]) >= 4.0, "{row:#}");
    }
    for actor in ["extracted", "stuffer", "thief, session"] {
        let row = rows(&card, actor)[0];
        let rejected = row["felt"].as_array().unwrap().iter().find(|felt| felt["effect"] == "reject");
        assert!(rejected.is_some_and(|felt| felt["reason"] == "reputation_rejected"), "{row:#}");
        assert!(number(&row["refused"]["reputation_rejected"]) >= 1.0 && row["rung"] == "reject", "{row:#}");
    }
    for actor in ["extracted", "stuffer"] {
        let row = rows(&card, actor)[0];
        assert!(number(&row["got_through"]) >= 4.0 && number(&row["got_through_for"]) > 0.0, "{row:#}");
    }
    // Strangers get nothing at all, and in the end not even a handshake.
    for actor in ["forger", "thief, certificate"] {
        let row = rows(&card, actor)[0];
        assert_eq!(
            (&row["got_through"], &row["caught_by"], &row["cause"]),
            (&0.into(), &"drop".into(), &"forgery".into()),
            "{row:#}"
        );
    }
    let floods = rows(&card, "floods");
    assert_eq!(floods.len(), 10);
    assert!(floods.iter().all(|row| row["counted_as"].is_string()), "{floods:#?}");
    let reset = floods.iter().find(|row| row["does"].as_str().unwrap().starts_with("rapid reset")).unwrap();
    assert!(reset["counted_as"] == "http2_resets" && reset["cause"] == "abuse", "{reset:#}");

    let honest = &card["honest"];
    assert_eq!((&honest["false_positives"], &honest["identities"]), (&Value::Array(Vec::new()), &24.into()));
    assert!(number(&honest["served"]) > 100.0 && honest["served"] == honest["requests"], "{honest:#}");
    for part in ["before", "during"] {
        assert!(number(&honest[part]["requests"]) > 10.0 && number(&honest[part]["p99_ms"]) > 0.0, "{honest:#}");
    }
    let replaced = card["replaced"].to_string();
    for what in [
        "listener.address 192.0.2.1:443",
        "trust.mobile.anchors",
        "trust.mobile.deny:",
        "upstream.api.servers",
        "reputation.state",
    ] {
        assert!(replaced.contains(what), "{replaced}");
    }
    // Nothing of it is where the operator's files are.
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 1);
}

#[test]
fn the_ladder_of_the_recipes_holds_in_a_rehearsal() {
    let recipes = include_str!("../../docs/recipes.md");
    let (_, chapter) = recipes.split_once("## Stolen certificates").expect("a chapter");
    let recipe = chapter.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a file");
    let (card, code) = Scene::new(recipe).card(&["--seconds", "12", "--only", "extracted,stuffer,forger,thief"]);
    assert_eq!((&card["good"], code), (&Value::from(true), Some(0)), "{card:#}");
    for row in card["actors"].as_array().unwrap() {
        assert_eq!(row["verdict"], "caught", "{row:#}");
    }
    let stuffer = rows(&card, "stuffer")[0];
    assert!(stuffer["does"].as_str().unwrap().contains("/v1/login"), "{stuffer:#}");
    let effects: Vec<_> = stuffer["felt"].as_array().unwrap().iter().map(|felt| &felt["effect"]).collect();
    assert_eq!(effects, ["tag", "challenge"], "{stuffer:#}");
}

#[test]
fn without_a_ladder_it_says_that_nothing_watches_and_does_not_fail() {
    let scene = Scene::new(&GATE.replace("pacing = true", ""));
    let (card, code) = scene.card(&["--seconds", "6", "--only", "extracted,stuffer,metronome"]);
    assert_eq!((&card["good"], code), (&Value::from(true), Some(0)), "{card:#}");
    assert_eq!(card["actors"].as_array().unwrap().len(), 3);
    for (actor, why) in
        [("extracted", "[[reputation.ladder]]"), ("stuffer", "[[reputation.ladder]]"), ("metronome", "pacing = true")]
    {
        let row = rows(&card, actor)[0];
        assert_eq!((&row["verdict"], &row["promised"]), (&"not promised".into(), &Value::Null), "{row:#}");
        assert!(row["why_not"].as_str().unwrap().contains(why), "{row:#}");
        assert_eq!(row["got_through"], row["attempts"], "{row:#}");
    }
}

#[test]
fn rungs_that_only_say_what_they_would_do_are_told_as_such() {
    let scene = Scene::new(&format!(
        "{GATE}[[reputation.ladder]]\nscore = 5\naction = \"reject\"\nby = \"identity\"\ndry_run = true\n"
    ));
    let (card, code) = scene.card(&["--seconds", "7", "--only", "stuffer"]);
    let row = rows(&card, "stuffer")[0];
    assert_eq!(
        (&row["verdict"], &row["caught_by"], code),
        (&"seen".into(), &"would have: reject".into(), Some(0)),
        "{row:#}"
    );
    assert_eq!((&row["got_through"], &row["dry_run"]), (&row["attempts"], &"reject".into()), "{row:#}");
}

#[test]
fn a_ladder_that_is_too_strict_is_told_by_the_names_of_those_it_hits() {
    // Who mistypes once is out, and so is everybody behind his address.
    let scene = Scene::new(&format!("{GATE}[[reputation.ladder]]\nscore = 1\naction = \"reject\"\nfor = \"1h\"\n"));
    let (card, code) = scene.card(&["--seconds", "6", "--identities", "10", "--only", "forger"]);
    assert_eq!((&card["good"], code), (&Value::from(false), Some(1)), "{card:#}");
    let wronged = card["honest"]["false_positives"].as_array().unwrap();
    let named = |name: &str| wronged.iter().find(|one| one["identity"].as_str().unwrap().contains(name));
    let mistyped = named("rehearsal-0002 from 127.64.1.1").unwrap_or_else(|| panic!("{card:#}"));
    assert_eq!((&mistyped["what"], &mistyped["reason"]), (&"reject".into(), &"reputation_rejected".into()));
    assert!(number(&mistyped["times"]) >= 1.0 && named("rehearsal-0003").is_none(), "{card:#}");
}

#[test]
fn interrupting_it_prints_what_there_is_and_leaves_nothing_behind() {
    let scene = Scene::new(&format!("{GATE}{LADDER}"));
    // A closed terminal interrupts it too; and a folder for temporary files may be named from where one is.
    for (signal, relative) in [("INT", false), ("TERM", true), ("HUP", false)] {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = Process::command(["rehearse", "--config", scene.file.to_str().unwrap(), "--minutes", "30"]);
        command.current_dir(temporary.path()).env("TMPDIR", if relative { Path::new(".") } else { temporary.path() });
        let process = Process::spawn(command);
        let (began, stage) = (std::time::Instant::now(), temporary.path());
        // It listens to signals before it sets its stage.
        while fs::read_dir(stage).unwrap().count() == 0 {
            assert!(began.elapsed().as_secs() < 30, "no stage");
            std::thread::yield_now();
        }
        process.signal(signal);
        let ended = process.wait();
        assert!(fs::read_dir(stage).unwrap().count() == 0, "something is left of the stage after {signal}");
        assert_eq!(ended.code, Some(1), "{signal}: {}", ended.text);
        assert!(ended.text.contains("ended early: nothing can be said"), "{signal}: {}", ended.text);
    }
}

#[test]
fn what_cannot_be_rehearsed_is_told_with_what_to_do() {
    let good = format!("{GATE}{LADDER}");
    let missing = Process::ended(["rehearse", "--config", "/missing/gate.toml", "--seconds", "5"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.text.contains("/missing/gate.toml: cannot be read"), "{}", missing.text);
    for (text, flags, code, told) in [
        (good.replace("upstream = \"api\"", "upstream = \"apii\""), &[][..], 1, "did you mean \"api\"?"),
        (good.clone(), &["--only", "forgr"], 2, "extracted, stuffer, metronome, forger, thief, floods"),
        (good.clone(), &["--seconds", "1"], 2, "from 5 seconds to a day"),
        (good.clone(), &["--seconds", "6", "--minutes", "1"], 2, "cannot be used with"),
        (good.clone(), &["--identities", "0"], 2, "1..=3000"),
        (good.clone(), &["--host", "x.test"], 1, "--host takes one of host.names"),
        (
            good.replace("\"any-verified\"", "[{ serial = \"01\" }]")
                .replace("{ uri = \"spiffe://example.com/app/*\" }", "{ serial = \"01\" }"),
            &[],
            1,
            "no route that a made up client could use",
        ),
        (
            good.replace("outcome", "deny = [{ uri = \"spiffe://**\" }]\n  outcome"),
            &["--login-path", "/v1/login", "--path", "/v1/login"],
            1,
            "identity_denied",
        ),
    ] {
        let ended = Scene::new(&text).rehearse(flags);
        assert_eq!(ended.code, Some(code), "{told}: {}", ended.text);
        assert!(ended.text.contains(told), "{told} is not in {}", ended.text);
    }
}
