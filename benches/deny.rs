//! What a deny list costs a certificate that is not on it: by the kind of its entries and their number.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::identity::{Bounds, Digest, Identity, Serial, parse};
use portcullis::policy::spec::Matcher;
use portcullis::revocation::{DenyList, DenySpec};
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};

type Entry<'a> = &'a dyn Fn(u32) -> Matcher;

fn deny(criterion: &mut Criterion) {
    let who = identity();
    let none = Matcher::default;
    let text = |text: String| vec![text.into_boxed_str()];
    let kinds: [(&str, Entry<'_>); 6] = [
        ("serial and issuer", &|n| Matcher { serial: serial(n), issuer: text("CN=Bench CA".to_owned()), ..none() }),
        ("fingerprint", &|n| Matcher { fingerprint: vec![Digest::of(&n.to_be_bytes())], ..none() }),
        ("whole name", &|n| Matcher { subject_cn: text(format!("phone-{n}")), ..none() }),
        ("end of a name", &|n| Matcher { dns: text(format!("**.tenant-{n}.example")), ..none() }),
        ("start of a name", &|n| Matcher { uri: text(format!("spiffe://example/tenant/{n}/**")), ..none() }),
        ("neither end", &|n| Matcher { uri: text(format!("**/tenant/{n}/**")), ..none() }),
    ];
    for (kind, entry) in kinds {
        // As many as a list may have of those that nothing finds.
        for count in if kind == "neither end" { [10, 100] } else { [10, 10_000] } {
            let spec = |n| DenySpec { matcher: entry(n), reason: "bench".into(), ..DenySpec::default() };
            let list = DenyList::new((0..count).map(spec).collect()).expect("entries that can be");
            criterion.bench_function(&format!("deny/{kind}/{count}"), |bencher| {
                bencher.iter(|| assert!(black_box(&list).find(black_box(&who), None, 0).is_none()));
            });
        }
    }
}

fn serial(n: u32) -> Vec<Serial> {
    vec![Serial([&[1][..], &n.to_be_bytes()].concat().into())]
}

/// A certificate with a name of every kind that is asked for, none of which is on a list.
fn identity() -> Identity {
    let ca = Authority::new("Bench CA", KeyKind::EcdsaP256).expect("an authority");
    let mut spec = LeafSpec::client("tablet", Validity::LONG);
    spec.names =
        vec![Name::Dns("device-17.fleet.example".to_owned()), Name::Uri("spiffe://example/fleet/device/17".to_owned())];
    let issued = ca.issue(&spec).expect("a certificate");
    let chain = issued.chain_der();
    parse(chain.first().expect("a leaf"), &Bounds { max_names: 64, min_rsa_bits: 2048 }).expect("it parses")
}

criterion_group!(benches, deny);
criterion_main!(benches);
