use super::*;
use crate::identity::testing::*;

fn one(tag: u8, contents: &[u8]) -> Result<AlternativeNames, Reject> {
    alternative_names(&sequence(&[tlv(tag, contents)]), 64)
}

#[track_caller]
fn refused(tag: u8, contents: &[u8]) {
    let reject = one(tag, contents).expect_err(&String::from_utf8_lossy(contents));
    assert_eq!(reject.reason, Reason::CertNameInvalid);
}

#[test]
fn every_name_is_kept_under_its_type() {
    let der = minted_with_names();
    let names = crate::identity::parse(&der, &crate::identity::Bounds::default()).unwrap().names;
    assert_eq!(*names.dns, ["client.example".into(), "*.apps.example".into()]);
    assert_eq!(*names.uri, ["spiffe://prod.example/ns/shop/sa/till".into(), "urn:x:1;DNS=admin,URI=2".into()]);
    assert_eq!(*names.email, ["Till@example.com".into()]);
    assert_eq!(*names.ip, ["10.1.2.3".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    assert_eq!(names.other, 1);
}

#[test]
fn a_dns_name_is_a_host_name() {
    let longest = format!("{}.{}", vec!["a".repeat(61); 4].join("."), "b".repeat(5));
    assert_eq!(longest.len(), 253);
    for (text, expected) in [
        ("a", "a"),
        ("API.Example.com", "api.example.com"),
        ("a.example.", "a.example"),
        ("*.example", "*.example"),
        ("my_host-1.internal", "my_host-1.internal"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.2.3", "1.2.3"),
        (&longest, &longest),
        (&"a".repeat(63), &"a".repeat(63)),
    ] {
        assert_eq!(*one(DNS_TAG, text.as_bytes()).unwrap().dns, [expected.into()]);
    }
}

#[test]
fn what_is_no_host_name_is_refused_as_a_dns_name() {
    let too_long = format!("{}.{}", vec!["a".repeat(61); 4].join("."), "b".repeat(6));
    let longest = too_long.get(1..).unwrap();
    let long_wildcard = format!("*.{}", longest.get(..252).unwrap());
    let long_label = "a".repeat(64);
    for text in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "*",
        "*.",
        "*.*.a",
        "a.*.b",
        "a*.b",
        "*a",
        "-a",
        "a.-b",
        "a-.b",
        "a-",
        "a b",
        " a",
        "a ",
        "a\0",
        "\0",
        "a\n",
        "a,b",
        "a;b",
        "a=b",
        "a\"b",
        "a/b",
        "a:443",
        "user@host",
        "a%2eb",
        "10.0.0.1",
        "*.10.0.0.1",
        "[::1]",
        "::1",
        "b\u{fc}cher.example",
        "a\u{7f}",
        "http://a",
        &too_long,
        &long_wildcard,
        &long_label,
    ] {
        refused(DNS_TAG, text.as_bytes());
    }
    refused(DNS_TAG, b"\xff\xfe");
}

#[test]
fn an_email_address_is_one_mailbox() {
    for (text, expected) in [("Joe@Example.COM", "Joe@example.com"), ("a.b+c=d%e@x", "a.b+c=d%e@x")] {
        assert_eq!(*one(EMAIL_TAG, text.as_bytes()).unwrap().email, [expected.into()]);
    }
    let long_local = format!("{}@x", "a".repeat(65));
    for text in [
        "",
        "@",
        "a@",
        "@b",
        "a",
        "host.example",
        "a@b@c",
        "\"a@b\"@c",
        "\"a b\"@c",
        "a b@c",
        "a@b c",
        "a@b\0",
        "a\0@b",
        "a@b\r\nX: y",
        "a@-b",
        "a@b..c",
        "a@[10.0.0.1]",
        "a@10.0.0.1",
        "<a@b>",
        "A <a@b>",
        "a@b,c@d",
        "a,b@c",
        "a;b@c",
        ".a@b",
        "a.@b",
        "a..b@c",
        "a@*.b",
        "a@b.",
        "\u{fc}@b",
        "a@\u{fc}",
        "mailto:a@b",
        &long_local,
    ] {
        refused(EMAIL_TAG, text.as_bytes());
    }
}

#[test]
fn a_uri_is_absolute_and_as_it_stands() {
    let longest = format!("urn:{}", "a".repeat(2044));
    for text in [
        "spiffe://prod.example/Ns/A",
        "https://user@h.example:8443/p?q=1&r=%2F#f",
        "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "tag:example,2024:a;b=c",
        "x+y-z.1:a",
        &longest,
    ] {
        assert_eq!(*one(URI_TAG, text.as_bytes()).unwrap().uri, [text.into()]);
    }
    let too_long = format!("{longest}a");
    for text in [
        "",
        ":",
        "a",
        "a:",
        ":a",
        "//host/path",
        "/path",
        "1a:b",
        "a b:c",
        "a_b:c",
        "a:b c",
        " a:b",
        "a:b ",
        "a:b\0",
        "a:\0b",
        "a:\tb",
        "a:\r\nb",
        "a:b\u{7f}",
        "a:\u{fc}",
        "a:\"b\"",
        "a:<b>",
        "a:b\\c",
        "a:{b}",
        "a:b|c",
        "a:b^c",
        "a:`b`",
        "a:%",
        "a:%2",
        "a:%2g",
        "a:b%",
        "a:%%41",
        "client.example",
        &too_long,
    ] {
        refused(URI_TAG, text.as_bytes());
    }
}

#[test]
fn an_ip_address_has_four_or_sixteen_octets() {
    assert_eq!(*one(IP_TAG, &[10, 0, 0, 1]).unwrap().ip, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(*one(IP_TAG, &[0; 16]).unwrap().ip, ["::".parse::<IpAddr>().unwrap()]);
    for length in (0..40).filter(|length| ![4, 16].contains(length)) {
        refused(IP_TAG, &vec![1; length]);
    }
    refused(IP_TAG, b"10.0.0.1");
}

#[test]
fn a_name_never_counts_under_another_type() {
    let by_tag = |tag: u8, text: &[u8]| one(tag, text).unwrap();
    let names = by_tag(URI_TAG, b"dns:admin.example");
    assert!(names.dns.is_empty() && names.email.is_empty());
    // Four octets that read as text are an address, not a host.
    let names = by_tag(IP_TAG, b"a.bc");
    assert!(names.dns.is_empty() && names.ip.len() == 1);
    // An address inside an otherName (a Microsoft UPN) is no email.
    let names = by_tag(0xa0, &[tlv(OID, &[0x2a, 3]), tlv(0xa0, &tlv(UTF8, b"root@example"))].concat());
    assert_eq!(names, AlternativeNames { other: 1, ..AlternativeNames::default() });
}

#[test]
fn other_types_are_counted() {
    let all = [tlv(0xa0, b""), tlv(0xa3, b""), tlv(0xa4, &common_name(UTF8, b"x")), tlv(0xa5, b""), tlv(0x88, &[0x2a])];
    let names = alternative_names(&sequence(&all), 64).unwrap();
    assert_eq!(names, AlternativeNames { other: 5, ..AlternativeNames::default() });
}

#[test]
fn what_is_no_general_name_is_refused() {
    for tag in [0xa2, 0xa1, 0xa6, 0xa7, 0x80, 0x84, 0xa8, 0x89, 0x9e, 0x0c, 0x16, 0x42, 0xc2, 0x02] {
        refused(tag, b"a.example");
    }
}

#[test]
fn one_bad_name_among_good_ones_is_enough() {
    let good = || tlv(DNS_TAG, b"good.example");
    let list = sequence(&[good(), tlv(DNS_TAG, b"bad\0.example"), good()]);
    let reject = alternative_names(&list, 64).unwrap_err();
    assert_eq!((reject.reason, &*reject.detail), (Reason::CertNameInvalid, "alternative name 2: bad dNSName"));
}

#[test]
fn the_extension_is_exactly_one_list() {
    let list = sequence(&[tlv(DNS_TAG, b"a.example")]);
    let cut = &list[..list.len() - 1];
    let inner = tlv(SEQUENCE, &[tlv(DNS_TAG, b"a.example"), vec![0x82, 9, b'x']].concat());
    for bad in [&[][..], &sequence(&[]), &[list.clone(), vec![0]].concat(), cut, &inner, &tlv(SET, &list)] {
        assert_eq!(alternative_names(bad, 64).unwrap_err().reason, Reason::CertMalformed, "{bad:02x?}");
    }
}

#[test]
fn names_of_every_type_count_toward_the_limit() {
    let three = sequence(&[tlv(DNS_TAG, b"a"), tlv(0xa0, b""), tlv(IP_TAG, &[1; 4])]);
    assert!(alternative_names(&three, 3).is_ok());
    assert_eq!(alternative_names(&three, 2).unwrap_err().reason, Reason::CertTooManyNames);
}

const EMAIL_TAG: u8 = 0x81;
const DNS_TAG: u8 = 0x82;
const URI_TAG: u8 = 0x86;
const IP_TAG: u8 = 0x87;
