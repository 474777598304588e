//! A certificate of anybody's making, to the header fields that a backend is told.

use http::HeaderMap;
use portcullis::identity::{Bounds, Formats, IdentityHeaders, authority, is_identity_header, parse, strip};

/// DER is refused, or becomes fields that hold printable ASCII only and that no client could have sent.
///
/// # Panics
/// When that is not so.
pub fn check(der: &[u8]) {
    // The other reader of certificates, for anchors and intermediates.
    if let Ok(facts) = authority(der) {
        assert!(printable(&facts.subject), "{}", facts.subject);
    }
    let bounds = Bounds::default();
    let Ok(identity) = parse(der, &bounds) else { return };
    assert!(printable(&identity.summary()));
    let names = &identity.names;
    assert!(names.dns.len() + names.uri.len() + names.email.len() + names.ip.len() + names.other <= bounds.max_names);

    let all = Formats { client_cert: true, client_cert_chain: true, plain: true, xfcc: true, fingerprint: true };
    let mut headers = HeaderMap::new();
    IdentityHeaders::verified(&identity, &[der, der], all).stamp(all, &mut headers);
    for name in ["client-cert", "client-cert-chain", "x-forwarded-client-cert", "x-client-cert-subject"] {
        assert!(headers.contains_key(name), "{name} is missing: a backend could take that for nobody");
    }
    for (name, value) in &headers {
        assert!(is_identity_header(name.as_str()), "{name} is not taken from clients");
        assert!(value.to_str().is_ok_and(printable), "{name}: {value:?}");
        // What is rendered is at most three times as long (`\XX`), and names stand in two places.
        assert!(value.len() <= 1024 + 8 * der.len(), "{name} has {} bytes of {}", value.len(), der.len());
    }
    let stamped = headers.len();
    assert_eq!(strip(&mut headers), stamped);
    assert!(headers.is_empty());
}

fn printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
