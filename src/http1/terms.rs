//! What a request's head says about how its response may be sent.

use http::header::{CONTENT_LENGTH, EXPECT, UPGRADE};
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use http_body::SizeHint;

use super::head::Head;
use crate::codec::fields::connection_names;
use crate::codec::{Outbound, framing};

/// The terms of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// HEAD: the response has no body, whatever it says.
    pub(super) head: bool,
    /// CONNECT: a success would have no framing.
    pub(super) connect: bool,
    /// HTTP/1.1: may be sent chunks and 1xx.
    pub(super) modern: bool,
    /// The client asks for another protocol.
    pub(super) upgrade: bool,
    /// The client waits for 100 before it sends its body.
    pub(super) expects: bool,
    /// The connection may be used again.
    pub(super) persistent: bool,
}

impl Terms {
    /// The terms of what never became a request.
    pub(super) const REFUSED: Self =
        Self { head: false, connect: false, modern: true, upgrade: false, expects: false, persistent: false };

    /// The terms of a request.
    ///
    /// Behind a CONNECT or an upgrade the client may already speak another protocol. If that is refused, its bytes must
    /// never be taken for a request, so the connection is not used again.
    pub(super) fn of(head: &Head) -> Self {
        let parts = &head.parts;
        let modern = parts.version == Version::HTTP_11;
        let connect = parts.method == Method::CONNECT;
        let upgrade = parts.headers.contains_key(UPGRADE);
        let wished = if modern { true } else { connection_names(&parts.headers, "keep-alive") };
        Self {
            head: parts.method == Method::HEAD,
            connect,
            modern,
            upgrade,
            expects: modern
                && parts
                    .headers
                    .get(EXPECT)
                    .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
            persistent: wished && !connect && !upgrade && !connection_names(&parts.headers, "close"),
        }
    }

    /// How the body of a response is framed (RFC 9112 §6.3).
    pub(super) fn outbound(self, response: &Parts, hint: &SizeHint) -> Outbound {
        let stated = stated_length(&response.headers);
        match response.status {
            StatusCode::NO_CONTENT => Outbound::Absent,
            status if status.is_informational() => Outbound::Absent,
            // An empty body says nothing about how long the one of a GET would be.
            status if self.head || status == StatusCode::NOT_MODIFIED => {
                let described = stated.or(hint.exact().filter(|length| *length > 0));
                described.map_or(Outbound::Absent, Outbound::Described)
            }
            _ => match hint.exact().or(stated) {
                Some(length) => Outbound::Length(length),
                None if self.modern => Outbound::Chunked,
                None => Outbound::UntilClose,
            },
        }
    }
}

fn stated_length(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let (first, second) = (values.next(), values.next());
    first.filter(|_| second.is_none()).and_then(|value| framing::decimal(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::{HeaderValue, Response};

    use super::super::head::Reader;
    use super::super::tests::settings;
    use super::*;

    fn terms(head: &str) -> Terms {
        let head = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        Terms::of(&Reader::default().read(&mut BytesMut::from(head.as_bytes()), &settings()).unwrap().unwrap())
    }

    #[test]
    fn a_connection_persists_as_its_version_and_fields_say() {
        let table = [
            ("GET / HTTP/1.1", true),
            ("GET / HTTP/1.1\nConnection: keep-alive", true),
            ("GET / HTTP/1.1\nConnection: close", false),
            ("GET / HTTP/1.1\nConnection: x, CLOSE ,y", false),
            ("GET / HTTP/1.1\nConnection: x\nConnection: close", false),
            ("GET / HTTP/1.1\nConnection: keep-alive, close", false),
            ("GET / HTTP/1.1\nConnection: closer", true),
            ("GET / HTTP/1.0", false),
            ("GET / HTTP/1.0\nConnection: Keep-Alive", true),
            ("GET / HTTP/1.0\nConnection: keep-alive, close", false),
            ("GET / HTTP/1.1\nUpgrade: h2c", false),
            ("CONNECT h:1 HTTP/1.1", false),
        ];
        for (head, persistent) in table {
            assert_eq!(terms(head).persistent, persistent, "{head}");
        }
    }

    #[test]
    fn an_expectation_counts_in_http_1_1_only() {
        assert!(terms("PUT / HTTP/1.1\nExpect: 100-Continue").expects);
        assert!(!terms("PUT / HTTP/1.0\nExpect: 100-continue").expects);
        assert!(!terms("PUT / HTTP/1.1\nExpect: 100-continued").expects);
    }

    #[test]
    fn a_response_is_framed_by_its_request_status_and_size() {
        let (get, head, old) = (terms("GET / HTTP/1.1"), terms("HEAD / HTTP/1.1"), terms("GET / HTTP/1.0"));
        let table = [
            (get, 200, &[][..], Some(5), Outbound::Length(5)),
            (get, 200, &["7"], Some(5), Outbound::Length(5)),
            (get, 200, &["7"], None, Outbound::Length(7)),
            (get, 200, &["7", "7"], None, Outbound::Chunked),
            (get, 200, &["x"], None, Outbound::Chunked),
            (get, 200, &[], None, Outbound::Chunked),
            (get, 200, &[], Some(0), Outbound::Length(0)),
            (get, 205, &[], Some(0), Outbound::Length(0)),
            (get, 204, &["7"], Some(5), Outbound::Absent),
            (get, 304, &["7"], Some(0), Outbound::Described(7)),
            (get, 304, &[], Some(0), Outbound::Absent),
            (head, 200, &["7"], Some(0), Outbound::Described(7)),
            (head, 200, &[], Some(5), Outbound::Described(5)),
            (head, 200, &[], Some(0), Outbound::Absent),
            (head, 200, &[], None, Outbound::Absent),
            (old, 200, &[], None, Outbound::UntilClose),
            (old, 200, &[], Some(3), Outbound::Length(3)),
        ];
        for (terms, status, lengths, exact, expected) in table {
            let (mut parts, ()) = Response::builder().status(status).body(()).unwrap().into_parts();
            for length in lengths {
                parts.headers.append(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            let hint = exact.map_or_else(SizeHint::new, SizeHint::with_exact);
            assert_eq!(terms.outbound(&parts, &hint), expected, "{status} {lengths:?} {exact:?}");
        }
    }
}
