//! The file itself, and who is served what: listeners, hosts, routes.

use super::{
    ADMIN, CONNECTION, FORWARDED, Form, HTTP, HTTP2, Key, Kind, LIMIT, LOG, OUTCOME, Presence, RELOAD, REPUTATION,
    RESUMPTION, RUNTIME, SHUTDOWN, TRUST, Table, UPSTREAM,
};
use Presence::{Conditional, Default, DefaultBut, Optional, Required};

pub(crate) static ROOT: Table = Table {
    name: "",
    form: Form::Root,
    doc: "",
    keys: &[
        Key::new("listener", Kind::Tables(&LISTENER), Required(""), "Addresses that are accepted on; at least one."),
        Key::new("host", Kind::Tables(&HOST), Required(""), "What is served; at least one."),
        Key::new("trust", Kind::Named(&TRUST), Optional(""), "Trust stores, by name."),
        Key::new("limit", Kind::Named(&LIMIT), Optional(""), "Limits, by name."),
        Key::new("upstream", Kind::Named(&UPSTREAM), Optional(""), "Backends, by name."),
        Key::new("connection", Kind::Tables(&CONNECTION), Optional(""), "Bounds on connections."),
        Key::new("http", Kind::Tables(&HTTP), Optional(""), "Bounds on requests."),
        Key::new("http2", Kind::Tables(&HTTP2), Optional(""), "Bounds on HTTP/2."),
        Key::new("forwarded", Kind::Tables(&FORWARDED), Optional(""), "Who may say where a request came from."),
        Key::new("admin", Kind::Tables(&ADMIN), Optional(""), "Metrics and health."),
        Key::new("log", Kind::Tables(&LOG), Optional(""), "What is logged, and how."),
        Key::new("runtime", Kind::Tables(&RUNTIME), Optional(""), "How threads serve."),
        Key::new("resumption", Kind::Tables(&RESUMPTION), Optional(""), "Resumed sessions."),
        Key::new("shutdown", Kind::Tables(&SHUTDOWN), Optional(""), "How it ends."),
        Key::new("reputation", Kind::Tables(&REPUTATION), Optional(""), "What becomes of behaviour."),
        Key::new("reload", Kind::Tables(&RELOAD), Optional(""), "Changes while running."),
    ],
};

pub(crate) static LISTENER: Table = Table {
    name: "listener",
    form: Form::Many,
    doc: "An address to accept connections on. Every host is served on every listener.",
    keys: &[
        Key::new("address", Kind::Value("address and port"), Required(r#""0.0.0.0:8443""#), "Where to listen."),
        Key::new(
            "proxy_protocol",
            Kind::Tables(&PROXY_PROTOCOL),
            Optional(r#"{ from = ["10.0.0.0/8"] }"#),
            "Who must begin with a PROXY protocol header (v1 or v2); without it, nobody may.",
        ),
        Key::new(
            "default_host",
            Kind::Value("name of a host"),
            Optional(r#""api.example.com""#),
            "The host for clients that send no server name; it must require a client certificate, so that silence never gets anybody less. Without it such clients are refused.",
        ),
        // A second of a crowd that reconnects; Linux's own cap is 4096 since 5.4.
        Key::new(
            "backlog",
            Kind::Count { least: 1, most: 65_535 },
            Default("1024"),
            "Connections that may wait in the kernel; `net.core.somaxconn` caps it.",
        ),
    ],
};

pub(crate) static PROXY_PROTOCOL: Table = Table {
    name: "proxy_protocol",
    form: Form::Inline,
    doc: "The load balancers in front of a listener.",
    keys: &[Key::new(
        "from",
        Kind::Value("networks"),
        Required(r#"["10.0.0.0/8"]"#),
        "The balancers' networks or addresses; everybody else is refused on this listener.",
    )],
};

pub(crate) static HOST: Table = Table {
    name: "host",
    form: Form::Many,
    doc: "A set of server names with one certificate, one client-certificate mode and one trust store.",
    keys: &[
        Key::new(
            "names",
            Kind::Value("host names"),
            Required(r#"["api.example.com"]"#),
            "Exact names, wildcards for one label (`*.example.com`) or IP addresses, without a port; a name belongs to one host only.",
        ),
        Key::new(
            "certificate",
            Kind::Tables(&CERTIFICATE),
            Required(r#"{ chain = "certs/api.pem", key = "certs/api.key" }"#),
            "The server certificate, or several with different types of key.",
        ),
        Key::new(
            "client_certificate",
            Kind::Word(&["require", "optional", "none"]),
            Default(r#""require""#),
            "`require`: no handshake without one. `optional`: asked for, and routes decide. `none`: not asked for.",
        ),
        Key::new(
            "trust",
            Kind::Value("name of a trust store"),
            Conditional(r#""mobile""#),
            "What client certificates must chain to; required unless `client_certificate` is `none`, and then forbidden.",
        ),
        Key::new(
            "allow_in_path",
            Kind::Words(&["semicolon", "encoded-slash", "empty-segment"]),
            Default("[]"),
            "What is tolerated in paths although backends disagree about it: `;`, `%2F`, `//`. Each can be a way around path rules.",
        ),
        Key::new(
            "route",
            Kind::Tables(&ROUTE),
            Required(""),
            "The parts of the host; what none of them has is refused.",
        ),
    ],
};

pub(crate) static CERTIFICATE: Table = Table {
    name: "certificate",
    form: Form::Inline,
    doc: "A certificate and its private key.",
    keys: &[
        Key::new("chain", Kind::Value("file"), Required(r#""certs/api.pem""#), "PEM chain, leaf first."),
        Key::new(
            "key",
            Kind::Value("file"),
            Required(r#""certs/api.key""#),
            "PEM private key (PKCS#8, SEC1 or PKCS#1).",
        ),
    ],
};

pub(crate) static ROUTE: Table = Table {
    name: "host.route",
    form: Form::Many,
    doc: "A part of a host with its own rule.",
    keys: &[
        Key::new(
            "name",
            Kind::Value("name"),
            Optional(r#""login""#),
            "Its name in logs and metrics; without it, made of methods, host and path.",
        ),
        Key::new(
            "path",
            Kind::Value("path, `{ exact = PATH }` or `{ glob = PATTERN }`"),
            Required(r#""/v1""#),
            "A path and all below it (`/v1` has `/v1/x`, not `/v10`), exactly one path, or a pattern in which `*` stays within a segment and `**` does not.",
        ),
        Key::new("methods", Kind::Value("methods"), Default("[]"), "Which methods; none listed means all but CONNECT."),
        Key::new(
            "allow",
            Kind::Value("`\"any-verified\"`, `\"anyone\"` or [`matcher`](#matcher) tables"),
            Conditional(r#""any-verified""#),
            "Who may: any identity that the trust store verified, anybody (also without a certificate), or whom one of the matchers describes. Required: silence lets nobody in.",
        ),
        Key::new(
            "deny",
            Kind::Tables(&MATCHER),
            Default("[]"),
            "Who may not, whatever `allow` says: whom one of these matchers describes.",
        ),
        Key::new(
            "limit",
            Kind::Value("names of limits"),
            DefaultBut { default: "[]", example: r#"["per-device"]"# },
            "The limits that count its requests, in the order they are checked.",
        ),
        Key::new("upstream", Kind::Value("name of an upstream"), Required(r#""api""#), "The backend."),
        Key::new("upgrade", Kind::Words(&["websocket"]), Default("[]"), "What a client may upgrade its connection to."),
        Key::new(
            "body_bytes",
            Kind::Size { least: 0, most: MAX_BODY },
            Optional(r#""1MiB""#),
            "Longest request body; without it, `http.body_bytes`.",
        ),
        Key::new(
            "outcome",
            Kind::Tables(&OUTCOME),
            DefaultBut { default: "[]", example: "[{ statuses = [401, 403, 429] }]" },
            "Which answers of the backend are failures, and count against who got them ([`reputation`](#reputation)). For the requests that try something: give a login route `methods = [\"POST\"]`, or whoever fails could make up for it by looking at the form.",
        ),
        Key::new(
            "pacing",
            Kind::Flag,
            Default("false"),
            "Whether the pace of its requests is looked at: even intervals and repeated sequences count against the certificate.",
        ),
        Key::new(
            "exempt",
            Kind::Flag,
            Default("false"),
            "Whether no rung of the ladder applies here: for the route on which an app meets a challenge.",
        ),
    ],
};

pub(crate) static PATH: Table = Table {
    name: "path",
    form: Form::Inline,
    doc: "",
    keys: &[
        Key::new("exact", Kind::Value("path"), Optional(r#""/x""#), "This path only."),
        Key::new("glob", Kind::Value("pattern"), Optional(r#""/a/*/b""#), "Paths like this one."),
    ],
};

pub(crate) static MATCHER: Table = Table {
    name: "matcher",
    form: Form::Inline,
    doc: "Conditions on one identity and on the software that shows it: all keys must hold, and of a key's values any. Patterns may have `*`, which stays within the part of a name, and `**`, which does not.",
    keys: &[
        Key::new("subject_cn", Kind::Value(PATTERNS), Optional(r#""device-*""#), "Subject commonName."),
        Key::new("subject_o", Kind::Value(PATTERNS), Optional(r#""Example""#), "Subject organizationName."),
        Key::new("subject_ou", Kind::Value(PATTERNS), Optional(r#""Phones""#), "Subject organizationalUnitName."),
        Key::new(
            "subject",
            Kind::Value("names"),
            Optional(r#""CN=device-1,O=Example""#),
            "The whole subject as RFC 4514 writes it, exactly.",
        ),
        Key::new("issuer_cn", Kind::Value(PATTERNS), Optional(r#""Mobile CA G2""#), "Issuer commonName."),
        Key::new("issuer_o", Kind::Value(PATTERNS), Optional(r#""Example""#), "Issuer organizationName."),
        Key::new("issuer_ou", Kind::Value(PATTERNS), Optional(r#""PKI""#), "Issuer organizationalUnitName."),
        Key::new(
            "issuer",
            Kind::Value("names"),
            Optional(r#""CN=Mobile CA G2,O=Example""#),
            "The whole issuer as RFC 4514 writes it, exactly.",
        ),
        Key::new(
            "serial",
            Kind::Value("hexadecimal numbers"),
            Optional(r#""0a:1b:2c""#),
            "Serial number; colons allowed.",
        ),
        Key::new(
            "dns",
            Kind::Value(PATTERNS),
            Optional(r#""*.devices.example.com""#),
            "A dNSName; its parts are labels.",
        ),
        Key::new(
            "uri",
            Kind::Value(PATTERNS),
            Optional(r#""spiffe://example.com/app/*""#),
            "A uniformResourceIdentifier; its parts are what `/` separates.",
        ),
        Key::new(
            "email",
            Kind::Value(PATTERNS),
            Optional(r#""*@example.com""#),
            "An rfc822Name; its parts are what `@` and `.` separate.",
        ),
        Key::new("ip", Kind::Value("networks"), Optional(r#""10.0.0.0/8""#), "An iPAddress, by network."),
        Key::new("fingerprint", Kind::Value("SHA-256 digests"), Optional(DIGEST), "SHA-256 of the certificate."),
        Key::new("spki", Kind::Value("SHA-256 digests"), Optional(DIGEST), "SHA-256 of the public key (SPKI)."),
        Key::new(
            "ja4",
            Kind::Value("JA4s, or with `*` for whole parts"),
            Optional(r#""t13d1516h2_*""#),
            "JA4 of the client's ClientHello, or its stable form ([fingerprints](headers.md#fingerprints)).",
        ),
        Key::new(
            "h2",
            Kind::Value("HTTP/2 fingerprints"),
            Optional(r#""2:0;4:65535|00|0|m,a,s,p""#),
            "Fingerprint of the client's HTTP/2, exactly; in routes only.",
        ),
    ],
};

const PATTERNS: &str = "patterns";
const DIGEST: &str = r#""5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef""#;
/// 1 TiB: more than any upload to a backend behind a gate; far from where arithmetic ends.
pub(super) const MAX_BODY: u64 = 1 << 40;
