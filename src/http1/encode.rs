//! Response heads as bytes. The codec alone says how a message is framed.

use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

use super::date;
use crate::codec::Outbound;
use crate::codec::fields::put;

/// What `Connection` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Nothing: HTTP/1.1 stays.
    Implied,
    /// `keep-alive`: for HTTP/1.0.
    Named,
    /// `close`.
    Close,
    /// `upgrade`.
    Upgrade,
}

/// Appends a final or 101 response head.
pub(super) fn head(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    persistence: Persistence,
    body: Outbound,
) {
    // A small body goes out with its head, and is copied behind it: see `Outbox`.
    let body_bytes = match body {
        Outbound::Length(length) => usize::try_from(length).ok().filter(|length| *length < BODY_BESIDE).unwrap_or(0),
        _ => 0,
    };
    out.reserve(HEAD_FIXED + headers.len() * HEAD_FIELD + body_bytes);
    begin(out, status, headers);
    match persistence {
        Persistence::Implied => {}
        Persistence::Named => out.put_slice(b"connection: keep-alive\r\n"),
        Persistence::Close => out.put_slice(b"connection: close\r\n"),
        Persistence::Upgrade => out.put_slice(b"connection: upgrade\r\n"),
    }
    match body {
        Outbound::Absent | Outbound::UntilClose => {}
        Outbound::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Outbound::Length(length) | Outbound::Described(length) => {
            out.put_slice(b"content-length: ");
            out.put_slice(itoa::Buffer::new().format(length).as_bytes());
            out.put_slice(b"\r\n");
        }
    }
    if !headers.contains_key(DATE) {
        out.put_slice(b"date: ");
        date::put(out);
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

/// Appends a 1xx head other than 101.
pub(super) fn informational(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    begin(out, status, headers);
    out.put_slice(b"\r\n");
}

/// The status line and the fields that the handler answers for. `HeaderValue` admits no line ends.
fn begin(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    out.reserve(HEAD_FIXED + headers.len() * HEAD_FIELD);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in headers {
        if name != CONNECTION && name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
            put(out, name, value);
        }
    }
}

/// A guess of what the status line and our own fields take, so that a head allocates once.
const HEAD_FIXED: usize = 160;

/// The body for which room is made with the head's: one that is not passed on as it is.
const BODY_BESIDE: usize = 4096;

/// The same of a field.
const HEAD_FIELD: usize = 48;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn encoded(
        status: u16,
        fields: &[(&'static str, &'static str)],
        persistence: Persistence,
        body: Outbound,
    ) -> String {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .chain([(DATE, HeaderValue::from_static("now"))])
            .collect();
        let mut out = BytesMut::new();
        head(&mut out, StatusCode::from_u16(status).unwrap(), &headers, persistence, body);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn only_the_codec_says_how_a_response_is_framed() {
        let lies = [("content-length", "7"), ("transfer-encoding", "gzip"), ("connection", "x"), ("a", "b")];
        let table = [
            (Persistence::Implied, Outbound::Length(5), "content-length: 5\r\n"),
            (Persistence::Close, Outbound::Chunked, "connection: close\r\ntransfer-encoding: chunked\r\n"),
            (Persistence::Named, Outbound::Described(9), "connection: keep-alive\r\ncontent-length: 9\r\n"),
            (Persistence::Upgrade, Outbound::Absent, "connection: upgrade\r\n"),
            (Persistence::Close, Outbound::UntilClose, "connection: close\r\n"),
        ];
        for (persistence, body, own) in table {
            let expected = format!("HTTP/1.1 200 OK\r\na: b\r\ndate: now\r\n{own}\r\n");
            assert_eq!(encoded(200, &lies, persistence, body), expected);
        }
    }

    #[test]
    fn a_status_without_a_name_keeps_its_space() {
        assert!(encoded(299, &[], Persistence::Implied, Outbound::Absent).starts_with("HTTP/1.1 299 \r\n"));
    }

    #[test]
    fn a_missing_date_is_added() {
        let mut out = BytesMut::new();
        head(&mut out, StatusCode::OK, &HeaderMap::new(), Persistence::Implied, Outbound::Absent);
        assert!(String::from_utf8(out.to_vec()).unwrap().contains("\r\ndate: "));
    }
}
