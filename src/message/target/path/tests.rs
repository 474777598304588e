use proptest::prelude::*;

use super::*;

const STRICT: PathRules = PathRules { empty_segment: false, encoded_slash: false, semicolon: false };
const LENIENT: PathRules = PathRules { empty_segment: true, encoded_slash: true, semicolon: true };

/// `None` if `http` itself refuses the target, as it does before any of our code runs.
fn uri(target: &str) -> Option<Uri> {
    Uri::try_from(target).ok()
}

fn canonical(target: &str, rules: PathRules) -> Result<String, Reason> {
    let uri = uri(target).unwrap_or_else(|| panic!("{target:?} is no URI"));
    canonical_path(&uri, &rules).map(Cow::into_owned).map_err(|reject| reject.reason)
}

fn refused(target: &str, rules: PathRules) {
    if let Some(uri) = uri(target) {
        let result = canonical_path(&uri, &rules).map_err(|reject| reject.reason);
        assert_eq!(result, Err(Reason::PathInvalid), "{target:?} under {rules:?}");
    }
}

#[test]
fn canonical_paths_pass_untouched_and_unallocated() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/a/b.html",
        "/.well-known/x",
        "/..a",
        "/a..",
        "/a../b",
        "/.../b",
        "/a.b/.c",
        "/~u/-_.~",
        "/a:b@c",
        "/!$&'()*+,=",
        "/%20",
        "/caf%C3%A9",
        "/%E2%82%AC/%F0%9F%98%80",
        "/100%25",
        "/100%25/00",
        "/a%25zz",
        "/a%3Fb%23c",
        "/%5B%5D%7B%7D%22",
        "/A/a",
    ] {
        let uri = uri(path).unwrap();
        let canonical = canonical_path(&uri, &STRICT).unwrap_or_else(|reject| panic!("{path}: {reject}"));
        assert!(matches!(canonical, Cow::Borrowed(_)), "{path}");
        assert_eq!(canonical, path);
    }
}

#[test]
fn odd_spellings_become_the_canonical_one() {
    for (spelling, path) in [
        ("/%41dmin", "/Admin"),
        ("/%61dmin", "/admin"),
        ("/adm%69n", "/admin"),
        ("/%7euser", "/~user"),
        ("/%7Euser%2D%5F", "/~user-_"),
        ("/a%2ehtml", "/a.html"),
        ("/a%2Ehtml", "/a.html"),
        ("/%2ewell-known", "/.well-known"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/caf%C3%a9/x", "/caf%C3%A9/x"),
        ("/%e2%82%ac%41", "/%E2%82%ACA"),
        ("/a%3fb", "/a%3Fb"),
        ("/%41%20b", "/A%20b"),
        ("/%41/b%3Ac/%2a", "/A/b%3Ac/%2A"),
    ] {
        assert_eq!(canonical(spelling, STRICT).as_deref(), Ok(path), "{spelling}");
    }
}

#[test]
fn dot_segments_are_refused_under_every_rule() {
    for dots in [".", "..", "%2e", "%2E", "%2e%2e", ".%2e", "%2E.", "%2e%2E"] {
        for path in [format!("/{dots}"), format!("/{dots}/"), format!("/a/{dots}"), format!("/a/{dots}/admin")] {
            refused(&path, STRICT);
            refused(&path, LENIENT);
        }
    }
}

#[test]
fn dot_segments_do_not_hide_before_what_the_rules_tolerate() {
    for path in [
        "/a/..;/admin",
        "/a/..;x=y/admin",
        "/a/.;/admin",
        "/a/%2e%2e;/admin",
        "/a/..%3b/admin",
        "/a/..;",
        "/a/..%3Bx",
        "/a%2f..%2fadmin",
        "/a%2F..",
        "/..%2fadmin",
        "/a/..%2fadmin",
        "/a%2f%2e%2e/admin",
        "/a%2f./b",
        "/a/.%2f",
    ] {
        refused(path, STRICT);
        refused(path, LENIENT);
    }
}

#[test]
fn what_the_rules_tolerate_is_refused_otherwise() {
    let empty = PathRules { empty_segment: true, ..STRICT };
    let slash = PathRules { encoded_slash: true, ..STRICT };
    let semicolon = PathRules { semicolon: true, ..STRICT };
    for (path, rule, form) in [
        ("//", empty, "//"),
        ("//a", empty, "//a"),
        ("/a//b", empty, "/a//b"),
        ("/a///", empty, "/a///"),
        ("/a%2fb", slash, "/a%2Fb"),
        ("/a%2Fb", slash, "/a%2Fb"),
        ("/a%2f", slash, "/a%2F"),
        ("/a;x=1/b", semicolon, "/a;x=1/b"),
        ("/a;x=../b", semicolon, "/a;x=../b"),
        ("/a;", semicolon, "/a;"),
        ("/;jsessionid=1", semicolon, "/;jsessionid=1"),
        ("/a%3bb", semicolon, "/a%3Bb"),
    ] {
        refused(path, STRICT);
        assert_eq!(canonical(path, rule).as_deref(), Ok(form), "{path}");
        assert_eq!(canonical(path, LENIENT).as_deref(), Ok(form), "{path}");
    }
}

#[test]
fn an_empty_segment_does_not_hide_behind_an_encoded_slash_or_parameters() {
    let rules = PathRules { empty_segment: false, ..LENIENT };
    for path in ["/%2fa", "/a/%2fb", "/a%2f/b", "/a%2f%2Fb", "/;/admin", "/;x=1/admin", "/a/;./admin", "/%3b/admin"] {
        refused(path, rules);
    }
}

#[test]
fn what_no_rule_tolerates_is_refused() {
    for path in [
        // Backslashes.
        "/a\\b",
        "/..\\admin",
        "/a%5cb",
        "/a%5Cb",
        "/..%5cadmin",
        // Encoded control characters, C1 among them.
        "/%00",
        "/a%00.html",
        "/%01",
        "/%09",
        "/a%0d%0ab",
        "/%1f",
        "/%1F",
        "/%7f",
        "/%7F",
        "/%c2%80",
        "/%C2%9F",
        // Raw bytes that have no place in a path.
        "/a\"b",
        "/a<b",
        "/a>b",
        "/a^b",
        "/a`b",
        "/a{b",
        "/a|b",
        "/a}b",
        "/a[b",
        "/a]b",
        "/a b",
        "/a\tb",
        "/a\x7fb",
        "/caf\u{e9}",
        "/\u{ff0e}\u{ff0e}/a",
        // Bad percent-encoding.
        "/%",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%2g",
        "/a%g2",
        "/%%",
        "/%%41",
        "/%u002e",
        "/%-1",
        "/%+1",
        "/% 1",
        "/a%/b",
    ] {
        refused(path, STRICT);
        refused(path, LENIENT);
    }
}

#[test]
fn what_is_not_utf8_is_refused() {
    for path in [
        // Overlong forms of `.`, `/` and NUL, surrogates, too high, cut short, stray.
        "/%c0%ae%c0%ae/",
        "/%c0%af",
        "/%c1%9c",
        "/%e0%80%ae",
        "/%e0%80%af",
        "/%f0%80%80%af",
        "/%c0%80",
        "/%ed%a0%80",
        "/%f4%90%80%80",
        "/%f5%80%80%80",
        "/%ff",
        "/%fe",
        "/%80",
        "/%bf",
        "/%c3",
        "/%c3/",
        "/%c3a9",
        "/%c3%28",
        "/%e2%82",
        "/%e2%82/%ac",
        "/%f8%88%80%80%80",
        "/%c3%zz",
    ] {
        refused(path, STRICT);
        refused(path, LENIENT);
    }
}

#[test]
fn double_encoding_is_refused_however_it_is_mixed() {
    for path in [
        "/%252e%252e/admin",
        "/%252E",
        "/%252f",
        "/a%252Fb",
        "/%255c",
        "/%255C",
        "/%2500",
        "/%253b",
        "/%253B",
        "/%2525",
        "/%25252e",
        "/%252561",
        "/%25%32%65",
        "/%25%32e",
        "/%252%65",
        "/%25%32%66",
        "/%250d",
        "/%2561dmin",
    ] {
        refused(path, STRICT);
        refused(path, LENIENT);
    }
}

#[test]
fn targets_without_a_path_are_refused() {
    refused("*", STRICT);
    refused("a.example:443", STRICT);
    assert_eq!(canonical("https://a.example", STRICT).as_deref(), Ok("/"));
    assert_eq!(canonical("https://a.example?x", STRICT).as_deref(), Ok("/"));
    refused("https://a.example/../b", STRICT);
}

#[test]
fn a_fragment_reaches_neither_the_rules_nor_the_upstream() {
    let uri = uri("/a#/../b").unwrap();
    let path = canonical_path(&uri, &STRICT).unwrap();
    assert_eq!((path.as_ref(), forward_target(&uri, &path).unwrap().as_str()), ("/a", "/a"));
}

#[test]
fn a_query_is_passed_on_unless_it_has_raw_bytes_that_it_must_not_have() {
    for target in ["/a?", "/a?x=//..%2f;%00\\", "/a?b?c"] {
        assert_eq!(canonical(target, STRICT).as_deref(), Ok("/a"), "{target}");
    }
    for target in ["/a?b c", "/a?\u{e9}", "/a?\x7f", "/a?\t", "/a?\r\nx: y"] {
        refused(target, STRICT);
    }
}

#[test]
fn the_path_that_is_forwarded_is_the_canonical_one() {
    for (target, forwarded) in [
        ("/a/b", "/a/b"),
        ("/a?x=%2e", "/a?x=%2e"),
        ("/a?", "/a?"),
        ("/%41?x=%2e", "/A?x=%2e"),
        ("/%41?", "/A?"),
        ("/%c3%a9", "/%C3%A9"),
        ("https://a.example", "/"),
        ("https://a.example#x", "/"),
        ("https://a.example?#x", "/?"),
        ("https://a.example?x", "/?x"),
        ("https://a.example/%41?x", "/A?x"),
    ] {
        let uri = uri(target).unwrap();
        let path = canonical_path(&uri, &STRICT).unwrap();
        let sent = forward_target(&uri, &path).unwrap();
        assert_eq!((sent.as_str(), sent.path()), (forwarded, path.as_ref()), "{target}");
        // As it will be written in a request line: an empty target reads as `/` until then.
        assert_eq!(Uri::from(sent).to_string(), forwarded, "{target}");
    }
}

#[test]
fn a_path_other_than_the_one_of_the_request_is_never_replaced_by_it() {
    let uri = uri("/a?x").unwrap();
    assert_eq!(forward_target(&uri, "/b").unwrap().as_str(), "/b?x");
    assert_eq!(forward_target(&uri, "/b c").unwrap_err().reason, Reason::PathInvalid);
}

/// Targets made of the pieces that bypasses are made of.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "/",
        "//",
        ".",
        "..",
        ";",
        "%",
        "%2",
        "%2e",
        "%2E",
        "%2f",
        "%2F",
        "%5c",
        "\\",
        "%00",
        "%25",
        "%3b",
        "%3B",
        "%32",
        "%65",
        "2e",
        "2",
        "e",
        "f",
        "%c0",
        "%ae",
        "%c3%a9",
        "%e2%82%ac",
        "%c2%80",
        "%41",
        "%7e",
        "a",
        "admin",
        "#",
        "?",
        "%20",
        "%3f",
        "=",
        "{",
        "[",
        "\u{e9}",
        "%0a",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn rules() -> impl Strategy<Value = PathRules> {
    any::<[bool; 3]>().prop_map(|[empty_segment, encoded_slash, semicolon]| PathRules {
        empty_segment,
        encoded_slash,
        semicolon,
    })
}

/// What the most meddlesome backend makes of a path: decode, cut parameters, split.
fn segments(path: &str) -> Vec<String> {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let decoded = String::from_utf8(decoded).unwrap();
    decoded.split('/').map(|segment| segment.split(';').next().unwrap_or_default().to_owned()).collect()
}

fn check(target: &str, rules: PathRules) -> Result<(), TestCaseError> {
    let Some(uri) = uri(target) else { return Ok(()) };
    let Ok(path) = canonical_path(&uri, &rules) else { return Ok(()) };
    let again = Uri::try_from(path.as_ref()).unwrap();
    prop_assert_eq!(canonical_path(&again, &rules).unwrap(), path.clone());
    let sent = forward_target(&uri, &path).unwrap();
    prop_assert_eq!(sent.path(), path.as_ref());

    let lower = path.to_ascii_lowercase();
    for shape in ["\\", "%5c", "%2e", "%00", "%0", "%1", "%7f", "#", "?"] {
        prop_assert!(!lower.contains(shape), "{} has {}", path, shape);
    }
    for after in lower.split("%25").skip(1) {
        prop_assert!(after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() < 2, "{}", path);
    }
    prop_assert!(rules.encoded_slash || !lower.contains("%2f"));
    prop_assert!(rules.semicolon || !(lower.contains(';') || lower.contains("%3b")));
    prop_assert!(rules.empty_segment || !path.contains("//"));
    let segments = segments(&path);
    prop_assert!(!segments.iter().any(|segment| segment == "." || segment == ".."), "{}", path);
    let inner = segments.len().saturating_sub(1);
    prop_assert!(rules.empty_segment || !segments.iter().take(inner).skip(1).any(String::is_empty), "{}", path);
    prop_assert!(!segments.concat().contains(char::is_control));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_passes_has_one_reading(target in hostile(), rules in rules()) {
        check(&target, rules)?;
    }

    #[test]
    fn no_target_panics_and_what_passes_has_one_reading(target in "/[ -~]{0,24}", rules in rules()) {
        check(&target, rules)?;
    }

    #[test]
    fn no_bytes_panic(target in prop::collection::vec(any::<u8>(), 0..32), rules in rules()) {
        if let Ok(uri) = Uri::try_from(target) {
            let _ = canonical_path(&uri, &rules);
        }
    }

    #[test]
    fn every_text_has_a_path_that_stands_for_it(name in "[^/\\\\;\\x00-\\x1f\\x7f-\\x9f%.]{1,12}") {
        let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
        let path = canonical(&format!("/{encoded}"), STRICT).unwrap();
        let decoded = percent_encoding::percent_decode_str(&path).decode_utf8().unwrap();
        prop_assert_eq!(decoded.as_ref(), format!("/{name}"));
    }
}
