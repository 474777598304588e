//! The app behind the gate, as it is played: it checks logins, it binds sessions to certificates, and it says what it
//! was told.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::places::Failing;

/// What it says of itself: the upstream that was asked, and what the gate said of the client.
pub(super) const UPSTREAM: HeaderName = HeaderName::from_static("x-rehearsal-upstream");
pub(super) const TAG: HeaderName = HeaderName::from_static("x-rehearsal-tag");
/// The right credentials, and what everybody else tries.
pub(super) const RIGHT: HeaderValue = HeaderValue::from_static("Basic cmlnaHQ=");
pub(super) const WRONG: HeaderValue = HeaderValue::from_static("Basic d3Jvbmc=");

/// One upstream's servers.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) upstream: Box<str>,
    pub(super) failing: Option<Failing>,
}

/// The session of whoever has the certificate of this fingerprint.
pub(super) fn session(fingerprint: &str) -> String {
    format!("session={fingerprint}")
}

/// Serves all of them, as long as this is polled.
pub(super) async fn serve(doors: Vec<(std::net::TcpListener, App)>) {
    let mut serving = JoinSet::new();
    for (socket, app) in doors {
        if let Ok(listener) = TcpListener::from_std(socket) {
            serving.spawn(accept(listener, Arc::new(app)));
        }
    }
    while serving.join_next().await.is_some() {}
}

async fn accept(listener: TcpListener, app: Arc<App>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, Arc::clone(&app)))),
                // Out of file descriptors, as a rule: without a pause this would spin.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, app: Arc<App>) {
    // Costs latency if it fails, nothing else.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let service = service_fn(move |request| answer(request, Arc::clone(&app)));
    // A gate that breaks off is no news here.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, app: Arc<App>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    // To its end, so that the connection can be used again; nothing of it is kept.
    while let Some(Ok(_)) = body.frame().await {}
    Ok(app.answer(&head.headers))
}

impl App {
    fn answer(&self, told: &HeaderMap) -> Response<Full<Bytes>> {
        let wrong = told.get(AUTHORIZATION) == Some(&WRONG) || is_stolen(told);
        let mut response = Response::new(Full::from(Bytes::from_static(if wrong { b"no\n" } else { b"fine\n" })));
        if wrong {
            let failing = self.failing.as_ref();
            *response.status_mut() = failing
                .and_then(|failing| StatusCode::from_u16(failing.status).ok())
                .unwrap_or(StatusCode::UNAUTHORIZED);
            if let Some((name, value)) = failing.and_then(|failing| failing.field.as_ref()) {
                response.headers_mut().extend(HeaderValue::from_str(value).map(|value| (name.clone(), value)));
            }
        }
        if let Some(tag) = told.get("x-client-reputation") {
            response.headers_mut().insert(TAG, tag.clone());
        }
        response.headers_mut().extend(HeaderValue::from_str(&self.upstream).map(|name| (UPSTREAM, name)));
        response
    }
}

/// Whether a session is used behind another certificate than its own, as far as the gate says whose that is.
fn is_stolen(told: &HeaderMap) -> bool {
    let (Some(cookie), Some(who)) = (told.get(COOKIE), told.get("x-client-cert-fingerprint")) else { return false };
    let who = who.to_str().unwrap_or_default();
    cookie.to_str().is_ok_and(|cookie| cookie.starts_with("session=") && cookie != session(who))
}

/// What most servers wait when a process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_good_behind_its_own_certificate_only() {
        let failing = Failing { status: 403, field: Some(("x-login".parse().unwrap(), "no".into())), weight: 1.0 };
        let app = App { upstream: "api".into(), failing: Some(failing) };
        let told = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
        };
        for (pairs, status) in [
            (&[("cookie", "session=aa"), ("x-client-cert-fingerprint", "aa")][..], 200),
            (&[("cookie", "session=aa"), ("x-client-cert-fingerprint", "bb")], 403),
            (&[("cookie", "session=aa")], 200),
            (&[("authorization", "Basic cmlnaHQ=")], 200),
            (&[("authorization", "Basic d3Jvbmc=")], 403),
            (&[("x-client-reputation", "1.0;cause=outcome")], 200),
        ] {
            let response = app.answer(&told(pairs));
            assert_eq!(response.status(), status, "{pairs:?}");
            assert_eq!(response.headers().contains_key("x-login"), status == 403);
            assert_eq!(response.headers().contains_key(TAG), pairs[0].0 == "x-client-reputation");
            assert_eq!(response.headers()[UPSTREAM], "api");
        }
    }
}
