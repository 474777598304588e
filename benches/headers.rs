//! What identity headers cost every request: look for forged ones, and stamp the true ones.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis::identity::{Bounds, Formats, IdentityHeaders, parse, strip};
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};

fn headers(criterion: &mut Criterion) {
    let clean = request();
    criterion.bench_function("headers/strip/clean", |bencher| {
        let mut headers = clean.clone();
        bencher.iter(|| strip(black_box(&mut headers)));
    });
    let mut forged = clean.clone();
    for name in ["x-client-cert-subject", "x-forwarded-client-cert", "client-cert"] {
        forged.insert(HeaderName::from_static(name), HeaderValue::from_static("CN=admin"));
    }
    criterion.bench_function("headers/strip/forged", |bencher| {
        bencher.iter_batched_ref(|| forged.clone(), |headers| strip(black_box(headers)), BatchSize::SmallInput);
    });
    let plain = Formats { plain: true, ..Formats::default() };
    let all = Formats { client_cert: true, client_cert_chain: true, plain: true, xfcc: true, fingerprint: true };
    let identity = identity(all);
    for (name, formats) in [("plain", plain), ("all", all)] {
        criterion.bench_function(&format!("headers/stamp/{name}"), |bencher| {
            let stamp = |headers: &mut HeaderMap| identity.stamp(black_box(formats), headers);
            bencher.iter_batched_ref(|| clean.clone(), stamp, BatchSize::SmallInput);
        });
    }
}

/// What a browser sends.
fn request() -> HeaderMap {
    [
        ("host", "api.example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://api.example.com/v1/items"),
        ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "same-origin"),
        ("x-requested-with", "XMLHttpRequest"),
        ("cache-control", "no-cache"),
    ]
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    .into_iter()
    .collect()
}

fn identity(formats: Formats) -> IdentityHeaders {
    let root = Authority::new("Root", KeyKind::EcdsaP256).expect("a root");
    let authority = root.intermediate("Intermediate").expect("an intermediate");
    let names = vec![Name::Uri("spiffe://corp.example/ns/pay/sa/api".to_owned())];
    let leaf = LeafSpec { names, ..LeafSpec::client("device-0001", Validity::LONG) };
    let issued = authority.issue(&leaf).expect("a leaf");
    let identity = parse(&issued.cert_der(), &Bounds::default()).expect("a minted certificate reads");
    IdentityHeaders::verified(&identity, &issued.chain_der(), formats)
}

criterion_group!(benches, headers);
criterion_main!(benches);
