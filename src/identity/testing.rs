//! Certificates for tests: by rcgen where they are well formed, octet by octet where they must not be.

use rcgen::{CertificateParams, KeyPair, SanType};

/// One DER element.
pub(super) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match contents.len() {
        short @ 0..=0x7f => out.push(u8::try_from(short).unwrap()),
        long => {
            let octets = u32::try_from(long).unwrap().to_be_bytes();
            let significant = octets.iter().copied().skip_while(|octet| *octet == 0).collect::<Vec<_>>();
            out.push(0x80 | u8::try_from(significant.len()).unwrap());
            out.extend(significant);
        }
    }
    out.extend(contents);
    out
}

/// A SEQUENCE of elements.
pub(super) fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &elements.concat())
}

/// An AttributeTypeAndValue.
pub(super) fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[tlv(OID, oid), tlv(tag, value)])
}

/// A Name with these RDNs, each a list of attributes.
pub(super) fn name(rdns: &[&[Vec<u8>]]) -> Vec<u8> {
    sequence(&rdns.iter().map(|set| tlv(SET, &set.concat())).collect::<Vec<_>>())
}

/// A Name with one commonName.
pub(super) fn common_name(tag: u8, value: &[u8]) -> Vec<u8> {
    name(&[&[attribute(CN, tag, value)]])
}

/// An Extension that is not critical.
pub(super) fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[tlv(OID, oid), tlv(OCTET_STRING, value)])
}

/// A subjectAltName extension of one name.
pub(super) fn san(tag: u8, contents: &[u8]) -> Vec<u8> {
    extension(SUBJECT_ALT_NAME, &sequence(&[tlv(tag, contents)]))
}

/// A SubjectPublicKeyInfo for RSA.
pub(super) fn rsa_key(modulus: &[u8]) -> Vec<u8> {
    let key = sequence(&[tlv(INTEGER, modulus), tlv(INTEGER, &[1, 0, 1])]);
    let algorithm = sequence(&[tlv(OID, RSA_ENCRYPTION), tlv(NULL, &[])]);
    sequence(&[algorithm, tlv(BIT_STRING, &[vec![0], key].concat())])
}

/// A certificate whose parts can be anything; its signature is nonsense.
pub(super) struct Raw {
    /// Contents of the serial INTEGER.
    pub(super) serial: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) extensions: Vec<Vec<u8>>,
}

impl Default for Raw {
    fn default() -> Self {
        let ed25519 = sequence(&[tlv(OID, ED25519)]);
        Self {
            serial: vec![0x2a],
            issuer: common_name(UTF8, b"issuer"),
            subject: common_name(UTF8, b"subject"),
            key: sequence(&[ed25519, tlv(BIT_STRING, &[0; 33])]),
            extensions: Vec::new(),
        }
    }
}

impl Raw {
    /// The elements of the TBSCertificate.
    pub(super) fn fields(&self) -> Vec<Vec<u8>> {
        let validity = sequence(&[tlv(UTC_TIME, b"240101000000Z"), tlv(UTC_TIME, b"340101000000Z")]);
        let mut fields = vec![
            tlv(0xa0, &tlv(INTEGER, &[2])),
            tlv(INTEGER, &self.serial),
            sequence(&[tlv(OID, ED25519)]),
            self.issuer.clone(),
            validity,
            self.subject.clone(),
            self.key.clone(),
        ];
        if !self.extensions.is_empty() {
            fields.push(tlv(0xa3, &sequence(&self.extensions)));
        }
        fields
    }

    pub(super) fn der(&self) -> Vec<u8> {
        assembled(&self.fields(), &[])
    }
}

/// A Certificate from the elements of its TBSCertificate and what follows its signature.
pub(super) fn assembled(fields: &[Vec<u8>], behind: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[tlv(OID, ED25519)]);
    sequence(&[sequence(fields), algorithm, tlv(BIT_STRING, &[0; 65]), behind.to_vec()])
}

/// A well-formed certificate.
pub(super) fn minted(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

/// A well-formed certificate with names of every type.
pub(super) fn minted_with_names() -> Vec<u8> {
    minted(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName("Client.Example".try_into().unwrap()),
            SanType::DnsName("*.apps.example".try_into().unwrap()),
            SanType::URI("spiffe://prod.example/ns/shop/sa/till".try_into().unwrap()),
            SanType::URI("urn:x:1;DNS=admin,URI=2".try_into().unwrap()),
            SanType::Rfc822Name("Till@Example.COM".try_into().unwrap()),
            SanType::IpAddress("10.1.2.3".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::OtherName((vec![1, 3, 6, 1], "other".into())),
        ];
    })
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8: u8 = 0x0c;
pub(super) const PRINTABLE: u8 = 0x13;
pub(super) const TELETEX: u8 = 0x14;
pub(super) const IA5: u8 = 0x16;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERAL: u8 = 0x1b;
pub(super) const UNIVERSAL: u8 = 0x1c;
pub(super) const BMP: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

pub(super) const CN: &[u8] = &[0x55, 4, 3];
pub(super) const COUNTRY: &[u8] = &[0x55, 4, 6];
pub(super) const O: &[u8] = &[0x55, 4, 10];
pub(super) const OU: &[u8] = &[0x55, 4, 11];
/// serialNumber: an attribute that RFC 4514 has no short name for.
pub(super) const DN_SERIAL: &[u8] = &[0x55, 4, 5];
pub(super) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
pub(super) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
