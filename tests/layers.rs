//! Imports point down, each dependency has a home, and rooms that decide do nothing else.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that fails panics"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. Rooms of one layer are strangers to each other.
const LAYERS: &[&[&str]] = &[
    &["clock", "memory", "reject"],
    &["codec", "drain", "fingerprint", "identity", "message"],
    &["policy", "telemetry"],
    &["revocation"],
    &["http1", "http2", "limits", "net", "reputation", "runtime", "tls", "upstream"],
    &["config"],
    &["snapshot"],
    &["admin", "proxy"],
    &["app", "tools"],
    &["cli"],
];

/// Where an outside name may be written; an audit of a dependency reads these rooms only.
const HOMES: &[(&str, &[&str])] = &[
    ("arc_swap::", &["limits", "snapshot"]),
    ("governor::", &["limits"]),
    ("hdrhistogram::", &["tools"]),
    // `tools` is not the gate: its load generator is a client, and speaks HTTP and TLS for itself.
    ("httparse::", &["codec", "http1", "tools"]),
    ("indicatif::", &["cli"]),
    ("p12_keystore::", &["tools"]),
    ("ppp::", &["net"]),
    ("prometheus_client::", &["telemetry"]),
    ("rcgen::", &["tools"]),
    ("rustix::", &["tools"]),
    ("rustls::", &["tls", "tools", "upstream"]),
    ("socket2::", &["net"]),
    ("runtime::Builder", &["runtime"]),
    ("thread::Builder", &["runtime"]),
    ("thread::spawn", &["runtime"]),
    ("tokio_rustls::", &["tls", "tools", "upstream"]),
    ("toml::", &["config"]),
    ("x509_parser::", &["identity", "revocation", "tools"]),
];

/// Rooms that decide, and what a decision may not name.
const PURE: &[&str] = &["reject", "fingerprint", "identity", "message", "policy", "reputation", "revocation"];
const IMPURE: &[&str] =
    &["tokio::", "std::fs", "Instant::now", "SystemTime::now", "tracing::", "std::env", "std::net::Tcp"];

/// No file holds more than one idea for long beyond this many lines of code (tests not counted).
const LONGEST_FILE: usize = 400;

fn layer(room: &str) -> usize {
    LAYERS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("`{room}` has no layer"))
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for path in fs::read_dir(dir).expect("readable").map(|entry| entry.expect("entry").path()) {
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The problems of one line of `room`.
fn problems(room: &str, code: &str) -> Vec<String> {
    let rooms = code
        .split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned());
    let mut wrong: Vec<_> = rooms
        .filter(|used| !used.is_empty() && used != room && layer(used) >= layer(room))
        .map(|used| format!("{room} imports {used}, which is not below it"))
        .collect();
    let homeless = HOMES.iter().filter(|(name, homes)| names(code, name) && !homes.contains(&room));
    wrong.extend(homeless.map(|(name, homes)| format!("{name} lives in {homes:?}, not in {room}")));
    if PURE.contains(&room) {
        let impure = IMPURE.iter().filter(|name| names(code, name));
        wrong.extend(impure.map(|name| format!("{room} is pure and may not name {name}")));
    }
    wrong
}

/// Whether `code` writes `name` as a word of its own: `tokio_rustls::` is not `rustls::`.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Test code may name anything: files of tests, and what follows `#[cfg(test)]`.
fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|stem| stem.ends_with("tests") || stem == "testing")
}

fn production_files() -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let production = files.into_iter().filter(|file| !is_test_file(file.strip_prefix(&src).expect("under src")));
    production
        .map(|file| {
            let text = fs::read_to_string(&file).expect("utf-8");
            (file.strip_prefix(&src).expect("under src").to_owned(), without_tests(&text))
        })
        .collect()
}

/// The text up to its module of tests.
fn without_tests(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let begins = |at: &usize| {
        let behind = lines[at + 1..].iter().find(|line| !line.starts_with("#["));
        lines[*at] == "#[cfg(test)]" && behind.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let end = (0..lines.len()).find(begins).unwrap_or(lines.len());
    lines[..end].join("\n")
}

#[test]
fn rooms_keep_to_their_place() {
    let mut wrong = Vec::new();
    for (file, code) in production_files() {
        let first = file.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let room = first.strip_suffix(".rs").unwrap_or(&first);
        if matches!(room, "lib" | "main") {
            continue;
        }
        for (n, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            wrong.extend(problems(room, line).into_iter().map(|p| format!("src/{}:{}: {p}", file.display(), n + 1)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_has_outgrown_one_idea() {
    let long: Vec<_> = production_files()
        .into_iter()
        .map(|(file, code)| (file, code.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(file, lines)| format!("src/{}: {lines} lines, at most {LONGEST_FILE}", file.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_rules_are_rules() {
    assert_eq!(problems("policy", "use crate::snapshot::Snapshot;").len(), 1);
    assert_eq!(problems("tls", "use crate::upstream::Upstream;").len(), 1);
    assert_eq!(problems("policy", "let now = std::time::Instant::now();").len(), 1);
    assert_eq!(problems("proxy", "let runtime = tokio::runtime::Builder::new_current_thread();").len(), 1);
    assert_eq!(problems("proxy", "use crate::policy::Permit;"), Vec::<String>::new());
    assert_eq!(problems("upstream", "use tokio_rustls::TlsConnector;"), Vec::<String>::new());
}
