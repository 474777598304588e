//! What hosts and routes name: trust stores, limits, upstreams.

use std::time::Duration;

use super::MATCHER;
use super::{CERTIFICATE, Form, Key, Kind, Presence, Table, Zero};
use Presence::{Conditional, Default, DefaultBut, Optional, Required};

pub(crate) static TRUST: Table = Table {
    name: "trust",
    form: Form::Named("mobile"),
    doc: "Certificate authorities, and what the chains of their clients must look like. The system's roots are never used.",
    keys: &[
        Key::new(
            "anchors",
            Kind::Value("files, or tables `{ file, not_after }`"),
            Required(r#"["certs/mobile-ca.pem"]"#),
            "PEM files of authorities. `{ file = \"old-ca.pem\", not_after = 2027-01-31T12:00:00Z }` trusts them until then: clients of theirs are refused afterwards, and their connections end.",
        ),
        // NIST SP 800-131A; and what a verifier is ready to compute with.
        Key::new(
            "min_rsa_bits",
            Kind::Count { least: 2048, most: 8192 },
            Default("2048"),
            "Smallest RSA key in a chain.",
        ),
        // Leaf, issuing CA, policy CA, and a cross-signed one.
        Key::new(
            "max_chain_length",
            Kind::Count { least: 1, most: 10 },
            Default("4"),
            "Most certificates that a client may send.",
        ),
        // A certificate is 1 to 2 KiB, with ML-DSA signatures about 6 KiB: four of those. The TLS library takes no
        // handshake message of 64 KiB or more.
        Key::new(
            "max_chain_bytes",
            Kind::Size { least: 1 << 10, most: 64 << 10 },
            Default(r#""32KiB""#),
            "Most bytes of certificates that a client may send.",
        ),
        // A client is one thing: a name or two. Name constraints are checked names times constraints.
        Key::new(
            "max_names",
            Kind::Count { least: 1, most: 1000 },
            Default("64"),
            "Most subject alternative names of a client certificate.",
        ),
        Key::new(
            "crl",
            Kind::Value("files or folders"),
            DefaultBut { default: "[]", example: r#"["certs/mobile-ca.crl"]"# },
            "Revocation lists, PEM or DER: full lists, signed by the anchors or by `crl_issuers`. A list is never replaced by an older one, or by none.",
        ),
        Key::new(
            "crl_issuers",
            Kind::Value("files"),
            Default("[]"),
            "PEM certificates of the intermediate authorities whose revocation lists are among `crl`.",
        ),
        Key::new(
            "crl_depth",
            Kind::Word(&["chain", "leaf"]),
            Default(r#""chain""#),
            "Whether every certificate of a chain is looked up, or the client's only.",
        ),
        Key::new(
            "crl_expired",
            Kind::Value("`\"reject\"`, `\"warn\"` or a duration"),
            Default(r#""reject""#),
            "What a list past its nextUpdate is worth: nothing (its issuer's clients are refused), as much as before, or as much as before for so long.",
        ),
        Key::new(
            "crl_missing",
            Kind::Word(&["allow", "reject"]),
            Default(r#""allow""#),
            "What becomes of certificates of an authority that no list covers: by default a list of one authority does not lock out the clients of another.",
        ),
        Key::new(
            "crl_state",
            Kind::Value("file"),
            Optional(r#""mobile.crl-state.toml""#),
            "Where the gate keeps which CRL of each issuer was the newest, so that a list that was rolled back while it was down is refused at the next start. It alone writes this file, and its folder must be writable; that it is not there is a warning, that it is not whole a problem. Without it a restart forgets.",
        ),
        Key::new(
            "deny",
            Kind::Value("file"),
            Optional(r#""denied.toml""#),
            "The deny list: certificates that are refused although they verify ([an example](recipes.md#revocation)).",
        ),
        Key::new(
            "deny_state",
            Kind::Value("file"),
            Optional(r#""denied.state.toml""#),
            "Where the gate keeps what `POST /deny` of the admin listener denies. It alone writes this file, and its folder must be writable; the file need not be there at first. Without it this trust store takes no such request.",
        ),
        Key::new(
            "identity",
            Kind::Word(&["device", "shared"]),
            Default(r#""device""#),
            "How many clients one certificate is meant for: `device`, one; `shared`, any number (a P12 in every copy of an app). What is usual for a shared one is learned ([`reputation.spread`](#reputationspread)).",
        ),
        Key::new(
            "stack",
            Kind::Tables(&STACK),
            Optional(r#"{ mode = "shadow", allow = ["t13d1515h2_*"] }"#),
            "Which client software may show its certificates.",
        ),
    ],
};

pub(crate) static STACK: Table = Table {
    name: "stack",
    form: Form::Inline,
    doc: "Which client software may show the certificates of a trust store, by JA4 ([how to get there](recipes.md#certificates-and-the-software-they-were-issued-for)).",
    keys: &[
        Key::new(
            "mode",
            Kind::Word(&["off", "learn", "shadow", "enforce"]),
            Default(r#""off""#),
            "What becomes of other software: nothing, it is learned, it is counted and logged, or it is refused in its handshake and its live connections are cut.",
        ),
        Key::new(
            "allow",
            Kind::Value("JA4s, or with `*` for whole parts"),
            DefaultBut { default: "[]", example: r#"["t13d1515h2_8daaf6152771_f37e75b10bcc", "t13d1517h2_*"]"# },
            "Which software may: its JA4, or the stable form of it. Required to shadow and to enforce.",
        ),
        Key::new(
            "learned",
            Kind::Value("file"),
            Optional(r#""mobile.learned.toml""#),
            "Where `learn` writes what it has seen, ready to be copied into `allow`: at most every five seconds, and at the end. It alone writes this file, and its folder must be writable.",
        ),
    ],
};

pub(crate) static ANCHOR: Table = Table {
    name: "anchor",
    form: Form::Inline,
    doc: "",
    keys: &[
        Key::new("file", Kind::Value("file"), Required(r#""old-ca.pem""#), "PEM file of authorities."),
        Key::new("not_after", Kind::Value("time"), Optional("2027-01-31T12:00:00Z"), "When they end as anchors."),
    ],
};

pub(crate) static DENY_FILE: Table = Table {
    name: "deny file",
    form: Form::Inline,
    doc: "",
    keys: &[Key::new(
        "deny",
        Kind::Tables(&DENIED),
        Optional("[]"),
        "One certificate, or all that a matcher describes.",
    )],
};

pub(crate) static DENIED: Table = Table {
    name: "deny",
    form: Form::Inline,
    doc: "An entry of a deny list, `[[deny]]` in a file of its own.",
    keys: &[
        Key::new("match", Kind::Tables(&MATCHER), Required(r#"{ serial = "0a0b" }"#), "Whom it describes."),
        Key::new("reason", Kind::Value("text"), Required(r#""stolen""#), "Why, for the log."),
        Key::new("author", Kind::Value("text"), Default(r#""""#), "Who wrote it."),
        Key::new("expires", Kind::Value("time"), Optional("2027-01-31T12:00:00Z"), "When it ends."),
    ],
};

/// The deny list that the gate keeps itself; nobody else writes it, so no document shows it.
pub(crate) static DENY_STATE: Table = Table {
    name: "deny state file",
    form: Form::Inline,
    doc: "",
    keys: &[
        Key::new("entries", Kind::Count { least: 0, most: 100_000 }, Required("0"), "How many there are."),
        Key::new("deny", Kind::Tables(&KEPT), Optional("[]"), "The entries."),
    ],
};

pub(crate) static KEPT: Table = Table {
    name: "deny",
    form: Form::Inline,
    doc: "An entry that the gate keeps.",
    keys: &[
        Key::new("match", Kind::Tables(&MATCHER), Required(r#"{ serial = "0a0b" }"#), "Whom it describes."),
        Key::new("reason", Kind::Value("text"), Required(r#""stolen""#), "Why, for the log."),
        Key::new("author", Kind::Value("text"), Default(r#""""#), "Who wrote it."),
        Key::new("expires", Kind::Value("time"), Optional("2027-01-31T12:00:00Z"), "When it ends."),
        Key::new("id", Kind::Value("text"), Required(r#""0123456789abcdef""#), "What it is called."),
    ],
};

/// The newest revocation lists; nobody else writes this file, so no document shows it.
pub(crate) static CRL_STATE: Table = Table {
    name: "crl state file",
    form: Form::Inline,
    doc: "",
    keys: &[
        Key::new("entries", Kind::Count { least: 0, most: 100_000 }, Required("0"), "How many there are."),
        Key::new("crl", Kind::Tables(&MARK), Optional("[]"), "The entries."),
    ],
};

pub(crate) static MARK: Table = Table {
    name: "crl",
    form: Form::Inline,
    doc: "The newest list of an issuer.",
    keys: &[
        Key::new("issuer", Kind::Value("text"), Required(r#""CN=CA""#), "Who issued it."),
        Key::new("name", Kind::Value("digest"), Required(r#""00""#), "SHA-256 of the issuer's DER Name."),
        Key::new("number", Kind::Value("hexadecimal digits"), Optional(r#""07""#), "Its cRLNumber."),
        Key::new("this_update", Kind::Value("time"), Required("2027-01-31T12:00:00Z"), "When it was issued."),
    ],
};

pub(crate) static LIMIT: Table = Table {
    name: "limit",
    form: Form::Named("per-device"),
    doc: "A rate for each of what is counted apart. Counts survive a reload that does not change the limit.",
    keys: &[
        Key::new(
            "key",
            Kind::Words(&["identity", "address", "prefix", "fingerprint", "host", "route", "all"]),
            Required(r#""identity""#),
            "What is counted apart: requests that agree in all of these share a count. `all`, alone, is one count for everybody; `identity` counts by `prefix` where there is no certificate. `fingerprint` is the client's software ([fingerprints](headers.md#fingerprints)): many clients share one, and a client can change it.",
        ),
        Key::new("rate", Kind::Rate { most: MAX_RATE }, Required(r#""600/m""#), "The sustained rate."),
        Key::new(
            "burst",
            Kind::Count { least: 1, most: 1_000_000 },
            Optional("20"),
            "How many may come at once; without it, the number in `rate`.",
        ),
        // One customer is a /24 of IPv4 at the widest, and a /64 of IPv6 at the narrowest (RFC 6177).
        Key::new("prefix_v4", Kind::Count { least: 8, most: 32 }, Default("24"), "How wide a `prefix` is in IPv4."),
        Key::new("prefix_v6", Kind::Count { least: 16, most: 128 }, Default("64"), "How wide a `prefix` is in IPv6."),
        Key::new(
            "max_keys",
            Kind::Count { least: 1000, most: 10_000_000 },
            Default("100000"),
            "How many counts are kept apart; memory is fixed at 16 bytes each.",
        ),
    ],
};

pub(crate) static UPSTREAM: Table = Table {
    name: "upstream",
    form: Form::Named("api"),
    doc: "A group of servers that requests are forwarded to.",
    keys: &[
        Key::new(
            "servers",
            Kind::Value("URLs without a path"),
            Required(r#"["https://10.0.0.5:9443", "https://10.0.0.6:9443"]"#),
            "`http://` is HTTP/1.1 and `h2c://` HTTP/2 in the clear (port 80), `https://` is TLS (port 443).",
        ),
        Key::new(
            "balance",
            Kind::Word(&["round-robin", "least-in-flight"]),
            Default(r#""round-robin""#),
            "How requests are spread over the servers.",
        ),
        Key::new(
            "tls",
            Kind::Tables(&UPSTREAM_TLS),
            Conditional(r#"{ anchors = ["certs/backend-ca.pem"], server_name = "backend.internal" }"#),
            "TLS towards the servers; required for `https://`, and a problem without.",
        ),
        // The SYN and two retransmissions (1 s, 3 s).
        Key::new(
            "connect_timeout",
            duration(Duration::from_millis(10), Duration::from_mins(1)),
            Default(r#""5s""#),
            "To connect, TLS included.",
        ),
        // What nginx and most clients wait.
        Key::new(
            "response_timeout",
            duration(Duration::from_millis(10), Duration::from_hours(1)),
            Default(r#""60s""#),
            "From the end of the request to the head of the response.",
        ),
        Key::new(
            "idle_timeout",
            duration(Duration::from_millis(100), Duration::from_hours(24)),
            Default(r#""60s""#),
            "Longest silence inside a response body or a tunnel.",
        ),
        // Below the 75 s and more after which servers close by default: who closes first decides who races.
        Key::new(
            "keep_alive",
            duration(Duration::from_secs(1), Duration::from_hours(1)),
            Default(r#""60s""#),
            "How long an unused connection is kept; keep it below the server's own.",
        ),
        Key::new(
            "max_idle",
            Kind::Count { least: 0, most: 10_000 },
            Default("256"),
            "Unused connections kept, per server and thread: more at once than this, and connections are made and closed all the time.",
        ),
        Key::new(
            "eject_after",
            Kind::Count { least: 0, most: 1000 },
            Default("5"),
            "Failures in a row after which a server gets no requests for a while; 0: never.",
        ),
        Key::new(
            "eject_for",
            duration(Duration::from_millis(100), Duration::from_hours(1)),
            Default(r#""10s""#),
            "How long that while is.",
        ),
        Key::new(
            "forward",
            Kind::Words(&["client-cert", "client-cert-chain", "plain", "xfcc", "fingerprint"]),
            Default(r#"["client-cert", "plain"]"#),
            "Headers about the client that the servers get: RFC 9440 `Client-Cert` and `Client-Cert-Chain`, `X-Client-Cert-*`, Envoy's `X-Forwarded-Client-Cert`; `X-Client-Ja4*` and `X-Client-H2`.",
        ),
    ],
};

pub(crate) static UPSTREAM_TLS: Table = Table {
    name: "upstream.tls",
    form: Form::Inline,
    doc: "TLS towards the servers of a group. The system's roots are never used.",
    keys: &[
        Key::new(
            "anchors",
            Kind::Value("files"),
            Required(r#"["certs/backend-ca.pem"]"#),
            "PEM files of authorities for the servers' certificates.",
        ),
        Key::new(
            "server_name",
            Kind::Value("host name or address"),
            Optional(r#""backend.internal""#),
            "The name to ask for and to verify; without it, the host in the server's URL.",
        ),
        Key::new(
            "certificate",
            Kind::Tables(&CERTIFICATE),
            Optional(r#"{ chain = "certs/gate.pem", key = "certs/gate.key" }"#),
            "The gate's own certificate, if the servers ask for one.",
        ),
    ],
};

const fn duration(least: Duration, most: Duration) -> Kind {
    Kind::Duration { least, most, zero: Zero::Refused }
}

/// A million a second is more than one gate serves; GCRA's steps are still a thousand nanoseconds.
pub(super) const MAX_RATE: u32 = 1_000_000;
