//! The promises of the configuration file.

mod hostile;
mod named;
mod serving;
mod valid;
mod whole;

use super::{Config, parse};

/// A file in which every section that is required stands, and nothing else.
const BASE: &str = r#"[[listener]]
address = "127.0.0.1:8443"

[[host]]
names = ["api.example.com"]
certificate = { chain = "api.pem", key = "api.key" }
trust = "mobile"
[[host.route]]
path = "/v1"
allow = "any-verified"
upstream = "api"

[trust.mobile]
anchors = ["ca.pem"]

[upstream.api]
servers = ["http://10.0.0.5:9000"]
"#;

/// The base with `from`, which must stand in it, replaced by `to`.
fn with(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    BASE.replacen(from, to, 1)
}

/// What `text`, which has no problem, says.
fn config(text: &str) -> Config {
    parse("c.toml", text).unwrap_or_else(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", problems.join("\n"))
    })
}

/// The problems of `text`, which has some, as they are printed.
fn problems(text: &str) -> String {
    match parse("c.toml", text) {
        Ok(_) => panic!("no problem in:\n{text}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

/// Replaces, in the base, the first by the second, and expects exactly the third.
fn check(cases: &[(&str, &str, &str)]) {
    for (from, to, expected) in cases {
        assert_eq!(problems(&with(from, to)), *expected, "{from} -> {to}");
    }
}
