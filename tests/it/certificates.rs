//! Client certificates: every way to be wrong is refused with its alert, its line and its count, and no byte of the
//! client reaches the backend.

use portcullis::identity::{self, Bounds};
use portcullis::reject::Reason;
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Name, Usage, Validity};
use rcgen::{
    BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints, SanType,
};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::harness::{Client, Forge, Gate, Recorder, World, openssl, unix};

/// The same client in both versions of TLS.
pub(crate) fn versions(make: impl Fn() -> Client) -> [Client; 2] {
    [make(), make().tls12()]
}

/// A gate whose trust store has these settings, in front of a backend that must stay alone.
async fn strict(world: &World, settings: &str) -> (Gate, Recorder) {
    let backend = Recorder::start().await;
    let config = world.config(backend.address);
    let config = config.replace("anchors = [\"ca.pem\"]", &format!("anchors = [\"ca.pem\"]\n{settings}"));
    (Gate::start(world, &config), backend)
}

/// Asserts that both versions of the client are refused for `reason`; returns the last line.
pub(crate) async fn refused(world: &World, settings: &str, make: impl Fn() -> Client, reason: Reason) -> Value {
    let (gate, backend) = strict(world, settings).await;
    let mut line = Value::Null;
    for client in versions(make) {
        line = gate.refuses(&client, reason).await;
    }
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    line
}

/// Asserts that both versions of the client are let in.
pub(crate) async fn accepted(world: &World, settings: &str, make: impl Fn() -> Client) {
    let (gate, _backend) = strict(world, settings).await;
    for client in versions(make) {
        gate.serves(&client).await;
    }
}

/// Asserts that the line says whose certificate it was.
pub(crate) fn names(line: &Value, leaf: &CertificateDer<'_>) {
    let said = identity::parse(leaf, &Bounds::default()).unwrap();
    assert_eq!(line["subject"], *said.subject.text, "{line}");
    assert_eq!(line["issuer"], *said.issuer.text, "{line}");
    assert_eq!(line["serial"], said.serial.to_string(), "{line}");
    assert_eq!(line["fingerprint"], said.fingerprint.to_string(), "{line}");
    assert_eq!(line["server_name"], "api.test", "{line}");
}

fn detail(line: &Value) -> &str {
    line["detail"].as_str().unwrap()
}

#[tokio::test]
async fn no_certificate() {
    let world = World::new();
    let line = refused(&world, "", || Client::anonymous(&world), Reason::CertMissing).await;
    assert_eq!(line["server_name"], "api.test");
    assert!(line.get("subject").is_none(), "{line}");
}

#[tokio::test]
async fn a_certificate_of_another_ca() {
    let world = World::new();
    let foreign = world.pki.foreign_ca.issue(&LeafSpec::client("good", Validity::LONG)).unwrap();
    let line = refused(&world, "", || Client::with(&world, &foreign), Reason::CertUnknownIssuer).await;
    names(&line, &foreign.cert_der());
    assert!(detail(&line).contains("intermediates"), "{line}");
}

#[tokio::test]
async fn a_certificate_of_another_ca_that_brings_its_root_along() {
    let world = World::new();
    let foreign = world.pki.foreign_ca.issue(&LeafSpec::client("good", Validity::LONG)).unwrap();
    let with_root = || Client::with(&world, &foreign).chain(foreign.full_chain_der());
    refused(&world, "", with_root, Reason::CertUnknownIssuer).await;
    // Our root at the end of a chain that does not lead to it proves nothing.
    let with_ours = || Client::with(&world, &foreign).chain(vec![foreign.cert_der(), world.pki.ca.cert_der()]);
    refused(&world, "", with_ours, Reason::CertUnknownIssuer).await;
}

#[tokio::test]
async fn a_self_signed_certificate() {
    let world = World::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let make = || {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Client::holding(&world, vec![certificate.der().clone()], key)
    };
    refused(&world, "", make, Reason::CertUnknownIssuer).await;
}

#[tokio::test]
async fn a_certificate_of_a_ca_that_only_has_our_cas_name() {
    let world = World::new();
    let impostor = Authority::new("Test CA", KeyKind::EcdsaP256).unwrap();
    let issued = impostor.issue(&LeafSpec::client("good", Validity::LONG)).unwrap();
    let line = refused(&world, "", || Client::with(&world, &issued), Reason::CertBadSignature).await;
    names(&line, &issued.cert_der());
}

#[tokio::test]
async fn a_certificate_with_one_bit_changed() {
    let world = World::new();
    let mut der = world.pki.good.cert_der().to_vec();
    let at = der.windows(4).position(|window| window == b"good").unwrap();
    der[at] = b'f';
    let make = || Client::good(&world).chain(vec![der.clone().into()]);
    let line = refused(&world, "", make, Reason::CertBadSignature).await;
    assert_eq!(line["subject"], "CN=food");
}

#[tokio::test]
async fn an_expired_certificate() {
    let world = World::new();
    let issued = world.client(|spec| spec.validity = Validity::over(unix()));
    let line = refused(&world, "", || Client::with(&world, &issued), Reason::CertExpired).await;
    names(&line, &issued.cert_der());
    assert!(detail(&line).starts_with("expired on 20"), "{line}");
}

#[tokio::test]
async fn an_expired_intermediate() {
    let world = World::new();
    let above = world.pki.ca.intermediate_within("Old CA", Validity::over(unix())).unwrap();
    let issued = above.issue(&LeafSpec::client("client", Validity::LONG)).unwrap();
    let line = refused(&world, "", || Client::with(&world, &issued), Reason::CertExpired).await;
    names(&line, &issued.cert_der());
    assert!(detail(&line).contains("above"), "{line}");
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet() {
    let world = World::new();
    let issued = world.client(|spec| spec.validity = Validity::to_come(unix()));
    let line = refused(&world, "", || Client::with(&world, &issued), Reason::CertNotYetValid).await;
    names(&line, &issued.cert_der());
    assert!(detail(&line).contains("clock"), "{line}");
}

#[tokio::test]
async fn a_certificate_is_judged_by_the_time_of_its_handshake() {
    let world = World::new();
    let issued = world.client(|spec| spec.validity = Validity::current(unix()));
    let (gate, _backend) = strict(&world, "").await;
    gate.serves(&Client::with(&world, &issued)).await;
    gate.clock.advance(std::time::Duration::from_hours(24 * 366));
    gate.refuses(&Client::with(&world, &issued), Reason::CertExpired).await;
}

#[tokio::test]
async fn a_certificate_for_servers_only() {
    let world = World::new();
    for usages in [vec![Usage::Server], vec![Usage::Other], vec![Usage::Server, Usage::Other]] {
        let issued = world.client(|spec| spec.usages.clone_from(&usages));
        let line = refused(&world, "", || Client::with(&world, &issued), Reason::CertWrongPurpose).await;
        names(&line, &issued.cert_der());
    }
}

#[tokio::test]
async fn an_intermediate_for_servers_only_makes_no_clients() {
    let world = World::new();
    let root = Forge::root(&world.pki.ca);
    let above = root.authority("Server CA", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let leaf = above.client("client", |_| ());
    let line = refused(&world, "", || leaf.presented(&world), Reason::CertWrongPurpose).await;
    names(&line, &leaf.chain()[0]);
}

#[tokio::test]
async fn a_certificate_for_several_purposes_one_of_which_is_client_is_accepted() {
    let world = World::new();
    let issued = world.client(|spec| spec.usages = vec![Usage::Server, Usage::Client]);
    accepted(&world, "", || Client::with(&world, &issued)).await;
}

/// RFC 5280 §4.2.1.12: a certificate without the extension is for any purpose. Private CAs make such certificates.
#[tokio::test]
async fn a_certificate_without_a_purpose_is_accepted() {
    let world = World::new();
    let issued = world.client(|spec| spec.usages.clear());
    accepted(&world, "", || Client::with(&world, &issued)).await;
}

#[tokio::test]
async fn something_that_is_no_certificate() {
    let world = World::new();
    let good = world.pki.good.cert_der().to_vec();
    let cut = good[..good.len() - 1].to_vec();
    let longer = [&good[..], &[0]].concat();
    for leaf in [b"garbage".to_vec(), vec![0x30], cut, longer] {
        let make = || Client::good(&world).chain(vec![leaf.clone().into()]);
        let line = refused(&world, "", make, Reason::CertMalformed).await;
        assert!(line.get("subject").is_none(), "{line}");
    }
}

#[tokio::test]
async fn garbage_above_a_good_certificate() {
    let world = World::new();
    let make = || Client::good(&world).chain(vec![world.pki.good.cert_der(), b"garbage".to_vec().into()]);
    let line = refused(&world, "", make, Reason::CertMalformed).await;
    names(&line, &world.pki.good.cert_der());
}

#[tokio::test]
async fn a_critical_extension_that_nobody_knows() {
    let world = World::new();
    let leaf = Forge::root(&world.pki.ca).client("client", |params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions = vec![unknown];
    });
    let line = refused(&world, "", || leaf.presented(&world), Reason::CertConstraint).await;
    names(&line, &leaf.chain()[0]);
}

/// A subjectAltName with one name of this type and content.
fn san(tag: u8, content: &[u8]) -> CustomExtension {
    let length = u8::try_from(content.len()).unwrap();
    let der = [&[0x30, length + 2, tag, length], content].concat();
    CustomExtension::from_oid_content(&[2, 5, 29, 17], der)
}

#[tokio::test]
async fn a_name_that_is_no_name() {
    let world = World::new();
    let root = Forge::root(&world.pki.ca);
    for (tag, content) in [
        (0x82, &b"good.test\0.evil.test"[..]),
        (0x82, b"good.test\r\nx-client-cert-verified: true"),
        (0x86, b"spiffe://test/a\nb"),
        (0x81, b"a@b\0.test"),
        (0x82, b"caf\xe9.test"),
        (0x87, b"12345"),
    ] {
        let leaf = root.client("client", |params| {
            params.subject_alt_names.clear();
            params.custom_extensions = vec![san(tag, content)];
        });
        let line = refused(&world, "", || leaf.presented(&world), Reason::CertNameInvalid).await;
        assert!(detail(&line).starts_with("alternative name 1"), "{line}");
    }
}

#[tokio::test]
async fn a_control_character_in_the_subject() {
    let world = World::new();
    for cn in ["good\0evil", "good\nCN=evil", "\u{7f}"] {
        let leaf = Forge::root(&world.pki.ca).client(cn, |_| ());
        let line = refused(&world, "", || leaf.presented(&world), Reason::CertNameInvalid).await;
        assert!(detail(&line).starts_with("subject"), "{line}");
    }
}

#[tokio::test]
async fn a_chain_that_is_too_long() {
    let world = World::new();
    let issued = world.pki.ca.intermediate("A").unwrap().intermediate("B").unwrap();
    let issued = issued.issue(&LeafSpec::client("client", Validity::LONG)).unwrap();
    accepted(&world, "max_chain_length = 3", || Client::with(&world, &issued)).await;
    let line =
        refused(&world, "max_chain_length = 2", || Client::with(&world, &issued), Reason::CertChainTooLong).await;
    names(&line, &issued.cert_der());
    // The same certificate over and over: its length alone refuses it.
    let many = || Client::good(&world).chain(vec![world.pki.good.cert_der(); 60]);
    refused(&world, "", many, Reason::CertChainTooLong).await;
}

#[tokio::test]
async fn a_chain_that_is_too_large() {
    let world = World::new();
    let leaf = Forge::root(&world.pki.ca).client("client", |params| {
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 2], vec![0; 2000])];
    });
    accepted(&world, "max_chain_bytes = \"4KiB\"", || leaf.presented(&world)).await;
    let settings = "max_chain_bytes = \"1KiB\"";
    refused(&world, settings, || leaf.presented(&world), Reason::CertChainTooLarge).await;
    // The leaf is small enough to be read for the log.
    let make = || Client::good(&world).chain(vec![world.pki.good.cert_der(), vec![0; 2000].into()]);
    let line = refused(&world, settings, make, Reason::CertChainTooLarge).await;
    names(&line, &world.pki.good.cert_der());
}

/// The TLS library takes 64 KiB at most, and then the verifier sees nothing.
#[tokio::test]
async fn a_chain_that_is_too_large_for_the_tls_library() {
    let world = World::new();
    let make = |bytes| Client::good(&world).chain(vec![world.pki.good.cert_der(), vec![0; bytes].into()]);
    refused(&world, "", || make(60_000), Reason::CertChainTooLarge).await;
    for bytes in [70_000, 200_000] {
        refused(&world, "", || make(bytes), Reason::HandshakeTooLarge).await;
    }
    // Around the limit the sizes of records decide, but nothing is blamed on anything else.
    let (gate, backend) = strict(&world, "max_chain_bytes = \"64KiB\"").await;
    for bytes in (64_900..65_600).step_by(100) {
        for client in versions(|| make(bytes)) {
            let (tcp, peer) = gate.tcp().await;
            client.hears(tcp).await;
            let line = gate.refusal_line(peer);
            let told = line["reason"].as_str().unwrap();
            assert!(
                ["cert_chain_too_large", "cert_malformed", "handshake_too_large"].contains(&told),
                "{bytes} {line}"
            );
        }
    }
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn an_rsa_key_that_is_too_small() {
    let world = World::new();
    let leaf = Forge::root(&world.pki.ca).rsa_client("client");
    accepted(&world, "", || leaf.presented(&world)).await;
    let line = refused(&world, "min_rsa_bits = 3072", || leaf.presented(&world), Reason::CertKeySize).await;
    names(&line, &leaf.chain()[0]);
    assert!(detail(&line).contains("2048") && detail(&line).contains("3072"), "{line}");
}

#[tokio::test]
async fn an_intermediate_whose_rsa_key_is_too_small() {
    let world = World::new();
    let above = Forge::root(&world.pki.ca).rsa_authority("Small CA");
    let leaf = above.client("client", |_| ());
    accepted(&world, "", || leaf.presented(&world)).await;
    let line = refused(&world, "min_rsa_bits = 3072", || leaf.presented(&world), Reason::CertKeySize).await;
    names(&line, &leaf.chain()[0]);
    assert!(detail(&line).contains("CN=Small CA"), "{line}");
}

#[tokio::test]
async fn too_many_names() {
    let world = World::new();
    let many =
        |count: usize| world.client(|spec| spec.names = (0..count).map(|n| Name::Dns(format!("n{n}.test"))).collect());
    let (most, more) = (many(5), many(6));
    accepted(&world, "max_names = 5", || Client::with(&world, &most)).await;
    let line = refused(&world, "max_names = 5", || Client::with(&world, &more), Reason::CertTooManyNames).await;
    assert!(detail(&line).contains('5'), "{line}");
    let huge = many(1001);
    refused(&world, "max_chain_bytes = \"64KiB\"", || Client::with(&world, &huge), Reason::CertTooManyNames).await;
}

#[tokio::test]
async fn a_chain_longer_than_its_ca_permits() {
    let world = World::new();
    let root = Forge::root(&world.pki.ca);
    let last = root.authority("Last CA", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let leaf = last.client("client", |_| ());
    accepted(&world, "", || leaf.presented(&world)).await;
    let below = last.authority("One more CA", |_| ()).client("client", |_| ());
    let line = refused(&world, "", || below.presented(&world), Reason::CertConstraint).await;
    names(&line, &below.chain()[0]);
}

#[tokio::test]
async fn a_name_outside_of_what_its_ca_may_name() {
    let world = World::new();
    let above = Forge::root(&world.pki.ca).authority("Narrow CA", |params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("inside.test".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    });
    let named = |name: &str| {
        let name = SanType::DnsName(name.try_into().unwrap());
        above.client("client", |params| params.subject_alt_names = vec![name])
    };
    let (inside, outside) = (named("a.inside.test"), named("a.outside.test"));
    accepted(&world, "", || inside.presented(&world)).await;
    let line = refused(&world, "", || outside.presented(&world), Reason::CertConstraint).await;
    names(&line, &outside.chain()[0]);
}

#[tokio::test]
async fn a_client_that_makes_itself_a_ca() {
    let world = World::new();
    let client = Forge::root(&world.pki.ca).client("client", |_| ());
    let own = client.client("admin", |_| ());
    let line = refused(&world, "", || own.presented(&world), Reason::CertConstraint).await;
    names(&line, &own.chain()[0]);
    assert_eq!(line["subject"], "CN=admin");
}

#[tokio::test]
async fn a_ca_that_presents_itself_as_a_client() {
    let world = World::new();
    let ca = Forge::root(&world.pki.ca).authority("Sub CA", |_| ());
    refused(&world, "", || ca.presented(&world), Reason::CertConstraint).await;
}

#[tokio::test]
async fn a_certificate_that_is_signed_with_sha_1() {
    let world = World::new();
    world.write("ca.key", &world.pki.ca.key_pem());
    let dir = world.path().to_owned();
    let make = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout old.key -subj /CN=old -out old.csr";
    let made = openssl(&dir, &make.split(' ').collect::<Vec<_>>(), b"").await;
    assert!(made.success, "{}", made.said);
    world.write("old.ext", "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n");
    let sign =
        "x509 -req -in old.csr -CA ca.pem -CAkey ca.key -sha1 -days 1 -extfile old.ext -out old.pem -set_serial 7";
    let signed = openssl(&dir, &sign.split(' ').collect::<Vec<_>>(), b"").await;
    assert!(signed.success, "{}", signed.said);
    use rustls::pki_types::pem::PemObject;
    let make = || {
        let chain = vec![CertificateDer::from_pem_file(dir.join("old.pem")).unwrap()];
        Client::holding(&world, chain, rustls::pki_types::PrivateKeyDer::from_pem_file(dir.join("old.key")).unwrap())
    };
    let line = refused(&world, "", make, Reason::CertKeyUnsupported).await;
    assert_eq!((&line["subject"], &line["serial"]), (&"CN=old".into(), &"07".into()));
}

#[tokio::test]
async fn somebody_elses_certificate() {
    let world = World::new();
    let thief = world.client(|spec| spec.cn = "thief".to_owned());
    let make = || Client::with(&world, &thief).chain(world.pki.good.chain_der());
    let line = refused(&world, "", make, Reason::CertProofInvalid).await;
    // Whose certificate was abused is what the operator wants to know.
    names(&line, &world.pki.good.cert_der());
}

#[tokio::test]
async fn somebody_elses_certificate_with_a_key_of_another_type() {
    let world = World::new();
    for kind in [KeyKind::Rsa2048, KeyKind::Ed25519, KeyKind::EcdsaP384] {
        let thief = world.client(|spec| spec.key = kind);
        let make = || Client::with(&world, &thief).chain(world.pki.good.chain_der());
        let line = refused(&world, "", make, Reason::CertProofInvalid).await;
        names(&line, &world.pki.good.cert_der());
    }
}

#[tokio::test]
async fn a_proof_with_another_key_is_refused_where_certificates_are_optional_too() {
    let world = World::new();
    let backend = Recorder::start().await;
    let config = world.config(backend.address);
    let config = config.replace("trust = \"test\"", "trust = \"test\"\nclient_certificate = \"optional\"");
    let gate = Gate::start(&world, &config.replace("any-verified", "anyone"));
    let thief = world.client(|_| ());
    for client in versions(|| Client::with(&world, &thief).chain(world.pki.good.chain_der())) {
        gate.refuses(&client, Reason::CertProofInvalid).await;
    }
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn a_refused_client_always_hears_why() {
    let world = World::new();
    let (gate, _backend) = strict(&world, "").await;
    let late = world.client(|spec| spec.validity = Validity::over(unix()));
    for n in 0..50 {
        let client = if n % 2 == 0 { Client::with(&world, &late) } else { Client::with(&world, &late).tls12() };
        let (tcp, _) = gate.tcp().await;
        let heard = client.hears(tcp).await;
        assert_eq!(heard, crate::harness::Heard::Alert("certificate_expired".to_owned()), "connection {n}");
    }
}
