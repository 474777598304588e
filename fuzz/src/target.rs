//! What a request is for: a first line with the authority, and a second one with the request target.

use std::sync::LazyLock;

use http::{Method, Request, Uri};
use portcullis::message::target::{Authority, PathRules, canonical_path, forward_target, normalize_host};
use portcullis::policy::spec::{Allow, ClientCertificateMode, HostSpec, Matcher, PathPattern, RouteSpec};
use portcullis::policy::{Host, HostTable};

/// An authority and a target have one reading, which stays the same when it is read again, or none.
///
/// # Panics
/// When that is not so.
pub fn check(bytes: &[u8]) {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let (authority, target) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Ok(uri) = Uri::try_from(target) else { return };
    host(authority, &uri);
    for bits in 0..8_u8 {
        let rules = PathRules { empty_segment: bits & 1 != 0, encoded_slash: bits & 2 != 0, semicolon: bits & 4 != 0 };
        path(&uri, rules);
    }
}

fn host(authority: &[u8], uri: &Uri) {
    let Ok(request) = Request::builder().uri(uri.clone()).header("host", authority).body(()) else { return };
    let (parts, ()) = request.into_parts();
    let Ok(authority) = Authority::of(&parts) else { return };
    assert_eq!(normalize_host(&authority.host).as_deref().ok(), Some(&*authority.host), "{authority:?}");
    assert!(authority.text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b)), "{authority:?}");
    assert!(authority.to_value().is_ok(), "{authority:?}");
    let found = TABLE.find(&authority.host).and_then(|id| TABLE.get(id)).map(Host::name);
    let own = *authority.host == *EXACT;
    let label = authority.host.strip_suffix(WILDCARD.trim_start_matches('*'));
    let wild = label.is_some_and(|label| !label.is_empty() && !label.contains('.'));
    assert_eq!(found, if own { Some(EXACT) } else { wild.then_some(WILDCARD) }, "{authority:?}");
}

fn path(uri: &Uri, rules: PathRules) {
    let Ok(canonical) = canonical_path(uri, &rules) else { return };
    let forwarded = forward_target(uri, &canonical).expect("what is canonical can be forwarded");
    assert_eq!(forwarded.path(), &*canonical, "the upstream is sent another path than the rules saw");
    assert_eq!(forwarded.query(), uri.query());
    let again = Uri::from(forwarded);
    assert_eq!(canonical_path(&again, &rules).as_deref().ok(), Some(&*canonical), "read again, it is another path");
    // What the strictest reader makes of it must be no different, where he takes it at all.
    if let Ok(strict) = canonical_path(uri, &PathRules::default()) {
        assert_eq!(strict, canonical);
        assert!(canonical.split('/').all(|segment| !matches!(segment, "." | "..")), "{canonical}");
    }
    let table = TABLE.find(EXACT).and_then(|id| TABLE.get(id)).expect("it is there").routes();
    let found = table.find(&canonical, &Method::GET).map(|route| &*route.name);
    let below = |prefix: &str| canonical.strip_prefix(prefix).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    assert!(found.is_ok(), "the route of / has every path");
    // The glob's literal beginning is longer than the prefix, so it is asked first.
    let glob = canonical.strip_prefix("/admin/").and_then(|rest| rest.strip_suffix("/keys"));
    let expected = match &*canonical {
        "/admin" => "exact",
        _ if glob.is_some_and(|name| !name.contains('/')) => "glob",
        _ if below("/admin") => "prefix",
        _ => "rest",
    };
    assert_eq!(found.ok(), Some(expected), "{canonical}");
}

static TABLE: LazyLock<HostTable> = LazyLock::new(|| {
    let routes = [
        ("rest", PathPattern::Prefix("/".into())),
        ("prefix", PathPattern::Prefix("/admin".into())),
        ("exact", PathPattern::Exact("/admin".into())),
        ("glob", PathPattern::Glob("/admin/*/keys".into())),
    ];
    let hosts = [EXACT, WILDCARD].map(|name| HostSpec {
        names: vec![name.into()],
        certificates: Vec::new(),
        client_certificate: ClientCertificateMode::Require,
        trust: Some("clients".into()),
        paths: PathRules::default(),
        routes: routes.iter().map(|(name, path)| route(name, path.clone())).collect(),
    });
    HostTable::new(hosts.into()).expect("the table compiles")
});

fn route(name: &str, path: PathPattern) -> RouteSpec {
    RouteSpec {
        name: name.into(),
        path,
        methods: Vec::new(),
        allow: Allow::AnyVerified,
        deny: vec![Matcher { subject_cn: vec!["nobody".into()], ..Matcher::default() }],
        limits: Vec::new(),
        upstream: "backend".into(),
        upgrades: Vec::new(),
        body_bytes: None,
    }
}

const EXACT: &str = "api.test";
const WILDCARD: &str = "*.wild.test";
