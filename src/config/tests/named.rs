//! Trust stores, limits, upstreams, bounds and the process: what is not used, and what is said.

use super::{BASE, problems, with};

#[test]
fn broken_trust_stores() {
    let text = with(
        "anchors = [\"ca.pem\"]",
        "anchors = []\nmin_rsa_bits = 1024\nmax_chain_length = 11\nmax_chain_bytes = \"1MiB\"\nmax_names = -1",
    );
    assert_eq!(
        problems(&text),
        "c.toml:14:11: trust.mobile.anchors: empty, but at least one is required\n  hint: anchors = [\"certs/mobile-ca.pem\"]\n\
         c.toml:15:16: trust.mobile.min_rsa_bits: less than 2048, the least it may be\n\
         c.toml:16:20: trust.mobile.max_chain_length: more than 10, the most it may be\n\
         c.toml:17:19: trust.mobile.max_chain_bytes: more than 64KiB, the most it may be\n\
         c.toml:18:13: trust.mobile.max_names: negative or far too large"
    );
}

#[test]
fn broken_limits() {
    for (limit, expected) in [
        (
            "key = [\"all\", \"identity\"]\nrate = \"10/d\"",
            "c.toml:14:7: limit.x.key: \"all\" is not alone, or something stands there twice\n  \
             hint: one or more of the others, each once, or \"all\" alone\n\
             c.toml:15:8: limit.x.rate: \"10/d\" is not a rate: a number from 1 and `/s`, `/m` or `/h`, like \"10/s\"",
        ),
        (
            "key = [\"host\", \"host\"]\nrate = \"1000001/s\"\nburst = 0",
            "c.toml:14:7: limit.x.key: \"all\" is not alone, or something stands there twice\n  \
             hint: one or more of the others, each once, or \"all\" alone\n\
             c.toml:15:8: limit.x.rate: more than 1000000, the most it may be\n\
             c.toml:16:9: limit.x.burst: less than 1, the least it may be",
        ),
        (
            "key = []\nrate = 10\nprefix_v4 = 33\nprefix_v6 = 129\nmax_keys = 1",
            "c.toml:14:7: limit.x.key: empty, but at least one is required\n  hint: key = \"identity\"\n\
             c.toml:15:8: limit.x.rate: expected a rate like \"10/s\", found an integer\n\
             c.toml:16:13: limit.x.prefix_v4: more than 32, the most it may be\n\
             c.toml:17:13: limit.x.prefix_v6: more than 128, the most it may be\n\
             c.toml:18:12: limit.x.max_keys: less than 1000, the least it may be",
        ),
    ] {
        assert_eq!(problems(&with("[trust.mobile]", &format!("[limit.x]\n{limit}\n[trust.mobile]"))), expected);
    }
}

#[test]
fn broken_names_of_things() {
    for (text, expected) in [
        (
            with("[upstream.api]", "[upstream.\"A b\"]\nservers = \"http://x\"\n[upstream.api]"),
            "c.toml:16:1: upstream.\"A b\": \"A b\" is not a name: 1 to 64 of lower-case letters, digits, `.`, `_` and `-`",
        ),
        (
            with("[trust.mobile]", "[limit]\nlogin = 1\n[trust.mobile]"),
            "c.toml:14:9: limit.login: expected a table, found an integer",
        ),
        (
            with("[trust.mobile]", "[[limit]]\n[trust.mobile]"),
            "c.toml:13:1: limit: expected a table of tables, found an array",
        ),
    ] {
        assert_eq!(problems(&text), expected, "{text}");
    }
}

#[test]
fn broken_upstreams() {
    for (text, expected) in [
        (
            with("http://10", "https://10"),
            "c.toml:16:1: upstream.api.tls: missing, but required for https:// servers: the system's roots are not used\n  \
             hint: tls = { anchors = [\"certs/backend-ca.pem\"] }",
        ),
        (
            with(":9000\"]", ":9000\"]\ntls = { anchors = \"ca.pem\" }"),
            "c.toml:18:7: upstream.api.tls: no server is https://\n  hint: remove it, or write https:// for the servers",
        ),
        (
            with("http://10.0.0.5:9000\"]", "https://x\"]\ntls = { server_name = \"a b\" }\nbalance = \"random\""),
            "c.toml:18:7: upstream.api.tls.anchors: missing, but required\n  hint: anchors = [\"certs/backend-ca.pem\"]\n\
             c.toml:18:23: upstream.api.tls.server_name: \"a b\" is not a host name: labels are 1 to 63 letters, digits, `-` and `_`, 253 in all\n\
             c.toml:19:11: upstream.api.balance: \"random\" is not one of round-robin, least-in-flight",
        ),
        (
            with(":9000\"]", ":9000\"]\nforward = [\"xfc\", \"plain\"]\neject_for = \"0s\"\nmax_idle = 10001"),
            "c.toml:18:12: upstream.api.forward[0]: \"xfc\" is not one of client-cert, client-cert-chain, plain, xfcc, fingerprint\n  hint: did you mean \"xfcc\"?\n\
             c.toml:19:13: upstream.api.eject_for: less than 100ms, the least it may be\n\
             c.toml:20:12: upstream.api.max_idle: more than 10000, the most it may be",
        ),
    ] {
        assert_eq!(problems(&text), expected, "{text}");
    }
}

#[test]
fn servers_that_are_not_just_a_scheme_a_host_and_a_port() {
    for (url, fault) in [
        ("10.0.0.5:9000", "is not"),
        ("localhost:9000", "is not http://"),
        ("ftp://x", "is not http://"),
        ("http://", "is not a URL"),
        ("http://x/y", "path or a query"),
        ("http://x?y", "path or a query"),
        ("http://x/#y", "path or a query"),
        ("http://u:p@x", "user name"),
        ("http://x:0", "port from 1"),
        ("http://x:99999", "port from 1"),
        ("http://x:", "port from 1"),
        ("http://a b", "is not a URL"),
        ("http://1.2.3", "like an IP address"),
        ("", "is not"),
    ] {
        let found = problems(&with("http://10.0.0.5:9000", url));
        assert!(
            found.starts_with("c.toml:17:12: upstream.api.servers[0]: ") && found.contains(fault),
            "{url}: {found}"
        );
    }
}

/// Each section, after the base, has this one problem, in this line after the section's.
fn check_sections(cases: &[(&str, usize, &str)]) {
    for (section, after, expected) in cases {
        let found = problems(&format!("{BASE}{section}\n"));
        let header = BASE.lines().count() + 1;
        assert!(found.starts_with(&format!("c.toml:{}:", header + after)), "{found}");
        assert_eq!(found.split_once(": ").expect("a place").1, *expected, "{section}");
    }
}

#[test]
fn broken_bounds() {
    const RATE: &str = "is not a rate: a number from 1 and `/s`, `/m` or `/h`, like \"10/s\"";
    check_sections(&[
        ("[connection]\nmax = 0", 1, "connection.max: less than 1, the least it may be"),
        (
            "[connection]\nhandshakes_per_address = \"0/s\"",
            1,
            &format!("connection.handshakes_per_address: \"0/s\" {RATE}"),
        ),
        (
            "[connection]\nhandshake_timeout = \"61s\"",
            1,
            "connection.handshake_timeout: more than 1m, the most it may be",
        ),
        (
            "[connection]\nhandshake_timeout = \"0s\"",
            1,
            "connection.handshake_timeout: less than 100ms, the least it may be",
        ),
        (
            "[connection]\nclient_hello_bytes = 4095",
            1,
            "connection.client_hello_bytes: less than 4KiB, the least it may be",
        ),
        (
            "[connection]\nidle_timeout = 75",
            1,
            "connection.idle_timeout: expected a duration like \"10s\", found an integer",
        ),
        ("[http]\nheader_bytes = \"1GB\"", 1, "http.header_bytes: more than 1MiB, the most it may be"),
        ("[http]\nheader_bytes = 1.5", 1, "http.header_bytes: expected a size like \"64KiB\", found a float"),
        ("[http]\nbody_bytes = \"99999999999TiB\"", 1, "http.body_bytes: \"99999999999TiB\" is larger than any size"),
        (
            "[http]\nheader_bytes = \"8KiB\"\nuri_bytes = \"9KiB\"",
            2,
            "http.uri_bytes: more than `header_bytes`, which has the request target in it",
        ),
        ("[http2]\nstreams = 99999999999999999999", 1, "http2.streams: negative or far too large"),
        (
            "[http2]\nconnection_window = \"128KiB\"",
            1,
            "http2.connection_window: less than `stream_window`, which could never be used",
        ),
        // At the section: the value that contradicts is a default.
        (
            "[http2]\nstream_window = \"2MiB\"",
            0,
            "http2.connection_window: less than `stream_window`, which could never be used",
        ),
    ]);
}

#[test]
fn broken_process() {
    check_sections(&[
        (
            "[forwarded]\ntrusted = \"everybody\"",
            1,
            "forwarded.trusted: \"everybody\" is not a network like \"10.0.0.0/8\" or an address",
        ),
        ("[forwarded]\nrfc7239 = \"yes\"", 1, "forwarded.rfc7239: expected true or false, found a string"),
        ("[admin]\naddress = \"127.0.0.1:8443\"", 1, "admin.address: 127.0.0.1:8443 is also a listener's"),
        (
            "[admin]\naddress = \"0.0.0.0:9901\"",
            1,
            "admin.address: others can reach 0.0.0.0:9901, and what is served there tells about your clients\n  \
             hint: public = true if that is meant, with a token_file; an address like \"127.0.0.1:9901\" if not",
        ),
        (
            "[admin]\naddress = \"0.0.0.0:9901\"\npublic = true",
            1,
            "admin.address: others can reach 0.0.0.0:9901, and nothing asks them who they are\n  \
             hint: token_file = \"FILE\", with a line of `openssl rand -hex 32` in it",
        ),
        (
            "[admin]\naddress = \"unix:a.sock\"",
            1,
            "admin.address: not the whole path of a socket, like \"unix:/run/portcullis/admin.sock\"",
        ),
        ("[log]\nlevel = \"\"", 1, "log.level: empty: nothing would be logged"),
        (
            "[log]\nformat = \"jsn\"",
            1,
            "log.format: \"jsn\" is not one of auto, text, json\n  hint: did you mean \"json\"?",
        ),
        ("[runtime]\nthreads = 0", 1, "runtime.threads: less than 1, the least it may be"),
        ("[runtime]\nflavor = 1", 1, "runtime.flavor: expected a string, found an integer"),
        ("[shutdown]\ndrain_timeout = \"2d\"", 1, "shutdown.drain_timeout: more than 1h, the most it may be"),
        ("[reload]\ninterval = \"1ms\"", 1, "reload.interval: less than 100ms, the least it may be"),
        (
            "[reload]\nintervall = \"1s\"",
            1,
            "reload.intervall: unknown key `intervall`\n  hint: did you mean `interval`?",
        ),
        ("[listen]\nport = 1", 0, "listen: unknown key `listen`\n  hint: did you mean `listener`?"),
    ]);
    let loud = problems(&format!("{BASE}[log]\nlevel = \"portcullis=loud\"\n"));
    assert!(loud.contains("log.level: not filter directives: "), "{loud}");
}
