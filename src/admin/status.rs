//! `/config/status`: which configuration runs, what it trusts, and what became of the last reload.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::identity::{Serial, date};
use crate::revocation::Crl;
use crate::snapshot::{Attempt, Outcome, Report, Snapshot, Trust};

/// What is told; names and times, no secrets.
pub(super) fn status(snapshot: &Snapshot, report: &Report) -> Value {
    let mut stores: Vec<_> = snapshot.trust.iter().collect();
    stores.sort_by_key(|(name, _)| *name);
    let trust: serde_json::Map<String, Value> =
        stores.into_iter().map(|(name, trust)| (name.to_string(), store(trust))).collect();
    json!({
        "generation": snapshot.generation,
        "digest": snapshot.contents.digest().to_string(),
        "loaded": since_epoch(report.loaded),
        "trigger": report.trigger,
        "changes": report.changes,
        "trust": trust,
        "last_reload": last(&report.last),
    })
}

fn store(trust: &Trust) -> Value {
    let anchors = trust.store.anchors().told.iter().map(|anchor| {
        json!({ "subject": anchor.subject, "not_after": date(anchor.not_after), "trusted_until": date(anchor.ends) })
    });
    let mut crls: Vec<_> = trust.store.crls().collect();
    crls.sort_by(|a, b| a.issuer_text.cmp(&b.issuer_text));
    json!({
        "anchors": anchors.collect::<Vec<_>>(),
        "crls": crls.into_iter().map(Arc::as_ref).map(list).collect::<Vec<_>>(),
        "deny_entries": trust.store.deny().len(),
    })
}

fn list(crl: &Crl) -> Value {
    json!({
        "issuer": crl.issuer_text,
        // Up to 20 octets: more than a JSON number holds.
        "number": crl.number.as_deref().map(|number| Serial(number.into()).to_string()),
        "entries": crl.serials.len(),
        "this_update": date(crl.this_update),
        "next_update": date(crl.next_update),
    })
}

fn last(attempt: &Attempt) -> Value {
    let (result, problems) = match &attempt.outcome {
        Outcome::Loaded => ("ok", &[][..]),
        Outcome::Unchanged => ("unchanged", &[][..]),
        Outcome::Refused(problems) => ("refused", &problems[..]),
    };
    json!({ "at": since_epoch(attempt.at), "trigger": attempt.trigger, "result": result, "problems": problems })
}

fn since_epoch(time: Duration) -> String {
    date(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
