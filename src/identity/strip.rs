//! What a client may never say about its own identity.

use http::HeaderMap;
use http::header::HeaderName;

/// Removes every identity header from a request's headers or trailers, and says how many fields
/// there were: a client that sends any is attacking, or stands behind another proxy of ours.
pub fn strip(headers: &mut HeaderMap) -> usize {
    if !headers.keys().any(|name| is_identity_header(name.as_str())) {
        return 0;
    }
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_identity_header(name.as_str())).cloned().collect();
    let removed = |name: HeaderName| {
        let fields = headers.get_all(&name).iter().count();
        headers.remove(name);
        fields
    };
    names.into_iter().map(removed).sum()
}

/// Whether some backend may take a header of this name for the identity of the client: ours, those
/// of RFC 9440, and those that other proxies write, in every spelling that a backend may fold into
/// the same variable (CGI and its heirs turn whatever is no letter or digit into `_`).
#[must_use]
pub fn is_identity_header(name: &str) -> bool {
    let name = name.as_bytes();
    // Most names of a request end here.
    matches!(name.first(), Some(b'c' | b'C' | b'x' | b'X' | b's' | b'S' | b'l' | b'L'))
        && (EXACT.iter().any(|known| name.len() == known.len() && folds_to(name, known))
            || PREFIX.iter().any(|known| folds_to(name, known)))
}

/// Whether `name` starts with `known` (lower case, `-`), case and punctuation aside.
fn folds_to(name: &[u8], known: &[u8]) -> bool {
    let fold = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    name.len() >= known.len() && name.iter().zip(known).all(|(byte, known)| fold(byte) == *known)
}

/// Names that are identity headers by themselves.
const EXACT: [&[u8]; 6] = [
    b"client-cert",
    b"client-cert-chain",
    b"x-client-cert",
    b"x-client-h2",
    // Azure App Service.
    b"x-arr-clientcert",
    // Linkerd.
    b"l5d-client-id",
];

/// Names that start a family of identity headers.
const PREFIX: [&[u8]; 10] = [
    b"x-client-cert-",
    b"x-client-ja4",
    // Azure Application Gateway, by convention.
    b"x-client-certificate",
    // Envoy, and what others add behind the name (`-Chain`).
    b"x-forwarded-client-cert",
    // Traefik, also with `-Info`.
    b"x-forwarded-tls-client-cert",
    // HAProxy and nginx, by convention.
    b"x-ssl-client-",
    // ingress-nginx, Apache, by convention.
    b"ssl-client-",
    // AWS ALB.
    b"x-amzn-mtls-clientcert",
    // Ours.
    b"x-portcullis-",
    b"x-client-reputation",
];

#[cfg(test)]
mod tests;
