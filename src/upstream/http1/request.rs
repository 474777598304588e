//! A request head as bytes.

use bytes::{BufMut as _, BytesMut};
use http::Request;
use http_body::Body as _;

use super::super::stamp::Stamp;
use super::super::upload::Upload;
use crate::codec::{Outbound, fields};

/// Appends the head of a request that has got its form (see `form`); how its body is framed.
pub(super) fn head(out: &mut BytesMut, request: &Request<Upload>, authority: &str, stamp: &dyn Stamp) -> Outbound {
    let (uri, headers) = (request.uri(), request.headers());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    out.reserve(HEAD_FIXED + path.len() + headers.len() * HEAD_FIELD);
    out.put_slice(request.method().as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(path.as_bytes());
    // RFC 9110 §7.2: Host comes first.
    out.put_slice(b" HTTP/1.1\r\nhost: ");
    out.put_slice(authority.as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in headers {
        fields::put(out, name, value);
    }
    stamp.write(out);
    let outbound = outbound(request.body());
    if let Outbound::Length(length) = outbound {
        out.put_slice(b"content-length: ");
        out.put_slice(itoa::Buffer::new().format(length).as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    outbound
}

/// `form` has said in the head that there is no body, or that it comes in chunks; a length is said here.
fn outbound(body: &Upload) -> Outbound {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => Outbound::Absent,
        Some(length) => Outbound::Length(length),
        None => Outbound::Chunked,
    }
}

/// A guess of what the request line takes besides the path, and what the gate says, so that a head allocates once.
const HEAD_FIXED: usize = 768;

/// The same of a field.
const HEAD_FIELD: usize = 64;
