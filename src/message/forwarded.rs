//! Where a request came from, as the upstream is told: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! A client that could say so itself would choose its own address in every log and allow-list
//! behind us. What it says counts only if its address is that of a listed proxy.

use std::net::IpAddr;

use bytes::{BufMut as _, BytesMut};
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::target::Authority;

/// What is known of the peer of one connection, rendered once.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The peer's address: what `X-Forwarded-For` and logs show.
    pub peer: Box<str>,
    /// The same as a field value.
    peer_value: HeaderValue,
    /// The `for` parameter of RFC 7239 §5.2.
    node: Box<str>,
}

/// Whether a peer may say where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It may not: all it says is removed and replaced.
    Replace,
    /// It is a listed proxy: what it says is kept, and its own address is added.
    Append,
}

/// Whether the upstream wants the standard field besides the customary ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rfc7239 {
    /// No `Forwarded` field; an inbound one is removed even from a listed proxy, for without our
    /// element it would contradict `X-Forwarded-For`.
    Omit,
    /// Send `Forwarded`.
    Send,
}

impl Hop {
    /// The hop from `peer` to the gate. Its scheme is always https.
    #[must_use]
    pub fn new(peer: IpAddr) -> Self {
        let peer = peer.to_canonical();
        let text = peer.to_string();
        let node = match peer {
            IpAddr::V4(_) => format!("for={text}"),
            IpAddr::V6(_) => format!("for=\"[{text}]\""),
        };
        // The fallback cannot be reached: addresses print as ASCII.
        let peer_value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unknown"));
        Self { peer: text.into(), peer_value, node: node.into() }
    }

    /// Says in a request where it came from. Whatever others said of that must be gone: see [`strip`].
    pub fn insert(&self, headers: &mut HeaderMap, host: &HeaderValue, rfc7239: Rfc7239) {
        headers.insert(&X_FORWARDED_FOR, self.peer_value.clone());
        headers.insert(&X_FORWARDED_PROTO, HTTPS.clone());
        headers.insert(&X_FORWARDED_HOST, host.clone());
        if let Some(value) = self.forwarded(host, rfc7239) {
            headers.insert(FORWARDED, value);
        }
    }

    /// Writes the same behind the fields of a request that is being written in HTTP/1.1.
    pub fn write(&self, out: &mut BytesMut, host: &HeaderValue, rfc7239: Rfc7239) {
        out.put_slice(b"x-forwarded-for: ");
        out.put_slice(self.peer_value.as_bytes());
        out.put_slice(b"\r\nx-forwarded-proto: https\r\nx-forwarded-host: ");
        out.put_slice(host.as_bytes());
        out.put_slice(b"\r\n");
        if let Some(value) = self.forwarded(host, rfc7239) {
            out.put_slice(b"forwarded: ");
            out.put_slice(value.as_bytes());
            out.put_slice(b"\r\n");
        }
    }

    /// The whole field, where it is wanted.
    fn forwarded(&self, host: &HeaderValue, rfc7239: Rfc7239) -> Option<HeaderValue> {
        if rfc7239 == Rfc7239::Send { HeaderValue::try_from(self.element(host)).ok() } else { None }
    }

    /// Our element of the `Forwarded` list. A host that no quoted string can hold is left out.
    fn element(&self, host: &HeaderValue) -> String {
        let node = &self.node;
        match host.to_str() {
            Ok(host) => format!("{node};host=\"{};proto=https", quoted(host)),
            Err(_) => format!("{node};proto=https"),
        }
    }
}

/// Whether `peer` is one of the `trusted` proxies. An IPv4-mapped peer counts as the IPv4 address
/// it is; networks in mapped notation, and `::/0` for IPv4 peers, match nothing.
#[must_use]
pub fn trust_of(peer: IpAddr, trusted: &[IpNet]) -> Trust {
    let peer = peer.to_canonical();
    if trusted.iter().any(|net| net.contains(&peer)) { Trust::Append } else { Trust::Replace }
}

/// Tells the upstream where the request came from; `host` is the authority as the client wrote it.
///
/// Under [`Trust::Replace`] no forwarding field of the client survives, in any spelling that some
/// backend could fold into one. Under [`Trust::Append`] the odd spellings go, the lists grow by
/// one, and `X-Forwarded-Proto` and `-Host` stay if there is one of each and it is well-formed.
///
/// Call this before identity fields are stamped: `X-Forwarded-Client-Cert` is removed here too.
pub fn apply(headers: &mut HeaderMap, hop: &Hop, host: &HeaderValue, trust: Trust, rfc7239: Rfc7239) {
    remove_inbound(headers, trust);
    match trust {
        Trust::Replace => return hop.insert(headers, host, rfc7239),
        Trust::Append => {
            let chain = joined(headers, &X_FORWARDED_FOR, &hop.peer).unwrap_or_else(|| hop.peer_value.clone());
            headers.insert(&X_FORWARDED_FOR, chain);
            keep_or_set(headers, &X_FORWARDED_PROTO, is_scheme, &HTTPS);
            keep_or_set(headers, &X_FORWARDED_HOST, is_authority, host);
        }
    }
    if rfc7239 == Rfc7239::Send {
        let element = hop.element(host);
        let value = joined(headers, &FORWARDED, &element).or_else(|| HeaderValue::try_from(element).ok());
        if let Some(value) = value {
            headers.insert(FORWARDED, value);
        }
    } else {
        headers.remove(FORWARDED);
    }
}

/// Removes every field that says where a message came from: a client may not say it, and in trailers nobody may.
pub fn strip(headers: &mut HeaderMap) {
    remove_inbound(headers, Trust::Replace);
}

fn remove_inbound(headers: &mut HeaderMap, trust: Trust) {
    // Nothing is allocated for a request that has none of them.
    let unwanted: Vec<HeaderName> = headers
        .keys()
        .filter(|name| match trust {
            Trust::Replace => says_where_from(name.as_str()),
            Trust::Append => is_alias(name.as_str()) && says_where_from(name.as_str()),
        } || (is_alias(name.as_str()) && folds_to(name.as_str(), super::request_id::NAME)))
        .cloned()
        .collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// The values of `name` and then `item`, as one list. `None` if there are none, or if they end
/// inside a quoted string, which would swallow `item`.
fn joined(headers: &HeaderMap, name: &HeaderName, item: &str) -> Option<HeaderValue> {
    let mut list = Vec::new();
    for value in headers.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    if list.is_empty() || ends_in_quotes(&list) {
        return None;
    }
    list.extend_from_slice(item.as_bytes());
    HeaderValue::try_from(list).ok()
}

fn ends_in_quotes(list: &[u8]) -> bool {
    let mut quotes = false;
    let mut escaped = false;
    for byte in list {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quotes => escaped = true,
            b'"' => quotes = !quotes,
            _ => {}
        }
    }
    quotes
}

fn keep_or_set(headers: &mut HeaderMap, name: &HeaderName, is_good: fn(&str) -> bool, value: &HeaderValue) {
    let mut inbound = headers.get_all(name).iter();
    let only = inbound.next().filter(|_| inbound.next().is_none());
    if !only.and_then(|value| value.to_str().ok()).is_some_and(is_good) {
        headers.insert(name, value.clone());
    }
}

fn is_scheme(text: &str) -> bool {
    ["http", "https"].iter().any(|scheme| text.eq_ignore_ascii_case(scheme))
}

fn is_authority(text: &str) -> bool {
    Authority::parse(text).is_ok()
}

/// `text` and the closing quote, for the inside of a quoted string (RFC 9110 §5.6.4).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(1));
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn says_where_from(name: &str) -> bool {
    FIELDS.iter().any(|field| folds_to(name, field))
        || PREFIXES.iter().any(|prefix| name.get(..prefix.len()).is_some_and(|start| folds_to(start, prefix)))
}

/// Whether the name has a spelling of the hyphen that no forwarding field has.
fn is_alias(name: &str) -> bool {
    name.bytes().any(|b| !b.is_ascii_alphanumeric() && b != b'-')
}

/// Whether a backend may take `name` for `field`. CGI and its heirs make one variable of `X-A`,
/// `X_A` and `X.A`, and the oldest of any character that is neither letter nor digit (RFC 3875 §4.1.18).
fn folds_to(name: &str, field: &str) -> bool {
    name.len() == field.len()
        && name.bytes().zip(field.bytes()).all(|(a, b)| a == b || (b == b'-' && !a.is_ascii_alphanumeric()))
}

static HTTPS: HeaderValue = HeaderValue::from_static("https");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whole families: the next member that a framework invents is covered already.
const PREFIXES: [&str; 3] = ["x-forwarded-", "x-original-", "x-rewrite-"];

/// What proxies, CDNs and frameworks write and read.
const FIELDS: [&str; 20] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-host",
    "x-originating-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-url-scheme",
];

#[cfg(test)]
mod tests;
