//! What a client certificate costs once per connection: read it, and render what backends are told of it.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::identity::{Bounds, Formats, IdentityHeaders, parse};
use portcullis::tools::pki::{Authority, Issued, KeyKind, LeafSpec, Name, Validity};

fn certificates(criterion: &mut Criterion) {
    let bounds = Bounds::default();
    let formats = Formats { client_cert: true, client_cert_chain: true, plain: true, xfcc: true, fingerprint: true };
    for (kind, issued) in [("small", small()), ("many_names", many_names())] {
        let chain = issued.chain_der();
        let leaf = chain.first().expect("a chain has a leaf");
        criterion.bench_function(&format!("identity/parse/{kind}"), |bencher| {
            bencher.iter(|| parse(black_box(leaf), black_box(&bounds)).is_ok());
        });
        let identity = parse(leaf, &bounds).expect("a minted certificate reads");
        criterion.bench_function(&format!("identity/render/{kind}"), |bencher| {
            bencher.iter(|| IdentityHeaders::verified(black_box(&identity), &chain, formats));
        });
    }
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

criterion_group!(benches, certificates);
criterion_main!(benches);
