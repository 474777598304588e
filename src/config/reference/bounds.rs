//! Bounds and the process itself.

use std::time::Duration;

use super::{Form, Key, Kind, Presence, Table, Zero, named::MAX_RATE, serving::MAX_BODY};
use Presence::{Default, Optional};

pub(crate) static CONNECTION: Table = Table {
    name: "connection",
    form: Form::Single,
    doc: "Bounds on connections, before and beside HTTP.",
    keys: &[
        // Carrier NAT puts thousands of phones behind one address, not all of them connected at once.
        Key::new(
            "per_address",
            Kind::Count { least: 1, most: 1_000_000 },
            Default("1024"),
            "Connections of one address.",
        ),
        // About 40 KiB each (TLS and HTTP buffers): 2 GiB.
        Key::new("max", Kind::Count { least: 1, most: 10_000_000 }, Default("50000"), "Connections in all."),
        // About 1 KiB each: 10 MiB, and a fifth of `max`, so that the silent cannot fill that.
        Key::new(
            "silent",
            Kind::Count { least: 1, most: 10_000_000 },
            Default("10000"),
            "Connections that have sent no whole ClientHello; the one that has waited longest makes room for a new one.",
        ),
        // A crowd behind one NAT that reconnects after an outage is through in seconds; a flood is not.
        Key::new(
            "handshakes_per_address",
            Kind::Rate { most: MAX_RATE },
            Default(r#""100/s""#),
            "TLS handshakes that one address may start.",
        ),
        // A core does about a thousand mutual handshakes a second: a second of work.
        Key::new(
            "handshakes",
            Kind::Count { least: 1, most: 1_000_000 },
            Default("1000"),
            "TLS handshakes under way at once.",
        ),
        // A thread does about 3,000 a second: a tenth of a second of work.
        Key::new(
            "handshakes_waiting",
            Kind::Count { least: 0, most: 1_000_000 },
            Default("256"),
            "Clients that wait for their handshake to begin while a thread has no time for it, on each thread.",
        ),
        // Whoever waits longer is better off trying again, maybe elsewhere.
        Key::new(
            "handshake_wait",
            duration(Duration::from_millis(1), Duration::from_mins(1)),
            Default(r#""1s""#),
            "How long each of them waits.",
        ),
        // Two round trips and a retransmission on a bad mobile network, several times over.
        Key::new(
            "handshake_timeout",
            duration(Duration::from_millis(100), Duration::from_mins(1)),
            Default(r#""10s""#),
            "From accept to the end of the handshake, PROXY header included.",
        ),
        // 1.8 KiB with an ML-KEM share; a TLS record is 16 KiB at most.
        Key::new(
            "client_hello_bytes",
            Kind::Size { least: 4 << 10, most: 64 << 10 },
            Default(r#""16KiB""#),
            "Longest ClientHello.",
        ),
        // A day: certificates and trust are looked at anew at least that often.
        Key::new(
            "max_age",
            duration(Duration::from_secs(1), Duration::from_hours(24 * 30)),
            Default(r#""24h""#),
            "Longest life of a connection.",
        ),
        // Ten times nginx's keepalive_requests: a handshake costs more here, and phones are few requests.
        Key::new(
            "max_requests",
            Kind::Count { least: 1, most: 1_000_000_000 },
            Default("10000"),
            "Most requests on one connection.",
        ),
        // nginx's keepalive_timeout.
        Key::new(
            "idle_timeout",
            duration(Duration::from_secs(1), Duration::from_hours(1)),
            Default(r#""75s""#),
            "How long a connection without a request is kept.",
        ),
    ],
};

pub(crate) static HTTP: Table = Table {
    name: "http",
    form: Form::Single,
    doc: "Bounds on requests, in HTTP/1.1 and HTTP/2 alike.",
    keys: &[
        // nginx takes four buffers of 8 KiB.
        Key::new(
            "header_bytes",
            Kind::Size { least: 8 << 10, most: 1 << 20 },
            Default(r#""32KiB""#),
            "Longest request head; in HTTP/2, as decoded.",
        ),
        // Apache's LimitRequestFields.
        Key::new("header_count", Kind::Count { least: 10, most: 1000 }, Default("100"), "Most header fields."),
        // RFC 9110 §4.1 asks for 8000 at least.
        Key::new(
            "uri_bytes",
            Kind::Size { least: 256, most: 64 << 10 },
            Default(r#""8KiB""#),
            "Longest request target; not more than `header_bytes`.",
        ),
        // A photo of a phone.
        Key::new("body_bytes", Kind::Size { least: 0, most: MAX_BODY }, Default(r#""10MiB""#), "Longest request body."),
        Key::new(
            "header_timeout",
            duration(Duration::from_millis(100), Duration::from_mins(5)),
            Default(r#""10s""#),
            "From the first byte of a request head to its end.",
        ),
        Key::new(
            "body_timeout",
            duration(Duration::from_millis(100), Duration::from_hours(1)),
            Default(r#""30s""#),
            "Longest silence inside a request body.",
        ),
        Key::new(
            "write_timeout",
            duration(Duration::from_millis(100), Duration::from_hours(1)),
            Default(r#""30s""#),
            "Longest time that a client takes nothing of a response that waits for it.",
        ),
        // Kestrel's least rate: two words a second, which GPRS does.
        Key::new(
            "min_body_rate",
            Kind::Size { least: 0, most: 1 << 20 },
            Default(r#""240B""#),
            "Bytes a second that a request body must come with, while it is waited for; 0: any.",
        ),
        Key::new(
            "min_response_rate",
            Kind::Size { least: 0, most: 1 << 20 },
            Default(r#""240B""#),
            "Bytes a second that a response must be read with in HTTP/1.1, while it waits; 0: any. In HTTP/2, `write_timeout` is for every 16 KiB.",
        ),
        // As long as silence is endured: a phone in a lift is no attack.
        Key::new(
            "rate_grace",
            duration(Duration::from_millis(100), Duration::from_hours(1)),
            Default(r#""30s""#),
            "How long a client may be slower than that; faster times earn it back.",
        ),
        // At a latency of 100 ms, a hundred thousand a second.
        Key::new(
            "requests_in_flight",
            Kind::Count { least: 1, most: 10_000_000 },
            Default("10000"),
            "Requests in flight at once.",
        ),
        // A pause that nobody notices, and ten refusals a second of a client that never pauses.
        Key::new(
            "request_wait",
            duration(Duration::ZERO, Duration::from_mins(1)),
            Default(r#""100ms""#),
            "How long a request waits for another one to end before it is refused; as many wait as may be in flight, and 4096 more wait as long for their refusal.",
        ),
    ],
};

pub(crate) static HTTP2: Table = Table {
    name: "http2",
    form: Form::Single,
    doc: "Bounds on HTTP/2. Frames are counted per connection and ten seconds.",
    keys: &[
        // RFC 9113 §6.5.2 asks for 100 at least.
        Key::new("streams", Kind::Count { least: 1, most: 1000 }, Default("100"), "Streams open at once."),
        // A user who scrolls cancels a screen of images; rapid reset (CVE-2023-44487) needs thousands.
        Key::new("resets", Kind::Count { least: 1, most: 100_000 }, Default("100"), "RST_STREAM frames."),
        // A head of 32 KiB is two frames of 16 KiB.
        Key::new(
            "continuations",
            Kind::Count { least: 1, most: 1000 },
            Default("20"),
            "CONTINUATION frames of one request head.",
        ),
        // A client sends one or two in its life.
        Key::new("settings", Kind::Count { least: 1, most: 10_000 }, Default("50"), "SETTINGS frames."),
        // gRPC clients send a few a second.
        Key::new("pings", Kind::Count { least: 1, most: 100_000 }, Default("100"), "PING frames."),
        Key::new(
            "control_frames",
            Kind::Count { least: 10, most: 1_000_000 },
            Default("1000"),
            "Empty DATA, PRIORITY and WINDOW_UPDATE frames beyond what the data sent explains.",
        ),
        // An upload at 20 Mbit/s over 100 ms; times `streams` this is what a connection could hold.
        Key::new(
            "stream_window",
            Kind::Size { least: 16 << 10, most: 16 << 20 },
            Default(r#""256KiB""#),
            "Flow-control window of a stream.",
        ),
        // What a connection can make the gate hold, whatever its number of streams. RFC 9113 §6.9.2: never below 64 KiB.
        Key::new(
            "connection_window",
            Kind::Size { least: 64 << 10, most: 64 << 20 },
            Default(r#""1MiB""#),
            "Flow-control window of a connection; not less than `stream_window`.",
        ),
    ],
};

pub(crate) static FORWARDED: Table = Table {
    name: "forwarded",
    form: Form::Single,
    doc: "Who may say where a request came from.",
    keys: &[
        Key::new(
            "trusted",
            Kind::Value("networks"),
            Default("[]"),
            "Peers whose `Forwarded`, `X-Forwarded-*` and `X-Request-Id` are kept and added to; everybody else's are replaced.",
        ),
        Key::new("rfc7239", Kind::Flag, Default("false"), "Send `Forwarded` (RFC 7239) beside `X-Forwarded-*`."),
    ],
};

pub(crate) static ADMIN: Table = Table {
    name: "admin",
    form: Form::Single,
    doc: "Where `/metrics`, `/live`, `/ready`, `/config/status` and `/deny` are served, in the clear and to whoever can connect. Without this section they are not.",
    keys: &[
        Key::new(
            "address",
            Kind::Value("address and port, or `\"unix:PATH\"`"),
            Default(r#""127.0.0.1:9901""#),
            "Where to listen; a Unix socket is the gate's user's alone.",
        ),
        Key::new(
            "public",
            Kind::Flag,
            Default("false"),
            "Must be `true` for an address that others can reach: what is served there tells about your clients.",
        ),
        Key::new(
            "token_file",
            Kind::Value("file"),
            Optional(r#""admin.token""#),
            "A file with one token of 32 to 512 characters. `Authorization: Bearer TOKEN` is then wanted for every change, and where others can connect, which takes a token, for all but `/live` and `/ready`. A new token counts with the next reload.",
        ),
    ],
};

pub(crate) static LOG: Table = Table {
    name: "log",
    form: Form::Single,
    doc: "The log.",
    keys: &[
        Key::new(
            "format",
            Kind::Word(&["auto", "text", "json"]),
            Default(r#""auto""#),
            "`auto`: text on a terminal, JSON otherwise.",
        ),
        Key::new(
            "level",
            Kind::Value("filter directives"),
            Default(r#""info""#),
            "`error`, `warn`, `info`, `debug`, `trace`, also by module: `info,portcullis::tls=debug`.",
        ),
        Key::new("access", Kind::Flag, Default("true"), "Whether every request gets a line; refusals always do."),
    ],
};

pub(crate) static RUNTIME: Table = Table {
    name: "runtime",
    form: Form::Single,
    doc: "How the gate runs. A change needs a restart.",
    keys: &[
        Key::new(
            "flavor",
            Kind::Word(&["thread-per-core", "work-stealing"]),
            Default(r#""thread-per-core""#),
            "How connections spread over threads: they stay where they were accepted, or move.",
        ),
        // More cores than machines have.
        Key::new(
            "threads",
            Kind::Count { least: 1, most: 1024 },
            Optional("4"),
            "Threads that serve; without it, one per core.",
        ),
    ],
};

pub(crate) static SHUTDOWN: Table = Table {
    name: "shutdown",
    form: Form::Single,
    doc: "What happens on SIGTERM.",
    // What Kubernetes waits before it kills.
    keys: &[Key::new(
        "drain_timeout",
        duration(Duration::from_secs(1), Duration::from_hours(1)),
        Default(r#""30s""#),
        "How long requests in flight may take to end.",
    )],
};

pub(crate) static RESUMPTION: Table = Table {
    name: "resumption",
    form: Form::Single,
    doc: "TLS sessions resumed by tickets. A ticket opens only for the host and the trust that it was issued under, and what it holds is judged as in a full handshake.",
    keys: &[
        Key::new("enabled", Kind::Flag, Default("true"), "Whether sessions are resumed."),
        // RFC 8446 §4.6.1: seven days at most; a day spares a phone most of its handshakes.
        Key::new(
            "max_age",
            duration(Duration::from_mins(1), Duration::from_hours(7 * 24)),
            Default(r#""24h""#),
            "How long after its full handshake a session may be resumed, however often its ticket was renewed.",
        ),
        // RFC 9325 §4.4.2.4 wants keys changed often; three a day, kept until their last ticket has ended.
        Key::new(
            "rotate",
            duration(Duration::from_mins(1), Duration::from_hours(7 * 24)),
            Default(r#""8h""#),
            "How long a key of our own makes tickets.",
        ),
        Key::new(
            "key_file",
            Kind::Value("file"),
            Optional(r#""tickets.keys""#),
            "Keys shared with other gates, instead of our own: a line of 64 hexadecimal digits each, the first of which makes tickets.",
        ),
    ],
};

pub(crate) static RELOAD: Table = Table {
    name: "reload",
    form: Form::Single,
    doc: "The file and the files it names are read again when they change, and on SIGHUP. A file with a problem changes nothing.",
    keys: &[Key::new(
        "interval",
        Kind::Duration { least: Duration::from_millis(100), most: Duration::from_hours(1), zero: Zero::SwitchesOff },
        Default(r#""1s""#),
        "How often files are looked at, and how long they must keep still to be read; `\"0s\"`: only on SIGHUP.",
    )],
};

const fn duration(least: Duration, most: Duration) -> Kind {
    Kind::Duration { least, most, zero: Zero::Refused }
}
