//! What a client certificate costs once per connection: read it, and render what backends are told of it.

use std::hint::black_box;

use portcullis::identity::{Bounds, Formats, IdentityHeaders, parse};
use portcullis::tools::pki::{Authority, Issued, KeyKind, LeafSpec, Name, Validity};

use super::{Case, case};

pub fn cases() -> Vec<Case> {
    vec![
        parsing("small", small),
        rendering("small", small),
        parsing("many_names", many_names),
        rendering("many_names", many_names),
    ]
}

fn parsing(kind: &str, issued: fn() -> Issued) -> Case {
    case(format!("identity/parse/{kind}"), move || {
        let (leaf, bounds) = (issued().cert_der(), Bounds::default());
        Box::new(move || assert!(parse(black_box(&leaf), black_box(&bounds)).is_ok()))
    })
}

fn rendering(kind: &str, issued: fn() -> Issued) -> Case {
    let formats = Formats { client_cert: true, client_cert_chain: true, plain: true, xfcc: true, fingerprint: true };
    case(format!("identity/render/{kind}"), move || {
        let chain = issued().chain_der();
        let leaf = chain.first().expect("a chain has a leaf");
        let identity = parse(leaf, &Bounds::default()).expect("a minted certificate reads");
        Box::new(move || {
            black_box(IdentityHeaders::verified(black_box(&identity), &chain, formats));
        })
    })
}

/// What a device has: a name, an organization, one URI.
fn small() -> Issued {
    let uri = Name::Uri("spiffe://corp.example/ns/pay/sa/api".to_owned());
    issue(&LeafSpec { organization: Some("Example".to_owned()), names: vec![uri], ..leaf() })
}

/// As many names as the default bounds let pass.
fn many_names() -> Issued {
    let names = (0..Bounds::default().max_names).map(|n| Name::Dns(format!("node-{n}.corp.example"))).collect();
    issue(&LeafSpec { names, ..leaf() })
}

fn leaf() -> LeafSpec {
    LeafSpec::client("device-0001", Validity::LONG)
}

/// Issues below an intermediate, so that there is a chain to tell of.
fn issue(spec: &LeafSpec) -> Issued {
    let root = Authority::new("Root", KeyKind::EcdsaP256).expect("a root");
    root.intermediate("Intermediate").expect("an intermediate").issue(spec).expect("a leaf")
}
