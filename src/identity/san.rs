//! Subject alternative names. Every name is kept with its type; none of them is "the" name.

use std::net::{IpAddr, Ipv4Addr};

use x509_parser::asn1_rs::Tag;

use super::AlternativeNames;
use super::der::{self, Element, NotDer};
use crate::reject::{Reason, Reject};

/// Reads the value of a subjectAltName extension.
///
/// # Errors
/// [`Reason::CertMalformed`] if it is not a list of names; [`Reason::CertTooManyNames`] for more
/// than `max` of them; [`Reason::CertNameInvalid`] if one is not what its type demands.
pub(super) fn alternative_names(extension: &[u8], max: usize) -> Result<AlternativeNames, Reject> {
    let mut out = AlternativeNames::default();
    let list = der::sole(extension).and_then(|e| e.open(Tag::Sequence)).map_err(malformed)?;
    let mut count = 0;
    for name in list {
        let name = name.map_err(malformed)?;
        count += 1;
        if count > max {
            return Err(Reject::new(Reason::CertTooManyNames, format!("more than {max} alternative names")));
        }
        add(&name, &mut out).ok_or_else(|| {
            Reject::new(Reason::CertNameInvalid, format!("alternative name {count}: {}", kind(&name)))
        })?;
    }
    // RFC 5280 §4.2.1.6: GeneralNames is SIZE (1..MAX).
    if count == 0 { Err(malformed(NotDer)) } else { Ok(out) }
}

/// `None` if the name is not what its type demands (RFC 5280 §4.2.1.6).
fn add(name: &Element<'_>, out: &mut AlternativeNames) -> Option<()> {
    match (name.context()?, name.constructed()) {
        (EMAIL, false) => out.email.push(email(ascii(name.contents)?)?),
        (DNS, false) => out.dns.push(dns(ascii(name.contents)?)?),
        (URI, false) => out.uri.push(uri(ascii(name.contents)?)?),
        (IP, false) => out.ip.push(ip(name.contents)?),
        (REGISTERED_ID, false) | (OTHER_NAME | X400 | DIRECTORY_NAME | EDI_PARTY, true) => out.other += 1,
        _ => return None,
    }
    Some(())
}

/// Printable ASCII without the space: no type of name has more, so NUL and every other control
/// character ends here.
fn ascii(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()))
}

/// A dNSName in lower case without its trailing dot; `*.` may stand in front.
fn dns(text: &str) -> Option<Box<str>> {
    let name = text.strip_suffix('.').unwrap_or(text);
    host(name.strip_prefix("*.").unwrap_or(name))?;
    (name.len() <= MAX_DNS).then(|| name.to_ascii_lowercase().into())
}

/// A host name: labels of letters, digits, hyphens (not at an edge) and the underscore that
/// internal names use. An IPv4 address is not one, it has a type of its own.
fn host(name: &str) -> Option<&str> {
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.len() <= MAX_DNS && name.split('.').all(label) && name.parse::<Ipv4Addr>().is_err()).then_some(name)
}

/// An rfc822Name `Mailbox` (RFC 5321 §4.1.2) in dot-string form; its domain in lower case. Quoted
/// local parts are refused: they may hold an `@` and everything that breaks the reader of a list.
fn email(text: &str) -> Option<Box<str>> {
    let (local, domain) = text.split_once('@')?;
    let atom = |atom: &str| {
        !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    let usable = local.len() <= MAX_LOCAL_PART && local.split('.').all(atom);
    host(domain).filter(|_| usable).map(|domain| format!("{local}@{}", domain.to_ascii_lowercase()).into())
}

/// An absolute URI (RFC 3986 §4.3, a fragment may follow), as it stands.
fn uri(text: &str) -> Option<Box<str>> {
    let (scheme, rest) = text.split_once(':')?;
    let scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    let escaped = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let form = !rest.is_empty() && rest.bytes().all(allowed) && rest.split('%').skip(1).all(escaped);
    (scheme && form && text.len() <= MAX_URI).then(|| text.into())
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// What the name is called, for the operator.
fn kind(name: &Element<'_>) -> &'static str {
    match name.context() {
        Some(OTHER_NAME) => "bad otherName",
        Some(EMAIL) => "bad rfc822Name",
        Some(DNS) => "bad dNSName",
        Some(X400) => "bad x400Address",
        Some(DIRECTORY_NAME) => "bad directoryName",
        Some(EDI_PARTY) => "bad ediPartyName",
        Some(URI) => "bad uniformResourceIdentifier",
        Some(IP) => "bad iPAddress",
        Some(REGISTERED_ID) => "bad registeredID",
        _ => "not a GeneralName",
    }
}

fn malformed(_: NotDer) -> Reject {
    Reject::new(Reason::CertMalformed, "subjectAltName malformed")
}

// The tags of GeneralName, RFC 5280 §4.2.1.6.
const OTHER_NAME: u32 = 0;
const EMAIL: u32 = 1;
const DNS: u32 = 2;
const X400: u32 = 3;
const DIRECTORY_NAME: u32 = 4;
const EDI_PARTY: u32 = 5;
const URI: u32 = 6;
const IP: u32 = 7;
const REGISTERED_ID: u32 = 8;

/// RFC 1035 §2.3.4: 255 octets on the wire are 253 characters of text.
const MAX_DNS: usize = 253;
/// RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;
/// RFC 5321 §4.5.3.1.1.
const MAX_LOCAL_PART: usize = 64;
/// SPIFFE-ID §2.3: what an implementation has to support, and nobody should exceed.
const MAX_URI: usize = 2048;

#[cfg(test)]
mod tests;
