//! Identity headers: rendered once per connection, stamped on every request, never taken from a client.

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

/// The identity of one connection as header values, in the formats that its backends want.
#[derive(Clone, Debug)]
pub struct IdentityHeaders {
    client_cert: Option<HeaderValue>,
    client_cert_chain: Option<HeaderValue>,
    plain: Box<[(HeaderName, HeaderValue)]>,
    xfcc: Option<HeaderValue>,
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
            client_cert: leaf.and_then(|leaf| value(render::byte_sequence(leaf.as_ref()))),
            client_cert_chain: chain.then(|| render::byte_sequences(above)).and_then(value),
            plain: if wanted.plain { plain(identity) } else { Box::default() },
            xfcc: wanted.xfcc.then(|| render::xfcc_element(identity)).and_then(value),
        }
    }

    /// The headers for a connection without a client certificate: `X-Client-Cert-Verified: false`
    /// where the plain format is wanted, and nothing else.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            client_cert: None,
            client_cert_chain: None,
            plain: Box::new([(VERIFIED, HeaderValue::from_static("false"))]),
            xfcc: None,
        }
    }

    /// Puts the headers of these formats into a request, in place of any of the same name. Absent
    /// means unknown, so the request must have been [stripped](super::strip()) before. Formats nothing.
    pub fn stamp(&self, formats: Formats, headers: &mut HeaderMap) {
        let mut insert = |wanted: bool, name: HeaderName, value: Option<&HeaderValue>| {
            if let Some(value) = value.filter(|_| wanted) {
                headers.insert(name, value.clone());
            }
        };
        insert(formats.client_cert, CLIENT_CERT, self.client_cert.as_ref());
        insert(formats.client_cert_chain, CLIENT_CERT_CHAIN, self.client_cert_chain.as_ref());
        insert(formats.xfcc, XFCC, self.xfcc.as_ref());
        for (name, value) in &self.plain {
            insert(formats.plain, name.clone(), Some(value));
        }
    }
}

fn plain(identity: &Identity) -> Box<[(HeaderName, HeaderValue)]> {
    let fields = [
        (SUBJECT, Some(identity.subject.text.to_string())),
        (ISSUER, Some(identity.issuer.text.to_string())),
        (SERIAL, Some(identity.serial.to_string())),
        (FINGERPRINT, Some(identity.fingerprint.to_string())),
        (SAN, render::san_list(&identity.names)),
        (NOT_AFTER, render::rfc3339(identity.not_after)),
        (VERIFIED, Some("true".to_owned())),
    ];
    fields.into_iter().filter_map(|(name, text)| Some((name, value(text?)?))).collect()
}

/// Always `Some` for what [`render`] writes and [`super::parse()`] reads: printable ASCII. Of an
/// identity that somebody else made up, a field that is no header value stays away.
fn value(text: String) -> Option<HeaderValue> {
    HeaderValue::try_from(text).ok().filter(|value| value.to_str().is_ok())
}

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
const ISSUER: HeaderName = HeaderName::from_static("x-client-cert-issuer");
const SERIAL: HeaderName = HeaderName::from_static("x-client-cert-serial");
const FINGERPRINT: HeaderName = HeaderName::from_static("x-client-cert-fingerprint");
const SAN: HeaderName = HeaderName::from_static("x-client-cert-san");
const NOT_AFTER: HeaderName = HeaderName::from_static("x-client-cert-not-after");
const VERIFIED: HeaderName = HeaderName::from_static("x-client-cert-verified");

#[cfg(test)]
mod tests;
