//! What each target promises of arbitrary bytes. The fuzzer (`fuzz_targets/`) and the replay of the
//! corpus (`tests/corpus.rs` of the main package) both come here, so a promise stands in one place.
//!
//! A body panics when its promise is broken, and returns otherwise.

pub mod certificate;
pub mod client_hello;
pub mod config;
pub mod crl;
pub mod deny;
pub mod fingerprint;
pub mod http1;
pub mod http2_meter;
pub mod proxy_protocol;
mod run;
pub mod target;
pub mod upstream_response;

/// A promise: it holds for any bytes, or the call panics.
pub type Check = fn(&[u8]);

/// Every target, by the name of its folder in `corpus/`.
pub const TARGETS: [(&str, Check); 11] = [
    ("certificate", certificate::check),
    ("client_hello", client_hello::check),
    ("config", config::check),
    ("crl", crl::check),
    ("deny", deny::check),
    ("fingerprint", fingerprint::check),
    ("http1", http1::check),
    ("http2_meter", http2_meter::check),
    ("proxy_protocol", proxy_protocol::check),
    ("target", target::check),
    ("upstream_response", upstream_response::check),
];
