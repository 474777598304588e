//! Files as a whole: every problem at once, in its order, and nothing that only follows from another.

use super::{BASE, config, problems, with};

#[test]
fn every_problem_of_a_file_is_reported_at_once_in_its_order() {
    let text = r#"
[[listener]]
address = "nowhere"
backlog = "many"
[[host]]
names = ["ok.example", 5, "*"]
certificate = "api.pem"
client_certificate = true
trust = "x"
[[host.route]]
path = "v1"
methods = "get"
allow = "everyone"
deny = [{}]
limit = ["a", "b"]
upstream = 1
colour = "red"
[trust.mobile]
[limit.l]
key = "who"
rate = "fast"
[upstream.u]
servers = ["gopher://x", "http://y/z"]
connect_timeout = "soon"
[connection]
max = "all"
max_age = "1y"
[http]
header_bytes = "small"
[http2]
streams = true
[admin]
public = 1
[log]
level = 5
[runtime]
threads = 5000
[shutdown]
drain_timeout = 1
[reload]
interval = "often"
[metrics]
"#;
    let found = problems(text);
    let places = found.lines().filter_map(|line| line.strip_prefix("c.toml:"));
    let lines: Vec<u32> =
        places.map(|place| place.split(':').next().expect("a line").parse().expect("a number")).collect();
    let first = [3, 4, 6, 6, 7, 8, 9, 11, 12, 13, 14, 15, 15, 16, 17, 18];
    let second = [20, 21, 23, 23, 24, 26, 27, 29, 31, 33, 35, 37, 39, 41, 42];
    assert_eq!(lines, [&first[..], &second[..]].concat(), "{found}");
}

#[test]
fn a_name_of_two_hosts_is_a_problem_that_names_both_places() {
    let second = "\n[[host]]\nnames = [\"other.example.com\", \"API.example.com.\"]\n\
        certificate = { chain = \"c\", key = \"k\" }\ntrust = \"mobile\"\n\
        route = { path = \"/\", allow = \"any-verified\", upstream = \"api\" }\n";
    assert_eq!(
        problems(&format!("{BASE}{second}")),
        "c.toml:20:31: host[1].names[1]: \"api.example.com\" is also host[0].names[0] (line 5)"
    );
}

#[test]
fn two_routes_for_one_request_are_a_problem() {
    for (first, second) in [
        ("path = \"/a\"", "path = \"/a\""),
        ("path = \"/a\"", "path = \"/a\"\nmethods = \"GET\""),
        ("path = \"/a\"\nmethods = \"GET\"", "path = \"/a\""),
        ("path = \"/a\"\nmethods = [\"PUT\", \"GET\"]", "path = \"/a\"\nmethods = [\"GET\"]"),
        ("path = { exact = \"/a\" }", "path = { exact = \"/a\" }"),
    ] {
        let found = problems(&two_routes(first, second));
        assert!(
            found.contains(": host[0].route[1]: has the same path and methods as host[0].route[0] (line 8)"),
            "{found}"
        );
    }
    for (first, second) in [
        ("path = \"/a\"\nmethods = \"GET\"", "path = \"/a\"\nmethods = \"PUT\""),
        ("path = \"/a\"", "path = { exact = \"/a\" }"),
        ("path = \"/a\"", "path = \"/a/b\""),
    ] {
        config(&two_routes(first, second));
    }
}

#[test]
fn two_routes_with_one_name_are_a_problem() {
    assert_eq!(
        problems(&two_routes("path = \"/a\"\nname = \"x\"", "path = \"/b\"\nname = \"x\"")),
        "c.toml:13:1: host[0].route[1].name: \"x\" is also the name of host[0].route[0] (line 8)\n  \
         hint: give one of them another `name`"
    );
}

fn two_routes(first: &str, second: &str) -> String {
    let route = |rest: &str| format!("[[host.route]]\nallow = \"any-verified\"\nupstream = \"api\"\n{rest}\n");
    let both = format!("{}{}", route(first), route(second));
    with("[[host.route]]\npath = \"/v1\"\nallow = \"any-verified\"\nupstream = \"api\"\n", &both)
}

#[test]
fn a_default_host_that_asks_less_of_its_clients_is_a_problem() {
    for mode in ["optional", "none"] {
        let text = with("8443\"", "8443\"\ndefault_host = \"API.example.com\"")
            .replace("trust = \"mobile\"", &format!("client_certificate = \"{mode}\""))
            .replace("\"any-verified\"", "\"anyone\"");
        let found = problems(&text);
        assert!(found.contains("default_host: \"api.example.com\" does not require a client certificate"), "{found}");
    }
}

#[test]
fn an_empty_file_lacks_what_is_required_and_nothing_else() {
    let expected = "c.toml:1:1: host: missing, but required\n  hint: [[host]]\n\
        c.toml:1:1: listener: missing, but required\n  hint: [[listener]]";
    for text in ["", "\n", "# nothing\n", "\u{feff}"] {
        assert_eq!(problems(text), expected, "{text:?}");
    }
}

#[test]
fn errors_of_syntax_come_with_what_is_certainly_wrong_beside_them() {
    let text = with("address = \"127.0.0.1:8443\"", "address = \"127.0.0.1:8443\nbacklog = \"x\"\ntcp = 1");
    let found = problems(&text);
    assert!(found.starts_with("c.toml:2:26: invalid basic string"), "{found}");
    assert!(found.contains("c.toml:3:11: listener[0].backlog: expected a number, found a string"), "{found}");
    assert!(found.contains("c.toml:4:1: listener[0].tcp: unknown key `tcp`"), "{found}");
    assert!(!found.contains("missing"), "{found}");
}

#[test]
fn a_key_that_stands_twice_is_a_problem() {
    let found = problems(&with("trust = \"mobile\"", "trust = \"mobile\"\ntrust = \"other\""));
    assert_eq!(found, "c.toml:8:1: duplicate key");
}
