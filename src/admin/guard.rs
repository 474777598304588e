//! Who may ask: a probe anything that tells nothing, a web page nothing, and whoever knows the token
//! the rest.
//!
//! On loopback anybody of this machine connects, a browser too. It must not be made to speak for
//! whoever wrote the page that it shows: not by a form or a script (Origin, Sec-Fetch-Site), and not
//! under a name that was pointed at this address meanwhile (Host).

use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use http::request::Parts;
use http::{Method, StatusCode, Uri};

use super::Refusal;
use crate::config::AdminSpec;
use crate::identity::Digest;

/// What a probe may have from anywhere: it tells nothing but that there is a gate.
const PROBES: [&str; 2] = ["/live", "/ready"];

/// Whether this request may be answered.
///
/// # Errors
/// 401 without the token that is wanted, 403 to web pages, 421 under a name that is not ours.
pub(super) fn admit(head: &Parts, spec: &AdminSpec, token: Option<&Digest>) -> Result<(), Refusal> {
    let reading = matches!(head.method, Method::GET | Method::HEAD);
    if reading && PROBES.contains(&head.uri.path()) {
        return Ok(());
    }
    no_browser(&head.headers)?;
    let proven = match (token, presented(&head.headers)?) {
        (Some(expected), Some(shown)) => {
            // Of digests, so that the time does not tell the token's length either.
            let same = verify_slices_are_equal(&Digest::of(shown).0, &expected.0).is_ok();
            if same { true } else { return Err(unauthorized("the token is not the one of admin.token_file")) }
        }
        (Some(_), None) if !reading || spec.is_exposed() => {
            return Err(unauthorized("Authorization: Bearer TOKEN is required, with the token of admin.token_file"));
        }
        _ => false,
    };
    if proven || spec.public || spec.is_unix() { Ok(()) } else { host_is_ours(&head.uri, &head.headers) }
}

fn unauthorized(what: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, what)
}

/// The one bearer token (RFC 6750 §2.1) of a request.
fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), more) = (all.next(), all.next()) else { return Ok(None) };
    let token = value.as_bytes().split_first_chunk::<7>().filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    match (token, more) {
        (Some((_, token)), None) => Ok(Some(token)),
        _ => Err(unauthorized("one Authorization field, of the scheme Bearer")),
    }
}

/// CSRF: what a page sends to another origin has an Origin, and fetch metadata say the same where a
/// browser leaves that out. What somebody types into the address bar has neither.
fn no_browser(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(ORIGIN) || headers.get_all(FETCH_SITE).iter().any(|value| value != "none") {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "not from a web page (Origin, Sec-Fetch-Site)"));
    }
    Ok(())
}

/// DNS rebinding: a page's own name may lead here, an address or `localhost` does not change hands.
fn host_is_ours(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let wrong = || Refusal::new(StatusCode::MISDIRECTED_REQUEST, "Host: one IP address or localhost");
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(wrong()) };
    let host: http::uri::Authority = host.to_str().ok().and_then(|host| host.parse().ok()).ok_or_else(wrong)?;
    let mut named = std::iter::once(host.host()).chain(uri.host());
    if named.all(is_ours) { Ok(()) } else { Err(wrong()) }
}

fn is_ours(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::config::AdminAddress;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn spec(address: &str, public: bool) -> AdminSpec {
        let address = match address.strip_prefix("unix:") {
            Some(path) => AdminAddress::Unix(path.into()),
            None => AdminAddress::Tcp(address.parse().unwrap()),
        };
        AdminSpec { address, public, token_file: None }
    }

    fn status(spec: &AdminSpec, token: Option<&str>, line: &str, fields: &[(&str, &str)]) -> u16 {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        let token = token.map(|token| Digest::of(token.as_bytes()));
        admit(&head, spec, token.as_ref()).map_or_else(|refusal| refusal.0.as_u16(), |()| 200)
    }

    #[test]
    fn only_addresses_and_localhost_are_ours() {
        let local = spec("127.0.0.1:9901", false);
        for (hosts, expected) in [
            (&["127.0.0.1:9901"][..], 200),
            (&["127.0.0.1"], 200),
            (&["[::1]:9901"], 200),
            (&["localhost:9901"], 200),
            (&["LocalHost"], 200),
            (&["evil.example"], 421),
            (&["localhost.evil.example"], 421),
            (&["127.0.0.1.evil.example:9901"], 421),
            (&["localhost", "evil.example"], 421),
            (&[""], 421),
            (&[], 421),
        ] {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            for line in ["GET /deny", "POST /deny", "GET /metrics", "GET /config/status"] {
                assert_eq!(status(&local, None, line, &fields), expected, "{line} {hosts:?}");
            }
            assert_eq!(status(&local, None, "GET /live", &fields), 200);
            assert_eq!(status(&spec("unix:/run/x", false), None, "POST /deny", &fields), 200);
            assert_eq!(status(&spec("127.0.0.1:9901", true), None, "POST /deny", &fields), 200);
        }
        assert_eq!(status(&local, None, "GET http://evil.example/deny", &[("host", "127.0.0.1")]), 421);
    }

    #[test]
    fn a_web_page_gets_nothing_but_what_a_probe_may_have() {
        for spec in [spec("127.0.0.1:9901", false), spec("0.0.0.0:9901", true)] {
            for (field, expected) in [
                (("sec-fetch-site", "none"), 200),
                (("origin", "https://evil.example"), 403),
                (("origin", "null"), 403),
                (("origin", "http://localhost"), 403),
                (("sec-fetch-site", "cross-site"), 403),
                (("sec-fetch-site", "same-site"), 403),
            ] {
                let bearer = format!("Bearer {TOKEN}");
                let fields = [("host", "localhost"), field, ("authorization", bearer.as_str())];
                for line in ["GET /metrics", "GET /config/status", "GET /deny", "POST /deny", "DELETE /deny/x"] {
                    assert_eq!(status(&spec, Some(TOKEN), line, &fields), expected, "{line} {field:?}");
                }
                assert_eq!(status(&spec, Some(TOKEN), "GET /ready", &fields), 200);
                assert_eq!(status(&spec, Some(TOKEN), "POST /ready", &fields), expected);
            }
        }
    }

    #[test]
    fn the_token_is_wanted_for_changes_and_from_afar_for_everything_but_probes() {
        let (near, afar) = (spec("127.0.0.1:9901", false), spec("192.0.2.1:9901", true));
        let socket = spec("unix:/run/portcullis.sock", false);
        let bearer = format!("Bearer {TOKEN}");
        let lower = format!("bearer {TOKEN}");
        let longer = format!("Bearer {TOKEN}0");
        for (authorization, reads, changes, from_afar) in [
            (&[][..], 200, 401, 401),
            (&[bearer.as_str()], 200, 200, 200),
            (&[lower.as_str()], 200, 200, 200),
            (&[longer.as_str()], 401, 401, 401),
            (&["Bearer "], 401, 401, 401),
            (&["Bearer"], 401, 401, 401),
            (&[TOKEN], 401, 401, 401),
            (&["Basic eDp5"], 401, 401, 401),
            (&[bearer.as_str(), bearer.as_str()], 401, 401, 401),
        ] {
            let mut fields: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
            fields.push(("host", "localhost"));
            for spec in [&near, &socket] {
                assert_eq!(status(spec, Some(TOKEN), "GET /metrics", &fields), reads, "{authorization:?}");
                assert_eq!(status(spec, Some(TOKEN), "GET /deny", &fields), reads, "{authorization:?}");
                assert_eq!(status(spec, Some(TOKEN), "POST /deny", &fields), changes, "{authorization:?}");
                assert_eq!(status(spec, Some(TOKEN), "DELETE /deny/x", &fields), changes, "{authorization:?}");
            }
            for line in ["GET /metrics", "GET /config/status", "GET /deny", "POST /deny", "GET /live/", "GET //live"] {
                assert_eq!(status(&afar, Some(TOKEN), line, &fields), from_afar, "{line} {authorization:?}");
            }
            assert_eq!(status(&afar, Some(TOKEN), "GET /live", &fields), 200);
        }
    }
}
