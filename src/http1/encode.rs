//! Responses as bytes: heads, chunks, trailers. The codec alone says how a message is framed.

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::date;
use super::fields;
use super::outbox::Outbox;
use crate::reject::{Reason, Reject};

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

/// How the body of a response is framed, and how much of it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outbound {
    /// No body and no field that speaks of one.
    Absent,
    /// No body; this length is that of the response to a GET (HEAD, 304).
    Described(u64),
    /// This many bytes to come.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Bytes until the connection closes (HTTP/1.0).
    UntilClose,
}

/// Appends a final or 101 response head.
pub(super) fn head(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    persistence: Persistence,
    body: Outbound,
) {
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
            let _ = write!(out, "content-length: {length}\r\n");
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

impl Outbound {
    /// Whether nothing more may follow the head.
    pub(super) const fn is_bodiless(self) -> bool {
        matches!(self, Self::Absent | Self::Described(_) | Self::Length(0))
    }

    /// Whether the client has the whole body by its length.
    pub(super) const fn is_complete(self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Appends a frame of the body.
    ///
    /// # Errors
    /// The body is longer than was announced. Nothing of the excess is appended.
    pub(super) fn frame(&mut self, out: &mut Outbox, frame: Frame<Bytes>) -> Result<(), Reject> {
        match frame.into_data() {
            Ok(data) => self.data(out, data),
            Err(frame) => {
                if let (Self::Chunked, Ok(trailers)) = (*self, frame.into_trailers()) {
                    end(out, &trailers);
                    *self = Self::Absent;
                }
                Ok(())
            }
        }
    }

    /// Appends the end of the body.
    ///
    /// # Errors
    /// The body is shorter than was announced.
    pub(super) fn end(&mut self, out: &mut Outbox) -> Result<(), Reject> {
        match self {
            Self::Chunked => end(out, &HeaderMap::new()),
            Self::Length(left) if *left > 0 => return Err(broken("the response is shorter than its Content-Length")),
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, out: &mut Outbox, data: Bytes) -> Result<(), Reject> {
        if data.is_empty() {
            // A chunk of no bytes would be the end.
            return Ok(());
        }
        match self {
            Self::Length(left) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left =
                    left.checked_sub(length).ok_or_else(|| broken("the response is longer than its Content-Length"))?;
                out.push(data);
            }
            Self::Chunked => {
                let _ = write!(out.tail(), "{:x}\r\n", data.len());
                out.push(data);
                out.tail().put_slice(b"\r\n");
            }
            Self::UntilClose => out.push(data),
            Self::Absent | Self::Described(_) => return Err(broken("the response goes on behind its end")),
        }
        Ok(())
    }
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
            field(out, name.as_str(), value.as_bytes());
        }
    }
}

fn end(out: &mut Outbox, trailers: &HeaderMap) {
    out.tail().put_slice(b"0\r\n");
    for (name, value) in trailers.iter().filter(|(name, _)| fields::may_trail(name)) {
        field(out.tail(), name.as_str(), value.as_bytes());
    }
    out.tail().put_slice(b"\r\n");
}

fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn broken(detail: &'static str) -> Reject {
    Reject::new(Reason::UpstreamBodyBroken, detail)
}

/// A guess of what the status line and our own fields take, so that a head allocates once.
const HEAD_FIXED: usize = 160;

/// The same of a field.
const HEAD_FIELD: usize = 48;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::super::chunked::{Chunked, Decoded};
    use super::super::tests::settings;
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

    fn outbox() -> Outbox {
        Outbox::new(BytesMut::new(), false)
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

    #[test]
    fn a_body_that_is_not_as_long_as_announced_is_cut() {
        let mut out = outbox();
        let mut body = Outbound::Length(3);
        assert!(body.frame(&mut out, Frame::data("ab".into())).is_ok());
        assert!(body.end(&mut out).is_err());
        assert!(body.frame(&mut out, Frame::data("cd".into())).is_err());
        assert_eq!(&out.tail()[..], b"ab");
    }

    #[test]
    fn an_empty_frame_is_not_the_last_chunk() {
        let mut out = outbox();
        let mut body = Outbound::Chunked;
        body.frame(&mut out, Frame::data(Bytes::new())).unwrap();
        body.frame(&mut out, Frame::data("x".into())).unwrap();
        body.end(&mut out).unwrap();
        assert_eq!(&out.tail()[..], b"1\r\nx\r\n0\r\n\r\n");
    }

    #[test]
    fn trailers_end_a_chunked_body_and_vanish_elsewhere() {
        let trailers = || {
            Frame::trailers(
                [(DATE, HeaderValue::from_static("x")), (CONTENT_LENGTH, HeaderValue::from_static("1"))]
                    .into_iter()
                    .collect(),
            )
        };
        let mut out = outbox();
        let mut body = Outbound::Chunked;
        body.frame(&mut out, trailers()).unwrap();
        assert!(body.frame(&mut out, Frame::data("x".into())).is_err());
        body.end(&mut out).unwrap();
        assert_eq!(&out.tail()[..], b"0\r\ndate: x\r\n\r\n");
        let mut out = outbox();
        Outbound::Length(0).frame(&mut out, trailers()).unwrap();
        assert_eq!(out.len(), 0);
    }

    proptest! {
        #[test]
        fn what_is_encoded_in_chunks_decodes_to_the_same(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..9), cut in 1usize..17) {
            let (mut out, mut body) = (outbox(), Outbound::Chunked);
            for piece in &pieces {
                body.frame(&mut out, Frame::data(piece.clone().into())).unwrap();
            }
            body.end(&mut out).unwrap();
            let (mut decoder, mut buffer, mut read, mut ended) = (Chunked::new(&settings()), BytesMut::new(), Vec::new(), false);
            for part in out.tail().to_vec().chunks(cut) {
                buffer.extend_from_slice(part);
                loop {
                    match decoder.decode(&mut buffer).unwrap() {
                        Decoded::Data(data) => read.extend_from_slice(&data),
                        Decoded::End => { ended = true; break }
                        _ => break,
                    }
                }
            }
            prop_assert!(ended && buffer.is_empty());
            prop_assert_eq!(read, pieces.concat());
        }
    }
}
