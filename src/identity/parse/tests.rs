use proptest::prelude::*;
use rcgen::{DnType, SerialNumber};

use super::*;
use crate::identity::testing::*;

fn reason(der: &[u8]) -> Reason {
    match parse(der, &Bounds::default()) {
        Ok(identity) => panic!("accepted: {identity:?}"),
        Err(reject) => reject.reason,
    }
}

fn parsed(raw: &Raw) -> Identity {
    parse(&raw.der(), &Bounds::default()).unwrap()
}

#[test]
fn everything_that_a_certificate_says_is_there() {
    let der = minted(|params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Shop, Inc.");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "Tills");
        params.distinguished_name.push(DnType::CommonName, "till 7");
        params.serial_number = Some(SerialNumber::from_slice(&[0x8a, 0x01]));
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2034, 1, 1);
    });
    let identity = parse(&der, &Bounds::default()).unwrap();
    assert_eq!(&*identity.subject.text, r"CN=till 7,OU=Tills,O=Shop\, Inc.");
    assert_eq!(identity.issuer, identity.subject);
    assert_eq!(*identity.subject.common_names, ["till 7".into()]);
    assert_eq!(*identity.subject.organizations, ["Shop, Inc.".into()]);
    assert_eq!(*identity.subject.organizational_units, ["Tills".into()]);
    assert_eq!(identity.serial.to_string(), "8a01");
    assert_eq!(identity.not_before, 1_709_164_800);
    assert_eq!(identity.not_after, 2_019_686_400);
    assert_eq!(identity.key, PublicKey::Ec(256));
    assert_eq!(identity.names, AlternativeNames::default());
    assert_eq!(identity.fingerprint, Digest::of(&der));
    assert_ne!(identity.spki, identity.fingerprint);
    assert_eq!(
        identity.summary(),
        r#"subject "CN=till 7,OU=Tills,O=Shop\, Inc." serial 8a01 issuer "CN=till 7,OU=Tills,O=Shop\, Inc.""#
    );
}

#[test]
fn the_spki_digest_follows_the_key_and_the_fingerprint_the_certificate() {
    let key = rcgen::KeyPair::generate().unwrap();
    let make = |serial: u64| {
        let mut params = rcgen::CertificateParams::default();
        params.serial_number = Some(serial.into());
        parse(params.self_signed(&key).unwrap().der(), &Bounds::default()).unwrap()
    };
    let (one, two) = (make(1), make(2));
    assert_eq!(one.spki, two.spki);
    assert_ne!(one.fingerprint, two.fingerprint);
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    assert_eq!(one.spki, Digest::of(&spki));
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").to_string(), empty);
}

#[test]
fn validity_includes_both_ends() {
    let identity = parsed(&Raw::default());
    let (from, to) = (1_704_067_200, 2_019_686_400);
    assert_eq!((identity.not_before, identity.not_after), (from, to));
    for (time, valid) in [(from - 1, false), (from, true), (to, true), (to + 1, false), (i64::MIN, false)] {
        assert_eq!(identity.valid_at(time), valid, "{time}");
    }
}

#[test]
fn keys_are_told_apart() {
    use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519};
    let table = [
        (&PKCS_ECDSA_P384_SHA384, PublicKey::Ec(384)),
        (&PKCS_ECDSA_P521_SHA512, PublicKey::Ec(521)),
        (&PKCS_ED25519, PublicKey::Ed25519),
    ];
    for (algorithm, expected) in table {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let der = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(parse(der.der(), &Bounds::default()).unwrap().key, expected);
    }
    let unknown = sequence(&[sequence(&[tlv(OID, &[0x2a, 3])]), tlv(BIT_STRING, &[0, 1])]);
    assert_eq!(parsed(&Raw { key: unknown, ..Raw::default() }).key, PublicKey::Other);
}

#[test]
fn rsa_keys_have_to_have_an_accepted_size() {
    let modulus = |first: &[u8], octets: usize| {
        let mut modulus = first.to_vec();
        modulus.resize(octets + first.len() - 1, 0xff);
        rsa_key(&[vec![0; usize::from(modulus[0] >= 0x80)], modulus].concat())
    };
    for (key, bits) in [(modulus(&[0x80], 256), 2048), (modulus(&[0xff], 1024), 8192), (modulus(&[1], 257), 2049)] {
        assert_eq!(parsed(&Raw { key, ..Raw::default() }).key, PublicKey::Rsa(bits));
    }
    for (key, expected) in [
        (modulus(&[0x7f], 256), Reason::CertKeySize),
        (modulus(&[0x80], 128), Reason::CertKeySize),
        (modulus(&[1], 1025), Reason::CertKeySize),
        (modulus(&[0xff], 2048), Reason::CertKeySize),
        (rsa_key(&[0; 256]), Reason::CertMalformed),
        (rsa_key(&[]), Reason::CertMalformed),
        (rsa_key(&[0xff; 256]), Reason::CertMalformed),
    ] {
        assert_eq!(reason(&Raw { key, ..Raw::default() }.der()), expected);
    }
    let small = Raw { key: modulus(&[0x80], 128), ..Raw::default() };
    assert!(parse(&small.der(), &Bounds { min_rsa_bits: 1024, ..Bounds::default() }).is_ok());
}

#[test]
fn rsa_under_the_pss_identifier_does_not_escape_the_size_rule() {
    let pss = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
    let inner = sequence(&[tlv(INTEGER, &[0x7f; 64]), tlv(INTEGER, &[3])]);
    let key = sequence(&[sequence(&[tlv(OID, &pss)]), tlv(BIT_STRING, &[vec![0], inner].concat())]);
    assert_eq!(reason(&Raw { key, ..Raw::default() }.der()), Reason::CertKeySize);
}

#[test]
fn nothing_hides_in_a_public_key() {
    let algorithm = sequence(&[tlv(OID, &[0x2a, 3])]);
    let behind = sequence(&[algorithm, tlv(BIT_STRING, &[0, 1]), tlv(NULL, &[])]);
    let inner = [sequence(&[tlv(INTEGER, &[0x7f; 256]), tlv(INTEGER, &[3])]), vec![5, 0]].concat();
    let rsa = sequence(&[sequence(&[tlv(OID, RSA_ENCRYPTION)]), tlv(BIT_STRING, &[vec![0], inner].concat())]);
    for key in [behind, rsa, sequence(&[])] {
        assert_eq!(reason(&Raw { key, ..Raw::default() }.der()), Reason::CertMalformed);
    }
}

#[test]
fn a_serial_number_is_a_short_integer_that_is_not_negative() {
    for (contents, expected) in [
        (&[0x2a][..], Some("2a")),
        (&[0], Some("00")),
        (&[0, 0x80], Some("80")),
        (&[0x7f; 20], Some("7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f")),
        (&[&[0][..], &[0xff; 20]].concat(), Some("ffffffffffffffffffffffffffffffffffffffff")),
        (&[], None),
        (&[0, 0x7f], None),
        (&[0, 0], None),
        (&[0x80], None),
        (&[0xff, 1], None),
        (&[1; 21], None),
        (&[&[0][..], &[0xff; 21]].concat(), None),
    ] {
        let raw = Raw { serial: contents.to_vec(), ..Raw::default() };
        match expected {
            Some(text) => assert_eq!(parsed(&raw).serial.to_string(), text),
            None => assert_eq!(reason(&raw.der()), Reason::CertMalformed, "{contents:02x?}"),
        }
    }
}

#[test]
fn a_certificate_is_the_whole_input_and_nothing_hides_in_it() {
    let raw = Raw { extensions: vec![san(0x82, b"a.example")], ..Raw::default() };
    let der = raw.der();
    assert!(parse(&der, &Bounds::default()).is_ok());
    let with = |extra: &[u8]| [&der[..], extra].concat();
    let more_fields = |extra: Vec<u8>| assembled(&[raw.fields(), vec![extra]].concat(), &[]);
    // `[3]` that claims to end inside what it holds: x509-parser reads on, others would not.
    let mut short = raw.fields();
    *short.last_mut().unwrap() = [vec![0xa3, 2], sequence(&raw.extensions)].concat();
    let mut two = raw.fields();
    two.insert(0, two.last().unwrap().clone());
    for (what, der) in [
        ("nothing", Vec::new()),
        ("an octet behind", with(&[0])),
        ("a second certificate behind", with(&der)),
        ("an element behind the signature", assembled(&raw.fields(), &[5, 0])),
        ("an element behind the extensions", more_fields(vec![5, 0])),
        ("extensions twice", more_fields(raw.fields().last().unwrap().clone())),
        ("extensions in front", assembled(&two, &[])),
        ("extensions beyond their length", assembled(&short, &[])),
    ] {
        assert_eq!(reason(&der), Reason::CertMalformed, "{what}");
    }
}

#[test]
fn an_extension_that_stands_twice_condemns_the_certificate() {
    for twice in [san(0x82, b"a.example"), extension(&[0x2a, 3, 4], b"x")] {
        let raw = Raw { extensions: vec![twice.clone(), extension(&[0x2a, 3, 5], b"y"), twice], ..Raw::default() };
        assert_eq!(reason(&raw.der()), Reason::CertMalformed);
    }
}

#[test]
fn a_name_with_a_nul_rejects_the_certificate_wherever_it_stands() {
    let hostile = || common_name(UTF8, b"admin\0.example");
    for raw in [
        Raw { subject: hostile(), ..Raw::default() },
        Raw { issuer: hostile(), ..Raw::default() },
        Raw { extensions: vec![san(0x82, b"good.example\0.evil.example")], ..Raw::default() },
        Raw { extensions: vec![san(0x86, b"spiffe://a/b\0c")], ..Raw::default() },
        Raw { extensions: vec![san(0x81, b"a@b.example\0")], ..Raw::default() },
    ] {
        assert_eq!(reason(&raw.der()), Reason::CertNameInvalid);
    }
    let minted = minted(|params| params.distinguished_name.push(DnType::LocalityName, "a\0b"));
    assert_eq!(reason(&minted), Reason::CertNameInvalid);
}

#[test]
fn a_name_whose_tail_a_lax_reader_would_drop_rejects_the_certificate() {
    let good = attribute(CN, UTF8, b"good");
    let three = sequence(&[tlv(OID, CN), tlv(UTF8, b"good"), tlv(UTF8, b"more")]);
    for subject in [
        sequence(&[tlv(SET, &good), vec![0xff, 0xff]]),
        sequence(&[tlv(SET, &good), tlv(SEQUENCE, &good)]),
        sequence(&[tlv(SET, &[good.clone(), vec![5, 0]].concat())]),
        sequence(&[tlv(SET, &three)]),
        sequence(&[tlv(SET, &[])]),
        sequence(&[tlv(SET, &sequence(&[tlv(OID, CN)]))]),
    ] {
        let reject = reason(&Raw { subject, ..Raw::default() }.der());
        assert!(matches!(reject, Reason::CertNameInvalid | Reason::CertMalformed), "{reject}");
    }
}

#[test]
fn a_certificate_has_as_many_names_as_the_bounds_allow() {
    let names = |count: usize| {
        let all: Vec<_> = (0..count).map(|n| tlv(0x82, format!("h{n}.example").as_bytes())).collect();
        Raw { extensions: vec![extension(SUBJECT_ALT_NAME, &sequence(&all))], ..Raw::default() }
    };
    assert_eq!(parsed(&names(64)).names.dns.len(), 64);
    assert_eq!(reason(&names(65).der()), Reason::CertTooManyNames);
    assert!(parse(&names(65).der(), &Bounds { max_names: 65, ..Bounds::default() }).is_ok());
}

#[test]
fn a_long_summary_is_cut_and_stays_one_line_of_ascii() {
    let raw = Raw { subject: common_name(UTF8, "\u{20ac}\"".repeat(100).as_bytes()), ..Raw::default() };
    let summary = parsed(&raw).summary();
    assert!(summary.len() < 400 && summary.contains("..."), "{summary}");
    assert!(summary.bytes().all(|b| (b' '..=b'~').contains(&b)));
}

#[test]
fn a_certificate_cut_off_anywhere_is_refused() {
    for der in [minted_with_names(), Raw { key: rsa_key(&[0x7f; 256]), ..Raw::default() }.der()] {
        for end in 0..der.len() {
            assert_eq!(reason(&der[..end]), Reason::CertMalformed, "{end}");
        }
    }
}

#[test]
fn one_changed_octet_never_panics_and_never_leaves_a_hostile_text() {
    let der = minted_with_names();
    for at in 0..der.len() {
        for value in [0, 1, 0x0a, 0x22, 0x30, 0x7f, 0x80, 0x81, 0x84, 0xff] {
            let mut changed = der.clone();
            changed[at] = value;
            check(&changed);
        }
    }
}

/// Parses, and holds every text of the result against what the headers rely on.
fn check(der: &[u8]) {
    let Ok(identity) = parse(der, &Bounds::default()) else { return };
    let graphic = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    for name in [&identity.subject, &identity.issuer] {
        assert!(name.text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{name:?}");
        let all = [&name.common_names, &name.organizations, &name.organizational_units];
        assert!(!all.into_iter().flatten().any(|text| text.is_empty() || text.chars().any(char::is_control)));
    }
    let names = &identity.names;
    assert!([&names.dns, &names.uri, &names.email].into_iter().flatten().all(|text| graphic(text)), "{names:?}");
    assert!((1..=20).contains(&identity.serial.0.len()));
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(der in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&der);
    }

    #[test]
    fn arbitrary_parts_never_panic(
        subject in prop::collection::vec(any::<u8>(), 0..60),
        serial in prop::collection::vec(any::<u8>(), 0..24),
        key in prop::collection::vec(any::<u8>(), 0..60),
        value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let extensions = vec![extension(SUBJECT_ALT_NAME, &value)];
        check(&Raw { subject: subject.clone(), ..Raw::default() }.der());
        check(&Raw { subject: tlv(SEQUENCE, &subject), ..Raw::default() }.der());
        check(&Raw { key: key.clone(), ..Raw::default() }.der());
        check(&Raw { key: tlv(SEQUENCE, &key), ..Raw::default() }.der());
        check(&Raw { serial, extensions, ..Raw::default() }.der());
        let extensions = vec![extension(SUBJECT_ALT_NAME, &tlv(SEQUENCE, &value))];
        check(&Raw { extensions, ..Raw::default() }.der());
    }

    #[test]
    fn arbitrary_attributes_never_panic(
        oid in prop::collection::vec(any::<u8>(), 0..14),
        tag in any::<u8>(),
        value in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        check(&Raw { subject: name(&[&[attribute(&oid, tag, &value)]]), ..Raw::default() }.der());
        check(&Raw { subject: common_name(tag, &value), ..Raw::default() }.der());
        check(&Raw { extensions: vec![san(tag, &value)], ..Raw::default() }.der());
    }

    #[test]
    fn spliced_certificates_never_panic(
        at in any::<prop::sample::Index>(),
        drop in 0..40_usize,
        insert in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        thread_local!(static DER: Vec<u8> = minted_with_names());
        let mut der = DER.with(Clone::clone);
        let start = at.index(der.len());
        let end = (start + drop).min(der.len());
        der.splice(start..end, insert);
        check(&der);
    }
}
