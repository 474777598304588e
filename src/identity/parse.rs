//! DER to [`Identity`]. A certificate that says anything ambiguous says nothing.

use aws_lc_rs::digest;
use x509_parser::asn1_rs::{Oid, Tag};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::nom::Parser;
use x509_parser::oid_registry as oid;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::der::{self, NotDer};
use super::{AlternativeNames, Digest, Identity, PublicKey, Serial, name, san};
use crate::reject::{Reason, Reject};

/// How much a certificate may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most subject alternative names, of all types together.
    pub max_names: usize,
    /// The smallest RSA modulus, in bits. The largest is 8192.
    pub min_rsa_bits: u32,
}

impl Default for Bounds {
    /// 64 names; RSA from 2048 bits, as NIST SP 800-131A demands.
    fn default() -> Self {
        Self { max_names: 64, min_rsa_bits: 2048 }
    }
}

/// Reads what one certificate says. No signature is checked: until the chain above the
/// certificate has been verified, the result is a claim.
///
/// # Errors
/// [`Reason::CertMalformed`] if `der` is not exactly one certificate, repeats an extension or has
/// a serial number that RFC 5280 does not permit; [`Reason::CertKeySize`] for an RSA key outside
/// `bounds`; [`Reason::CertTooManyNames`]; [`Reason::CertNameInvalid`] if any name in it is not
/// what its type demands. One bad name condemns the certificate.
pub fn parse(der: &[u8], bounds: &Bounds) -> Result<Identity, Reject> {
    let certificate = certificate(der)?;
    let key = &certificate.subject_pki;
    Ok(Identity {
        key: public_key(key, bounds)?,
        serial: serial(certificate.raw_serial())?,
        subject: name::distinguished_name(certificate.subject.as_raw(), "subject")?,
        issuer: name::distinguished_name(certificate.issuer.as_raw(), "issuer")?,
        names: alternative_names(&certificate, bounds)?,
        fingerprint: Digest::of(der),
        spki: Digest::of(key.raw),
        not_before: certificate.validity.not_before.timestamp(),
        not_after: certificate.validity.not_after.timestamp(),
    })
}

impl Digest {
    /// The SHA-256 of `bytes`. Of a certificate's DER it is the fingerprint, also when the
    /// certificate does not parse.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; digest::SHA256_OUTPUT_LEN];
        out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(out)
    }
}

pub(super) fn certificate(der: &[u8]) -> Result<X509Certificate<'_>, Reject> {
    check_frame(der).map_err(|_| malformed("not one DER certificate"))?;
    // Extensions stay unparsed: the one that matters is read strictly in `san`, the others are the
    // chain verifier's business, and no parser should run for a stranger without need.
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    let (_, certificate) = parser.parse(der).map_err(|_| malformed("not an X.509 certificate"))?;
    // RFC 5280 §4.2: no more than one instance of an extension.
    certificate.extensions_map().map_err(|_| malformed("an extension stands twice"))?;
    // x509-parser cuts `raw` short where it stopped understanding; then this is no whole element.
    der::sole(certificate.subject_pki.raw).map_err(|_| malformed("public key malformed"))?;
    Ok(certificate)
}

/// Nothing behind the certificate, behind its signature, or behind its extensions.
fn check_frame(der: &[u8]) -> Result<(), NotDer> {
    let parts = der::sole(der)?.open(Tag::Sequence)?.collect::<Result<Vec<_>, _>>()?;
    let [to_be_signed, _algorithm, _signature] = parts.as_slice() else { return Err(NotDer) };
    let mut ended = false;
    for part in to_be_signed.open(Tag::Sequence)? {
        if ended {
            return Err(NotDer);
        }
        ended = part?.context() == Some(EXTENSIONS);
    }
    Ok(())
}

fn alternative_names(certificate: &X509Certificate<'_>, bounds: &Bounds) -> Result<AlternativeNames, Reject> {
    let extension = certificate.extensions().iter().find(|e| e.oid == oid::OID_X509_EXT_SUBJECT_ALT_NAME);
    extension.map_or_else(|| Ok(AlternativeNames::default()), |e| san::alternative_names(e.value, bounds.max_names))
}

/// RFC 5280 §4.1.2.2: at most 20 octets, not negative. Zero exists in the wild and is harmless.
fn serial(contents: &[u8]) -> Result<Serial, Reject> {
    let octets = match contents {
        [] => return Err(malformed("serial number empty")),
        [0, next, ..] if *next < 0x80 => return Err(malformed("serial number not in its shortest form")),
        [0, rest @ ..] if !rest.is_empty() => rest,
        [first, ..] if *first >= 0x80 => return Err(malformed("serial number negative")),
        octets => octets,
    };
    if octets.len() > MAX_SERIAL_OCTETS {
        return Err(malformed("serial number longer than 20 octets"));
    }
    Ok(Serial(octets.into()))
}

pub(super) fn public_key(key: &SubjectPublicKeyInfo<'_>, bounds: &Bounds) -> Result<PublicKey, Reject> {
    let algorithm = &key.algorithm.algorithm;
    // An RSA key under the RSASSA-PSS identifier is as costly to verify with as any other.
    if *algorithm == oid::OID_PKCS1_RSAENCRYPTION || *algorithm == oid::OID_PKCS1_RSASSAPSS {
        return rsa(&key.subject_public_key.data, bounds);
    }
    Ok(match algorithm {
        a if *a == oid::OID_KEY_TYPE_EC_PUBLIC_KEY => curve(key),
        a if *a == oid::OID_SIG_ED25519 => PublicKey::Ed25519,
        _ => PublicKey::Other,
    })
}

fn rsa(key: &[u8], bounds: &Bounds) -> Result<PublicKey, Reject> {
    der::sole(key).map_err(|_| malformed("RSA key malformed"))?;
    let (_, key) = <RSAPublicKey<'_> as x509_parser::prelude::FromDer<_>>::from_der(key)
        .map_err(|_| malformed("RSA key malformed"))?;
    let bits = modulus_bits(key.modulus).ok_or_else(|| malformed("RSA modulus not positive"))?;
    if bits < bounds.min_rsa_bits || bits > MAX_RSA_BITS {
        let smallest = bounds.min_rsa_bits;
        let detail = format!("RSA key of {bits} bits; accepted are {smallest} to {MAX_RSA_BITS}");
        return Err(Reject::new(Reason::CertKeySize, detail));
    }
    Ok(PublicKey::Rsa(bits))
}

/// The exact size: x509-parser's own `key_size` takes the first octet for a sign octet unseen.
fn modulus_bits(modulus: &[u8]) -> Option<u32> {
    if *modulus.first()? >= 0x80 {
        return None;
    }
    let start = modulus.iter().position(|octet| *octet != 0)?;
    let octets = modulus.get(start..)?;
    let unused = octets.first()?.leading_zeros();
    u32::try_from(octets.len()).ok()?.checked_mul(8)?.checked_sub(unused)
}

fn curve(key: &SubjectPublicKeyInfo<'_>) -> PublicKey {
    let named: Option<Oid<'_>> = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
    match named {
        Some(curve) if curve == oid::OID_EC_P256 => PublicKey::Ec(256),
        Some(curve) if curve == oid::OID_NIST_EC_P384 => PublicKey::Ec(384),
        Some(curve) if curve == oid::OID_NIST_EC_P521 => PublicKey::Ec(521),
        _ => PublicKey::Other,
    }
}

fn malformed(detail: &'static str) -> Reject {
    Reject::new(Reason::CertMalformed, detail)
}

/// RFC 5280 §4.1.2.2.
const MAX_SERIAL_OCTETS: usize = 20;

/// What rustls verifies signatures with; above it a handshake is a way to burn our CPU (CVE-2023-29409).
const MAX_RSA_BITS: u32 = 8192;

/// `extensions [3]`, the last field of a TBSCertificate (RFC 5280 §4.1).
const EXTENSIONS: u32 = 3;

#[cfg(test)]
mod tests;
