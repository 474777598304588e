//! Fields that belong to one connection and end with it (RFC 9110 §7.6.1).
//!
//! Identity and forwarding fields are removed from what the client sent before this, and stamped
//! after it, so no nomination can reach what the gate says about a client.

use http::header::{
    CONNECTION, COOKIE, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, ValueIter,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::reject::{Reason, Reject};

/// What a request expects before its body is sent (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Nothing,
    /// `100-continue`.
    Continue,
}

/// Removes every hop-by-hop field of a request, and those that its `Connection` field nominates.
/// Ask [`wants_trailers`], [`upgrade_requested`] and [`check_expect`] first.
pub fn strip_request(headers: &mut HeaderMap) {
    strip(headers);
    // No request has a use for `Proxy`, but CGI hands it on as HTTP_PROXY (CVE-2016-5385).
    headers.remove(&PROXY);
}

/// Removes every hop-by-hop field of a response, and those that its `Connection` field nominates.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
}

/// Makes one `Cookie` field of many. HTTP/2 clients send cookies in crumbs to compress them better, and whoever takes
/// them to another place must put them together again (RFC 9113 §8.2.3): of several fields, backends read the first,
/// the last or all.
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    // Values and what is put between them are fit for a field; if they were not, no cookie is safer than half of them.
    match HeaderValue::from_bytes(&joined) {
        Ok(value) => drop(headers.insert(COOKIE, value)),
        Err(_) => drop(headers.remove(COOKIE)),
    }
}

/// Whether the client reads trailers (`TE: trailers`).
#[must_use]
pub fn wants_trailers(headers: &HeaderMap) -> bool {
    lists(headers.get_all(TE).iter(), b"trailers")
}

/// The protocol that the client asks to switch to, if it does: the `Upgrade` field counts only
/// where `Connection` lists it (RFC 9110 §7.8). `h2c` is no upgrade: it opens a second connection
/// inside this one that nobody checks, and RFC 9113 §3.1 has withdrawn it.
///
/// # Errors
///
/// [`Reason::RequestMalformed`] unless exactly one protocol is named: of several, we and the
/// upstream could choose differently.
pub fn upgrade_requested(headers: &HeaderMap) -> Result<Option<&str>, Reject> {
    let mut fields = headers.get_all(UPGRADE).iter();
    let Some(first) = fields.next() else { return Ok(None) };
    if !lists(headers.get_all(CONNECTION).iter(), b"upgrade") {
        return Ok(None);
    }
    if fields.next().is_some() {
        return Err(malformed("more than one Upgrade field"));
    }
    let protocol = first.to_str().unwrap_or_default().trim_ascii();
    if protocol.is_empty() || !protocol.bytes().all(is_protocol) {
        return Err(malformed("the Upgrade field does not name one protocol"));
    }
    Ok(if protocol.eq_ignore_ascii_case("h2c") { None } else { Some(protocol) })
}

/// What the request expects.
///
/// # Errors
///
/// [`Reason::ExpectationUnknown`] for anything but a single `100-continue`.
pub fn check_expect(headers: &HeaderMap) -> Result<Expect, Reject> {
    let mut fields = headers.get_all(EXPECT).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(Expect::Nothing),
        (Some(value), None) if value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"100-continue") => {
            Ok(Expect::Continue)
        }
        _ => Err(Reject::new(Reason::ExpectationUnknown, "an expectation other than 100-continue")),
    }
}

/// Checks that an HTTP/2 request has no field that speaks of a connection.
///
/// # Errors
///
/// [`Reason::RequestMalformed`] as RFC 9113 §8.2.2 has it: such a field turns into framing when
/// the request is forwarded as HTTP/1.1.
pub fn check_http2_fields(headers: &HeaderMap) -> Result<(), Reject> {
    if let Some(name) = NOT_IN_HTTP2.iter().find(|name| headers.contains_key(*name)) {
        return Err(Reject::new(Reason::RequestMalformed, format!("the field {name} in an HTTP/2 request")));
    }
    if headers.get_all(TE).iter().any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"trailers")) {
        return Err(malformed("TE other than trailers in an HTTP/2 request"));
    }
    Ok(())
}

fn strip(headers: &mut HeaderMap) {
    // Most messages have none or one: to look at each name once costs less than to search for each of ten.
    let at = |name: &HeaderName| HOP_BY_HOP.iter().position(|hop| hop == name);
    let found = headers.keys().filter_map(at).fold(0_u16, |found, at| found | 1 << at);
    if found == 0 {
        // What is nominated stands beside a `Connection`.
        return;
    }
    for name in nominated(headers) {
        headers.remove(name);
    }
    for (at, name) in HOP_BY_HOP.iter().enumerate() {
        if found & (1 << at) != 0 {
            headers.remove(name);
        }
    }
}

/// The fields that `Connection` nominates for removal. Empty, and so without an allocation, for
/// what honest clients send: `keep-alive`, `close`, `upgrade`.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers.get_all(CONNECTION).iter())
        .filter(|token| !REMOVED_ANYWAY.iter().any(|known| token.eq_ignore_ascii_case(known)))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| headers.contains_key(name) && !is_end_to_end(name.as_str()))
        .collect()
}

/// Fields that a nomination may not remove. RFC 9110 §7.6.1 forbids to nominate what is meant for
/// all recipients, so whoever does it wants a check behind us to miss something:
/// - what says whom and what the request is for, and how its content is to be read;
/// - credentials: `Connection: authorization` makes a request anonymous, `cookie` logs it out;
/// - what forgery checks look at (`origin`, `referer`, `sec-fetch-*`), and in responses what
///   browsers enforce;
/// - who sent it and under which name it is logged: a request must not choose to be unattributed;
/// - preconditions and caching directives, whose loss makes one answer serve for another.
fn is_end_to_end(name: &str) -> bool {
    END_TO_END.contains(&name) || END_TO_END_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn lists(values: ValueIter<'_, HeaderValue>, wanted: &[u8]) -> bool {
    tokens(values).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn tokens(values: ValueIter<'_, HeaderValue>) -> impl Iterator<Item = &[u8]> {
    values.flat_map(|value| value.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

/// RFC 9110 §7.8: a token, or two with a slash between. A comma or a space is in neither.
fn is_protocol(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte)
}

fn malformed(detail: &'static str) -> Reject {
    Reject::new(Reason::RequestMalformed, detail)
}

static PROXY: HeaderName = HeaderName::from_static("proxy");

/// RFC 9110 §7.6.1 and §11.7, with HTTP2-Settings (RFC 7540 §3.2.1) and what proxies of old invented.
static HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
];

/// RFC 9113 §8.2.2.
static NOT_IN_HTTP2: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Connection options that name no field, or one of [`HOP_BY_HOP`].
const REMOVED_ANYWAY: [&[u8]; 5] = [b"keep-alive", b"close", b"upgrade", b"te", b"http2-settings"];

const END_TO_END: [&str; 26] = [
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "etag",
    "expect",
    "forwarded",
    "host",
    "last-modified",
    "location",
    "origin",
    "range",
    "referer",
    "set-cookie",
    "strict-transport-security",
    "traceparent",
    "tracestate",
    "trailer",
    "vary",
    "via",
    "www-authenticate",
    "x-api-key",
    "x-content-type-options",
    "x-frame-options",
    "x-real-ip",
    "x-request-id",
];

const END_TO_END_PREFIXES: [&str; 6] = ["access-control-", "content-", "cross-origin-", "if-", "sec-", "x-forwarded-"];

#[cfg(test)]
mod tests;
