//! `[reputation]`: the behaviour of a certificate.

use std::time::Duration;

use super::{Form, Key, Kind, Presence, Table, Zero};
use Presence::{Default, Optional, Required};

pub(crate) static REPUTATION: Table = Table {
    name: "reputation",
    form: Form::Single,
    doc: "What is remembered of the behaviour of certificates, addresses and networks, and what becomes of it. Scores rise by what verified clients do, halve with time, and lead up a ladder. Without a ladder scores of 10 are logged and counted, and nobody is refused.",
    keys: &[
        // 250 bytes each as measured (benches/reputation.rs); a gate of a large app.
        Key::new(
            "identities",
            Kind::Count { least: 1_000, most: 50_000_000 },
            Default("1000000"),
            "How many certificates are remembered; fixes the memory, at about 330 bytes each, and 700 at most. A change needs a restart.",
        ),
        Key::new(
            "state",
            Kind::Value("file"),
            Optional(r#""reputation.state.json""#),
            "Where the gate keeps who is refused or dropped by the ladder, so that a restart is no amnesty. It alone writes this file, and its folder must be writable. A change needs a restart.",
        ),
        Key::new(
            "half_life",
            Kind::Duration { least: Duration::from_mins(1), most: Duration::from_hours(30 * 24), zero: Zero::Refused },
            Default(r#""1h""#),
            "In which a score halves.",
        ),
        // Mistyped passwords are 5 to 15 % of logins.
        Key::new(
            "tolerated_failures",
            Kind::Value("share below 1"),
            Default("0.2"),
            "The share of failures among outcomes that is usual of honest clients: with more of them scores rise, with less they fall.",
        ),
        // Each is a task and the head of a request: some KiB.
        Key::new(
            "sleepers",
            Kind::Count { least: 0, most: 100_000 },
            Default("1000"),
            "Requests that `slow` may let wait at once; beyond that it refuses them with 429.",
        ),
        Key::new("spread", Kind::Tables(&SPREAD), Optional(""), "In how many places a certificate may be."),
        Key::new("pacing", Kind::Tables(&PACING), Optional(""), "What is a machine's pace, for routes with `pacing`."),
        Key::new("ladder", Kind::Tables(&RUNG), Optional(""), "What scores lead to, up to 32 rungs."),
    ],
};

pub(crate) static SPREAD: Table = Table {
    name: "reputation.spread",
    form: Form::Single,
    doc: "In how many places one certificate may be. Every network, fingerprint or connection beyond that adds 1 to its score. A certificate of a trust store with `identity = \"shared\"` is compared with what was usual for it.",
    keys: &[
        Key::new(
            "window",
            Kind::Duration { least: Duration::from_mins(1), most: Duration::from_hours(7 * 24), zero: Zero::Refused },
            Default(r#""1h""#),
            "Within this time.",
        ),
        // Home, office and a cell every six minutes in between make 11 in an hour.
        Key::new(
            "networks",
            Kind::Count { least: 1, most: 10_000 },
            Default("12"),
            "Networks (IPv4 /24, IPv6 /48) of a device's certificate; exact up to 16, estimated within 7 % beyond.",
        ),
        // The app, a web view in it, and either's last version.
        Key::new(
            "fingerprints",
            Kind::Count { least: 1, most: 10_000 },
            Default("4"),
            "TLS fingerprints of a device's certificate.",
        ),
        // Six to each of a few hosts, from two networks during a change.
        Key::new(
            "connections",
            Kind::Count { least: 1, most: 65_535 },
            Default("64"),
            "Connections of a device's certificate at once.",
        ),
        Key::new(
            "multiple",
            Kind::Count { least: 1, most: 1_000 },
            Default("4"),
            "How many times what is usual a shared certificate may have.",
        ),
        Key::new(
            "learn",
            Kind::Duration { least: Duration::from_mins(1), most: Duration::from_hours(30 * 24), zero: Zero::Refused },
            Default(r#""24h""#),
            "How long what is usual is learned before a shared certificate is judged.",
        ),
    ],
};

pub(crate) static PACING: Table = Table {
    name: "reputation.pacing",
    form: Form::Single,
    doc: "What is a machine's pace, of certificates that one device has. Honest apps that poll look the same: ask for it only on routes where people act.",
    keys: &[
        Key::new(
            "requests",
            Kind::Count { least: 16, most: 10_000 },
            Default("50"),
            "Requests that are looked at together.",
        ),
        Key::new(
            "least",
            Kind::Duration { least: Duration::from_millis(1), most: Duration::from_mins(10), zero: Zero::Refused },
            Default(r#""200ms""#),
            "Shorter intervals belong to what one action loads, and do not count.",
        ),
        // People have 0.8 to 1.5; a timer that is shaken by a third has 0.2.
        Key::new(
            "regularity",
            Kind::Value("number"),
            Default("0.25"),
            "Most standard deviation of the logarithms of the intervals of a machine; 0: do not look.",
        ),
        Key::new(
            "repetition",
            Kind::Value("number"),
            Default("0.85"),
            "Least share of path sequences (three in a row) that were there before, of a script; above 1: do not look.",
        ),
        Key::new(
            "weight",
            Kind::Value("number"),
            Default("5"),
            "What such a row of requests adds to the score, for either sign.",
        ),
    ],
};

pub(crate) static RUNG: Table = Table {
    name: "reputation.ladder",
    form: Form::Many,
    doc: "A rung of the ladder: from which score on something happens. Of all rungs that a client has got to, the highest counts.",
    keys: &[
        Key::new("score", Kind::Count { least: 1, most: 1_000 }, Required("10"), "From this score on."),
        Key::new(
            "action",
            Kind::Word(&["observe", "tag", "slow", "limit", "challenge", "quarantine", "reject", "drop", "deny"]),
            Required(r#""tag""#),
            "`observe`: log and count. `tag`: tell the backend in `X-Client-Reputation`, as every rung above does. `slow`: let requests wait. `limit`: count them in one more limit. `challenge`: answer 401 or 403 with a code for the app. `quarantine`: another upstream. `reject`: 403. `drop`: close, before the handshake where address, network or fingerprint are judged. `deny`: `reject`, and an entry in the trust store's deny list.",
        ),
        Key::new(
            "for",
            Kind::Duration { least: Duration::from_secs(1), most: Duration::from_hours(365 * 24), zero: Zero::Refused },
            Default(r#""10m""#),
            "For how long at least; then the score decides anew.",
        ),
        Key::new(
            "by",
            Kind::Words(&["address", "fingerprint", "identity", "network"]),
            Optional(r#"["identity"]"#),
            "Whose score leads here; without it, all but `fingerprint`, which many clients share, and for `deny` identities only.",
        ),
        Key::new(
            "delay",
            Kind::Duration { least: Duration::from_millis(10), most: Duration::from_secs(30), zero: Zero::Refused },
            Default(r#""1s""#),
            "How long `slow` lets every request wait.",
        ),
        Key::new(
            "limit",
            Kind::Value("name of a limit"),
            Optional(r#""per-device""#),
            "Which limit counts requests, for `limit`.",
        ),
        Key::new(
            "upstream",
            Kind::Value("name of an upstream"),
            Optional(r#""api""#),
            "Where requests go, for `quarantine`.",
        ),
        Key::new("status", Kind::Count { least: 401, most: 403 }, Default("403"), "401 or 403, for `challenge`."),
        Key::new("reason", Kind::Value("text"), Default(r#""""#), "Why, for the log and the deny list."),
        Key::new("dry_run", Kind::Flag, Default("false"), "Log and count who gets here, and do nothing."),
    ],
};

pub(crate) static OUTCOME: Table = Table {
    name: "outcome",
    form: Form::Inline,
    doc: "A kind of answer that the backend gives to those who fail. All keys must hold, but for `weight`; of several tables the first that fits counts. Other answers below 400 are successes.",
    keys: &[
        Key::new(
            "statuses",
            Kind::Value("statuses"),
            Default("[]"),
            "The status is one of these; none listed means any.",
        ),
        Key::new(
            "header",
            Kind::Tables(&OUTCOME_HEADER),
            Optional(r#"{ name = "x-login-result", value = "fail" }"#),
            "The response has this field with this value.",
        ),
        Key::new(
            "slower_than",
            Kind::Duration { least: Duration::from_millis(1), most: Duration::from_mins(10), zero: Zero::Refused },
            Optional(r#""2s""#),
            "The backend took longer than this.",
        ),
        Key::new(
            "weight",
            Kind::Value("number"),
            Default("1"),
            "What it adds to the scores, up to 1000; below zero, what it takes back: of a challenge that was met.",
        ),
    ],
};

pub(crate) static OUTCOME_HEADER: Table = Table {
    name: "outcome.header",
    form: Form::Inline,
    doc: "A field of a response.",
    keys: &[
        Key::new("name", Kind::Value("field name"), Required(r#""x-login-result""#), "The name of the field."),
        Key::new("value", Kind::Value("text"), Required(r#""fail""#), "The value that it has, in upper or lower case."),
    ],
};
