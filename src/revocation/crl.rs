//! A certificate revocation list, DER to a table.
//!
//! webpki reads the list and refuses what it does not understand (unknown critical extensions,
//! delta and indirect lists, version 1, no nextUpdate). What it keeps to itself, the number, the
//! times and the signed parts, is read by our strict walk; RFC 5280 §5 says where they stand.

use std::fmt;

use webpki::{BorrowedCertRevocationList, CertRevocationList};
use x509_parser::asn1_rs::{FromDer, Tag};
use x509_parser::time::ASN1Time;

use super::serials::{Collector, MAX_OCTETS, SerialSet};
use crate::identity::der::{self, Element, Elements, NotDer};
use crate::identity::{Digest, distinguished_name};

/// id-ce-cRLNumber, 2.5.29.20 (RFC 5280 §5.2.3).
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
/// `crlExtensions [0]`.
const EXTENSIONS: u32 = 0;

/// A list whose signature has been verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    /// Who issued it: a DER Name.
    pub issuer: Box<[u8]>,
    /// The same, RFC 4514.
    pub issuer_text: Box<str>,
    /// Its cRLNumber, big-endian without leading zero octets; `None` if it has none.
    pub number: Option<Box<[u8]>>,
    /// When it was issued, Unix seconds.
    pub this_update: i64,
    /// When the next one is due, Unix seconds.
    pub next_update: i64,
    /// The certificates it revokes.
    pub serials: SerialSet,
    /// SHA-256 of the list.
    pub digest: Digest,
}

/// A list that says what it says, signed by nobody knows whom.
pub struct Unverified<'a> {
    crl: Crl,
    /// The bytes that are signed.
    pub signed: &'a [u8],
    /// The DER contents of the signature's AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlError(pub String);

impl fmt::Display for CrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a> Unverified<'a> {
    /// Reads one DER list.
    ///
    /// # Errors
    /// When it is no complete list of version 2 with a nextUpdate: garbage, truncated, delta,
    /// indirect, limited to a part of the certificates, or with what nobody understands.
    pub fn parse(der: &'a [u8]) -> Result<Self, CrlError> {
        let list =
            BorrowedCertRevocationList::from_der(der).map_err(|error| refuse(format!("not a usable CRL: {error}")))?;
        let parts = Parts::of(der).map_err(|NotDer| refuse("not one DER CRL"))?;
        let serials = serials(&list)?;
        // RFC 5280 §5.2.5: with this extension the list speaks of some certificates or reasons
        // only, and a serial that is missing from it proves nothing.
        if CertRevocationList::from(list).issuing_distribution_point().is_some() {
            return Err(refuse(
                "it covers only a part of the issuer's certificates (issuingDistributionPoint); a full CRL is needed",
            ));
        }
        let number = parts.number.map(minimal);
        // RFC 5280 §5.2.3.
        if number.is_some_and(|number| number.len() > MAX_OCTETS) {
            return Err(refuse("its cRLNumber is longer than 20 octets"));
        }
        let name = distinguished_name(parts.issuer, "issuer").map_err(|reject| refuse(reject.to_string()))?;
        let crl = Crl {
            issuer: parts.issuer.into(),
            issuer_text: name.text,
            number: number.map(Box::from),
            this_update: parts.this_update,
            next_update: parts.next_update,
            serials,
            digest: Digest::of(der),
        };
        Ok(Self { crl, signed: parts.signed, algorithm: parts.algorithm, signature: parts.signature })
    }

    /// Who should have signed it: a DER Name.
    #[must_use]
    pub fn issuer(&self) -> &[u8] {
        &self.crl.issuer
    }

    /// The list, once its signature has been verified with the issuer's key.
    #[must_use]
    pub fn verified(self) -> Crl {
        self.crl
    }
}

impl Crl {
    /// Whether it revokes the certificate with this serial number (without leading zero octets).
    #[must_use]
    pub fn revokes(&self, serial: &[u8]) -> bool {
        self.serials.contains(serial)
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crl").field("issuer", &self.issuer_text).field("serials", &self.serials).finish_non_exhaustive()
    }
}

/// Read twice, which is cheaper than to hold the numbers of a large list twice.
fn serials(list: &BorrowedCertRevocationList<'_>) -> Result<SerialSet, CrlError> {
    let mut counts = [0; MAX_OCTETS + 1];
    for entry in list {
        let entry = entry.map_err(|error| refuse(format!("a revoked certificate in it: {error}")))?;
        // X.690 §8.3.1: an INTEGER has an octet at least; webpki does not look.
        if entry.serial_number.is_empty() {
            return Err(refuse("a serial number in it is empty"));
        }
        let count = counts.get_mut(minimal(entry.serial_number).len());
        *count.ok_or_else(|| refuse("a serial number in it is longer than 20 octets"))? += 1;
    }
    let mut collector = Collector::default();
    collector.reserve(&counts);
    for serial in list.into_iter().flatten() {
        // None is too long: they have been looked at.
        let _ = collector.add(minimal(serial.serial_number));
    }
    Ok(collector.finish())
}

struct Parts<'a> {
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    this_update: i64,
    next_update: i64,
    number: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn of(der: &'a [u8]) -> Result<Self, NotDer> {
        let whole = der::sole(der)?.open(Tag::Sequence)?.collect::<Result<Vec<_>, _>>()?;
        let [signed, algorithm, signature] = whole.as_slice() else { return Err(NotDer) };
        let mut fields = signed.open(Tag::Sequence)?;
        // webpki has seen that this is version 2 and that inner and outer algorithm agree.
        let _version = field(&mut fields)?;
        let _algorithm = field(&mut fields)?;
        let issuer = field(&mut fields)?;
        let this_update = time(&field(&mut fields)?)?;
        let next_update = time(&field(&mut fields)?)?;
        let mut number = None;
        for element in fields {
            let element = element?;
            if element.context() == Some(EXTENSIONS) {
                number = crl_number(&element)?;
            }
        }
        // A BIT STRING's first octet counts unused bits; signatures have none.
        let Some((0, signature)) = signature.contents.split_first() else { return Err(NotDer) };
        Ok(Self {
            signed: signed.raw,
            algorithm: algorithm.contents,
            signature,
            issuer: issuer.raw,
            this_update,
            next_update,
            number,
        })
    }
}

fn field<'a>(fields: &mut Elements<'a>) -> Result<Element<'a>, NotDer> {
    fields.next().ok_or(NotDer)?
}

fn time(element: &Element<'_>) -> Result<i64, NotDer> {
    let (rest, time) = ASN1Time::from_der(element.raw).map_err(|_| NotDer)?;
    if rest.is_empty() { Ok(time.timestamp()) } else { Err(NotDer) }
}

fn crl_number<'a>(extensions: &Element<'a>) -> Result<Option<&'a [u8]>, NotDer> {
    for extension in der::sole(extensions.contents)?.open(Tag::Sequence)? {
        let parts = extension?.open(Tag::Sequence)?.collect::<Result<Vec<_>, _>>()?;
        let (Some(id), Some(value)) = (parts.first(), parts.last()) else { return Err(NotDer) };
        if id.universal() == Some(Tag::Oid) && id.contents == CRL_NUMBER {
            let number = der::sole(value.contents)?;
            if number.universal() != Some(Tag::Integer) {
                return Err(NotDer);
            }
            return Ok(Some(number.contents));
        }
    }
    Ok(None)
}

/// Without leading zero octets; zero itself keeps one.
fn minimal(number: &[u8]) -> &[u8] {
    let significant = number.iter().position(|octet| *octet != 0).unwrap_or(number.len().saturating_sub(1));
    number.get(significant..).unwrap_or_default()
}

fn refuse(what: impl Into<String>) -> CrlError {
    CrlError(what.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEQUENCE: u8 = 0x30;
    const OID: u8 = 0x06;
    const INTEGER: u8 = 0x02;
    const OCTETS: u8 = 0x04;
    const UTC: u8 = 0x17;
    /// ecdsa-with-SHA256.
    const ALGORITHM: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

    fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        let header = match length {
            [0, short @ 0..0x80] => vec![tag, short],
            [0, long] => vec![tag, 0x81, long],
            [high, low] => vec![tag, 0x82, high, low],
        };
        [&header, contents].concat()
    }

    fn extension(id: &[u8], critical: &[u8], value: &[u8]) -> Vec<u8> {
        tlv(SEQUENCE, &[&tlv(OID, id), critical, &tlv(OCTETS, value)].concat())
    }

    fn entry(serial: &[u8], more: &[u8]) -> Vec<u8> {
        tlv(SEQUENCE, &[&tlv(INTEGER, serial), &tlv(UTC, b"240101000000Z")[..], more].concat())
    }

    const CRITICAL: &[u8] = &[1, 1, 0xff];

    /// A list that nobody signed, with everything that a test may want to get wrong.
    struct Odd {
        version: Vec<u8>,
        next_update: Vec<u8>,
        entries: Vec<u8>,
        extensions: Vec<u8>,
    }

    impl Odd {
        fn new() -> Self {
            Self {
                version: tlv(INTEGER, &[1]),
                next_update: tlv(UTC, b"490101000000Z"),
                entries: entry(&[7], &[]),
                extensions: extension(CRL_NUMBER, &[], &tlv(INTEGER, &[9])),
            }
        }

        fn der(&self) -> Vec<u8> {
            let algorithm = tlv(SEQUENCE, &tlv(OID, ALGORITHM));
            let name =
                tlv(SEQUENCE, &tlv(0x31, &tlv(SEQUENCE, &[&tlv(OID, &[0x55, 4, 3])[..], &tlv(0x0c, b"CA")].concat())));
            let signed = [
                &self.version,
                &algorithm,
                &name,
                &tlv(UTC, b"240101000000Z"),
                &self.next_update,
                &tlv(SEQUENCE, &self.entries),
                &tlv(0xa0, &tlv(SEQUENCE, &self.extensions)),
            ];
            let signed = tlv(SEQUENCE, &signed.map(Vec::as_slice).concat());
            tlv(SEQUENCE, &[signed, algorithm, tlv(0x03, &[0, 1, 2, 3])].concat())
        }
    }

    fn parse(change: impl FnOnce(&mut Odd)) -> Result<Crl, String> {
        let mut odd = Odd::new();
        change(&mut odd);
        Unverified::parse(&odd.der()).map(Unverified::verified).map_err(|error| error.0)
    }

    #[test]
    fn a_plain_list_says_what_it_says() {
        let crl = parse(|_| ()).unwrap();
        assert_eq!((&*crl.issuer_text, crl.number.as_deref(), crl.serials.len()), ("CN=CA", Some(&[9][..]), 1));
        assert_eq!((crl.this_update, crl.next_update), (1_704_067_200, 2_493_072_000));
        assert!(crl.revokes(&[7]) && !crl.revokes(&[8]));
    }

    #[test]
    fn a_list_that_does_not_speak_of_all_certificates_or_not_to_us_is_refused() {
        type Change = fn(&mut Odd);
        let table: [(&str, Change); 11] = [
            ("a number that is too long", |odd| {
                odd.extensions = extension(CRL_NUMBER, &[], &tlv(INTEGER, &[0x7f; 21]));
            }),
            ("version 1, as it was", |odd| odd.version.clear()),
            ("version 1, in words", |odd| odd.version = tlv(INTEGER, &[0])),
            ("version 3", |odd| odd.version = tlv(INTEGER, &[2])),
            ("no nextUpdate", |odd| odd.next_update.clear()),
            ("delta", |odd| odd.extensions.extend(extension(&[0x55, 0x1d, 27], CRITICAL, &tlv(INTEGER, &[1])))),
            ("an unknown critical extension", |odd| odd.extensions.extend(extension(&[0x2a, 3, 4], CRITICAL, &[5, 0]))),
            ("indirect", |odd| {
                let indirect = tlv(SEQUENCE, &tlv(0x84, &[0xff]));
                odd.extensions.extend(extension(&[0x55, 0x1d, 28], CRITICAL, &indirect));
            }),
            ("partitioned: users only", |odd| {
                let users = tlv(SEQUENCE, &tlv(0x81, &[0xff]));
                odd.extensions.extend(extension(&[0x55, 0x1d, 28], CRITICAL, &users));
            }),
            ("partitioned: one distribution point", |odd| {
                let uri = tlv(0xa0, &tlv(0xa0, &tlv(0x86, b"http://ca/1.crl")));
                odd.extensions.extend(extension(&[0x55, 0x1d, 28], CRITICAL, &tlv(SEQUENCE, &uri)));
            }),
            ("another issuer's entry", |odd| {
                let issuer = extension(&[0x55, 0x1d, 29], CRITICAL, &tlv(SEQUENCE, &[]));
                odd.entries.extend(entry(&[8], &tlv(SEQUENCE, &issuer)));
            }),
        ];
        for (what, change) in table {
            assert!(parse(change).is_err(), "{what}");
        }
    }

    #[test]
    fn an_extension_that_is_not_critical_may_be_unknown() {
        assert!(parse(|odd| odd.extensions.extend(extension(&[0x2a, 3, 4], &[], &[5, 0]))).is_ok());
    }

    #[test]
    fn a_number_that_stands_there_twice_is_one() {
        let crl = parse(|odd| odd.entries = [entry(&[7], &[]), entry(&[7], &[]), entry(&[0, 0x80], &[])].concat());
        let crl = crl.unwrap();
        assert_eq!(crl.serials.len(), 2);
        assert!(crl.revokes(&[7]) && crl.revokes(&[0x80]));
    }

    #[test]
    fn numbers_that_no_certificate_may_have_revoke_no_other() {
        for serial in [&[0][..], &[0x80], &[0xff, 0x7f], &[0x7f; 20]] {
            // Refused, or kept as the octets that they are.
            if let Ok(crl) = parse(|odd| odd.entries = [entry(serial, &[]), entry(&[7], &[])].concat()) {
                assert!(crl.revokes(serial) && crl.revokes(&[7]), "{serial:?}");
                assert_eq!(crl.serials.len(), 2, "{serial:?}");
            }
        }
        assert!(parse(|odd| odd.entries = entry(&[0x7f; 21], &[])).is_err());
        assert!(parse(|odd| odd.entries = entry(&[], &[])).is_err());
    }

    proptest! {
        #[test]
        fn no_mutation_makes_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>(), whole in any::<bool>()) {
            let mut odd = Odd::new();
            odd.entries.extend(entry(&[0, 0x90], &[]));
            odd.extensions.extend(extension(&[0x2a, 3, 4], &[], &[5, 0]));
            let mut der = odd.der();
            for (at, value) in changes {
                let at = at.index(der.len());
                der[at] = value;
            }
            if !whole {
                der.truncate(cut.index(der.len()));
            }
            if let Ok(list) = Unverified::parse(&der) {
                let _ = list.verified().revokes(&[7]);
            }
        }
    }
}
