use http::Request;
use proptest::prelude::*;

use super::*;

fn parts(version: Version, uri: &str, hosts: &[&str]) -> Parts {
    let mut builder = Request::builder().version(version).uri(uri);
    for host in hosts {
        builder = builder.header(HOST, *host);
    }
    builder.body(()).unwrap().into_parts().0
}

fn refused(version: Version, uri: &str, hosts: &[&str]) {
    let parts = parts(version, uri, hosts);
    match Authority::of(&parts) {
        Err(reject) => assert_eq!(reject.reason, Reason::AuthorityInvalid),
        Ok(authority) => panic!("{version:?} {uri} {hosts:?} gave {authority:?}"),
    }
}

fn accepted(version: Version, uri: &str, hosts: &[&str], host: &str, port: Option<u16>, text: &str) {
    let parts = parts(version, uri, hosts);
    let authority = Authority::of(&parts).unwrap_or_else(|reject| panic!("{version:?} {uri} {hosts:?}: {reject}"));
    assert_eq!((authority.host.as_ref(), authority.port, authority.text), (host, port, text));
    assert_eq!(authority.to_value().unwrap(), text);
}

#[test]
fn spellings_of_one_host_become_one() {
    for (spelling, host) in [
        ("example.com", "example.com"),
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("EXAMPLE.com.", "example.com"),
        ("a_b-c.9", "a_b-c.9"),
        ("192.0.2.1", "192.0.2.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("[2001:DB8:0:0::1]", "2001:db8::1"),
        ("2001:0db8::0001", "2001:db8::1"),
        ("[::ffff:192.0.2.1]", "::ffff:192.0.2.1"),
        ("::FFFF:C000:0201", "::ffff:192.0.2.1"),
    ] {
        assert_eq!(normalize_host(spelling).unwrap(), host, "{spelling}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    for text in [
        "",
        ".",
        "..",
        "a..",
        "a..b",
        ".a",
        "a b",
        " a",
        "a ",
        "a\t",
        "a\0",
        "a\r\nb",
        "a,b",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "a@b",
        "a%2eb",
        "%61",
        "*.a",
        "*",
        "a:80",
        "ä.example",
        "xn--ä",
        "ａ.example",
        "a。b",
        "[",
        "]",
        "[]",
        "[::1",
        "::1]",
        "[::1]]",
        "[[::1]]",
        "[::1].",
        "::1.",
        "[::1%eth0]",
        "fe80::1%1",
        "[a]",
        "[192.0.2.1]",
        "[v1.a]",
        ":",
        ":::",
        "1:2",
        "[::1]:80",
        "a'b",
        "a\"b",
        "a;b",
        "(a)",
        "a~",
    ] {
        assert_eq!(normalize_host(text).unwrap_err().reason, Reason::AuthorityInvalid, "{text:?}");
    }
}

#[test]
fn names_and_labels_have_the_lengths_of_the_dns() {
    let label = "a".repeat(63);
    assert!(normalize_host(&label).is_ok());
    assert!(normalize_host(&format!("{label}a")).is_err());
    let name = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(name.len(), 253);
    assert!(normalize_host(&name).is_ok());
    assert!(normalize_host(&format!("{name}.")).is_ok());
    assert!(normalize_host(&format!("{name}a")).is_err());
    assert!(normalize_host(&"a.".repeat(100_000)).is_err());
}

#[test]
fn a_normal_host_is_lent_back() {
    assert!(matches!(normalize_host("a.example").unwrap(), Cow::Borrowed(_)));
    assert!(matches!(normalize_host("a.example.").unwrap(), Cow::Borrowed(_)));
}

#[test]
fn http1_takes_the_only_host_field() {
    for version in [Version::HTTP_10, Version::HTTP_11] {
        accepted(version, "/", &["a.example"], "a.example", None, "a.example");
        accepted(version, "/", &["A.Example.:8443"], "a.example", Some(8443), "A.Example.:8443");
        accepted(version, "/", &["[::1]:8443"], "::1", Some(8443), "[::1]:8443");
        accepted(version, "/", &["[::1]"], "::1", None, "[::1]");
        refused(version, "/", &[]);
        refused(version, "/", &[""]);
        refused(version, "/", &["a.example", "a.example"]);
        refused(version, "/", &["a.example", "b.example"]);
        refused(version, "/", &["a.example, b.example"]);
        refused(version, "/", &["a.example b.example"]);
        refused(version, "https://a.example/", &[]);
    }
}

#[test]
fn an_absolute_target_must_agree_with_the_host_field() {
    let v = Version::HTTP_11;
    accepted(v, "https://a.example/", &["a.example"], "a.example", None, "a.example");
    accepted(v, "https://A.example./", &["a.EXAMPLE:443"], "a.example", None, "A.example.");
    accepted(v, "https://a.example:443/", &["a.example"], "a.example", Some(443), "a.example:443");
    accepted(v, "http://a.example:80/", &["a.example"], "a.example", Some(80), "a.example:80");
    accepted(v, "HTTPS://a.example", &["a.example"], "a.example", None, "a.example");
    refused(v, "https://a.example/", &["b.example"]);
    refused(v, "https://a.example/", &["a.example:8443"]);
    refused(v, "https://a.example:8443/", &["a.example"]);
    refused(v, "http://a.example/", &["a.example:443"]);
    refused(v, "https://a.example/", &["a.example", "a.example"]);
    refused(v, "ftp://a.example/", &["a.example"]);
    refused(v, "https://user@a.example/", &["a.example"]);
    refused(v, "https://user@a.example/", &["user@a.example"]);
    refused(v, "https://a.example:0/", &["a.example:0"]);
    refused(v, "https://a.example:/", &["a.example"]);
}

#[test]
fn http2_takes_authority_and_a_host_field_that_agrees() {
    let v = Version::HTTP_2;
    accepted(v, "https://A.example/", &[], "a.example", None, "A.example");
    accepted(v, "https://a.example/", &["A.EXAMPLE."], "a.example", None, "a.example");
    accepted(v, "/", &["a.example:1"], "a.example", Some(1), "a.example:1");
    refused(v, "/", &[]);
    refused(v, "https://a.example/", &["protected.example"]);
    refused(v, "https://a.example/", &["a.example:444"]);
    refused(v, "https://a.example/", &["a.example", "protected.example"]);
    refused(v, "https://u:p@a.example/", &[]);
}

#[test]
fn ports_are_numbers_from_1_to_65535() {
    accepted(Version::HTTP_11, "/", &["a:1"], "a", Some(1), "a:1");
    accepted(Version::HTTP_11, "/", &["a:65535"], "a", Some(65535), "a:65535");
    for host in [
        "a:",
        "a:0",
        "a:00",
        "a:080",
        "a:65536",
        "a:99999999999999999999",
        "a:-1",
        "a:+80",
        "a: 80",
        "a:80 ",
        "a:80a",
        "a:80:80",
        "a:http",
        ":80",
        "[::1]:",
        "[::1]:0",
        "[::1]80",
        "[::1]a",
        "::1",
        "::1:80",
        "[::1]]:80",
        "user@a",
        "user:pass@a:80",
        "@a",
        "a@",
        "a:80@b",
        "a/b",
        "a:80/",
        "https://a",
    ] {
        refused(Version::HTTP_11, "/", &[host]);
    }
}

#[test]
fn a_host_field_that_is_not_ascii_is_refused() {
    let mut parts = parts(Version::HTTP_11, "/", &[]);
    parts.headers.insert(HOST, HeaderValue::from_bytes(b"a\xff.example").unwrap());
    assert_eq!(Authority::of(&parts).unwrap_err().reason, Reason::AuthorityInvalid);
}

proptest! {
    #[test]
    fn normalizing_twice_changes_nothing(text in "(\\PC{0,24}|[a-cA-C0-9._:\\[\\]-]{0,24})") {
        if let Ok(once) = normalize_host(&text) {
            prop_assert_eq!(normalize_host(&once).unwrap(), once.clone());
            prop_assert!(!once.is_empty() && !once.ends_with('.') && !once.bytes().any(|b| b.is_ascii_uppercase()));
            prop_assert!(once.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)));
        }
    }

    #[test]
    fn an_authority_that_is_read_needs_no_escaping(text in "[a-bA-B0-9._:@,\\[\\]\" -]{0,16}") {
        if let Ok(authority) = Authority::parse(&text) {
            prop_assert!(authority.text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b)));
            prop_assert_ne!(authority.port, Some(0));
        }
    }
}
