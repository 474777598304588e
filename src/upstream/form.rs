//! The shape of a request for the protocol that is spoken with the server.
//!
//! The length of a message is said once, and it is the body's own word: what a Content-Length or
//! Transfer-Encoding of the client said was judged where it arrived and is dropped here. A body of
//! known size is sent with Content-Length (`http1::request` and hyper set it), one of unknown size chunked, none with
//! neither. So a request can never leave with both, nor with a length that is not its body's.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use http_body::Body;

use super::upload::Upload;
use crate::message::hop;
use crate::reject::{Reason, Reject};

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Gives `request` the form that `protocol` wants, whatever form it had. `authority` is what the
/// client asked for: `Host` or `:authority`.
pub(super) fn shape(
    request: &mut Request<Upload>,
    protocol: Protocol,
    scheme: &Scheme,
    authority: &str,
) -> Result<(), Reject> {
    match protocol {
        Protocol::Http1 => {
            // It is written with the head: see `http1::request`.
            if authority.is_empty() || !authority.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(invalid(authority));
            }
            request.headers_mut().remove(HOST);
            hop::join_cookies(request.headers_mut());
            *request.version_mut() = Version::HTTP_11;
            if request.uri().authority().is_some() || request.uri().path_and_query().is_none() {
                *request.uri_mut() = Uri::from(path(request.uri()));
            }
        }
        Protocol::Http2 => {
            request.headers_mut().remove(HOST);
            *request.version_mut() = Version::HTTP_2;
            let mut parts = http::uri::Parts::default();
            parts.scheme = Some(scheme.clone());
            parts.authority = Some(Authority::try_from(authority).map_err(|_| invalid(authority))?);
            parts.path_and_query = Some(path(request.uri()));
            *request.uri_mut() = Uri::from_parts(parts).map_err(|_| invalid(authority))?;
        }
    }
    frame(request, protocol);
    Ok(())
}

/// Whether a response over HTTP/2 says its length once and clearly; what is wrong otherwise. hyper goes by one of
/// two lengths and passes both on: whoever reads the response next may go by the other (RFC 9112 §6.3).
pub(super) fn check_length(headers: &HeaderMap) -> Result<(), &'static str> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    if lengths.next().is_some() || !length.as_bytes().iter().all(u8::is_ascii_digit) {
        return Err("sent more than one Content-Length");
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err("sent Content-Length with Transfer-Encoding");
    }
    Ok(())
}

/// RFC 9110 §9.2.2: may be done twice.
pub(super) fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(method)
}

fn frame(request: &mut Request<Upload>, protocol: Protocol) {
    let announces_emptiness = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    let (empty, sized) = (request.body().is_end_stream(), request.body().size_hint().exact().is_some());
    let headers: &mut HeaderMap = request.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    if protocol == Protocol::Http2 {
        return;
    }
    if empty && announces_emptiness {
        // RFC 9110 §8.6: without it some servers answer 411.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    } else if !empty && !sized {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

fn path(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        Some(path) if !path.as_str().is_empty() => path.clone(),
        _ => PathAndQuery::from_static("/"),
    }
}

fn invalid(authority: &str) -> Reject {
    Reject::new(Reason::AuthorityInvalid, format!("{authority:?} cannot be sent to a server"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full, StreamBody};

    use http::header::COOKIE;

    use super::*;
    use crate::message::body::RequestBody;

    fn request(method: &str, uri: &str, body: RequestBody) -> Request<Upload> {
        let headers = [("content-length", "7"), ("transfer-encoding", "gzip, chunked"), ("host", "spoof")];
        let builder = headers
            .into_iter()
            .fold(Request::builder().method(method).uri(uri), |builder, (name, value)| builder.header(name, value));
        builder.body(Upload::new(body).0).unwrap()
    }

    fn sized() -> RequestBody {
        RequestBody::Stream(Box::pin(Full::new(Bytes::from_static(b"1234")).map_err(|never| match never {})))
    }

    fn unsized_body() -> RequestBody {
        let frames = futures_util::stream::once(async { Ok(http_body::Frame::data(Bytes::from_static(b"1234"))) });
        RequestBody::Stream(Box::pin(StreamBody::new(frames)))
    }

    fn lengths(request: &Request<Upload>) -> (Option<&str>, Option<&str>) {
        let text = |name| request.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap());
        (text(CONTENT_LENGTH), text(TRANSFER_ENCODING))
    }

    #[test]
    fn the_length_is_the_bodys_own_word_whatever_the_headers_said() {
        type Make = fn() -> RequestBody;
        let cases: [(&str, Make, _); 6] = [
            ("GET", || RequestBody::Empty, (None, None)),
            ("DELETE", || RequestBody::Empty, (None, None)),
            ("POST", || RequestBody::Empty, (Some("0"), None)),
            ("POST", sized, (None, None)), // Content-Length: 4 is set with the head
            ("POST", unsized_body, (None, Some("chunked"))),
            ("GET", unsized_body, (None, Some("chunked"))),
        ];
        for (method, body, expected) in cases {
            let mut request = request(method, "/", body());
            shape(&mut request, Protocol::Http1, &Scheme::HTTP, "a.test").unwrap();
            assert_eq!(lengths(&request), expected, "{method}");
            shape(&mut request, Protocol::Http2, &Scheme::HTTP, "a.test").unwrap();
            assert_eq!(lengths(&request), (None, None), "{method}");
        }
    }

    #[test]
    fn either_form_follows_from_any_form() {
        for (uri, path) in
            [("/a?b=c", "/a?b=c"), ("http://x.test/a?b=c", "/a?b=c"), ("http://x.test", "/"), ("x.test", "/")]
        {
            let mut request = request("GET", uri, RequestBody::Empty);
            for _ in 0..2 {
                shape(&mut request, Protocol::Http1, &Scheme::HTTPS, "a.test:8443").unwrap();
                assert_eq!((request.uri().to_string().as_str(), request.version()), (path, Version::HTTP_11));
                assert_eq!(request.headers().get(HOST), None);
                shape(&mut request, Protocol::Http2, &Scheme::HTTPS, "a.test:8443").unwrap();
                assert_eq!(request.uri().to_string(), format!("https://a.test:8443{path}"));
                assert_eq!((request.headers().get(HOST), request.version()), (None, Version::HTTP_2));
            }
        }
    }

    #[test]
    fn cookies_are_one_field_in_http1() {
        for (cookies, joined) in
            [(&[][..], None), (&["a=1"], Some("a=1")), (&["a=1", "b=2", "c=3"], Some("a=1; b=2; c=3"))]
        {
            let mut request = request("GET", "/", RequestBody::Empty);
            for cookie in cookies {
                request.headers_mut().append(COOKIE, HeaderValue::from_static(cookie));
            }
            shape(&mut request, Protocol::Http2, &Scheme::HTTP, "a.test").unwrap();
            assert_eq!(request.headers().get_all(COOKIE).iter().count(), cookies.len());
            shape(&mut request, Protocol::Http1, &Scheme::HTTP, "a.test").unwrap();
            let values: Vec<_> =
                request.headers().get_all(COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(values, Vec::from_iter(joined));
        }
    }

    #[test]
    fn an_authority_that_would_break_out_of_its_header_is_refused() {
        for authority in ["", "a\r\nx: y", "a\0", "a\nb"] {
            for protocol in [Protocol::Http1, Protocol::Http2] {
                let mut request = request("GET", "/", RequestBody::Empty);
                let refusal = shape(&mut request, protocol, &Scheme::HTTP, authority).unwrap_err();
                assert_eq!(refusal.reason, Reason::AuthorityInvalid);
            }
        }
    }
}
