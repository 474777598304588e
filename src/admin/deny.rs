//! `/deny`: who is refused although their certificate verifies, while the gate runs.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Peer, Refusal, State, text};
use crate::config::{deny_json, parse_deny_request};
use crate::snapshot::{Change, Changed, DenyError};

/// An entry is a few hundred bytes; a list belongs into the operator's file.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// For all of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the request is for this room.
pub(super) fn has(path: &str) -> bool {
    path == "/deny" || path.starts_with("/deny/")
}

/// Answers, and leaves a line for every change and every refusal.
pub(super) async fn answer(request: Request<Incoming>, peer: Peer, state: &State) -> Response<Full<Bytes>> {
    let method = request.method().clone();
    match respond(request, peer, state).await {
        Ok(response) => response,
        Err(Refusal(status, what)) => {
            if !matches!(method, Method::GET | Method::HEAD) {
                tracing::warn!(target: "portcullis::admin", %peer, %method, status = status.as_u16(), what, "request about the deny list failed");
            }
            let mut response = body(status, &json!({ "error": what }));
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, DELETE"));
            }
            response
        }
    }
}

async fn respond(request: Request<Incoming>, peer: Peer, state: &State) -> Result<Response<Full<Bytes>>, Refusal> {
    let (head, stream) = request.into_parts();
    let id = head.uri.path().strip_prefix("/deny/").map(str::to_owned);
    match (&head.method, id) {
        (&Method::GET | &Method::HEAD, None) => list(state).await,
        (&Method::POST, None) => {
            is_json(&head.headers)?;
            let read = timeout(BODY_TIMEOUT, Limited::new(stream, MAX_BODY_BYTES).collect()).await;
            let read = read.map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come"))?;
            let json = read.map_err(|_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "more than 64 KiB, or cut off"))?;
            add(json.to_bytes(), peer, state).await
        }
        (&Method::DELETE, Some(id)) => {
            is_json(&head.headers)?;
            remove(id, trust(head.uri.query())?, peer, state).await
        }
        (&Method::GET | &Method::HEAD | &Method::POST | &Method::DELETE, _) => {
            Err(Refusal::new(StatusCode::NOT_FOUND, "GET /deny, POST /deny, DELETE /deny/ID"))
        }
        _ => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "GET /deny, POST /deny, DELETE /deny/ID")),
    }
}

async fn list(state: &State) -> Result<Response<Full<Bytes>>, Refusal> {
    let reloader = state.reloader.clone();
    let entries = aside(move || {
        let all = reloader.denied();
        all.iter().map(|(trust, spec)| deny_json(trust, spec)).collect::<Vec<_>>()
    });
    Ok(body(StatusCode::OK, &json!({ "deny": entries.await? })))
}

async fn add(json: Bytes, peer: Peer, state: &State) -> Result<Response<Full<Bytes>>, Refusal> {
    let unix = i64::try_from(state.clock.unix().as_secs()).unwrap_or(i64::MAX);
    let request = parse_deny_request(&json, unix)
        .map_err(|problems| Refusal::new(StatusCode::BAD_REQUEST, problems.join("; ")))?;
    let reloader = state.reloader.clone();
    let done = aside(move || reloader.deny(request)).await??;
    let status = if done.what == Change::Added { StatusCode::CREATED } else { StatusCode::OK };
    record(&done, peer);
    Ok(body(status, &deny_json(&done.trust, &done.spec)))
}

async fn remove(
    id: String,
    trust: Option<String>,
    peer: Peer,
    state: &State,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let reloader = state.reloader.clone();
    let done = aside(move || reloader.undeny(&id, trust.as_deref())).await??;
    record(&done, peer);
    Ok(body(StatusCode::OK, &deny_json(&done.trust, &done.spec)))
}

fn record(done: &Changed, peer: Peer) {
    let Changed { id, trust, spec, what } = done;
    let what = match what {
        Change::Added => "added",
        Change::Replaced => "replaced",
        Change::Kept => "already there",
        Change::Removed => "removed",
    };
    tracing::info!(
        target: "portcullis::admin",
        %peer, author = &*spec.author, trust = &**trust, id = &**id, reason = &*spec.reason, what, "deny list changed"
    );
}

/// Files are read and written, and trust is rebuilt: not on the thread that answers `/live`.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    spawn_blocking(work).await.map_err(|_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "it was not finished"))
}

/// The trust store in `?trust=NAME`; names need no decoding.
fn trust(query: Option<&str>) -> Result<Option<String>, Refusal> {
    match query.map(|query| query.strip_prefix("trust=")) {
        None => Ok(None),
        Some(Some(name)) => Ok(Some(name.to_owned())),
        Some(None) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the query is ?trust=NAME or nothing")),
    }
}

/// A form, which a page can send without asking anybody, is of no JSON type.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return Err(not_json()) };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    if kind.trim().eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(not_json()) }
}

fn not_json() -> Refusal {
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type: application/json is required")
}

pub(super) fn body(status: StatusCode, json: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = text(status, format!("{json}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl From<DenyError> for Refusal {
    fn from(error: DenyError) -> Self {
        let status = match error {
            DenyError::NoTrust(_) | DenyError::NoEntry(_) => StatusCode::NOT_FOUND,
            DenyError::NoState(_) | DenyError::OperatorsOwn(_) | DenyError::Ambiguous(_) => StatusCode::CONFLICT,
            DenyError::Full | DenyError::Unusable(_) => StatusCode::INSUFFICIENT_STORAGE,
            DenyError::Broken(_) | DenyError::NotStored(_) | DenyError::Write(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_can_send_changes_nothing() {
        for (kinds, allowed) in [
            (&["application/json"][..], true),
            (&["Application/JSON; charset=utf-8"], true),
            (&[], false),
            (&["text/plain"], false),
            (&["application/x-www-form-urlencoded"], false),
            (&["text/plain; application/json"], false),
            (&["application/json", "text/plain"], false),
        ] {
            let headers = kinds.iter().map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind)));
            let headers = headers.fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            });
            assert_eq!(is_json(&headers).is_ok(), allowed, "{kinds:?}");
        }
    }
}
