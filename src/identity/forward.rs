//! Identity headers: rendered once per connection, stamped on every request, never taken from a client.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Identity, render};

/// Which identity headers a backend wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Formats {
    /// `Client-Cert` (RFC 9440).
    pub client_cert: bool,
    /// `Client-Cert-Chain` (RFC 9440).
    pub client_cert_chain: bool,
    /// `X-Client-Cert-Subject`, `-Issuer`, `-Serial`, `-Fingerprint`, `-San`, `-Not-After`, `-Verified`.
    pub plain: bool,
    /// `X-Forwarded-Client-Cert` as Envoy writes it, one element, always replaced.
    pub xfcc: bool,
    /// `X-Client-Ja4`, `X-Client-Ja4-Stable` and `X-Client-H2`, which `fingerprint` stamps.
    pub fingerprint: bool,
}

impl Formats {
    /// Every format that either of the two wants.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            client_cert: self.client_cert || other.client_cert,
            client_cert_chain: self.client_cert_chain || other.client_cert_chain,
            plain: self.plain || other.plain,
            xfcc: self.xfcc || other.xfcc,
            fingerprint: self.fingerprint || other.fingerprint,
        }
    }

    /// Whether any format is wanted.
    #[must_use]
    pub const fn any(self) -> bool {
        self.client_cert || self.client_cert_chain || self.plain || self.xfcc || self.fingerprint
    }
}

/// The identity of one connection as header fields, in the formats that its backends want.
#[derive(Clone, Debug)]
pub struct IdentityHeaders {
    client_cert: Rendered,
    client_cert_chain: Rendered,
    plain: Rendered,
    xfcc: Rendered,
}

/// Some fields, as they are written, and where in that each value is. An idle connection keeps them: they are small.
#[derive(Clone, Debug, Default)]
struct Rendered {
    lines: Bytes,
    values: Box<[(&'static HeaderName, Range<u32>)]>,
}

impl IdentityHeaders {
    /// The headers for an identity whose chain has been verified. `chain_der` starts with the leaf
    /// and leads toward the root. What is not in `wanted` (the union over all routes that the
    /// connection may reach) is not rendered and cannot be stamped later.
    #[must_use]
    pub fn verified(identity: &Identity, chain_der: &[impl AsRef<[u8]>], wanted: Formats) -> Self {
        let (leaf, above) = match chain_der {
            [leaf, above @ ..] => (Some(leaf), above),
            [] => (None, chain_der),
        };
        let leaf = leaf.filter(|_| wanted.client_cert);
        let chain = wanted.client_cert_chain && !above.is_empty();
        Self {
            client_cert: Rendered::one(&CLIENT_CERT, leaf.map(|leaf| render::byte_sequence(leaf.as_ref()))),
            client_cert_chain: Rendered::one(&CLIENT_CERT_CHAIN, chain.then(|| render::byte_sequences(above))),
            plain: if wanted.plain { plain(identity) } else { Rendered::default() },
            xfcc: Rendered::one(&XFCC, wanted.xfcc.then(|| render::xfcc_element(identity))),
        }
    }

    /// The headers for a connection without a client certificate: `X-Client-Cert-Verified: false`
    /// where the plain format is wanted, and nothing else.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            client_cert: Rendered::default(),
            client_cert_chain: Rendered::default(),
            plain: Rendered::one(&VERIFIED, Some("false".to_owned())),
            xfcc: Rendered::default(),
        }
    }

    /// Puts the headers of these formats into a request, in place of any of the same name. Absent
    /// means unknown, so the request must have been [stripped](super::strip()) before. Formats nothing.
    pub fn stamp(&self, formats: Formats, headers: &mut HeaderMap) {
        for (name, value) in self.wanted(formats).flat_map(Rendered::fields) {
            headers.insert(name, value);
        }
    }

    /// Writes the headers of these formats behind the fields of a request that is being written in HTTP/1.1: as
    /// [`Self::stamp`], and cheaper.
    pub fn write(&self, formats: Formats, out: &mut BytesMut) {
        self.wanted(formats).for_each(|rendered| out.put_slice(&rendered.lines));
    }

    fn wanted(&self, formats: Formats) -> impl Iterator<Item = &Rendered> {
        [
            (formats.client_cert, &self.client_cert),
            (formats.client_cert_chain, &self.client_cert_chain),
            (formats.xfcc, &self.xfcc),
            (formats.plain, &self.plain),
        ]
        .into_iter()
        .filter_map(|(wanted, rendered)| wanted.then_some(rendered))
    }
}

impl Rendered {
    fn one(name: &'static HeaderName, text: Option<String>) -> Self {
        Self::new([(name, text)])
    }

    /// What has no text is left out; so is, of an identity that somebody else made up, what is no header value. What
    /// [`render`] writes and [`super::parse()`] reads is printable ASCII always.
    fn new<const N: usize>(fields: [(&'static HeaderName, Option<String>); N]) -> Self {
        let (mut lines, mut values) = (Vec::new(), Vec::with_capacity(N));
        for (name, text) in fields {
            let Some(text) = text.filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~'))) else { continue };
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            let start = lines.len();
            lines.extend_from_slice(text.as_bytes());
            // A certificate is of some kilobytes: see `connection.cert_chain_bytes`.
            let range = u32::try_from(start).ok().zip(u32::try_from(lines.len()).ok());
            values.extend(range.map(|(start, end)| (name, start..end)));
            lines.extend_from_slice(b"\r\n");
        }
        Self { lines: lines.into_boxed_slice().into(), values: values.into_boxed_slice() }
    }

    fn fields(&self) -> impl Iterator<Item = (&'static HeaderName, HeaderValue)> {
        self.values.iter().filter_map(|(name, range)| {
            let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
            Some((*name, HeaderValue::from_maybe_shared(self.lines.slice(range)).ok()?))
        })
    }
}

fn plain(identity: &Identity) -> Rendered {
    Rendered::new([
        (&SUBJECT, Some(identity.subject.text.to_string())),
        (&ISSUER, Some(identity.issuer.text.to_string())),
        (&SERIAL, Some(identity.serial.to_string())),
        (&FINGERPRINT, Some(identity.fingerprint.to_string())),
        (&SAN, render::san_list(&identity.names)),
        (&NOT_AFTER, render::rfc3339(identity.not_after)),
        (&VERIFIED, Some("true".to_owned())),
    ])
}

static CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
static CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
static XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
static SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
static ISSUER: HeaderName = HeaderName::from_static("x-client-cert-issuer");
static SERIAL: HeaderName = HeaderName::from_static("x-client-cert-serial");
static FINGERPRINT: HeaderName = HeaderName::from_static("x-client-cert-fingerprint");
static SAN: HeaderName = HeaderName::from_static("x-client-cert-san");
static NOT_AFTER: HeaderName = HeaderName::from_static("x-client-cert-not-after");
static VERIFIED: HeaderName = HeaderName::from_static("x-client-cert-verified");

#[cfg(test)]
mod tests;
