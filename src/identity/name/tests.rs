use proptest::prelude::*;

use super::*;
use crate::identity::testing::*;

fn text(der: &[u8]) -> String {
    distinguished_name(der, "subject").unwrap().text.into()
}

fn cn(tag: u8, value: &[u8]) -> Result<String, Reject> {
    distinguished_name(&common_name(tag, value), "subject").map(|mut name| name.common_names.remove(0).into())
}

#[test]
fn relative_names_stand_in_reverse_order_and_their_attributes_in_order() {
    let der = name(&[
        &[attribute(COUNTRY, PRINTABLE, b"DE")],
        &[attribute(O, UTF8, b"Shop")],
        &[attribute(OU, UTF8, b"Sales"), attribute(CN, UTF8, b"J.  Smith")],
    ]);
    assert_eq!(text(&der), "OU=Sales+CN=J.  Smith,O=Shop,C=DE");
    assert_eq!(text(&name(&[])), "");
}

#[test]
fn every_value_of_a_type_is_kept_in_the_order_of_the_certificate() {
    let der = name(&[
        &[attribute(CN, UTF8, b"one"), attribute(CN, PRINTABLE, b"two")],
        &[attribute(OU, UTF8, b"x")],
        &[attribute(CN, IA5, b"three")],
        &[attribute(OU, UTF8, b"y, z")],
    ]);
    let name = distinguished_name(&der, "subject").unwrap();
    assert_eq!(*name.common_names, ["one".into(), "two".into(), "three".into()]);
    assert_eq!(*name.organizational_units, ["x".into(), "y, z".into()]);
    assert!(name.organizations.is_empty());
}

#[test]
fn values_are_escaped_as_rfc_4514_says() {
    for (value, expected) in [
        ("plain", "plain"),
        ("Steve, Kille", r"Steve\, Kille"),
        ("a+b", r"a\+b"),
        ("a=b", "a=b"),
        (r#"James "Jim" Smith"#, r#"James \"Jim\" Smith"#),
        (r"a\b", r"a\\b"),
        ("a<b>c;d", r"a\<b\>c\;d"),
        ("#hash", r"\#hash"),
        ("a#b", "a#b"),
        (" lead", r"\ lead"),
        ("trail ", r"trail\ "),
        ("  two  ", r"\  two \ "),
        (" ", r"\ "),
        ("Lu\u{10d}i\u{107}", r"Lu\C4\8Di\C4\87"),
        ("\u{1f600}", r"\F0\9F\98\80"),
        ("\u{202e}nimda", r"\E2\80\AEnimda"),
    ] {
        assert_eq!(text(&common_name(UTF8, value.as_bytes())), format!("CN={expected}"));
    }
}

#[test]
fn an_injected_attribute_stays_a_value() {
    let der = name(&[&[attribute(O, UTF8, b"evil,CN=admin+OU=root")]]);
    assert_eq!(text(&der), r"O=evil\,CN=admin\+OU=root");
    assert!(distinguished_name(&der, "subject").unwrap().common_names.is_empty());
}

#[test]
fn types_without_a_short_name_show_their_der() {
    let mail = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
    for (oid, tag, value, expected) in [
        (&mail[..], IA5, &b"a@b"[..], "1.2.840.113549.1.9.1=#1603614062"),
        (DN_SERIAL, PRINTABLE, b"42", "2.5.4.5=#13023432"),
        (&[0x2b, 6, 1, 4, 1, 0x8b, 0x3a, 0], OCTET_STRING, b"Hi", "1.3.6.1.4.1.1466.0=#04024869"),
        (&[0x55, 4, 45], BIT_STRING, &[0, 0xff], "2.5.4.45=#030200FF"),
        (&[0x88, 0x37], UTF8, b"x", "2.999=#0C0178"),
        (&[0x78], UTF8, b"x", "2.40=#0C0178"),
        (&[0x27], UTF8, b"x", "0.39=#0C0178"),
    ] {
        assert_eq!(text(&name(&[&[attribute(oid, tag, value)]])), expected);
    }
}

#[test]
fn an_attribute_type_that_is_no_object_identifier_is_refused() {
    for oid in [&[][..], &[0x80, 1], &[0x2a, 0x80, 1], &[0x2a, 0x83], &[0xff; 12]] {
        assert!(distinguished_name(&name(&[&[attribute(oid, UTF8, b"x")]]), "subject").is_err(), "{oid:02x?}");
    }
    let no_oid = sequence(&[tlv(SET, &sequence(&[tlv(INTEGER, CN), tlv(UTF8, b"x")]))]);
    assert!(distinguished_name(&no_oid, "subject").is_err());
}

#[test]
fn string_types_are_decoded_or_refused() {
    for (tag, value, expected) in [
        (UTF8, "\u{e9}t\u{e9}".as_bytes(), Some("\u{e9}t\u{e9}")),
        (UTF8, b"\xff", None),
        (UTF8, b"\xc0\x80", None),
        (UTF8, b"\xed\xa0\x80", None),
        (PRINTABLE, b"*.x@y_z", Some("*.x@y_z")),
        (PRINTABLE, b"\xe9", None),
        (IA5, b"ia5", Some("ia5")),
        (IA5, b"\x80", None),
        (TELETEX, b"old", Some("old")),
        (TELETEX, b"\xe9t\xe9", None),
        (BMP, b"\x00A\x20\xac", Some("A\u{20ac}")),
        (BMP, b"\x00A\x20", None),
        (BMP, b"\xd8\x3d\xde\x00", None),
        (BMP, b"\x00A\x00\x00", None),
        (UNIVERSAL, b"\x00\x00\x00A\x00\x01\xf6\x00", Some("A\u{1f600}")),
        (UNIVERSAL, b"\x00\x11\x00\x00", None),
        (UNIVERSAL, b"\x00\x00A", None),
        (GENERAL, b"general", None),
        (OCTET_STRING, b"octets", None),
        (INTEGER, b"1", None),
        (UTF8 | 0x20, b"constructed", None),
        (0x8c, b"context", None),
        (UTF8, b"", None),
        (BMP, b"", None),
    ] {
        let found = cn(tag, value);
        assert_eq!(found.as_deref().ok(), expected, "{tag:#x} {value:02x?}");
        assert!(found.is_ok() || found.is_err_and(|reject| reject.reason == Reason::CertNameInvalid));
    }
}

#[test]
fn a_control_character_in_any_attribute_of_any_string_type_is_refused() {
    for control in (0..=0x1f).chain(0x7f..=0x9f_u8) {
        let wide = [0, 0, 0, control];
        for oid in [CN, COUNTRY, DN_SERIAL] {
            let mut values = vec![(UTF8, char::from(control).to_string().into_bytes())];
            values.extend([(BMP, wide[2..].to_vec()), (UNIVERSAL, wide.to_vec()), (TELETEX, vec![b'a', control])]);
            values.extend([(PRINTABLE, vec![control]), (IA5, vec![b'a', control, b'b'])]);
            for (tag, value) in values {
                let der = name(&[&[attribute(O, UTF8, b"good")], &[attribute(oid, tag, &value)]]);
                assert!(distinguished_name(&der, "subject").is_err(), "{tag:#x} {control:#x}");
            }
        }
    }
}

#[test]
fn a_name_has_an_end() {
    let long = |length: usize| common_name(UTF8, "x".repeat(length).as_bytes());
    assert_eq!(text(&long(4092)).len(), 4095);
    assert!(distinguished_name(&long(4093), "subject").is_err());
    let one = [attribute(O, UTF8, &[b'x'; 1000])];
    assert!(distinguished_name(&name(&[one.as_slice(); 4]), "subject").is_ok());
    assert!(distinguished_name(&name(&[one.as_slice(); 5]), "subject").is_err());
}

#[test]
fn a_refusal_says_where_and_why_but_not_what() {
    let reject = distinguished_name(&common_name(UTF8, b"secret\0"), "issuer").unwrap_err();
    assert_eq!(&*reject.detail, "issuer: a control character");
}

/// The reading of RFC 4514 §3 for names of one attribute per RDN.
fn unescaped(text: &str) -> Vec<(String, String)> {
    let mut out = vec![(String::new(), Vec::new())];
    let (mut bytes, mut in_value) = (text.bytes(), false);
    while let Some(byte) = bytes.next() {
        let (kind, value) = out.last_mut().unwrap();
        match (byte, in_value) {
            (b'=', false) => in_value = true,
            (_, false) => kind.push(char::from(byte)),
            (b',', true) => {
                in_value = false;
                out.push((String::new(), Vec::new()));
            }
            (b'\\', true) => {
                let next = bytes.next().unwrap();
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
                match digit(next) {
                    Some(high) => value.push(high << 4 | digit(bytes.next().unwrap()).unwrap()),
                    None => value.push(next),
                }
            }
            (_, true) => value.push(byte),
        }
    }
    out.into_iter().map(|(kind, value)| (kind, String::from_utf8(value).unwrap())).collect()
}

proptest! {
    #[test]
    fn what_is_rendered_reads_back_in_reverse(values in prop::collection::vec("[ -~\u{e9}\u{20ac}\u{1f600}]{1,12}", 1..5)) {
        let rdns: Vec<_> = values.iter().map(|value| [attribute(CN, UTF8, value.as_bytes())]).collect();
        let der = name(&rdns.iter().map(<[_; 1]>::as_slice).collect::<Vec<_>>());
        let rendered = text(&der);
        prop_assert!(rendered.bytes().all(|b| (b' '..=b'~').contains(&b)));
        let expected: Vec<_> = values.iter().rev().map(|value| ("CN".to_owned(), value.clone())).collect();
        prop_assert_eq!(unescaped(&rendered), expected);
    }
}
