//! Header and trailer fields: from complete lines to a map, strictly.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE,
    EXPECT, FORWARDED, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, MAX_FORWARDS,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Wrong;

/// The fields of `block`: `count` lines, each ended by CRLF, and an empty line. The values share the block's memory.
///
/// Values may hold HTAB, visible ASCII and obs-text (0x80-0xff): RFC 9110 §5.5 lets it pass as opaque bytes, no
/// parser takes such a byte for a delimiter, and names written in UTF-8 are common; so a refusal would cost more than it protects.
///
/// # Errors
/// What is wrong with the block.
pub fn parse(block: &Bytes, count: usize) -> Result<HeaderMap, Wrong> {
    if count <= INLINE {
        return collect(block, &mut [httparse::EMPTY_HEADER; INLINE]);
    }
    collect(block, &mut vec![httparse::EMPTY_HEADER; count])
}

/// Appends a field. Neither names nor values can hold a line end.
pub fn put(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

/// Whether `Connection` names an option.
pub fn connection_names(fields: &HeaderMap, option: &str) -> bool {
    let mut options = fields.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.any(|named| named.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

/// Whether a field may come behind a body. Not, if it says something about the message, its way or its sender that
/// somebody has acted upon before the body ended (RFC 9110 §6.5.1).
pub fn may_trail(name: &HeaderName) -> bool {
    !NEVER_TRAILERS.contains(name) && !NEVER_TRAILERS_CUSTOM.iter().any(|prefix| name.as_str().starts_with(prefix))
}

fn collect<'b>(block: &'b Bytes, slots: &mut [httparse::Header<'b>]) -> Result<HeaderMap, Wrong> {
    let fields = match httparse::parse_headers(block, slots) {
        Ok(httparse::Status::Complete((used, fields))) if used == block.len() => fields,
        Ok(_) => return Err("the fields end before their end"),
        Err(httparse::Error::HeaderName) => return Err("a field name is not a token followed by a colon"),
        Err(httparse::Error::HeaderValue) => return Err("a field value has a control character"),
        Err(_) => return Err("the fields are malformed"),
    };
    // With room for what the gate adds: a map that grows is copied.
    let mut map = HeaderMap::try_with_capacity(fields.len() + ADDED).map_err(|_| "too many fields")?;
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a field name is not a token")?;
        let value = HeaderValue::from_maybe_shared(block.slice_ref(field.value))
            .map_err(|_| "a field value has a control character")?;
        map.try_append(name, value).map_err(|_| "too many fields")?;
    }
    Ok(map)
}

/// Fields that are put into a message on its way.
const ADDED: usize = 4;

/// Fields for which no allocation is made: more than browsers and the clients of machines send.
const INLINE: usize = 48;

const NEVER_TRAILERS: [HeaderName; 27] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    FORWARDED,
    HOST,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    MAX_FORWARDS,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    RANGE,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VIA,
    WWW_AUTHENTICATE,
];

/// Names without a constant in `http`: hop-by-hop by custom, and what proxies say about the client and the request.
const NEVER_TRAILERS_CUSTOM: [&str; 6] =
    ["keep-alive", "proxy-connection", "x-forwarded-", "x-real-ip", "x-request-id", "client-cert"];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(block: &'static [u8]) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
        let count = block.split(|byte| *byte == b'\n').count() - 2;
        let map = parse(&Bytes::from_static(block), count)?;
        Ok(map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect())
    }

    #[test]
    fn fields_keep_their_order_and_lose_their_outer_white_space() {
        let fields = parsed(b"A: 1\r\nb:\t two words \t\r\nC:\r\nD: \xc3\xa9\r\n\r\n").unwrap();
        let expected: [(&str, &[u8]); 4] = [("a", b"1"), ("b", b"two words"), ("c", b""), ("d", b"\xc3\xa9")];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
    }

    #[test]
    fn more_fields_than_fit_inline_are_read_too() {
        let block: String = (0..INLINE * 3).map(|n| format!("x-{n}: {n}\r\n")).chain(["\r\n".to_owned()]).collect();
        assert_eq!(parse(&Bytes::from(block), INLINE * 3).unwrap().len(), INLINE * 3);
    }

    #[test]
    fn a_malformed_line_refuses_them_all() {
        let table: [&'static [u8]; 16] = [
            b"A : 1\r\n\r\n",
            b"A\t: 1\r\n\r\n",
            b" A: 1\r\n\r\n",
            b"A: 1\r\n folded\r\n\r\n",
            b"A: 1\r\n\tfolded\r\n\r\n",
            b": 1\r\n\r\n",
            b"A\r\n\r\n",
            b"A B: 1\r\n\r\n",
            b"A\0: 1\r\n\r\n",
            b"A: \0\r\n\r\n",
            b"A: \x0b1\r\n\r\n",
            b"A: \x7f\r\n\r\n",
            b"A: \x1b[1m\r\n\r\n",
            b"\xc3\xa9: 1\r\n\r\n",
            b"A(b): 1\r\n\r\n",
            b"A: 1\rB: 2\r\n\r\n",
        ];
        for block in table {
            assert!(parsed(block).is_err(), "{block:?}");
        }
    }

    #[test]
    fn a_trailer_cannot_pose_as_a_header_that_was_judged_before() {
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
            "cookie",
            "x-forwarded-for",
            "x-request-id",
            "client-cert-chain",
            "te",
        ] {
            assert!(!may_trail(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["grpc-status", "digest", "server-timing", "x-checksum"] {
            assert!(may_trail(&HeaderName::from_static(name)), "{name}");
        }
    }
}
