//! `/deny`: who is refused although their certificate verifies, while the gate runs.
//!
//! The listener asks for no password, so a browser on the operator's machine must not be made to
//! speak for whoever wrote the page that it shows: not by a form (no JSON), not by a script
//! (Origin), and not under a name that was pointed at this address meanwhile (Host).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{State, text};
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
pub(super) async fn answer(request: Request<Incoming>, peer: SocketAddr, state: &State) -> Response<Full<Bytes>> {
    let method = request.method().clone();
    match respond(request, peer, state).await {
        Ok(response) => response,
        Err(Refusal(status, what)) => {
            if !matches!(method, Method::GET | Method::HEAD) {
                tracing::warn!(target: "portcullis::admin", %peer, %method, status = status.as_u16(), what, "deny list not changed");
            }
            let mut response = body(status, &json!({ "error": what }));
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, DELETE"));
            }
            response
        }
    }
}

async fn respond(
    request: Request<Incoming>,
    peer: SocketAddr,
    state: &State,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let snapshot = state.reloader.published().current();
    let public = snapshot.config.admin.is_some_and(|admin| admin.public);
    host_is_ours(request.uri(), request.headers(), public)?;
    let (head, stream) = request.into_parts();
    let id = head.uri.path().strip_prefix("/deny/").map(str::to_owned);
    match (&head.method, id) {
        (&Method::GET | &Method::HEAD, None) => list(state).await,
        (&Method::POST, None) => {
            no_browser(&head.headers)?;
            let read = timeout(BODY_TIMEOUT, Limited::new(stream, MAX_BODY_BYTES).collect()).await;
            let read = read.map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come"))?;
            let json = read.map_err(|_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "more than 64 KiB, or cut off"))?;
            add(json.to_bytes(), peer, state).await
        }
        (&Method::DELETE, Some(id)) => {
            no_browser(&head.headers)?;
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

async fn add(json: Bytes, peer: SocketAddr, state: &State) -> Result<Response<Full<Bytes>>, Refusal> {
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
    peer: SocketAddr,
    state: &State,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let reloader = state.reloader.clone();
    let done = aside(move || reloader.undeny(&id, trust.as_deref())).await??;
    record(&done, peer);
    Ok(body(StatusCode::OK, &deny_json(&done.trust, &done.spec)))
}

fn record(done: &Changed, peer: SocketAddr) {
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
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
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

/// DNS rebinding: a page's own name may lead here, an address or `localhost` does not change hands.
/// Where the listener is public by configuration, it has names that we do not know.
fn host_is_ours(uri: &Uri, headers: &HeaderMap, public: bool) -> Result<(), Refusal> {
    let wrong = || Refusal::new(StatusCode::MISDIRECTED_REQUEST, "Host: one IP address or localhost");
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(wrong()) };
    let host: http::uri::Authority = host.to_str().ok().and_then(|host| host.parse().ok()).ok_or_else(wrong)?;
    let mut named = std::iter::once(host.host()).chain(uri.host());
    if public || named.all(is_ours) { Ok(()) } else { Err(wrong()) }
}

fn is_ours(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

/// CSRF: what a page can send without asking first has no JSON type, and what it asks for has an
/// Origin. Fetch metadata say the same where a browser leaves the Origin out.
fn no_browser(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return Err(not_json()) };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/json") {
        return Err(not_json());
    }
    let foreign = |value: &HeaderValue| value != "none";
    if headers.contains_key(ORIGIN) || headers.get_all(FETCH_SITE).iter().any(foreign) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "not from a web page (Origin, Sec-Fetch-Site)"));
    }
    Ok(())
}

fn not_json() -> Refusal {
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type: application/json is required")
}

fn body(status: StatusCode, json: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = text(status, format!("{json}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Why nothing was changed.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn new(status: StatusCode, what: impl Into<String>) -> Self {
        Self(status, what.into())
    }
}

impl From<DenyError> for Refusal {
    fn from(error: DenyError) -> Self {
        let status = match error {
            DenyError::NoTrust(_) | DenyError::NoEntry(_) => StatusCode::NOT_FOUND,
            DenyError::NoState(_) | DenyError::OperatorsOwn(_) | DenyError::Ambiguous(_) => StatusCode::CONFLICT,
            DenyError::Full => StatusCode::INSUFFICIENT_STORAGE,
            DenyError::Broken(_) | DenyError::Write(_) => StatusCode::INTERNAL_SERVER_ERROR,
            DenyError::NotInForce(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn hosts(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for host in lines {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        headers
    }

    #[test]
    fn only_addresses_and_localhost_are_ours() {
        let relative = Uri::from_static("/deny");
        for (lines, ours) in [
            (&["127.0.0.1:9901"][..], true),
            (&["127.0.0.1"], true),
            (&["[::1]:9901"], true),
            (&["localhost:9901"], true),
            (&["LocalHost"], true),
            (&["evil.example"], false),
            (&["localhost.evil.example"], false),
            (&["127.0.0.1.evil.example:9901"], false),
            (&["localhost", "evil.example"], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(host_is_ours(&relative, &hosts(lines), false).is_ok(), ours, "{lines:?}");
        }
        assert!(host_is_ours(&relative, &hosts(&["admin.example"]), true).is_ok());
        assert!(host_is_ours(&Uri::from_static("http://evil.example/deny"), &hosts(&["127.0.0.1"]), false).is_err());
    }

    #[test]
    fn what_a_web_page_can_send_changes_nothing() {
        const JSON: (&str, &str) = ("content-type", "application/json");
        for (lines, allowed) in [
            (&[JSON][..], true),
            (&[("content-type", "Application/JSON; charset=utf-8")], true),
            (&[JSON, ("sec-fetch-site", "none")], true),
            (&[], false),
            (&[("content-type", "text/plain")], false),
            (&[("content-type", "application/x-www-form-urlencoded")], false),
            (&[("content-type", "text/plain; application/json")], false),
            (&[JSON, ("origin", "https://evil.example")], false),
            (&[JSON, ("origin", "null")], false),
            (&[JSON, ("sec-fetch-site", "cross-site")], false),
            (&[JSON, ("sec-fetch-site", "same-site")], false),
        ] {
            assert_eq!(no_browser(&headers(lines)).is_ok(), allowed, "{lines:?}");
        }
    }
}
