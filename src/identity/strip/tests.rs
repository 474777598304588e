use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const IDENTITY: &[&str] = &[
    "client-cert",
    "client-cert-chain",
    "x-client-cert",
    "x-client-cert-subject",
    "x-client-cert-issuer",
    "x-client-cert-serial",
    "x-client-cert-fingerprint",
    "x-client-cert-san",
    "x-client-cert-not-after",
    "x-client-cert-verified",
    "x-client-cert-present",
    "x-client-cert-",
    "x-forwarded-client-cert",
    "x-forwarded-client-cert-chain",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-ssl-client-cert",
    "x-ssl-client-verify",
    "x-ssl-client-s-dn",
    "ssl-client-cert",
    "ssl-client-verify",
    "ssl-client-subject-dn",
    "x-amzn-mtls-clientcert",
    "x-amzn-mtls-clientcert-serial-number",
    "x-amzn-mtls-clientcert-leaf",
    "x-client-certificate",
    "x-client-certificate-verification",
    "x-arr-clientcert",
    "l5d-client-id",
    "x-portcullis-identity",
];

const OTHERS: &[&str] = &[
    "",
    "c",
    "x",
    "-",
    "accept",
    "authorization",
    "client-certs",
    "client-certx",
    "client-ip",
    "client-cert-chains",
    "content-length",
    "cookie",
    "clientcert",
    "l5d-client-ids",
    "l5d-dst-override",
    "sec-fetch-site",
    "server",
    "ssl-clientx",
    "ssl-client",
    "xclient-cert",
    "x-clientcert",
    "x-client-ce",
    "x-client-id",
    "x-client-certs",
    "x-forwarded-client",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "x-ssl-protocol",
    "x-portcullis",
    "my-x-client-cert",
];

#[test]
fn identity_headers_are_known_and_others_are_not() {
    for name in IDENTITY {
        assert!(is_identity_header(name), "{name}");
        assert!(is_identity_header(&name.to_uppercase()), "{name}");
        assert!(is_identity_header(&name.replace('-', "_")), "{name}");
        assert!(is_identity_header(&name.replace('-', ".")), "{name}");
    }
    for name in OTHERS {
        assert!(!is_identity_header(name), "{name}");
    }
}

#[test]
fn every_header_that_the_gate_stamps_is_stripped_from_a_client() {
    let der = crate::identity::testing::minted_with_names();
    let identity = crate::identity::parse(&der, &crate::identity::Bounds::default()).unwrap();
    let all = crate::identity::Formats {
        client_cert: true,
        client_cert_chain: true,
        plain: true,
        xfcc: true,
        fingerprint: true,
    };
    let mut headers = HeaderMap::new();
    crate::identity::IdentityHeaders::verified(&identity, &[&der, &der], all).stamp(all, &mut headers);
    let ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1".parse().unwrap();
    let tls = Some(crate::fingerprint::TlsPrint { ja4, stable: ja4 });
    let stack = crate::fingerprint::Stack { tls, http2: Some("|00|0|m") };
    crate::fingerprint::FingerprintHeaders::default().stamp(stack, &mut headers);
    assert_eq!(headers.len(), 13);
    assert_eq!(strip(&mut headers), 13);
    assert!(headers.is_empty());
}

#[test]
fn fields_of_one_name_are_all_removed_and_counted() {
    let mut headers = HeaderMap::new();
    for value in ["", "By=a;Hash=b", "By=c"] {
        headers.append("x-forwarded-client-cert", HeaderValue::from_static(value));
    }
    headers.append("x_forwarded_client_cert", HeaderValue::from_static("x"));
    headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
    assert_eq!(strip(&mut headers), 4);
    assert_eq!(headers.len(), 1);
}

#[test]
fn a_clean_request_stays_as_it_is() {
    let mut headers: HeaderMap = OTHERS
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("v")))
        .collect();
    let before = headers.clone();
    assert_eq!(strip(&mut headers), 0);
    assert_eq!(headers, before);
}

/// The same name to a backend that folds case and punctuation.
fn folded(name: &'static str) -> impl Strategy<Value = String> {
    let byte = |c: char| match c {
        '-' => "[-_.~!#$%&'*+^`|]".prop_map(|s| s).boxed(),
        letter => prop_oneof![Just(letter.to_string()), Just(letter.to_ascii_uppercase().to_string())].boxed(),
    };
    name.chars().map(byte).collect::<Vec<_>>().prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_fold_of_a_known_name_is_removed_once_and_the_rest_stays(
        hostile in prop::collection::vec(prop::sample::select(IDENTITY).prop_flat_map(folded), 0..8),
        honest in prop::collection::vec("[abd-kmnopqrtuvwyz][a-z_-]{0,20}", 0..8),
    ) {
        let mut headers = HeaderMap::new();
        for name in hostile.iter().chain(&honest) {
            prop_assert_eq!(is_identity_header(name), hostile.contains(name));
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v"));
        }
        prop_assert_eq!(strip(&mut headers), hostile.len());
        prop_assert_eq!(headers.len(), honest.len());
        prop_assert_eq!(strip(&mut headers), 0);
    }

    #[test]
    fn any_name_is_judged_without_a_panic(name in "\\PC{0,40}") {
        let _ = is_identity_header(&name);
    }
}
