//! Bounds of HTTP/2 with the client.

use std::time::Duration;

use crate::message::pace::PaceSpec;

/// What a client may send. Counts of frames are per connection and ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Streams that may be open at once.
    pub streams: u32,
    /// RST_STREAM frames.
    pub resets: u32,
    /// CONTINUATION frames of one header block.
    pub continuations: u32,
    /// SETTINGS frames.
    pub settings: u32,
    /// PING frames.
    pub pings: u32,
    /// Empty DATA, PRIORITY and WINDOW_UPDATE frames beyond what the DATA sent explains.
    pub control_frames: u32,
    /// Decoded header list in bytes (RFC 9113 §6.5.2): the HPACK bound.
    pub header_bytes: u32,
    /// Flow-control window of a stream.
    pub stream_window: u32,
    /// Flow-control window of a connection.
    pub connection_window: u32,
    /// Longest silence inside a request body.
    pub body_timeout: Duration,
    /// Longest time that the client takes nothing of a response that waits for it.
    pub write_timeout: Duration,
    /// How slowly request bodies may pass; responses have a rate by `write_timeout` already.
    pub pace: PaceSpec,
    /// Longest time that a connection without a stream is kept.
    pub idle_timeout: Duration,
    /// Most requests on one connection; then GOAWAY.
    pub max_requests: u64,
}
