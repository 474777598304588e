//! What a CA certificate says, as far as the gate looks at one: anchors, intermediates, and our own.

use x509_parser::asn1_rs::Tag;
use x509_parser::extensions::KeyUsage;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer;

use super::der;
use super::parse::{Bounds, certificate, public_key};
use super::{PublicKey, name, render};
use crate::reject::{Reason, Reject};

/// A certificate that is not a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityFacts {
    /// Whom it names, RFC 4514.
    pub subject: Box<str>,
    /// Whether it may sign certificates (basicConstraints cA, RFC 5280 §4.2.1.9; a version 1 certificate may).
    pub is_authority: bool,
    /// Whether its keyUsage, if it has one, permits signing certificates (RFC 5280 §4.2.1.3).
    pub signs_certificates: bool,
    /// Whether its keyUsage, if it has one, permits signing revocation lists.
    pub signs_crls: bool,
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
/// [`Reason::CertMalformed`] when it is not one DER
/// certificate, [`Reason::CertNameInvalid`] for a bad
/// subject, [`Reason::CertKeySize`] for an RSA key over 8192 bits.
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
    let usage = certificate.extensions().iter().find(|e| e.oid == oid::OID_X509_EXT_KEY_USAGE);
    let usage = usage.map(|e| KeyUsage::from_der(e.value).map(|(_, usage)| usage));
    // A keyUsage that cannot be read permits nothing.
    let permits = |wanted: fn(&KeyUsage) -> bool| usage.as_ref().is_none_or(|usage| usage.as_ref().is_ok_and(wanted));
    Ok(AuthorityFacts {
        signs_certificates: permits(KeyUsage::key_cert_sign),
        signs_crls: permits(KeyUsage::crl_sign),
        subject: name::distinguished_name(certificate.subject.as_raw(), "subject")?.text,
        is_authority,
        key: public_key(&certificate.subject_pki, &bounds)?,
        not_before: certificate.validity.not_before.timestamp(),
        not_after: certificate.validity.not_after.timestamp(),
    })
}

/// A certificate's subject and key, taken apart for whoever verifies signatures with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyParts {
    /// DER Name.
    pub subject: Vec<u8>,
    /// Contents of the key's AlgorithmIdentifier, without its tag and length.
    pub algorithm: Vec<u8>,
    /// The bits of the key.
    pub bits: Vec<u8>,
}

/// Takes a certificate's subject and key apart.
///
/// # Errors
/// [`Reason::CertMalformed`] when it is not one DER certificate.
pub fn key_parts(der: &[u8]) -> Result<KeyParts, Reject> {
    let certificate = certificate(der)?;
    let key = &certificate.subject_pki;
    let malformed = |_| Reject::new(Reason::CertMalformed, "public key malformed");
    let parts = der::sole(key.raw).and_then(|key| key.open(Tag::Sequence)).map_err(malformed)?;
    let algorithm = parts.into_iter().next().ok_or(der::NotDer).and_then(|first| first).map_err(malformed)?;
    Ok(KeyParts {
        subject: certificate.subject.as_raw().to_vec(),
        algorithm: algorithm.contents.to_vec(),
        bits: key.subject_public_key.data.to_vec(),
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
