//! What path validation refuses although RFC 5280 allows it: each row of the list in the threat model, with the
//! alert that the client hears and the reason that the operator reads.

use portcullis::reject::Reason;
use rcgen::{CustomExtension, DistinguishedName, DnType, DnValue, GeneralSubtree, NameConstraints, SanType};

use crate::certificates::{accepted, refused};
use crate::harness::{Client, Forge, World, openssl};

/// DER of one element with short contents.
fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(contents.len()).unwrap()], contents].concat()
}

/// A critical nameConstraints extension that permits (0xa0) or excludes (0xa1) this GeneralName.
fn constraint(which: u8, name: &[u8]) -> CustomExtension {
    let der = tlv(0x30, &tlv(which, &tlv(0x30, name)));
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], der);
    extension.set_criticality(true);
    extension
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn constrained(world: &World, constraints: NameConstraints) -> Forge {
    Forge::root(&world.pki.ca).authority("Narrow CA", |params| params.name_constraints = Some(constraints))
}

#[tokio::test]
async fn a_ca_with_a_directory_name_constraint_permitted_or_excluded_has_no_clients() {
    let world = World::new();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Elsewhere");
    let subtree = || vec![GeneralSubtree::DirectoryName(name.clone())];
    for constraints in [
        NameConstraints { permitted_subtrees: subtree(), excluded_subtrees: Vec::new() },
        NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: subtree() },
    ] {
        let leaf = constrained(&world, constraints).client("client", |_| ());
        refused(&world, "", || leaf.presented(&world), Reason::CertConstraint).await;
    }
    // One that is inside, too.
    let permitted = NameConstraints { permitted_subtrees: subtree(), excluded_subtrees: Vec::new() };
    let leaf = constrained(&world, permitted).client("client", |params| params.distinguished_name = name.clone());
    refused(&world, "", || leaf.presented(&world), Reason::CertConstraint).await;
}

#[tokio::test]
async fn a_uri_below_a_ca_with_a_uri_constraint_is_refused_inside_and_outside() {
    let world = World::new();
    let ca = Forge::root(&world.pki.ca)
        .authority("Narrow CA", |params| params.custom_extensions = vec![constraint(0xa0, &tlv(0x86, b"inside.test"))]);
    for name in ["https://inside.test/x", "https://outside.test/x"] {
        let leaf = ca.client("client", |params| params.subject_alt_names = vec![uri(name)]);
        refused(&world, "", || leaf.presented(&world), Reason::CertConstraint).await;
    }
    let leaf = ca.client("client", |_| ());
    accepted(&world, "", || leaf.presented(&world)).await;
}

#[tokio::test]
async fn an_email_address_below_a_ca_with_an_rfc822_name_constraint_is_refused_inside_and_outside() {
    let world = World::new();
    let permitted_subtrees = vec![GeneralSubtree::Rfc822Name("inside.test".to_owned())];
    let ca = constrained(&world, NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    for name in ["a@inside.test", "a@outside.test"] {
        let name = SanType::Rfc822Name(name.try_into().unwrap());
        let leaf = ca.client("client", |params| params.subject_alt_names = vec![name]);
        refused(&world, "", || leaf.presented(&world), Reason::CertConstraint).await;
    }
    let leaf = ca.client("client", |_| ());
    accepted(&world, "", || leaf.presented(&world)).await;
}

#[tokio::test]
async fn an_other_name_below_a_ca_with_an_other_name_constraint_is_refused() {
    let world = World::new();
    // id-on 1.3.6.1.4.1.311.20.2.3, the user principal name of Windows.
    let id = [0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x14, 0x02, 0x03];
    let principal = |text: &[u8]| tlv(0xa0, &[&id[..], &tlv(0xa0, &tlv(0x0c, text))].concat());
    let ca = Forge::root(&world.pki.ca)
        .authority("Narrow CA", |params| params.custom_extensions = vec![constraint(0xa0, &principal(b"a@inside"))]);
    let leaf = ca.client("client", |params| {
        params.subject_alt_names = Vec::new();
        let san = tlv(0x30, &principal(b"a@inside"));
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], san)];
    });
    refused(&world, "", || leaf.presented(&world), Reason::CertConstraint).await;
}

#[tokio::test]
async fn an_issuer_that_is_spelt_otherwise_than_the_ca_is_another_issuer() {
    let world = World::new();
    // RFC 5280 §7.1 compares without case, without doubled spaces, and across types of string.
    for spelling in [
        DnValue::Utf8String("test ca".to_owned()),
        DnValue::Utf8String("Test  CA".to_owned()),
        DnValue::PrintableString("Test CA".try_into().unwrap()),
    ] {
        let ca = Forge::root(&world.pki.ca).called(spelling.clone());
        let leaf = ca.client("client", |_| ());
        refused(&world, "", || leaf.presented(&world), Reason::CertUnknownIssuer).await;
    }
}

#[tokio::test]
async fn critical_policies_are_not_understood_and_others_are_not_looked_at() {
    let world = World::new();
    // One policy, 1.3.6.1.4.1.99999.1.
    let policies = tlv(0x30, &tlv(0x30, &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x86, 0x8d, 0x1f, 0x01]));
    for critical in [true, false] {
        let leaf = Forge::root(&world.pki.ca).client("client", |params| {
            let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 32], policies.clone());
            extension.set_criticality(critical);
            params.custom_extensions = vec![extension];
        });
        if critical {
            refused(&world, "", || leaf.presented(&world), Reason::CertConstraint).await;
        } else {
            accepted(&world, "", || leaf.presented(&world)).await;
        }
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_is_refused() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let world = World::new();
    world.write("ca.key", &world.pki.ca.key_pem());
    let dir = world.path().to_owned();
    for line in [
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout old.key -subj /CN=old -out old.csr",
        "x509 -req -in old.csr -CA ca.pem -CAkey ca.key -sha256 -days 1 -out old.pem -set_serial 7",
    ] {
        let done = openssl(&dir, &line.split(' ').collect::<Vec<_>>(), b"").await;
        assert!(done.success, "{}", done.said);
    }
    let text = openssl(&dir, &["x509", "-in", "old.pem", "-noout", "-text"], b"").await.said;
    assert!(text.contains("Version: 1"), "{text}");
    let make = || {
        let chain = vec![CertificateDer::from_pem_file(dir.join("old.pem")).unwrap()];
        Client::holding(&world, chain, PrivateKeyDer::from_pem_file(dir.join("old.key")).unwrap())
    };
    refused(&world, "", make, Reason::CertConstraint).await;
}
