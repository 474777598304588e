//! What one decision costs: find the host and the route, and authorize the identity, with few and with many routes.

use std::hint::black_box;

use http::Method;
use portcullis::fingerprint::Stack;
use portcullis::identity::{AlternativeNames, Digest, DistinguishedName, Identity, PublicKey, Serial};
use portcullis::message::target::PathRules;
use portcullis::policy::spec::{Allow, ClientCertificateMode, HostSpec, Matcher, PathPattern, RouteSpec};
use portcullis::policy::{Facts, HostTable, decide};

use super::{Case, case};

pub fn cases() -> Vec<Case> {
    let kinds = [
        ("exact", "/exact/LAST"),
        ("prefix", "/prefix/LAST/users/7/orders/42"),
        ("glob", "/glob/LAST/users/7/orders"),
        ("fallback", "/some/thing/else/with/segments"),
    ];
    let routes = [10, 1_000];
    routes.into_iter().flat_map(|routes| kinds.map(|(kind, path)| decision(routes, kind, path))).collect()
}

fn decision(routes: usize, kind: &'static str, path: &'static str) -> Case {
    case(format!("decide/{routes}/{kind}"), move || {
        let (table, identity) = (table(routes), identity());
        let path = path.replace("LAST", &(routes - 1).to_string());
        let decide = move || {
            let facts = Facts {
                connection_host: table.find(HOST).expect("the host is in the table"),
                authority_host: HOST,
                path: &path,
                method: &Method::GET,
                identity: Some(&identity),
                stack: Stack::default(),
                upgrade: None,
            };
            decide(black_box(&table), black_box(&facts)).is_ok()
        };
        assert!(decide(), "{kind}: a refusal would measure something else");
        Box::new(move || {
            black_box(decide());
        })
    })
}

/// A host with `count` routes, a third of each kind, over a prefix that takes the rest.
fn table(count: usize) -> HostTable {
    let mut routes = vec![route("fallback", PathPattern::Prefix("/".into()))];
    for index in 0..count {
        let patterns = [
            PathPattern::Exact(format!("/exact/{index}").into()),
            PathPattern::Prefix(format!("/prefix/{index}").into()),
            PathPattern::Glob(format!("/glob/{index}/*/7/**").into()),
        ];
        // All kinds for the last index, so that there is a worst case of each to ask for.
        let from = if index + 1 == count { 0 } else { index % 3 };
        let take = if index + 1 == count { 3 } else { 1 };
        routes.extend(patterns.into_iter().skip(from).take(take).map(|path| route(&format!("route-{index}"), path)));
    }
    let host = HostSpec {
        names: vec![HOST.into()],
        certificates: Vec::new(),
        client_certificate: ClientCertificateMode::Require,
        trust: Some("clients".into()),
        paths: PathRules::default(),
        routes,
    };
    HostTable::new(vec![host]).expect("the table compiles")
}

fn route(name: &str, path: PathPattern) -> RouteSpec {
    let uri = |pattern: &str| Matcher { uri: vec![pattern.into()], ..Matcher::default() };
    RouteSpec {
        name: name.into(),
        path,
        methods: vec![Method::GET, Method::POST],
        allow: Allow::Matching(vec![uri("spiffe://corp/ns/other/**"), uri("spiffe://corp/ns/*/sa/api")]),
        deny: vec![uri("spiffe://corp/ns/retired/**")],
        limits: Vec::new(),
        upstream: "backend".into(),
        upgrades: Vec::new(),
        body_bytes: None,
    }
}

fn identity() -> Identity {
    let names = AlternativeNames { uri: vec!["spiffe://corp/ns/pay/sa/api".into()], ..AlternativeNames::default() };
    Identity {
        subject: DistinguishedName::default(),
        issuer: DistinguishedName::default(),
        serial: Serial(Box::new([1])),
        names,
        fingerprint: Digest([0; 32]),
        spki: Digest([0; 32]),
        not_before: 0,
        not_after: i64::MAX,
        key: PublicKey::Ec(256),
    }
}

const HOST: &str = "api.example.com";
