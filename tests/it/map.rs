//! `check --map`, and the promise that nothing it would call weaker ever runs.

use std::path::Path;
use std::process::{Command, Output};

use portcullis::clock::Clock;
use portcullis::config;
use portcullis::snapshot::{Contents, Inputs, build};
use portcullis::telemetry::Metrics;

use crate::harness::World;

const OPEN: &str = r#"
[[host]]
names = ["open.test"]
certificate = { chain = "server.pem", key = "server.key" }
client_certificate = "none"

[[host.route]]
path = "/"
allow = "anyone"
upstream = "backend"
"#;

fn text(world: &World) -> String {
    let text = world.config("127.0.0.1:9".parse().unwrap());
    let text = text.replace("[trust.test]", &format!("{OPEN}\n[trust.test]"));
    text.replace("names = [\"api.test\"]", "names = [\"api.test\", \"*.wild.test\"]")
}

fn check(file: &Path, flags: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_portcullis");
    Command::new(program).arg("check").args(flags).arg("--config").arg(file).output().unwrap()
}

#[test]
fn the_map_is_a_table_of_every_way_in() {
    let world = World::new();
    let file = world.write("gate.toml", &text(&world));
    let output = check(&file, &["--map"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{table}");
    let cells: Vec<Vec<&str>> =
        table.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    let api = "host api.test: client_certificate";
    let expected: [&[&str]; 6] = [
        &["api.test", "exact, odd case, trailing dot", "h1, h2", "api.test", "api.test/*", "required", "test", api],
        &[
            "any.wild.test",
            "one label, odd case, trailing dot",
            "h1, h2",
            "api.test",
            "api.test/*",
            "required",
            "test",
            api,
        ],
        &["any.any.wild.test", "two labels", "h1, h2", "-", "-", "handshake refused", "-", "server_name_unknown"],
        &[
            "open.test",
            "exact, odd case, trailing dot",
            "h1, h2",
            "open.test",
            "open.test/*",
            "none",
            "-",
            "host open.test: client_certificate",
        ],
        &["any.invalid.any", "unknown", "h1, h2", "-", "-", "handshake refused", "-", "server_name_unknown"],
        &["-", "no name", "h1, h2", "-", "-", "handshake refused", "-", "server_name_missing"],
    ];
    for line in expected {
        assert!(cells.iter().any(|cells| cells.get(1..) == Some(line)), "{line:?}\n{table}");
    }
}

#[test]
fn the_map_as_json_has_every_spelling_and_protocol() {
    let world = World::new();
    let file = world.write("gate.toml", &text(&world));
    let output = check(&file, &["--map", "--json"]);
    let map: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = map.as_array().unwrap();
    // Three spellings of each of three names, a name too deep, a wildcard's own, an unknown one
    // and none; two protocols.
    assert_eq!(rows.len(), (3 * 3 + 4) * 2, "{map:#}");
    for row in rows {
        let name = row["server_name"].as_str().unwrap_or_default().to_lowercase();
        let expected = match name.trim_end_matches('.') {
            "api.test" | "any.wild.test" => serde_json::json!("required"),
            "open.test" => serde_json::json!("none"),
            _ => serde_json::Value::Null,
        };
        assert_eq!(row["client_certificate"], expected, "{row:#}");
        assert_eq!(row["refused"].is_null(), !expected.is_null(), "{row:#}");
    }
}

#[test]
fn a_configuration_with_a_weaker_way_in_is_never_built() {
    let world = World::new();
    let file = world.write("gate.toml", &text(&world));
    for (default_host, said) in [
        ("open.test", "a weaker way in at listener 127.0.0.1:0: no server name (no name) leads to host \"open.test\""),
        ("*.wild.test", "listener 127.0.0.1:0: no client can be at its default_host"),
    ] {
        let mut loaded = config::load(&file).unwrap();
        let config = &mut loaded.config;
        // The reader refuses the first of these already: this is the second lock on that door.
        config.listeners[0].default_host = Some(default_host.into());
        let (contents, clock, metrics) = (Contents::read(&loaded), Clock::system(), Metrics::new());
        let inputs =
            Inputs { config: loaded.config, contents, previous: None, seats: 1, clock: &clock, metrics: &metrics };
        let problems = build(inputs).expect_err("refused");
        let problems: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        assert!(problems.contains(said), "{problems}");
    }
}

#[test]
fn a_problem_fails_the_check_with_or_without_the_map() {
    let world = World::new();
    let text = text(&world).replace("8443", "0").replace("[[listener]]", "[[listener]]\ndefault_host = \"open.test\"");
    let file = world.write("gate.toml", &text);
    for flags in [&["--map"][..], &["--map", "--json"], &[]] {
        let output = check(&file, flags);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty() && String::from_utf8(output.stderr).unwrap().contains("default_host"));
    }
}
