//! `/config/status`: what runs, and what became of the last reload.

use std::time::Duration;

use portcullis::tools::pki::RevocationSpec;
use serde_json::{Value, json};

use crate::harness::{Backend, Client, Gate, World, unix};

async fn status(gate: &Gate) -> Value {
    let answer = crate::harness::plain_get(gate.admin.expect("an admin listener"), "/config/status").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test]
async fn the_status_tells_what_runs_and_what_became_of_the_last_reload() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let text = world.config(backend.address);
    let gate = Gate::start(&world, &text);
    let first = status(&gate).await;
    assert_eq!((&first["generation"], &first["trigger"], &first["changes"]), (&json!(1), &json!("start"), &json!([])));
    assert_eq!(first["digest"].as_str().map(str::len), Some(64));
    assert_eq!(first["trust"]["test"]["anchors"][0]["subject"], "CN=Test CA");
    assert_eq!(first["trust"]["test"]["crls"], json!([]));

    let list = RevocationSpec { number: 256, ..RevocationSpec::new(unix()).revoke(&world.pki.good).unwrap() };
    std::fs::write(world.path().join("ca.crl"), world.pki.ca.revocation_list(&list).unwrap()).unwrap();
    world.write("denied.toml", "[[deny]]\nmatch = { subject_cn = \"x\" }\nreason = \"stolen\"\n");
    let listed = text.replace("[trust.test]", "[trust.test]\ncrl = [\"ca.crl\"]\ndeny = \"denied.toml\"");
    gate.reload(&listed).unwrap();
    let second = status(&gate).await;
    assert_eq!((&second["generation"], &second["trigger"]), (&json!(2), &json!("signal")));
    assert_ne!(second["digest"], first["digest"]);
    assert_eq!(
        second["changes"],
        json!([
            "trust test changed",
            "trust test: CRL of CN=Test CA added",
            "trust test: deny list changed (1 entries, 0 before)"
        ])
    );
    let trust = &second["trust"]["test"];
    assert_eq!((&trust["deny_entries"], &trust["crls"][0]["entries"]), (&json!(1), &json!(1)));
    assert_eq!(trust["crls"][0]["issuer"], "CN=Test CA");
    assert!(trust["crls"][0]["number"].as_str().is_some_and(|number| number.replace(':', "") == "0100"), "{trust:#}");
    assert_eq!(second["last_reload"]["result"], "ok");
    assert!(gate.find_log(|line| line.contains("CRL of CN=Test CA added")).contains("configuration loaded"));

    gate.reload(&listed).unwrap();
    assert_eq!(status(&gate).await["last_reload"]["result"], "unchanged");
    gate.reload(&listed.replace("crl =", "crll =")).unwrap_err();
    let refused = status(&gate).await;
    assert_eq!((&refused["generation"], &refused["last_reload"]["result"]), (&json!(2), &json!("refused")));
    assert!(refused["last_reload"]["problems"][0].as_str().is_some_and(|problem| problem.contains("crll")));
    assert_eq!(refused["changes"], second["changes"]);
}

#[tokio::test]
async fn metrics_have_the_lists_and_anchors_that_are_in_force_and_no_others() {
    let (world, backend) = (World::new(), Backend::echo().await);
    let list = RevocationSpec::new(unix()).revoke(&world.client(|_| ())).unwrap();
    std::fs::write(world.path().join("ca.crl"), world.pki.ca.revocation_list(&list).unwrap()).unwrap();
    let text = world.config(backend.address);
    let listed = text.replace("[trust.test]", "[trust.test]\ncrl = [\"ca.crl\"]");
    let gate = Gate::start(&world, &listed);
    let labels = "{trust=\"test\",issuer=\"CN=Test CA\"}";
    assert_eq!(gate.metric(&format!("portcullis_crl_entries{labels}")).await, 1.0);
    let due = gate.metric(&format!("portcullis_crl_next_update_timestamp_seconds{labels}")).await;
    assert!(due > unix().as_secs_f64(), "{due}");
    let age = gate.metric(&format!("portcullis_crl_age_seconds{labels}")).await;
    gate.clock.advance(Duration::from_secs(1000));
    let later = gate.metric(&format!("portcullis_crl_age_seconds{labels}")).await;
    assert!(age < 500.0 && (1000.0..1500.0).contains(&later), "{age} {later}");
    let anchor = "portcullis_anchor_expiry_timestamp_seconds{trust=\"test\",anchor=\"CN=Test CA\"}";
    assert!(gate.metric(anchor).await > unix().as_secs_f64());
    assert_eq!(Client::good(&world).get(&gate, "/").await.status, 200);
    let used = "portcullis_handshakes_by_anchor_total{trust=\"test\",anchor=\"CN=Test CA\"}";
    assert_eq!(gate.metric(used).await, 1.0);

    // The store under another name: the old one is gone from everything that is looked at.
    gate.reload(&text.replace("trust.test", "trust.next").replace("trust = \"test\"", "trust = \"next\"")).unwrap();
    let metrics = gate.metrics().await;
    assert!(!metrics.contains("portcullis_crl_entries{"), "{metrics}");
    assert!(
        !metrics.contains(anchor) && metrics.contains("anchor_expiry_timestamp_seconds{trust=\"next\""),
        "{metrics}"
    );
}
