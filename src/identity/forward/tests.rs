use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::identity::testing::{Raw, common_name, extension, minted_with_names, sequence, tlv};
use crate::identity::testing::{SUBJECT_ALT_NAME, UTF8};
use crate::identity::{AlternativeNames, Bounds, parse};

const ALL: Formats = Formats { client_cert: true, client_cert_chain: true, plain: true, xfcc: true, fingerprint: true };
const NONE: Formats =
    Formats { client_cert: false, client_cert_chain: false, plain: false, xfcc: false, fingerprint: false };

fn stamped(identity: &Identity, chain: &[&[u8]], formats: Formats) -> HeaderMap {
    let mut headers = HeaderMap::new();
    IdentityHeaders::verified(identity, chain, formats).stamp(formats, &mut headers);
    headers
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or_else(|| panic!("no {name}"), |value| value.to_str().unwrap())
}

#[test]
fn formats_unite() {
    let (a, b) = (Formats { plain: true, ..NONE }, Formats { xfcc: true, ..NONE });
    assert_eq!(a.union(b), Formats { plain: true, xfcc: true, ..NONE });
    assert_eq!(a.union(NONE), a);
    assert_eq!(ALL.union(NONE), ALL);
    assert!(a.any() && b.any() && ALL.any() && !NONE.any());
    assert!(Formats { client_cert: true, ..NONE }.any() && Formats { client_cert_chain: true, ..NONE }.any());
    assert!(Formats { fingerprint: true, ..NONE }.any());
}

#[test]
fn the_plain_headers_say_what_the_certificate_says() {
    let names = [
        tlv(0x82, b"A.Example"),
        tlv(0x86, b"spiffe://a.example/x,y;z%20"),
        tlv(0x81, b"joe@Example.com"),
        tlv(0x87, &[10, 0, 0, 1]),
        tlv(0x87, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        tlv(0xa0, b""),
    ];
    let raw = Raw {
        serial: vec![0, 0xab, 1],
        subject: common_name(UTF8, "J\u{fc}rgen, X".as_bytes()),
        extensions: vec![extension(SUBJECT_ALT_NAME, &sequence(&names))],
        ..Raw::default()
    };
    let identity = parse(&raw.der(), &Bounds::default()).unwrap();
    let headers = stamped(&identity, &[&raw.der()], Formats { plain: true, ..NONE });
    assert_eq!(headers.len(), 7);
    assert_eq!(text(&headers, "x-client-cert-subject"), r"CN=J\C3\BCrgen\, X");
    assert_eq!(text(&headers, "x-client-cert-issuer"), "CN=issuer");
    assert_eq!(text(&headers, "x-client-cert-serial"), "ab01");
    assert_eq!(text(&headers, "x-client-cert-fingerprint"), identity.fingerprint.to_string());
    assert_eq!(text(&headers, "x-client-cert-not-after"), "2034-01-01T00:00:00Z");
    assert_eq!(text(&headers, "x-client-cert-verified"), "true");
    let expected =
        "DNS:a.example, URI:spiffe://a.example/x%2Cy%3Bz%2520, email:joe@example.com, IP:10.0.0.1, IP:2001:db8::1";
    assert_eq!(text(&headers, "x-client-cert-san"), expected);
}

#[test]
fn rfc_9440_carries_the_der_itself() {
    let leaf = minted_with_names();
    let identity = parse(&leaf, &Bounds::default()).unwrap();
    let chain: [&[u8]; 3] = [&leaf, b"intermediate", b"root"];
    let headers = stamped(&identity, &chain, Formats { client_cert: true, client_cert_chain: true, ..NONE });
    assert_eq!(headers.len(), 2);
    let bytes = |item: &str| STANDARD.decode(item.strip_prefix(':').unwrap().strip_suffix(':').unwrap()).unwrap();
    assert_eq!(bytes(text(&headers, "client-cert")), leaf);
    let list: Vec<_> = text(&headers, "client-cert-chain").split(", ").map(bytes).collect();
    assert_eq!(list, [b"intermediate".to_vec(), b"root".to_vec()]);
}

#[test]
fn a_leaf_alone_has_no_chain_header() {
    let leaf = minted_with_names();
    let identity = parse(&leaf, &Bounds::default()).unwrap();
    assert!(!stamped(&identity, &[&leaf], ALL).contains_key("client-cert-chain"));
    let headers = stamped(&identity, &[], ALL);
    assert!(!headers.contains_key("client-cert") && !headers.contains_key("client-cert-chain"));
}

#[test]
fn xfcc_reads_as_envoy_writes_it() {
    let leaf = minted_with_names();
    let identity = parse(&leaf, &Bounds::default()).unwrap();
    let headers = stamped(&identity, &[&leaf], Formats { xfcc: true, ..NONE });
    let hash = identity.fingerprint;
    let expected = format!(
        "Hash={hash};Subject=\"CN=rcgen self signed cert\";URI=spiffe://prod.example/ns/shop/sa/till;\
         URI=\"urn:x:1;DNS=admin,URI=2\";DNS=client.example;DNS=*.apps.example"
    );
    assert_eq!(text(&headers, "x-forwarded-client-cert"), expected);
    assert_eq!(headers.len(), 1);
}

#[test]
fn an_anonymous_connection_says_so_only_in_the_plain_format() {
    let anonymous = IdentityHeaders::anonymous();
    let mut headers = HeaderMap::new();
    anonymous.stamp(Formats { plain: false, ..ALL }, &mut headers);
    assert!(headers.is_empty());
    anonymous.stamp(ALL, &mut headers);
    assert_eq!(headers.len(), 1);
    assert_eq!(text(&headers, "x-client-cert-verified"), "false");
}

#[test]
fn a_stamp_replaces_whatever_was_there() {
    let leaf = minted_with_names();
    let identity = parse(&leaf, &Bounds::default()).unwrap();
    let rendered = IdentityHeaders::verified(&identity, &[&leaf, &leaf], ALL);
    let mut clean = HeaderMap::new();
    rendered.stamp(ALL, &mut clean);
    let mut forged = HeaderMap::new();
    for name in clean.keys() {
        forged.append(name.clone(), HeaderValue::from_static("forged"));
        forged.append(name.clone(), HeaderValue::from_static("twice"));
    }
    rendered.stamp(ALL, &mut forged);
    rendered.stamp(ALL, &mut forged);
    assert_eq!(forged, clean);
}

#[test]
fn a_format_that_was_not_rendered_is_not_stamped() {
    let leaf = minted_with_names();
    let identity = parse(&leaf, &Bounds::default()).unwrap();
    let mut headers = HeaderMap::new();
    IdentityHeaders::verified(&identity, &[&leaf], NONE).stamp(ALL, &mut headers);
    assert!(headers.is_empty());
    IdentityHeaders::verified(&identity, &[&leaf], ALL).stamp(NONE, &mut headers);
    assert!(headers.is_empty());
}

#[test]
fn a_stamp_shares_the_bytes_of_the_connection() {
    let leaf = minted_with_names();
    let identity = parse(&leaf, &Bounds::default()).unwrap();
    let rendered = IdentityHeaders::verified(&identity, &[&leaf], ALL);
    let (mut one, mut two) = (HeaderMap::new(), HeaderMap::new());
    rendered.stamp(ALL, &mut one);
    rendered.stamp(ALL, &mut two);
    let address = |headers: &HeaderMap| headers["client-cert"].as_bytes().as_ptr();
    assert_eq!(address(&one), address(&two));
}

#[test]
fn times_are_rfc_3339_to_the_end_of_time() {
    for (unix, expected) in [
        (0, Some("1970-01-01T00:00:00Z")),
        (-1, Some("1969-12-31T23:59:59Z")),
        (951_827_696, Some("2000-02-29T12:34:56Z")),
        (253_402_300_799, Some("9999-12-31T23:59:59Z")),
        (253_402_300_800, None),
        (-62_167_219_200, Some("0000-01-01T00:00:00Z")),
        (-62_167_219_201, None),
        (i64::MAX, None),
        (i64::MIN, None),
    ] {
        assert_eq!(render::rfc3339(unix).as_deref(), expected, "{unix}");
    }
}

/// One element of XFCC by the grammar of Envoy's documentation: `key=value` or `key="value"`
/// separated by `;`, elements separated by `,`, a backslash protects the next character in quotes.
fn read_xfcc(text: &str) -> Vec<Vec<(String, String)>> {
    let (mut elements, mut pairs) = (Vec::new(), Vec::new());
    let mut rest = text;
    loop {
        let (key, after) = rest.split_once('=').unwrap();
        let mut value = String::new();
        let mut chars = after.char_indices().peekable();
        let quotes = chars.next_if(|(_, c)| *c == '"').is_some();
        let mut end = after.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' if quotes => value.push(chars.next().unwrap().1),
                '"' if quotes => {
                    end = at + 1;
                    break;
                }
                ';' | ',' if !quotes => {
                    end = at;
                    break;
                }
                _ => value.push(c),
            }
        }
        pairs.push((key.to_owned(), value));
        rest = after.get(end..).unwrap();
        match rest.chars().next() {
            None => {
                elements.push(pairs);
                return elements;
            }
            Some(',') => elements.push(std::mem::take(&mut pairs)),
            separator => assert_eq!(separator, Some(';')),
        }
        rest = rest.get(1..).unwrap();
    }
}

/// `X-Client-Cert-San` by the grammar in its documentation.
fn read_san(text: &str) -> AlternativeNames {
    let mut names = AlternativeNames::default();
    for name in text.split(", ").filter(|name| !name.is_empty()) {
        let (kind, value) = name.split_once(':').unwrap();
        assert!(!value.contains([',', ';', '"', ' ', '\\']));
        let value = percent_encoding::percent_decode_str(value).decode_utf8().unwrap();
        match kind {
            "DNS" => names.dns.push((*value).into()),
            "URI" => names.uri.push((*value).into()),
            "email" => names.email.push((*value).into()),
            "IP" => names.ip.push(value.parse().unwrap()),
            other => panic!("{other}"),
        }
    }
    names
}

/// Names that a certificate could not even hold, full of everything that has a meaning in a header.
fn hostile() -> impl Strategy<Value = Vec<Box<str>>> {
    let name = prop_oneof!["[ -~]{1,16}", "[\";=,\\\\%: ]{1,8}", "[a-z]\";DNS=[a-z]", "[a-z], URI:[a-z]"];
    prop::collection::vec(name.prop_map(Into::into), 0..4)
}

fn identity(names: AlternativeNames, subject: &str) -> Identity {
    let mut identity = parse(&Raw::default().der(), &Bounds::default()).unwrap();
    identity.subject.text = subject.into();
    identity.names = names;
    identity
}

proptest! {
    #[test]
    fn whatever_the_names_hold_reads_back_unchanged(
        (dns, uri, email) in (hostile(), hostile(), hostile()),
        ip in prop::collection::vec(any::<IpAddr>(), 0..3),
        subject in "[ -~]{0,24}",
    ) {
        let names = AlternativeNames { dns, uri, email, ip, other: 0 };
        let identity = identity(names, &subject);
        let headers = stamped(&identity, &[], ALL);
        let san = headers.get("x-client-cert-san").map_or("", |value| value.to_str().unwrap());
        prop_assert_eq!(&read_san(san), &identity.names);
        let mut expected = vec![("Hash".to_owned(), identity.fingerprint.to_string()), ("Subject".to_owned(), subject)];
        expected.extend(identity.names.uri.iter().map(|uri| ("URI".to_owned(), uri.to_string())));
        expected.extend(identity.names.dns.iter().map(|dns| ("DNS".to_owned(), dns.to_string())));
        prop_assert_eq!(read_xfcc(text(&headers, "x-forwarded-client-cert")), vec![expected]);
    }

    #[test]
    fn a_subject_from_a_certificate_is_always_a_header_value(cn in "\\PC{1,20}") {
        let raw = Raw { subject: common_name(UTF8, cn.as_bytes()), ..Raw::default() };
        if let Ok(identity) = parse(&raw.der(), &Bounds::default()) {
            let headers = stamped(&identity, &[&raw.der()], ALL);
            prop_assert_eq!(text(&headers, "x-client-cert-subject"), &*identity.subject.text);
            prop_assert_eq!(&read_xfcc(text(&headers, "x-forwarded-client-cert"))[0][1].1, &*identity.subject.text);
        }
    }

    #[test]
    fn a_text_that_is_no_header_value_never_becomes_one(subject in any::<String>()) {
        let headers = stamped(&identity(AlternativeNames::default(), &subject), &[], ALL);
        for value in headers.values() {
            prop_assert!(value.as_bytes().iter().all(|b| (b' '..=b'~').contains(b) || *b == b'\t'));
        }
    }
}
