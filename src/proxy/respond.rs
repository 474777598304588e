//! A refusal to a response: here and nowhere else.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::json;

use super::body::ResponseBody;
use crate::reject::{Reason, Reject};
use crate::telemetry::RequestRecord;

/// The answer to a refused request: RFC 9457 problem details with the reason's code and the
/// request id, and nothing that only operators should read.
pub(super) fn refusal(mut reject: Reject, mut record: RequestRecord) -> Response<ResponseBody> {
    let reason = reject.reason;
    let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let id = record.id.as_ref().and_then(|id| id.to_str().ok());
    let problem = json!({
        "type": "about:blank",
        "title": reason.row().public,
        "status": status.as_u16(),
        "code": reason.code(),
        "request_id": id,
    });
    let id = record.id.clone();
    record.status = status.as_u16();
    let (wait, fields) = (reject.retry_after, reject.fields.take());
    record.reject(reject);
    let mut response = Response::new(ResponseBody::text(Bytes::from(problem.to_string()), record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(fields.into_iter().flat_map(|fields| *fields));
    if let Some(id) = id {
        headers.insert(crate::message::request_id::NAME, id);
    }
    if let Some(wait) = wait {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds_up(wait)));
    }
    if closes(reason) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whole seconds, rounded up: coming back too early would be refused again.
fn seconds_up(wait: std::time::Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Refusals after which the connection cannot serve this client: it must make a new handshake,
/// or nobody can say where its next request begins.
fn closes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Misdirected
            | Reason::CertDenied
            | Reason::CertExpired
            | Reason::CertRevoked
            | Reason::CrlExpired
            | Reason::CrlMissing
            | Reason::TrustWithdrawn
            | Reason::ReputationDropped
            | Reason::RequestFraming
            | Reason::RequestMalformed
    )
}
