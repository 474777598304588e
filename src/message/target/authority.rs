//! The host that a request is for.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Uri, Version};

use crate::reject::{Reason, Reject};

/// Who a request is addressed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host as [`normalize_host`] gives it: what hosts are looked up by.
    pub host: Cow<'a, str>,
    /// The port, if the client named one.
    pub port: Option<u16>,
    /// Host and port as the client wrote them: what the upstream is told. Holds letters, digits
    /// and `-_.:[]` only, and never userinfo, so it needs no escaping in any field.
    pub text: &'a str,
}

impl<'a> Authority<'a> {
    /// The authority of a request, whichever way its HTTP version says it.
    ///
    /// HTTP/1.x says it in exactly one `Host` field, HTTP/1.0 included: a gate for many hosts
    /// cannot guess. An absolute-form target and HTTP/2's `:authority` come first (RFC 9112 §3.2.2,
    /// RFC 9113 §8.3.1), and a `Host` field beside them must say the same.
    ///
    /// # Errors
    ///
    /// [`Reason::AuthorityInvalid`] if there is no host, more than one, two that differ, one that
    /// is not a host name or address, userinfo, a port outside 1 to 65535, or a scheme that is not
    /// HTTP's.
    pub fn of(parts: &'a Parts) -> Result<Self, Reject> {
        let target = target_authority(&parts.uri)?;
        let field = host_field(&parts.headers)?;
        match (target, field) {
            (Some(target), Some(field)) if target.agrees(&field, default_port(&parts.uri)) => Ok(target),
            (Some(_), Some(_)) => Err(invalid("the request target and the Host field name different hosts")),
            (Some(_), None) if parts.version < Version::HTTP_2 => Err(invalid("no Host field")),
            (Some(authority), None) | (None, Some(authority)) => Ok(authority),
            (None, None) => Err(invalid("neither a Host field nor :authority")),
        }
    }

    /// Reads `host[:port]`. Empty ports and leading zeros are refused with the rest: nobody sends
    /// them but to be misread.
    pub(in crate::message) fn parse(text: &'a str) -> Result<Self, Reject> {
        let (host, port) = split_port(text)?;
        Ok(Self { host: normalize_host(host)?, port: port.map(parse_port).transpose()?, text })
    }

    /// The text as a field value, for `Host` and `X-Forwarded-Host`.
    ///
    /// # Errors
    ///
    /// [`Reason::AuthorityInvalid`] for a text that no field can carry, which [`Authority::of`]
    /// never makes.
    pub fn to_value(&self) -> Result<HeaderValue, Reject> {
        HeaderValue::from_str(self.text).map_err(|_| invalid("the host does not fit in a field"))
    }

    fn agrees(&self, other: &Self, default_port: u16) -> bool {
        self.host == other.host && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

/// The one spelling of a host name or address: lower case, without the root's dot, IPv6 addresses
/// without brackets and in the form of RFC 5952. Also for TLS server names. Idempotent; allocates
/// only for what has to be rewritten.
///
/// # Errors
///
/// [`Reason::AuthorityInvalid`] for what is no host: empty, an empty label, a label over 63 or a
/// name over 253 bytes (RFC 1035 §2.3.4), or a character other than ASCII letters, digits and `-_.`
pub fn normalize_host(host: &str) -> Result<Cow<'_, str>, Reject> {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').ok_or_else(|| invalid("unbalanced brackets in the host"))?;
        return ipv6(address);
    }
    if host.contains(':') {
        return ipv6(host);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > MAX_NAME {
        return Err(invalid("the host name is longer than 253 bytes"));
    }
    for label in name.split('.') {
        check_label(label)?;
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Ok(Cow::Owned(name.to_ascii_lowercase()))
    } else {
        Ok(Cow::Borrowed(name))
    }
}

fn ipv6(text: &str) -> Result<Cow<'_, str>, Reject> {
    // Zone identifiers (`%eth0`) do not parse, as they should not: they mean nothing to a peer.
    let address: Ipv6Addr = text.parse().map_err(|_| invalid("the host is not an IPv6 address"))?;
    Ok(Cow::Owned(address.to_string()))
}

fn check_label(label: &str) -> Result<(), Reject> {
    match label.len() {
        0 => return Err(invalid("the host is empty or has an empty label")),
        1..=MAX_LABEL => {}
        _ => return Err(invalid("a label of the host is longer than 63 bytes")),
    }
    if label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        Ok(())
    } else {
        Err(invalid("the host has a character that no host name has"))
    }
}

fn target_authority(uri: &Uri) -> Result<Option<Authority<'_>>, Reject> {
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(invalid("the scheme of the request target is neither http nor https"));
    }
    uri.authority().map(|authority| Authority::parse(authority.as_str())).transpose()
}

fn host_field(headers: &HeaderMap) -> Result<Option<Authority<'_>>, Reject> {
    let mut fields = headers.get_all(HOST).iter();
    let Some(first) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(invalid("more than one Host field"));
    }
    let text = first.to_str().map_err(|_| invalid("the Host field is not ASCII"))?;
    Authority::parse(text).map(Some)
}

fn default_port(uri: &Uri) -> u16 {
    if uri.scheme() == Some(&Scheme::HTTP) { HTTP_PORT } else { HTTPS_PORT }
}

/// A colon inside brackets belongs to the address; a bare address has no port, for `::1:80` is one.
fn split_port(text: &str) -> Result<(&str, Option<&str>), Reject> {
    if !text.starts_with('[') {
        return Ok(match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        });
    }
    let end = text.find(']').ok_or_else(|| invalid("unbalanced brackets in the host"))?;
    let (host, rest) = text.split_at_checked(end.saturating_add(1)).unwrap_or((text, ""));
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(invalid("something other than a port follows the address")),
    }
}

fn parse_port(text: &str) -> Result<u16, Reject> {
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| invalid("the port is not a number from 1 to 65535"))
}

fn invalid(detail: &'static str) -> Reject {
    Reject::new(Reason::AuthorityInvalid, detail)
}

/// RFC 1035 §2.3.4: 255 bytes on the wire are 253 in text.
const MAX_NAME: usize = 253;
/// RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;
/// RFC 9110 §4.2.1.
const HTTP_PORT: u16 = 80;
/// RFC 9110 §4.2.2.
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests;
