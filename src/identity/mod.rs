//! What a verified certificate says, parsed once per connection, and how it is told to a backend.

mod authority;
pub(crate) mod der;
mod forward;
mod name;
mod parse;
mod render;
mod san;
mod strip;
#[cfg(test)]
mod testing;

use std::fmt;
use std::net::IpAddr;

pub use self::authority::{AuthorityFacts, KeyParts, authority, date, key_parts};
pub use self::forward::{Formats, IdentityHeaders};
pub(crate) use self::name::distinguished_name;
pub use self::parse::{Bounds, parse};
pub use self::strip::{is_identity_header, strip};

/// A SHA-256 digest; prints and parses as 64 hexadecimal digits (colons allowed when parsing).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// A certificate's serial number: the content octets of the DER INTEGER, without a leading zero octet.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Serial(pub Box<[u8]>);

/// A distinguished name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinguishedName {
    /// RFC 4514 string, printable ASCII only: everything else is escaped as `\XX`.
    pub text: Box<str>,
    /// Every commonName, in the order of the certificate, unescaped.
    pub common_names: Vec<Box<str>>,
    /// Every organizationName.
    pub organizations: Vec<Box<str>>,
    /// Every organizationalUnitName.
    pub organizational_units: Vec<Box<str>>,
}

/// The subject alternative names, by type. A name that does not parse rejects the certificate;
/// names of other types (otherName, directoryName, ...) are counted only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// dNSName, lower case, no trailing dot.
    pub dns: Vec<Box<str>>,
    /// uniformResourceIdentifier, as it stands (ASCII, absolute).
    pub uri: Vec<Box<str>>,
    /// rfc822Name; the domain part in lower case.
    pub email: Vec<Box<str>>,
    /// iPAddress.
    pub ip: Vec<IpAddr>,
    /// How many names of other types there are.
    pub other: usize,
}

/// Type and size of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Elliptic curve, by its field size in bits (256, 384, 521).
    Ec(u32),
    /// Ed25519.
    Ed25519,
    /// Any other algorithm.
    Other,
    /// RSA, by its modulus size in bits.
    Rsa(u32),
}

/// The identity that a client certificate states. It is only an identity once the chain above it
/// has been verified; [`parse()`] alone proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whom the certificate names.
    pub subject: DistinguishedName,
    /// Who signed it.
    pub issuer: DistinguishedName,
    /// The issuer's number for it.
    pub serial: Serial,
    /// Its other names.
    pub names: AlternativeNames,
    /// SHA-256 of the DER certificate.
    pub fingerprint: Digest,
    /// SHA-256 of the DER SubjectPublicKeyInfo.
    pub spki: Digest,
    /// Start of validity, Unix seconds.
    pub not_before: i64,
    /// End of validity (inclusive, RFC 5280 §4.1.2.5), Unix seconds.
    pub not_after: i64,
    /// Type and size of its key.
    pub key: PublicKey,
}

impl Identity {
    /// Whether the certificate is within its validity at this time (Unix seconds, both ends inclusive).
    #[must_use]
    pub fn valid_at(&self, unix: i64) -> bool {
        (self.not_before..=self.not_after).contains(&unix)
    }

    /// One line of printable ASCII for operators: subject, serial number, issuer. The fingerprint
    /// identifies, this only reminds: long names are cut.
    #[must_use]
    pub fn summary(&self) -> String {
        let (subject, issuer) = (shortened(&self.subject.text), shortened(&self.issuer.text));
        format!("subject \"{subject}\" serial {} issuer \"{issuer}\"", self.serial)
    }
}

/// The start of a distinguished name; with its `"` escaped it stays inside the quotes of a log line.
fn shortened(text: &str) -> String {
    /// Characters; more than any name that a person gave.
    const ENOUGH: usize = 160;
    match text.char_indices().nth(ENOUGH).and_then(|(end, _)| text.get(..end)) {
        Some(start) => format!("{start}..."),
        None => text.to_owned(),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not a SHA-256 digest: 64 hexadecimal digits, with or without colons";
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
        let mut out = [0; 32];
        // Digits only: Rust lets a number have a plus.
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(WRONG);
        }
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| WRONG)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(out))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_digit_with_a_sign_is_no_digit() {
        assert!(format!("+a{}", "0".repeat(62)).parse::<Digest>().is_err());
    }

    proptest! {
        #[test]
        fn a_digest_reads_as_it_prints_in_any_case_and_with_colons(bytes: [u8; 32]) {
            let digest = Digest(bytes);
            let text = digest.to_string();
            let colons: Vec<_> = text.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect();
            for spelling in [text.clone(), text.to_uppercase(), colons.join(":")] {
                prop_assert_eq!(spelling.parse::<Digest>(), Ok(digest), "{}", spelling);
            }
        }

        #[test]
        fn what_reads_as_a_digest_is_hexadecimal(text in r"([0-9a-fA-F:]{62,66}|[0-9a-f]{0,63}[+\- _x][0-9a-f]{0,63}|\PC{0,70})") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text.replace(':', "").to_lowercase());
            }
        }
    }
}
