//! What is refused of a request whoever sends it, and wherever it goes.

use http::request::Parts;
use http::{HeaderMap, Method, Version};

use crate::message::hop;
use crate::reject::{Reason, Reject};
use crate::snapshot::Snapshot;

/// What no route could permit; and the bounds that the HTTP/1.1 codec has kept already, for messages that came otherwise.
pub(super) fn check(parts: &Parts, snapshot: &Snapshot) -> Result<(), Reject> {
    if parts.method == Method::CONNECT {
        // Before its target, which is no path, is judged as one.
        return Err(Reason::ConnectRefused.into());
    }
    hop::check_expect(&parts.headers)?;
    if parts.version != Version::HTTP_2 {
        return Ok(());
    }
    hop::check_http2_fields(&parts.headers)?;
    let bounds = &snapshot.http1;
    check_count(&parts.headers, bounds.header_count)?;
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > bounds.uri_bytes {
        return Err(Reject::new(Reason::UriTooLong, format!("{target} bytes, at most {}", bounds.uri_bytes)));
    }
    Ok(())
}

fn check_count(headers: &HeaderMap, most: usize) -> Result<(), Reject> {
    let count = headers.len();
    if count > most {
        return Err(Reject::new(Reason::HeaderCount, format!("{count} fields, at most {most}")));
    }
    Ok(())
}
