//! Identity headers: rendered once per connection, stamped on every request, never taken from a client.

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
}
