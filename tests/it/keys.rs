//! Chains and keys that are accepted.

use portcullis::reject::Reason;
use portcullis::tools::pki::{Authority, KeyKind, LeafSpec, Validity};

use crate::certificates::{accepted, names, refused, versions};
use crate::harness::{Backend, Client, Gate, World};

#[tokio::test]
async fn intermediates_come_from_the_client() {
    let world = World::new();
    let issued = world.pki.ca.intermediate("A").unwrap().intermediate("B").unwrap();
    let issued = issued.issue(&LeafSpec::client("client", Validity::LONG)).unwrap();
    accepted(&world, "", || Client::with(&world, &issued)).await;
    // The root is of no use, and harmless.
    accepted(&world, "", || Client::with(&world, &issued).chain(issued.full_chain_der())).await;
    // Nor does their order matter (RFC 8446 §4.4.2).
    let mut reversed = issued.chain_der();
    reversed[1..].reverse();
    accepted(&world, "", || Client::with(&world, &issued).chain(reversed.clone())).await;
    // Without them there is no path.
    let alone = || Client::with(&world, &issued).chain(vec![issued.cert_der()]);
    let line = refused(&world, "", alone, Reason::CertUnknownIssuer).await;
    names(&line, &issued.cert_der());
}

#[tokio::test]
async fn every_type_of_key_proves_a_client() {
    use KeyKind::{EcdsaP256, EcdsaP384, Ed25519, Rsa2048, Rsa3072};
    let world = World::new();
    for kind in [EcdsaP256, EcdsaP384, Ed25519, Rsa2048, Rsa3072] {
        let issued = world.client(|spec| spec.key = kind);
        accepted(&world, "", || Client::with(&world, &issued)).await;
    }
}

#[tokio::test]
async fn a_ca_may_have_any_type_of_key() {
    use KeyKind::{EcdsaP384, Ed25519, Rsa2048, Rsa3072};
    for kind in [EcdsaP384, Ed25519, Rsa2048, Rsa3072] {
        let world = World::new();
        let ca = Authority::new("Other CA", kind).unwrap();
        world.write("other-ca.pem", &ca.pem());
        let issued = ca.intermediate("Below").unwrap().issue(&LeafSpec::client("client", Validity::LONG)).unwrap();
        let backend = Backend::echo().await;
        let gate = Gate::start(&world, &world.config(backend.address).replace("ca.pem", "other-ca.pem"));
        for client in versions(|| Client::with(&world, &issued)) {
            gate.serves(&client).await;
        }
    }
}
