//! A revocation list of anybody's making, before anybody has looked who signed it.

use portcullis::revocation::Unverified;

/// DER is refused, or is a list that is whole, that a terminal can show, and that is no larger for us than it was.
///
/// # Panics
/// When that is not so.
pub fn check(der: &[u8]) {
    let Ok(list) = Unverified::parse(der) else { return };
    assert!(list.signed.len() + list.algorithm.len() + list.signature.len() <= der.len());
    let crl = list.verified();
    assert!(crl.issuer_text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", crl.issuer_text);
    // An entry is a SEQUENCE of a serial number and a time.
    assert!(crl.serials.len() <= der.len() / 10, "{} entries in {} bytes", crl.serials.len(), der.len());
    // RFC 5280 §4.1.2.2: no certificate has such a number.
    assert!(!crl.revokes(&[1; 21]) && !crl.revokes(&[]));
    assert!(Unverified::parse(der.get(..der.len() - 1).unwrap_or_default()).is_err(), "half a list is a list");
    assert!(Unverified::parse(&[der, &[0]].concat()).is_err(), "something behind a list is a part of it");
}
