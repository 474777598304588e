//! The whole gate over real sockets, with real handshakes. Tests are named after what they promise.
#![expect(clippy::disallowed_methods, reason = "each test has a runtime of its own")]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::type_complexity,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::large_futures,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test binary exports nothing, its names speak, and a test that fails panics"
)]

mod abuse;
mod admin;
mod attack;
mod beyond;
mod certificates;
mod cli;
mod connections;
mod demo;
mod deny;
mod drain;
mod farms;
mod forwarding;
mod handshake;
mod harness;
mod headers;
mod hosts;
mod http2;
mod keys;
mod limits;
mod load;
mod logs;
mod map;
mod prints;
mod programs;
mod rehearse;
mod reload;
mod reputation;
mod resumption;
mod revocation;
mod rotation;
mod routing;
mod runtime;
mod smoke;
mod smuggling;
mod stack;
mod stamps;
mod status;
mod storm;
mod upstreams;
