//! `/reputation`: who behaves how, and forgiving.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::deny::{aside, body, is_json};
use super::{Peer, Refusal, State};
use crate::identity::date;
use crate::reputation::{Cause, Kind, Subject, View};

/// How many are listed.
const LISTED: usize = 100;

/// Whether the request is for this room.
pub(super) fn has(path: &str) -> bool {
    path == "/reputation" || path.starts_with("/reputation/")
}

/// Answers; a change leaves a line.
pub(super) async fn answer(head: &Parts, peer: Peer, state: &State) -> Response<Full<Bytes>> {
    match respond(head, peer, state).await {
        Ok(json) => body(StatusCode::OK, &json),
        Err(Refusal(status, what)) => body(status, &json!({ "error": what })),
    }
}

async fn respond(head: &Parts, peer: Peer, state: &State) -> Result<Value, Refusal> {
    let snapshot = state.reloader.published().current();
    let subject = head.uri.path().strip_prefix("/reputation/").map(subject).transpose()?;
    let state = state.clone();
    match (&head.method, subject) {
        (&Method::GET | &Method::HEAD, None) => aside(move || list(&state)).await,
        (&Method::GET | &Method::HEAD, Some(subject)) => {
            let view = state.reputation.book.view(&subject, state.reputation.now(), &snapshot.config.reputation.rules);
            view.map(|view| told(&view, &state)).ok_or_else(|| unknown(&subject))
        }
        (&Method::DELETE, Some(subject)) => {
            is_json(&head.headers)?;
            if !state.reputation.book.clear(&subject, &snapshot.config.reputation.rules) {
                return Err(unknown(&subject));
            }
            state.reputation.bans_changed();
            tracing::info!(target: "portcullis::admin", %peer, %subject, "reputation cleared");
            Ok(json!({ "id": subject.to_string(), "cleared": true }))
        }
        _ => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "GET /reputation, GET /reputation/ID, DELETE /reputation/ID",
        )),
    }
}

fn subject(id: &str) -> Result<Subject, Refusal> {
    let id = percent_decode_str(id).decode_utf8().unwrap_or_default();
    id.parse().map_err(|what: &str| Refusal::new(StatusCode::BAD_REQUEST, what))
}

fn unknown(subject: &Subject) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("nothing is known of {subject}"))
}

fn list(state: &State) -> Value {
    let (book, now) = (&state.reputation.book, state.reputation.now());
    let snapshot = state.reloader.published().current();
    let worst = book.worst(LISTED, now, &snapshot.config.reputation.rules);
    let entries: serde_json::Map<String, Value> =
        Kind::ALL.into_iter().map(|kind| (kind.word().to_owned(), json!(book.entries(kind)))).collect();
    json!({
        "entries": entries,
        "without_room": book.crowded(),
        "sleeping": state.reputation.sleeping(),
        "worst": worst.iter().map(|view| told(view, state)).collect::<Vec<_>>(),
    })
}

fn told(view: &View, state: &State) -> Value {
    let (now, unix) = (state.reputation.now(), state.clock.unix().as_secs());
    let snapshot = state.reloader.published().current();
    let action =
        |index: usize| snapshot.config.reputation.rules.ladder.get(index).map_or("none", |rung| rung.action.word());
    let time = |unix: u64| date(i64::try_from(unix).unwrap_or(i64::MAX));
    let causes = Cause::ALL.into_iter().zip(view.scores).filter(|(_, score)| *score > 0.0);
    let causes: serde_json::Map<String, Value> =
        causes.map(|(cause, score)| (cause.word().to_owned(), rounded(score))).collect();
    let spread = |[networks, fingerprints, connections]: [f32; 3]| json!({ "networks": rounded(networks), "fingerprints": rounded(fingerprints), "connections": rounded(connections) });
    json!({
        "id": view.subject.to_string(),
        "kind": view.subject.kind().word(),
        "score": rounded(view.total),
        "causes": causes,
        "rung": view.rung.map(|(index, _)| action(index)),
        "until": view.rung.map(|(_, until)| time(unix.saturating_add(until.saturating_sub(now.secs()).into()))),
        "dry_run": view.dry_rung.map(action),
        "seen": time(unix.saturating_sub(now.secs().saturating_sub(view.seen).into())),
        "open": view.open,
        "spread": view.spread.map(spread),
        "usual": view.usual.map(spread),
    })
}

/// To a tenth.
fn rounded(number: f32) -> Value {
    json!((f64::from(number) * 10.0).round() / 10.0)
}
