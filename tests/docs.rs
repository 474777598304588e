//! Documents that are printed from tables are what the tables say (`UPDATE=1 cargo test --test docs`
//! rewrites them), and what the others name exists.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::clock::Clock;
use portcullis::config;
use portcullis::reject::{Abuse, Blame, Reason, Wire};
use portcullis::telemetry::{
    AccessLog, AnchorSample, CrlSample, HandshakeFacts, ReputationSample, Scraped, ServerSample, Telemetry,
};

#[allow(clippy::indexing_slicing, unreachable_pub, reason = "a `Value` that has no such key gives null")]
#[path = "../benches/compare/table.rs"]
mod table;

#[test]
fn the_reference_of_the_configuration_is_current() {
    check("docs/config.md", &config::reference_markdown());
}

#[test]
fn the_example_configuration_is_current_and_has_no_problem() {
    let text = config::example_toml();
    check("config/example.toml", &text);
    let config = config::parse("config/example.toml", &text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(config.warnings, []);
}

#[test]
fn the_minimal_configuration_has_no_problem() {
    let text = read("config/minimal.toml");
    let config = config::parse("config/minimal.toml", &text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(config.warnings, []);
}

#[test]
fn the_list_of_rejections_is_current() {
    check("docs/rejections.md", &rejections());
}

#[test]
fn the_list_of_metrics_is_current() {
    check("docs/metrics.md", &metrics());
}

#[test]
fn the_comparison_with_others_is_the_one_that_was_measured() {
    let results = serde_json::from_str(&read("docs/performance/compare.json")).expect("results of benches/compare");
    let text = read("docs/performance.md");
    let (before, rest) = text.split_once(COMPARISON).expect("where it begins");
    let (_, after) = rest.split_once(COMPARISON_END).expect("where it ends");
    let printed = table::markdown(&results);
    check("docs/performance.md", &format!("{before}{COMPARISON}\n\n{printed}\n{COMPARISON_END}{after}"));
}

#[test]
fn every_function_of_the_walk_exists() {
    let walk = read("docs/walk.md");
    let named: Vec<_> = walk.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(".rs::")).collect();
    assert!(named.len() > 40, "docs/walk.md names {} functions", named.len());
    for (file, function) in named {
        let source = read(&format!("src/{file}.rs"));
        let name = format!("fn {function}");
        let found = source.match_indices(&name).any(|(at, _)| {
            let behind = source.get(at + name.len()..).and_then(|rest| rest.chars().next());
            behind.is_some_and(|c| c == '(' || c == '<')
        });
        assert!(found, "docs/walk.md names {file}.rs::{function}, which is not in src");
    }
}

#[test]
fn every_configuration_in_the_documents_has_no_problem() {
    let mut whole = 0;
    for path in documents() {
        let text = read(&path);
        for (line, kind, block) in blocks(&text) {
            let place = format!("{path}:{line}");
            match kind {
                "toml" => {
                    let config = config::parse(&place, &block).unwrap_or_else(|problems| panic!("{problems:#?}"));
                    assert_eq!(config.warnings, [], "{place}");
                    whole += 1;
                }
                // Too short to be a file; at least it is TOML.
                "toml fragment" => {
                    drop(block.parse::<toml::Table>().unwrap_or_else(|error| panic!("{place}: {error}")));
                }
                _ => assert!(!kind.starts_with("toml"), "{place}: a block of {kind:?}"),
            }
        }
    }
    assert!(whole > 5, "{whole} blocks were checked");
}

#[test]
fn the_readme_shows_the_minimal_configuration() {
    let readme = read("README.md");
    assert!(blocks(&readme).any(|(_, _, block)| block == read("config/minimal.toml")));
    assert!(readme.lines().count() < 200, "short");
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    for path in documents() {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let folder = Path::new(&path).parent().expect("a folder");
            assert!(root().join(folder).join(file).exists(), "{path} links to {target}");
        }
    }
}

#[test]
fn every_reason_that_a_document_names_exists() {
    for path in ["docs/operations.md", "docs/threat-model.md"] {
        let text = read(path);
        // Codes are written as links to their entry in the list.
        for code in text.split("rejections.md#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(Reason::ALL.iter().any(|reason| reason.code() == code), "{path} names {code}");
        }
    }
}

#[test]
fn every_bound_that_a_reason_names_is_a_key_of_the_configuration() {
    let reference = config::reference_markdown();
    for reason in Reason::ALL {
        for name in reason.row().doc.split('`').skip(1).step_by(2) {
            let Some((section, key)) = name.rsplit_once('.').filter(|(section, _)| !section.contains('/')) else {
                continue;
            };
            let section = section.rsplit('.').next().unwrap_or_default();
            let below = [format!("## `[{section}"), format!("## `[[{section}"), format!("## {section}")]
                .iter()
                .find_map(|head| reference.split_once(head.as_str()))
                .and_then(|(_, below)| below.split("\n## ").next())
                .unwrap_or_default();
            assert!(below.contains(&format!("| `{key}` |")), "{reason} names {name}");
        }
    }
}

fn check(path: &str, wanted: &str) {
    #[expect(clippy::disallowed_methods, reason = "a switch of this test, not of the gate")]
    let update = std::env::var("UPDATE").is_ok();
    if update {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), wanted).expect("writable");
    }
    let found = read(path);
    let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count() + 1;
    assert!(found == wanted, "{path}:{line} is not current: UPDATE=1 cargo test --test docs");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// Every document of the repository, from its root.
fn documents() -> Vec<String> {
    let mut found: Vec<_> = ["", "docs", "docs/decisions", "certs"].into_iter().flat_map(markdown_in).collect();
    found.sort();
    found
}

fn markdown_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect("readable");
    let paths = entries.map(|entry| entry.expect("entry").path());
    let markdown = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    markdown
        .map(|path: PathBuf| path.strip_prefix(root()).expect("below").to_str().expect("UTF-8").to_owned())
        .collect()
}

/// The fenced blocks of a document: the line each begins at, what it is, and its text.
fn blocks(text: &str) -> impl Iterator<Item = (usize, &str, String)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let (at, kind) = lines.find_map(|(at, line)| Some((at, line.strip_prefix("```")?)))?;
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| !line.starts_with("```"));
        Some((at + 1, kind, inside.fold(String::new(), |block, line| block + line + "\n")))
    })
}

/// Every metric of a gate that has seen one of everything, as its help says.
fn metrics() -> String {
    let telemetry = Arc::new(Telemetry::new(Clock::system(), AccessLog::Refusals));
    let address = "127.0.0.1:1".parse().expect("an address");
    let connection = telemetry.connection(address, address);
    connection.established("api.example.com", HandshakeFacts { version: "TLSv1_3", protocol: "HTTP/2", kind: "full" });
    connection.served();
    drop(telemetry.metrics.route("api.example.com", "login"));
    telemetry.metrics.anchored("mobile", "CN=Mobile CA");
    telemetry.metrics.certificate_expiry("api.example.com", 0);
    telemetry.metrics.reputation.step("tag", "identity", false);
    telemetry.metrics.reputation.applied("tag");
    telemetry.metrics.reputation.forgery("stolen");
    let reputation = ReputationSample { entries: vec![("identity", 0)], ..ReputationSample::default() };
    let server =
        ServerSample { upstream: "api".to_owned(), server: "10.0.0.5:9000".to_owned(), ejected: false, in_flight: 0 };
    let crl =
        CrlSample { trust: "mobile".to_owned(), issuer: "CN=Mobile CA".to_owned(), age: 0, next_update: 0, entries: 0 };
    let anchor = AnchorSample { trust: "mobile".to_owned(), anchor: "CN=Mobile CA".to_owned(), ends: 0 };
    let scraped = Scraped { servers: vec![server], crls: vec![crl], anchors: vec![anchor], reputation };
    let text = telemetry.metrics.render(scraped).expect("rendered");
    let mut out = String::from(METRICS_HEAD);
    for (name, help) in text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')) {
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        let kind = kind.expect("every metric has a type");
        let suffix = if kind == "counter" { "_total" } else { "" };
        let labels = labels(&text, name).iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(out, "| `{name}{suffix}` | {kind} | {labels} | {} |", help.trim_end_matches('.')).expect("a string");
    }
    out
}

/// The labels of the samples of `name`.
fn labels(text: &str, name: &str) -> Vec<String> {
    let mut sample = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.strip_prefix(name));
    let inside = sample.find_map(|rest| rest.split_once('{').filter(|(suffix, _)| !suffix.contains(' ')));
    let inside = inside.and_then(|(_, rest)| rest.split('}').next()).unwrap_or_default();
    let names = inside.split("\",").filter_map(|label| label.split('=').next());
    names.filter(|label| !label.is_empty() && *label != "le").map(str::to_owned).collect()
}

fn rejections() -> String {
    let mut out = String::from(HEAD);
    for reason in Reason::ALL {
        let row = reason.row();
        let wire = match row.wire {
            Wire::Alert(name) => format!("TLS alert `{name}`"),
            Wire::Close => "connection closed".to_owned(),
            Wire::Reset => "exchange cut off".to_owned(),
            Wire::Status(status) => format!("HTTP {status}"),
        };
        let blame = match row.blame {
            Blame::Downstream => "client",
            Blame::Gate => "gate",
            Blame::Upstream => "backend",
        };
        let abuse = match reason.abuse() {
            Some(Abuse::Sure) => "\n- Abuse: surely",
            Some(Abuse::Perhaps) => "\n- Abuse: perhaps",
            None => "",
        };
        let doc = row.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(out, "\n## {}\n\n{doc}\n\n- Peer sees: {wire}\n- Fault of: {blame}{abuse}", row.code)
            .expect("a string");
    }
    out
}

const COMPARISON: &str =
    "<!-- Printed from performance/compare.json by `UPDATE=1 cargo test --test docs`; do not edit. -->";
const COMPARISON_END: &str = "<!-- To here. -->";

const HEAD: &str = "\
# Rejections

<!-- Printed from src/reject.rs by `UPDATE=1 cargo test --test docs`; do not edit. -->

Every refusal has one of these reasons. Its code is the value in the log, the label in the metrics and the anchor here. A
client is told a few words and an id; the log has the rest under that id.

*Abuse* is said of refusals that answer an attack on the protocols: *surely*, if no honest client is ever refused so, and
*perhaps*, if a bad network or a crowd looks the same and only its number tells.
";

const METRICS_HEAD: &str = "\
# Metrics

<!-- Printed from src/telemetry/metrics.rs by `UPDATE=1 cargo test --test docs`; do not edit. -->

What `GET /metrics` on the admin listener (`[admin]`) answers, in the OpenMetrics text format. A histogram has
`_bucket`, `_sum` and `_count`; its unit is in its name.

- `host` is the first name of the host entry; `route` is the route's name, `none` for requests that reached no route.
- `class` is `1xx` to `5xx`, and `none` where no response was sent.
- `reason` is a code of [rejections.md](rejections.md); every reason is there from the start, at 0.
- `action` is one of `reputation.ladder`, `by` whose score it was; `kind` of forgeries is listed in
  [operations.md](operations.md#forged-certificates), `kind` of entries is `identity`, `address`, `network` or `fingerprint`.
- `result` is `ok`, `refused` or `unchanged`; `direction` is `in` or `out`, seen from the client.

[operations.md](operations.md#alerts) has the alerts that are worth having.

| Name | Type | Labels | Meaning |
| --- | --- | --- | --- |
";
