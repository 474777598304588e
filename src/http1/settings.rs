//! Bounds of HTTP/1.1 with the client.

use std::time::Duration;

use crate::message::pace::PaceSpec;

/// What a client may send, and how slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest request head (request line and fields) in bytes.
    pub header_bytes: usize,
    /// Most header fields.
    pub header_count: usize,
    /// Longest request target in bytes.
    pub uri_bytes: usize,
    /// From the first byte of a head to its end.
    pub header_timeout: Duration,
    /// Longest silence inside a request body.
    pub body_timeout: Duration,
    /// Longest time that the client takes nothing of a response that waits for it.
    pub write_timeout: Duration,
    /// How slowly bodies may pass.
    pub pace: PaceSpec,
    /// Longest silence between two requests.
    pub idle_timeout: Duration,
    /// Most requests on one connection; then `Connection: close`.
    pub max_requests: u64,
}
