//! The rows of the comparison: what is done, how much of it at once, and under which conditions.

use crate::proxies::Variant;

/// One kind of work.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    pub title: &'static str,
    pub work: Work,
    /// Threads of load with a connection each.
    pub connections: usize,
    pub streams: usize,
    pub request: &'static str,
    pub variant: Variant,
    pub goal: Goal,
}

impl Row {
    /// The key of the figure that it is about, and its unit. Less is better.
    pub fn figure(&self) -> (&'static str, &'static str) {
        match self.work {
            Work::Idle { .. } => ("kib", "KiB"),
            Work::Paced(_) | Work::Reloads(_) => ("p99", "µs"),
            Work::Start => ("ms", "ms"),
            _ => ("cpu", "CPU-µs"),
        }
    }
}

/// What was set out to be reached.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At most so much, in the unit of the figure.
    Most(f64),
    /// None was set.
    None,
    /// At most so many times the best peer's figure.
    Ratio(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Keep-alive requests over HTTP/1.1.
    Http1,
    /// Requests over HTTP/2, many at a time.
    Http2,
    /// A connection with a full handshake for each request; some clients again and again, or each only once.
    Handshake(Clients),
    /// The same with resumed sessions.
    Resumed,
    /// Connections that rest.
    Idle { http2: bool },
    /// Keep-alive requests, so many per second whatever happens.
    Paced(u32),
    /// The same, with a reload each second.
    Reloads(u32),
    /// From the command to the first answer.
    Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    Known,
    New,
}

const PLAIN: Variant = Variant { tickets: false, crl: None };
const TICKETS: Variant = Variant { tickets: true, crl: None };

const fn crl(entries: u32) -> Variant {
    Variant { tickets: false, crl: Some(entries) }
}

const fn row(name: &'static str, title: &'static str, work: Work, connections: usize) -> Row {
    Row { name, title, work, connections, streams: 0, request: "GET /1k", variant: PLAIN, goal: Goal::None }
}

const KNOWN: Work = Work::Handshake(Clients::Known);
const NEW: Work = Work::Handshake(Clients::New);

/// The goals are those that were set before the gate was made fast; docs/performance.md has them.
pub const ROWS: &[Row] = &[
    Row { goal: Goal::Ratio(0.72), ..row("h1", "HTTP/1.1 request, 1 KiB", Work::Http1, 64) },
    Row {
        streams: 32,
        goal: Goal::Ratio(0.95),
        ..row("h2", "HTTP/2 request, 1 KiB, 16 connections × 32 streams", Work::Http2, 16)
    },
    Row { goal: Goal::Ratio(0.72), ..row("handshake", "Full mTLS handshake + request, clients known", KNOWN, 16) },
    Row { goal: Goal::Ratio(0.92), ..row("handshake-cold", "The same, every client new", NEW, 16) },
    Row {
        variant: TICKETS,
        goal: Goal::Ratio(0.85),
        ..row("resumed", "Resumed handshake + request", Work::Resumed, 16)
    },
    Row { request: "GET /1m", goal: Goal::Ratio(0.95), ..row("download", "1 MiB download", Work::Http1, 4) },
    Row { request: "POST /sink", goal: Goal::Ratio(0.70), ..row("upload", "1 MiB upload", Work::Http1, 4) },
    Row {
        goal: Goal::Most(10.0),
        ..row("idle-h1", "Memory of an idle HTTP/1.1 connection", Work::Idle { http2: false }, 5000)
    },
    Row {
        streams: 1,
        goal: Goal::Most(16.0),
        ..row("idle-h2", "Memory of an idle HTTP/2 connection", Work::Idle { http2: true }, 5000)
    },
    Row { goal: Goal::Ratio(1.0), ..row("latency", "p99 at 5,000 requests/s", Work::Paced(5000), 64) },
    Row { variant: crl(0), ..row("crl-0", "Handshake, list with no entry", KNOWN, 16) },
    Row { variant: crl(100_000), ..row("crl-100k", "Handshake, list with 100,000 entries", KNOWN, 16) },
    Row { variant: crl(1_000_000), ..row("crl-1m", "Handshake, list with 1,000,000 entries", KNOWN, 16) },
    Row { goal: Goal::Most(100.0), ..row("start", "Start to first answer", Work::Start, 1) },
    Row { variant: crl(1_000_000), ..row("start-crl-1m", "Start with 1,000,000 revoked", Work::Start, 1) },
    row("reload", "p99 at 5,000 requests/s, a reload each second", Work::Reloads(5000), 64),
];
