//! What identity headers cost every request: look for forged ones, and stamp the true ones.

use std::hint::black_box;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis::identity::{Bounds, Formats, IdentityHeaders, parse, strip};
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Validity};

use super::{Case, case};

/// Headers that are changed are copied first, and the copy counts: a request brings headers of its own.
pub fn cases() -> Vec<Case> {
    let plain = Formats { plain: true, ..Formats::default() };
    let stamp = |name: &str, formats: Formats| {
        case(format!("headers/stamp/{name}"), move || {
            let (clean, identity) = (request(), identity(ALL));
            Box::new(move || {
                let mut headers = clean.clone();
                identity.stamp(black_box(formats), &mut headers);
                black_box(headers);
            })
        })
    };
    vec![
        case("headers/copy", || {
            let clean = request();
            Box::new(move || drop(black_box(clean.clone())))
        }),
        case("headers/strip/clean", || {
            let mut headers = request();
            Box::new(move || {
                black_box(strip(black_box(&mut headers)));
            })
        }),
        case("headers/strip/forged", || {
            let mut forged = request();
            for name in ["x-client-cert-subject", "x-forwarded-client-cert", "client-cert"] {
                forged.insert(HeaderName::from_static(name), HeaderValue::from_static("CN=admin"));
            }
            Box::new(move || {
                let mut headers = forged.clone();
                black_box(strip(&mut headers));
            })
        }),
        stamp("plain", plain),
        stamp("all", ALL),
        // As it is done towards HTTP/1.1.
        case("headers/write/plain", move || {
            let (identity, mut out) = (identity(ALL), BytesMut::with_capacity(4096));
            Box::new(move || {
                out.clear();
                identity.write(black_box(plain), &mut out);
                black_box(&out);
            })
        }),
    ]
}

const ALL: Formats = Formats { client_cert: true, client_cert_chain: true, plain: true, xfcc: true, fingerprint: true };

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
