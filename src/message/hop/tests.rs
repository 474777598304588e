use proptest::prelude::*;

use super::*;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn hop_by_hop_fields_end_here_in_both_directions() {
    let all = headers(&[
        ("Connection", "close, x-hop"),
        ("Connection", "X-Other"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "Basic YTpi"),
        ("Proxy-Authentication-Info", "x"),
        ("X-Hop", "1"),
        ("X-Other", "1"),
        ("X-Other", "2"),
        ("X-Kept", "1"),
        ("Trailer", "x"),
    ]);
    let (mut request, mut response) = (all.clone(), all);
    strip_request(&mut request);
    strip_response(&mut response);
    assert_eq!(names(&request), ["trailer", "x-kept"]);
    assert_eq!(names(&response), ["trailer", "x-kept"]);
}

#[test]
fn a_nomination_cannot_remove_what_the_upstream_relies_on() {
    for name in [
        "Host",
        "Content-Length",
        "Content-Type",
        "Authorization",
        "Cookie",
        "Forwarded",
        "X-Forwarded-For",
        "X-FORWARDED-PROTO",
        "X-Forwarded-Client-Cert",
        "X-Request-Id",
        "X-Real-IP",
        "Origin",
        "Sec-Fetch-Site",
        "Set-Cookie",
        "Strict-Transport-Security",
        "If-Match",
    ] {
        for nomination in [name.to_owned(), name.to_lowercase(), format!("close , {name},"), format!(",,\t{name}\t")] {
            let mut headers = headers(&[(name, "1"), ("Connection", &nomination)]);
            strip_request(&mut headers);
            assert_eq!(names(&headers), [name.to_lowercase()], "{nomination:?}");
        }
    }
}

#[test]
fn nominations_that_are_no_names_do_no_harm() {
    let mut headers = headers(&[("Connection", "a b, \"x\", ;, @, , x-kept;q=1"), ("x-kept", "1")]);
    headers.append(CONNECTION, HeaderValue::from_bytes(b"\xff, \xfe").unwrap());
    strip_request(&mut headers);
    assert_eq!(names(&headers), ["x-kept"]);
}

#[test]
fn the_proxy_field_of_a_request_ends_here() {
    let mut headers = headers(&[("Proxy", "http://evil.example")]);
    strip_request(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn trailers_are_wanted_where_te_lists_them() {
    for (value, wanted) in [("trailers", true), ("gzip , Trailers", true), ("gzip", false), ("x-trailers", false)] {
        assert_eq!(wants_trailers(&headers(&[("TE", value)])), wanted, "{value}");
    }
    assert!(wants_trailers(&headers(&[("TE", "gzip"), ("TE", "trailers")])));
    assert!(!wants_trailers(&HeaderMap::new()));
}

#[test]
fn an_upgrade_needs_both_fields_and_one_protocol() {
    for (connection, upgrade, expected) in [
        ("Upgrade", "websocket", Some("websocket")),
        ("keep-alive, UPGRADE", " WebSocket ", Some("WebSocket")),
        ("upgrade", "HTTP/3.0", Some("HTTP/3.0")),
        ("upgrade", "h2c", None),
        ("upgrade, http2-settings", "H2C", None),
        ("keep-alive", "websocket", None),
        ("x-upgrade", "websocket", None),
        ("keep-alive", "websocket, h2c", None),
    ] {
        let headers = headers(&[("Connection", connection), ("Upgrade", upgrade)]);
        assert_eq!(upgrade_requested(&headers).unwrap(), expected, "{connection} {upgrade}");
    }
    assert_eq!(upgrade_requested(&headers(&[("Upgrade", "websocket")])).unwrap(), None);
    assert_eq!(upgrade_requested(&headers(&[("Connection", "upgrade")])).unwrap(), None);
}

#[test]
fn an_upgrade_to_several_protocols_is_malformed() {
    for upgrade in ["websocket, h2c", "h2c,websocket", "websocket,", ",", "", "web socket", "websocket;x", "h2c, h2c"] {
        let headers = headers(&[("Connection", "upgrade"), ("Upgrade", upgrade)]);
        assert_eq!(upgrade_requested(&headers).unwrap_err().reason, Reason::RequestMalformed, "{upgrade:?}");
    }
    let twice = headers(&[("Connection", "upgrade"), ("Upgrade", "websocket"), ("Upgrade", "websocket")]);
    assert_eq!(upgrade_requested(&twice).unwrap_err().reason, Reason::RequestMalformed);
    let mut binary = headers(&[("Connection", "upgrade")]);
    binary.insert(UPGRADE, HeaderValue::from_bytes(b"websocket\xff").unwrap());
    assert_eq!(upgrade_requested(&binary).unwrap_err().reason, Reason::RequestMalformed);
}

#[test]
fn only_100_continue_may_be_expected() {
    assert_eq!(check_expect(&HeaderMap::new()).unwrap(), Expect::Nothing);
    for value in ["100-continue", "100-Continue", " 100-continue "] {
        assert_eq!(check_expect(&headers(&[("Expect", value)])).unwrap(), Expect::Continue);
    }
    for value in ["", "200-ok", "100-continue, x", "100-continue;q=1", "100"] {
        let reject = check_expect(&headers(&[("Expect", value)])).unwrap_err();
        assert_eq!(reject.reason, Reason::ExpectationUnknown, "{value:?}");
    }
    assert!(check_expect(&headers(&[("Expect", "100-continue"), ("Expect", "100-continue")])).is_err());
}

#[test]
fn http2_requests_have_no_fields_of_a_connection() {
    for (name, value) in [
        ("Connection", "close"),
        ("Keep-Alive", "1"),
        ("Proxy-Connection", "close"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("TE", "gzip"),
        ("TE", "trailers, gzip"),
        ("TE", ""),
    ] {
        let reject = check_http2_fields(&headers(&[(name, value)])).unwrap_err();
        assert_eq!(reject.reason, Reason::RequestMalformed, "{name}: {value}");
    }
    assert!(check_http2_fields(&headers(&[("TE", "Trailers"), ("host", "a"), ("trailer", "x")])).is_ok());
    assert!(check_http2_fields(&headers(&[("TE", "trailers"), ("TE", "chunked")])).is_err());
}

proptest! {
    #[test]
    fn no_hop_by_hop_field_is_left(
        fields in prop::collection::vec(
            (prop::sample::select(vec![
                "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
                "http2-settings", "proxy-authorization", "proxy-authenticate", "proxy", "x-a", "x-b", "host",
            ]),
            "[a-b, ]{0,6}|x-a|X-B, host|close,,x-a|te|connection"),
            0..12,
        )
    ) {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let before = headers(&fields);
        let mut after = before.clone();
        strip_request(&mut after);
        for name in &HOP_BY_HOP {
            prop_assert!(!after.contains_key(name));
        }
        let nominated = |name: &str| lists(before.get_all(CONNECTION).iter(), name.as_bytes());
        for name in ["x-a", "x-b"] {
            prop_assert_eq!(after.contains_key(name), before.contains_key(name) && !nominated(name));
        }
        prop_assert_eq!(after.contains_key("host"), before.contains_key("host"));
    }
}
