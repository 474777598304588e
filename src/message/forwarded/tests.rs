use proptest::prelude::*;

use super::*;

const PEER: &str = "192.0.2.7";

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn applied(fields: &[(&str, &str)], peer: &str, trust: Trust, rfc7239: Rfc7239) -> Vec<(String, String)> {
    let mut headers = headers(fields);
    let host = HeaderValue::from_static("a.example:8443");
    apply(&mut headers, &Hop::new(peer.parse().unwrap()), &host, trust, rfc7239);
    let mut out: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    out.sort();
    out
}

fn check(fields: &[(&str, &str)], trust: Trust, rfc7239: Rfc7239, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(applied(fields, PEER, trust, rfc7239), expected, "{fields:?}");
}

/// What a request without any field of its own gets.
const OURS: [(&str, &str); 3] =
    [("x-forwarded-for", PEER), ("x-forwarded-host", "a.example:8443"), ("x-forwarded-proto", "https")];

#[test]
fn a_stranger_says_nothing_about_where_a_request_came_from() {
    for name in [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-Prefix",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-User",
        "X-Real-Ip",
        "True-Client-Ip",
        "X-Client-Ip",
        "CF-Connecting-IP",
        "X-Original-Url",
        "X-Original-Host",
        "X-Original-Forwarded-For",
        "X-Rewrite-Url",
        "Front-End-Https",
        "X-Cluster-Client-Ip",
    ] {
        for spelling in [
            name.to_owned(),
            name.to_lowercase(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
            name.replacen('-', "_", 1),
            name.replace('-', "~"),
        ] {
            let inbound = [(spelling.as_str(), "203.0.113.66"), (spelling.as_str(), ""), ("x-kept", "1")];
            let mut expected = OURS.to_vec();
            expected.push(("x-kept", "1"));
            check(&inbound, Trust::Replace, Rfc7239::Omit, &expected);
        }
    }
}

#[test]
fn fields_that_only_look_alike_are_left() {
    for name in ["x-forwardedfor", "x-real-ipx", "ax-real-ip", "x_client_cert", "forwardedx", "x-request-id", "x"] {
        let mut expected = OURS.to_vec();
        expected.push((name, "1"));
        expected.sort_unstable();
        check(&[(name, "1")], Trust::Replace, Rfc7239::Omit, &expected);
    }
}

#[test]
fn the_standard_field_quotes_what_it_must() {
    for (peer, element) in [
        ("192.0.2.7", "for=192.0.2.7;host=\"a.example:8443\";proto=https"),
        ("2001:db8::1", "for=\"[2001:db8::1]\";host=\"a.example:8443\";proto=https"),
        ("::ffff:192.0.2.7", "for=192.0.2.7;host=\"a.example:8443\";proto=https"),
    ] {
        let out = applied(&[("Forwarded", "for=evil")], peer, Trust::Replace, Rfc7239::Send);
        assert_eq!(out[0], ("forwarded".to_owned(), element.to_owned()));
    }
    let hop = Hop::new(PEER.parse().unwrap());
    let hostile = HeaderValue::from_static("a\";for=evil,b\\");
    assert_eq!(hop.element(&hostile), "for=192.0.2.7;host=\"a\\\";for=evil,b\\\\\";proto=https");
    let binary = HeaderValue::from_bytes(b"a\xff").unwrap();
    assert_eq!(hop.element(&binary), "for=192.0.2.7;proto=https");
}

#[test]
fn a_listed_proxy_is_believed_and_added_to() {
    check(
        &[
            ("X-Forwarded-For", "203.0.113.1"),
            ("X-Forwarded-For", "203.0.113.2, 203.0.113.3"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "B.example"),
            ("Forwarded", "for=203.0.113.1;by=\"a,\\\"b\""),
            ("X-Real-Ip", "203.0.113.1"),
        ],
        Trust::Append,
        Rfc7239::Send,
        &[
            ("forwarded", "for=203.0.113.1;by=\"a,\\\"b\", for=192.0.2.7;host=\"a.example:8443\";proto=https"),
            ("x-forwarded-for", "203.0.113.1, 203.0.113.2, 203.0.113.3, 192.0.2.7"),
            ("x-forwarded-host", "B.example"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "203.0.113.1"),
        ],
    );
    check(&[], Trust::Append, Rfc7239::Omit, &OURS);
    check(&[("forwarded", "for=203.0.113.1")], Trust::Append, Rfc7239::Omit, &OURS);
}

#[test]
fn a_listed_proxy_is_not_believed_where_it_is_unclear() {
    for fields in [
        &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")][..],
        &[("X-Forwarded-Proto", "http, https")],
        &[("X-Forwarded-Proto", "gopher")],
        &[("X-Forwarded-Proto", "")],
        &[("X-Forwarded-Host", "b.example"), ("X-Forwarded-Host", "c.example")],
        &[("X-Forwarded-Host", "b.example, c.example")],
        &[("X-Forwarded-Host", "b.example/..")],
        &[("X-Forwarded-Host", "user@b.example")],
        &[("X_Forwarded_For", "203.0.113.1"), ("x-forwarded.for", "1"), ("x_real_ip", "1")],
        &[("x_request_id", "1"), ("x-request.id", "1")],
        &[("X-Forwarded-For", "\"203.0.113.1")],
    ] {
        check(fields, Trust::Append, Rfc7239::Omit, &OURS);
    }
}

#[test]
fn an_open_quote_does_not_swallow_our_element() {
    for value in ["for=\"", "for=\"a\\\"", "for=a;by=\"x, y"] {
        let out = applied(&[("Forwarded", value)], PEER, Trust::Append, Rfc7239::Send);
        assert_eq!(out[0].1, "for=192.0.2.7;host=\"a.example:8443\";proto=https", "{value}");
    }
}

#[test]
fn only_listed_networks_are_trusted() {
    let trusted: Vec<IpNet> =
        ["10.0.0.0/8", "2001:db8::/32", "::ffff:198.51.100.0/120"].map(|net| net.parse().unwrap()).into();
    for (peer, trust) in [
        ("10.1.2.3", Trust::Append),
        ("::ffff:10.1.2.3", Trust::Append),
        ("2001:db8::1", Trust::Append),
        ("11.1.2.3", Trust::Replace),
        ("::ffff:11.1.2.3", Trust::Replace),
        ("2001:db9::1", Trust::Replace),
        ("::10.1.2.3", Trust::Replace),
        ("198.51.100.1", Trust::Replace),
    ] {
        assert_eq!(trust_of(peer.parse().unwrap(), &trusted), trust, "{peer}");
    }
    assert_eq!(trust_of(PEER.parse().unwrap(), &[]), Trust::Replace);
    assert_eq!(trust_of("::ffff:192.0.2.7".parse().unwrap(), &["::/0".parse().unwrap()]), Trust::Replace);
}

proptest! {
    #[test]
    fn nothing_of_a_strangers_making_survives(
        fields in prop::collection::vec((
            prop::sample::select(FIELDS.iter().chain(PREFIXES.iter()).copied().collect::<Vec<_>>()),
            prop::sample::select(vec!["", "for", "host", "proto", "anything"]),
            "[-_.!~+]{16}",
            "[ -~]{0,16}",
        ), 0..8)
    ) {
        let mut inbound = HeaderMap::new();
        for (field, rest, hyphens, value) in &fields {
            let mut hyphens = hyphens.chars();
            let name: String =
                format!("{field}{rest}").chars().map(|c| if c == '-' { hyphens.next().unwrap_or('-') } else { c }).collect();
            // Fields that a suffix made into something else are none of ours.
            if says_where_from(&name) {
                inbound.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
            }
        }
        let host = HeaderValue::from_static("a.example:8443");
        apply(&mut inbound, &Hop::new(PEER.parse().unwrap()), &host, Trust::Replace, Rfc7239::Omit);
        prop_assert_eq!(inbound, headers(&OURS));
    }

    #[test]
    fn our_element_is_always_the_last(inbound in prop::collection::vec("[ -~]{0,24}", 0..3)) {
        let fields: Vec<_> = inbound.iter().map(|value| ("forwarded", value.as_str())).collect();
        let out = applied(&fields, PEER, Trust::Append, Rfc7239::Send);
        let ours = "for=192.0.2.7;host=\"a.example:8443\";proto=https";
        let before = out[0].1.strip_suffix(ours).unwrap();
        prop_assert!(before.is_empty() || (before.ends_with(", ") && !ends_in_quotes(before.as_bytes())));
    }
}
