//! `[connection]`, `[http]`, `[http2]`: one section each in the file, dealt out to the rooms that
//! keep them.

use std::time::Duration;

use super::ConnectionSpec;
use super::problem::Read;
use super::read::Section;
use super::reference::{CONNECTION, HTTP, HTTP2};
use crate::limits::TurnBounds;
use crate::message::pace::PaceSpec;
use crate::{http1, http2};

/// What the three sections say.
pub(super) struct Bounds {
    pub(super) connection: ConnectionSpec,
    pub(super) http1: http1::Settings,
    pub(super) http2: http2::Settings,
    pub(super) body_bytes: u64,
    pub(super) requests_in_flight: u32,
    pub(super) request_wait: Duration,
}

/// The three sections.
pub(super) fn bounds(root: &Section<'_>) -> Read<Bounds> {
    let connection = root.below("connection", &CONNECTION, connection);
    let http = root.below("http", &HTTP, http);
    let http2 = root.below("http2", &HTTP2, http2);
    let ((connection, life), http, http2) = (connection?, http?, http2?);
    Ok(Bounds {
        connection,
        http1: http1::Settings { idle_timeout: life.idle_timeout, max_requests: life.max_requests, ..http.settings },
        http2: http2::Settings {
            header_bytes: http.decoded_header_bytes,
            body_timeout: http.settings.body_timeout,
            write_timeout: http.settings.write_timeout,
            pace: http.settings.pace,
            idle_timeout: life.idle_timeout,
            max_requests: life.max_requests,
            ..http2
        },
        body_bytes: http.body_bytes,
        requests_in_flight: http.requests_in_flight,
        request_wait: http.request_wait,
    })
}

/// The part of `[connection]` that each protocol keeps by itself.
struct Life {
    idle_timeout: Duration,
    max_requests: u64,
}

struct Http {
    settings: http1::Settings,
    decoded_header_bytes: u32,
    body_bytes: u64,
    requests_in_flight: u32,
    request_wait: Duration,
}

fn connection(section: &Section<'_>) -> Read<(ConnectionSpec, Life)> {
    let per_address = section.count("per_address");
    let max = section.count("max");
    let silent = section.count("silent");
    let handshakes_per_address = section.rate("handshakes_per_address");
    let handshakes = section.count("handshakes");
    let waiting = section.count("handshakes_waiting");
    let wait = section.duration("handshake_wait");
    let handshake_timeout = section.duration("handshake_timeout");
    let client_hello_bytes = section.count("client_hello_bytes");
    let max_age = section.duration("max_age");
    let max_requests = section.count("max_requests");
    let idle_timeout = section.duration("idle_timeout");
    let spec = ConnectionSpec {
        per_address: per_address?,
        max: max?,
        silent: silent?,
        handshakes_per_address: handshakes_per_address?,
        handshakes: handshakes?,
        turns: TurnBounds { waiting: waiting?, wait: wait? },
        handshake_timeout: handshake_timeout?,
        client_hello_bytes: client_hello_bytes?,
        max_age: max_age?,
    };
    Ok((spec, Life { idle_timeout: idle_timeout?, max_requests: max_requests? }))
}

fn http(section: &Section<'_>) -> Read<Http> {
    let header_bytes = section.count::<u32>("header_bytes");
    let header_count = section.count("header_count");
    let uri_bytes = section.count("uri_bytes");
    let header_timeout = section.duration("header_timeout");
    let body_timeout = section.duration("body_timeout");
    let write_timeout = section.duration("write_timeout");
    let pace = pace(section);
    let body_bytes = section.count("body_bytes");
    let requests_in_flight = section.count("requests_in_flight");
    let request_wait = section.duration("request_wait");
    let settings = http1::Settings {
        // Lossless: its bounds end far below.
        header_bytes: usize::try_from(header_bytes?).unwrap_or(usize::MAX),
        header_count: header_count?,
        uri_bytes: uri_bytes?,
        header_timeout: header_timeout?,
        body_timeout: body_timeout?,
        write_timeout: write_timeout?,
        pace: pace?,
        // From `[connection]`, which is read beside this section.
        idle_timeout: Duration::ZERO,
        max_requests: 0,
    };
    if settings.uri_bytes > settings.header_bytes {
        return contradiction(section, "uri_bytes", "more than `header_bytes`, which has the request target in it");
    }
    Ok(Http {
        settings,
        decoded_header_bytes: header_bytes?,
        body_bytes: body_bytes?,
        requests_in_flight: requests_in_flight?,
        request_wait: request_wait?,
    })
}

fn pace(section: &Section<'_>) -> Read<PaceSpec> {
    let request = section.count("min_body_rate");
    let response = section.count("min_response_rate");
    let grace = section.duration("rate_grace");
    Ok(PaceSpec { request: request?, response: response?, grace: grace? })
}

fn http2(section: &Section<'_>) -> Read<http2::Settings> {
    let streams = section.count("streams");
    let resets = section.count("resets");
    let continuations = section.count("continuations");
    let settings = section.count("settings");
    let pings = section.count("pings");
    let control_frames = section.count("control_frames");
    let stream_window = section.count::<u32>("stream_window");
    let connection_window = section.count::<u32>("connection_window");
    if connection_window? < stream_window? {
        return contradiction(section, "connection_window", "less than `stream_window`, which could never be used");
    }
    Ok(http2::Settings {
        streams: streams?,
        resets: resets?,
        continuations: continuations?,
        settings: settings?,
        pings: pings?,
        control_frames: control_frames?,
        // These are what `[http]` and `[connection]` say.
        header_bytes: 0,
        body_timeout: Duration::ZERO,
        write_timeout: Duration::ZERO,
        pace: PaceSpec::NONE,
        stream_window: stream_window?,
        connection_window: connection_window?,
        idle_timeout: Duration::ZERO,
        max_requests: 0,
    })
}

/// Records that the value of `key` contradicts another; where it is not written, at the section.
fn contradiction<T>(section: &Section<'_>, key: &str, what: &str) -> Read<T> {
    section.value(key, |node, _| node.wrong(what))
}
