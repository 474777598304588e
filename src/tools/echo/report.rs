//! What a request said, for people or for programs.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use bytes::Buf;
use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{Body, text, typed};

/// Reads the request to its end and answers with what it said.
pub(super) async fn describe(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = Received::read(body).await else {
        return text(StatusCode::BAD_REQUEST, "the request body broke off\n");
    };
    if wants_json(&head.headers) {
        return typed(StatusCode::OK, "application/json", format!("{:#}\n", as_json(&head, &body)));
    }
    text(StatusCode::OK, &as_text(&head, &body))
}

/// What is known of a body once it has gone by: it is not kept.
struct Received {
    length: u64,
    sha256: String,
    start: Vec<u8>,
    trailers: HeaderMap,
}

impl Received {
    async fn read(mut body: Incoming) -> Result<Self, hyper::Error> {
        let mut received = Self { length: 0, sha256: String::new(), start: Vec::new(), trailers: HeaderMap::new() };
        let mut hash = digest::Context::new(&digest::SHA256);
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => {
                    hash.update(&data);
                    received.length = received.length.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
                    let room = SHOWN.saturating_sub(received.start.len()).min(data.len());
                    received.start.extend(data.take(room).chunk());
                }
                Err(frame) => received.trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        for byte in hash.finish().as_ref() {
            let _ = write!(received.sha256, "{byte:02x}");
        }
        Ok(received)
    }

    fn start(&self) -> String {
        String::from_utf8_lossy(&self.start).into_owned()
    }
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/json"))
}

fn as_json(head: &Parts, body: &Received) -> Value {
    json!({
        "method": head.method.as_str(),
        "scheme": head.uri.scheme_str(),
        "authority": head.uri.authority().map(http::uri::Authority::as_str),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "version": format!("{:?}", head.version),
        "headers": pairs(&head.headers).collect::<Vec<_>>(),
        "trailers": pairs(&body.trailers).collect::<Vec<_>>(),
        "body": { "length": body.length, "sha256": body.sha256, "start": body.start() },
    })
}

fn as_text(head: &Parts, body: &Received) -> String {
    let mut out = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in pairs(&head.headers) {
        let _ = writeln!(out, "{name}: {value}");
    }
    let _ = write!(out, "\nbody: {} bytes, sha256 {}\n", body.length, body.sha256);
    for (name, value) in pairs(&body.trailers) {
        let _ = writeln!(out, "trailer {name}: {value}");
    }
    if !body.start.is_empty() {
        let _ = write!(out, "\n{}\n", body.start());
    }
    out
}

/// Every field line in the order it came (lines of one name together, where the first of them was).
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, String)> {
    headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
}

/// A screenful of body.
const SHOWN: usize = 1024;
