//! What one matcher of a rule costs, by its kind of condition.

use std::hint::black_box;

use portcullis::fingerprint::Stack;
use portcullis::identity::{Bounds, Identity, parse};
use portcullis::policy::Matcher;
use portcullis::policy::spec;
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};

use super::{Case, case};

pub fn cases() -> Vec<Case> {
    let none = spec::Matcher::default;
    vec![
        one("subject_cn", move || spec::Matcher { subject_cn: vec!["device-*".into()], ..none() }),
        one("uri", move || spec::Matcher { uri: vec!["spiffe://corp.example/ns/*/sa/**".into()], ..none() }),
        one("dns", move || spec::Matcher { dns: vec!["*.corp.example".into()], ..none() }),
        one("ip", move || spec::Matcher { ip: vec!["10.0.0.0/8".parse().expect("a network")], ..none() }),
        // All of a list is looked through.
        one("uri_of_100", move || spec::Matcher {
            uri: (0..100).map(|n| format!("spiffe://corp.example/ns/team-{n}/**").into()).collect(),
            ..none()
        }),
    ]
}

fn one(kind: &str, spec: impl Fn() -> spec::Matcher + 'static) -> Case {
    case(format!("matchers/{kind}"), move || {
        let (matcher, identity) = (Matcher::new(&spec()).expect("it compiles"), identity());
        Box::new(move || {
            black_box(matcher.matches(Some(black_box(&identity)), Stack::default()));
        })
    })
}

/// A client with a name of each kind.
fn identity() -> Identity {
    let names = vec![
        Name::Uri("spiffe://corp.example/ns/pay/sa/api".to_owned()),
        Name::Dns("node-1.corp.example".to_owned()),
        Name::Ip([10, 1, 2, 3].into()),
    ];
    let leaf = LeafSpec { names, ..LeafSpec::client("device-0001", Validity::LONG) };
    let issued = Authority::new("CA", KeyKind::EcdsaP256).expect("an authority").issue(&leaf).expect("a leaf");
    parse(&issued.cert_der(), &Bounds::default()).expect("a minted certificate reads")
}
