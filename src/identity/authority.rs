//! What a CA certificate says, as far as the gate looks at one: anchors, intermediates, and our own.

use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer;

use super::parse::{Bounds, certificate, public_key};
use super::{PublicKey, name, render};
use crate::reject::Reject;

/// A certificate that is not a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityFacts {
    /// Whom it names, RFC 4514.
    pub subject: Box<str>,
    /// Whether it may sign certificates (basicConstraints cA, RFC 5280 §4.2.1.9; a version 1 certificate may).
    pub is_authority: bool,
    /// Type and size of its key.
    pub key: PublicKey,
    /// Start of validity, Unix seconds.
    pub not_before: i64,
    /// End of validity (inclusive), Unix seconds.
    pub not_after: i64,
}

/// Reads a certificate that is an anchor, an intermediate or our own. Nothing is verified.
///
/// # Errors
/// [`Reason::CertMalformed`](crate::reject::Reason::CertMalformed) when it is not one DER
/// certificate, [`Reason::CertNameInvalid`](crate::reject::Reason::CertNameInvalid) for a bad
/// subject, [`Reason::CertKeySize`](crate::reject::Reason::CertKeySize) for an RSA key over 8192 bits.
pub fn authority(der: &[u8]) -> Result<AuthorityFacts, Reject> {
    let certificate = certificate(der)?;
    // How small a key may be is for the caller to say.
    let bounds = Bounds { min_rsa_bits: 0, ..Bounds::default() };
    let constraints = certificate.extensions().iter().find(|e| e.oid == oid::OID_X509_EXT_BASIC_CONSTRAINTS);
    let is_authority = match constraints {
        Some(extension) => {
            x509_parser::extensions::BasicConstraints::from_der(extension.value).is_ok_and(|(_, basic)| basic.ca)
        }
        None => certificate.version.0 == 0,
    };
    Ok(AuthorityFacts {
        subject: name::distinguished_name(certificate.subject.as_raw(), "subject")?.text,
        is_authority,
        key: public_key(&certificate.subject_pki, &bounds)?,
        not_before: certificate.validity.not_before.timestamp(),
        not_after: certificate.validity.not_after.timestamp(),
    })
}

/// A Unix time for people and headers: RFC 3339 in UTC.
#[must_use]
pub fn date(unix: i64) -> String {
    render::rfc3339(unix).unwrap_or_else(|| format!("Unix time {unix}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing;

    #[test]
    fn a_time_reads_as_rfc_3339() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert!(date(i64::MAX).starts_with("Unix time"));
    }

    #[test]
    fn a_client_certificate_is_no_authority() {
        let leaf = testing::minted(|_| ());
        assert!(!authority(&leaf).unwrap().is_authority);
    }
}
