//! Listeners, hosts and routes that are not used, and what is said about each.

use super::{check, problems, with};

#[test]
fn broken_listeners() {
    check(&[
        (
            "address = \"127.0.0.1:8443\"",
            "",
            "c.toml:1:1: listener[0].address: missing, but required\n  hint: address = \"0.0.0.0:8443\"",
        ),
        ("\"127.0.0.1:8443\"", "8443", "c.toml:2:11: listener[0].address: expected a string, found an integer"),
        (
            "\"127.0.0.1:8443\"",
            "\"localhost:8443\"",
            "c.toml:2:11: listener[0].address: \"localhost:8443\" is not an address and port like \"0.0.0.0:8443\"",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:8443\"",
            "[[listener]]\naddress = \"127.0.0.1:8443\"\n[[listener]]\naddress = \"127.0.0.1:8443\"",
            "c.toml:4:11: listener[1].address: 127.0.0.1:8443 is also listener[0].address (line 2)",
        ),
        (
            "8443\"",
            "8443\"\nproxy_protocol = { from = [] }",
            "c.toml:3:27: listener[0].proxy_protocol.from: empty, but at least one is required\n  hint: from = [\"10.0.0.0/8\"]",
        ),
        (
            "8443\"",
            "8443\"\nproxy_protocol = { from = [\"10.0.0.1/8\", \"x\"] }",
            "c.toml:3:28: listener[0].proxy_protocol.from[0]: \"10.0.0.1/8\" has bits set beyond its prefix\n  hint: \"10.0.0.0/8\"\n\
             c.toml:3:42: listener[0].proxy_protocol.from[1]: \"x\" is not a network like \"10.0.0.0/8\" or an address",
        ),
        (
            "8443\"",
            "8443\"\nproxy_protocol = true",
            "c.toml:3:18: listener[0].proxy_protocol: expected a table, found a boolean",
        ),
        (
            "8443\"",
            "8443\"\ndefault_host = \"api.exmple.com\"",
            "c.toml:3:16: listener[0].default_host: no host has the name \"api.exmple.com\"\n  hint: did you mean \"api.example.com\"?",
        ),
        ("8443\"", "8443\"\nbacklog = 0", "c.toml:3:11: listener[0].backlog: less than 1, the least it may be"),
        (
            "[[listener]]\naddress = \"127.0.0.1:8443\"\n",
            "",
            "c.toml:1:1: listener: missing, but required\n  hint: [[listener]]",
        ),
    ]);
}

#[test]
fn broken_hosts() {
    check(&[
        (
            "names = [\"api.example.com\"]\n",
            "",
            "c.toml:4:1: host[0].names: missing, but required\n  hint: names = [\"api.example.com\"]",
        ),
        (
            "[\"api.example.com\"]",
            "[]",
            "c.toml:5:9: host[0].names: empty, but at least one is required\n  hint: names = [\"api.example.com\"]",
        ),
        (
            "[\"api.example.com\"]",
            "[\"a.b\", \"A.B.\", \"[::1]\", \"0:0::1\"]",
            "c.toml:5:17: host[0].names[1]: \"a.b\" is also host[0].names[0] (line 5)\n\
             c.toml:5:34: host[0].names[3]: \"::1\" is also host[0].names[2] (line 5)",
        ),
        (
            "trust = \"mobile\"",
            "trust = \"mobil\"",
            "c.toml:7:9: host[0].trust: there is no trust store \"mobil\"\n  hint: did you mean \"mobile\"?",
        ),
        (
            "trust = \"mobile\"",
            "",
            "c.toml:4:1: host[0].trust: missing, but required to check client certificates\n  \
             hint: trust = \"NAME\" and a [trust.NAME], or client_certificate = \"none\"",
        ),
        (
            "trust = \"mobile\"",
            "trust = \"mobile\"\nclient_certificate = \"none\"",
            "c.toml:7:9: host[0].trust: a trust store without a client certificate to check\n  \
             hint: remove it, or write client_certificate = \"require\"\n\
             c.toml:11:9: host[0].route[0].allow: nobody ever has an identity on a host with client_certificate = \"none\"\n  \
             hint: write client_certificate = \"optional\" or \"require\", or allow = \"anyone\" without deny",
        ),
        (
            "trust = \"mobile\"",
            "trust = \"mobile\"\nclient_certificate = \"required\"",
            "c.toml:8:22: host[0].client_certificate: \"required\" is not one of require, optional, none\n  hint: did you mean \"require\"?",
        ),
        (
            "key = \"api.key\" }",
            "kee = \"api.key\" }",
            "c.toml:6:15: host[0].certificate.key: missing, but required\n  hint: key = \"certs/api.key\"\n\
             c.toml:6:36: host[0].certificate.kee: unknown key `kee`\n  hint: did you mean `key`?",
        ),
        ("\"api.pem\"", "\"\"", "c.toml:6:25: host[0].certificate.chain: not a path"),
        (
            "trust = \"mobile\"",
            "trust = \"mobile\"\nallow_in_path = \"dots\"",
            "c.toml:8:17: host[0].allow_in_path: \"dots\" is not one of semicolon, encoded-slash, empty-segment",
        ),
        (
            "[[host.route]]\npath = \"/v1\"\nallow = \"any-verified\"\nupstream = \"api\"\n",
            "",
            "c.toml:4:1: host[0].route: missing, but required\n  hint: [[host.route]]",
        ),
    ]);
}

#[test]
fn names_that_no_host_can_have() {
    for (name, fault) in [
        ("", "it is empty"),
        ("api.example.com:443", "it has a port or a scheme"),
        ("https://x", "it has a port or a scheme"),
        ("a..b", "labels are"),
        (".", "it is empty"),
        ("-a.b", "labels are"),
        ("a b", "labels are"),
        ("bücher.example", "IDNA"),
        ("*", "`*` may only be the whole first label"),
        ("a*.b", "`*` may only be the whole first label"),
        ("*.*.b", "`*` may only be the whole first label"),
        ("*.", "it is empty"),
        ("*.10.0.0.1", "`*` may only be"),
        ("1.2.3", "like an IP address"),
        ("0x7f.1", "like an IP address"),
        ("a.b\\u0000", "labels are"),
        ("[::1]:443", "it has a port"),
    ] {
        let found = problems(&with("[\"api.example.com\"]", &format!("\"{name}\"")));
        assert!(found.contains("c.toml:5:9: host[0].names: ") && found.contains(fault), "{name}: {found}");
    }
}

#[test]
fn broken_routes() {
    check(&[
        (
            "upstream = \"api\"",
            "upstream = \"apj\"",
            "c.toml:11:12: host[0].route[0].upstream: there is no upstream \"apj\"\n  hint: did you mean \"api\"?",
        ),
        (
            "allow = \"any-verified\"\n",
            "",
            "c.toml:8:1: host[0].route[0].allow: missing: the route would let nobody in\n  \
             hint: write allow = \"any-verified\", \"anyone\", or matchers like [{ issuer_cn = \"Mobile CA\" }]",
        ),
        (
            "\"any-verified\"",
            "[]",
            "c.toml:10:9: host[0].route[0].allow: empty: the route would let nobody in\n  \
             hint: write allow = \"any-verified\", \"anyone\", or matchers like [{ issuer_cn = \"Mobile CA\" }]",
        ),
        (
            "\"any-verified\"",
            "\"anyone\"",
            "c.toml:10:9: host[0].route[0].allow: \"anyone\" contradicts the host, whose clients all have a certificate\n  \
             hint: write allow = \"any-verified\", or client_certificate = \"optional\" for the host",
        ),
        (
            "\"any-verified\"",
            "{}",
            "c.toml:10:9: host[0].route[0].allow: an empty matcher would match everybody\n  \
             hint: write allow = \"any-verified\" if that is meant",
        ),
        (
            "\"any-verified\"",
            "[{ subject_cm = \"x\", dns = [] }]",
            "c.toml:10:12: host[0].route[0].allow[0].subject_cm: unknown key `subject_cm`\n  hint: did you mean `subject_cn`?\n\
             c.toml:10:36: host[0].route[0].allow[0].dns: an empty list is no condition\n  \
             hint: remove the key, or write what it must be",
        ),
        (
            "path = \"/v1\"",
            "path = \"/v1\"\nmethods = [\"get\", \"CONNECT\", \"P T\"]",
            "c.toml:10:12: host[0].route[0].methods[0]: \"get\" is not in upper case\n  hint: \"GET\"\n\
             c.toml:10:19: host[0].route[0].methods[1]: CONNECT is always refused: the gate is not a forward proxy\n\
             c.toml:10:30: host[0].route[0].methods[2]: \"P T\" is not a method",
        ),
        (
            "path = \"/v1\"",
            "path = \"/v1\"\nupgrade = \"h2c\"\nlimit = \"nope\"\nbody_bytes = \"2TiB\"\nname = \"Log in\"",
            "c.toml:10:11: host[0].route[0].upgrade: \"h2c\" is not one of websocket\n\
             c.toml:11:9: host[0].route[0].limit: there is no limit \"nope\"\n\
             c.toml:12:14: host[0].route[0].body_bytes: more than 1TiB, the most it may be\n\
             c.toml:13:8: host[0].route[0].name: \"Log in\" is not a name: 1 to 64 of lower-case letters, digits, `.`, `_` and `-`",
        ),
    ]);
}

#[test]
fn paths_that_no_request_can_have() {
    for (path, fault) in [
        ("\"v1\"", "does not begin with `/`"),
        ("\"\"", "does not begin with `/`"),
        ("\"/v1/\"", "a prefix does not end in `/`"),
        ("\"/a/../b\"", "dot segment"),
        ("\"/a/.\"", "dot segment"),
        ("\"/a//b\"", "empty segment"),
        ("\"/a;b\"", "`;`"),
        ("\"/a?b\"", "query"),
        ("\"/a#b\"", "query"),
        ("\"/a b\"", "percent-encoded"),
        ("\"/ä\"", "percent-encoded"),
        ("'/a\\b'", "percent-encoded"),
        ("\"/a%\"", "two hexadecimal digits"),
        ("\"/a%4\"", "two hexadecimal digits"),
        ("\"/a%zz\"", "two hexadecimal digits"),
        ("\"/a%c3\"", "upper case"),
        ("\"/a%41\"", "needs no encoding"),
        ("\"/%2E%2E/b\"", "needs no encoding"),
        ("\"/a%2Fb\"", "encoded slash"),
        ("\"/a%5Cb\"", "encoded slash"),
        ("\"/a%00\"", "control character"),
        ("\"/a/*\"", "`*` is only for patterns"),
        ("{ exact = \"/a/*\" }", "`*` is only for patterns"),
        ("{ glob = \"/a/***\" }", "`***`"),
        ("{ glob = \"/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*\" }", "16 stars"),
        ("{ glob = \"a/*\" }", "does not begin with `/`"),
        ("{ glob = \"/a/../*\" }", "dot segment"),
        ("{ exact = \"/a\", glob = \"/b\" }", "not both"),
        ("{}", "not both"),
        ("[\"/a\"]", "found an array"),
    ] {
        let found = problems(&with("\"/v1\"", path));
        assert!(found.contains("c.toml:9:") && found.contains(fault), "{path}: {found}");
        assert!(!found.contains('\n') || found.contains("\n  hint"), "{path}: {found}");
    }
    let long = format!("\"/{}\"", "a".repeat(512));
    assert!(problems(&with("\"/v1\"", &long)).contains("longer than 512 bytes"));
}

#[test]
fn conditions_that_nobody_can_meet() {
    for (matcher, fault) in [
        ("subject_cn = \"\"", "empty"),
        ("subject_cn = \"a\\nb\"", "control character"),
        ("subject_cn = 1", "expected a string"),
        ("subject = \"CN=Jürgen\"", "printable ASCII"),
        ("serial = \"\"", "never zero"),
        ("serial = \"00:00\"", "never zero"),
        ("serial = \"0x1f\"", "not a hexadecimal serial"),
        ("serial = \"zz\"", "not a hexadecimal serial"),
        ("serial = \"112233445566778899aabbccddeeff001122334455\"", "not a hexadecimal serial"),
        ("dns = \"bücher.example\"", "printable ASCII"),
        ("uri = \"spiffe://a b\"", "printable ASCII"),
        ("ip = \"10.0.0.0/33\"", "not a network"),
        ("fingerprint = \"abcd\"", "not a SHA-256 digest"),
        ("spki = [\"abcd\"]", "not a SHA-256 digest"),
        ("email = \"****@x\"", "`***`"),
    ] {
        for (key, other) in [("allow", "upstream = \"api\""), ("deny", "allow = \"any-verified\"\nupstream = \"api\"")]
        {
            let text =
                with("allow = \"any-verified\"\nupstream = \"api\"", &format!("{key} = [{{ {matcher} }}]\n{other}"));
            let found = problems(&text);
            assert!(found.starts_with("c.toml:10:") && found.contains(fault), "{matcher}: {found}");
        }
    }
}
