//! Portcullis: a reverse proxy that lets in clients with the right certificate, and nothing else.
//!
//! The rooms below are in layers; imports point down only (`tests/layers.rs`). A connection walks
//! from `proxy` through `tls` and `policy` to `upstream`; `docs/walk.md` follows it.

// Words.
pub mod clock;
pub mod memory;
pub mod reject;

// Facts: pure; and HTTP/1.1 as bytes.
pub mod codec;
pub mod drain;
pub mod fingerprint;
pub mod identity;
pub mod message;

// Decisions and records.
pub mod policy;
pub mod revocation;
pub mod telemetry;

// Machinery; siblings are strangers.
pub mod http1;
pub mod http2;
pub mod limits;
pub mod net;
pub mod reputation;
pub mod runtime;
pub mod tls;
pub mod upstream;

// The file an operator writes.
pub mod config;

// What is true now.
pub mod snapshot;

// The order of events.
pub mod admin;
pub mod proxy;

// Assembly, and what stands around the gate.
pub mod app;
pub mod cli;
pub mod tools;
