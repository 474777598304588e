//! The whole gate over real sockets, with real handshakes. Tests are named after what they promise.
#![expect(clippy::disallowed_methods, reason = "each test has a runtime of its own")]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::type_complexity,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::as_conversions,
    reason = "a test binary exports nothing, and its names speak"
)]

mod admin;
mod attack;
mod certificates;
mod cli;
mod connections;
mod demo;
mod drain;
mod forwarding;
mod handshake;
mod harness;
mod headers;
mod hosts;
mod http2;
mod limits;
mod logs;
mod programs;
mod reload;
mod routing;
mod runtime;
mod smoke;
mod smuggling;
mod upstreams;
