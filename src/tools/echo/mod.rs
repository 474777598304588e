//! A backend that answers with what it received: what the demonstration and the tests put behind the gate.
//!
//! It speaks HTTP/1.1 and HTTP/2 in the clear (prior knowledge) on one port. It trusts whoever connects,
//! so it belongs on a loopback address.

mod bytes;
mod report;
mod websocket;

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use ::bytes::Bytes;
use futures_util::stream;
use http::header::{ALLOW, CONTENT_TYPE, TRAILER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What every answer carries: nothing, a text, a stream, or the request's own body.
type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Serves until `stop` completes; then every connection is dropped as it is.
///
/// - `POST /echo` streams the request body (and its trailers) back as it comes
/// - `/status/NNN` answers with that status (200 to 599)
/// - `/slow?ms=N` answers after N milliseconds (at most ten seconds)
/// - `/bytes/N` streams N bytes (at most 1 GiB)
/// - `/trailers` answers with a trailer
/// - `/ws` echoes WebSocket messages (HTTP/1.1)
/// - everything else describes the request: text, or JSON if `Accept` says `application/json`
pub async fn serve(listener: TcpListener, stop: impl Future<Output = ()>) {
    // Dropped with this function: what connections and tunnels wait for.
    let (_serving, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, stopped.clone()))),
            // Out of file descriptors, as a rule: without a pause this would spin.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, stopped: watch::Receiver<()>) {
    // Costs latency if it fails, nothing else.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let service = service_fn(|request| answer(request, stopped.clone()));
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut gone = stopped.clone();
    tokio::select! {
        // A client that breaks off is no news to a test backend.
        _ = serving => {}
        _ = gone.changed() => {}
    }
}

async fn answer(request: Request<Incoming>, stopped: watch::Receiver<()>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    Ok(match path {
        "/echo" if request.method() == Method::POST => Response::new(request.into_body().boxed_unsync()),
        "/echo" => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "POST a body\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            response
        }
        "/slow" => slow(request.uri().query().unwrap_or_default()).await,
        "/trailers" => trailers(),
        "/ws" => websocket::accept(request, stopped),
        _ => {
            if let Some(code) = path.strip_prefix("/status/") {
                status(code)
            } else if let Some(count) = path.strip_prefix("/bytes/") {
                bytes::stream(count)
            } else {
                report::describe(request).await
            }
        }
    })
}

fn status(code: &str) -> Response<Body> {
    let code = code.parse().ok().filter(|code| (200..600).contains(code));
    match code.and_then(|code: u16| StatusCode::from_u16(code).ok()) {
        Some(code) => text(code, &format!("{code}\n")),
        None => text(StatusCode::BAD_REQUEST, "/status/NNN takes 200 to 599\n"),
    }
}

async fn slow(query: &str) -> Response<Body> {
    let Some(wait) = wait(query) else {
        return text(StatusCode::BAD_REQUEST, "/slow?ms=N takes a number\n");
    };
    tokio::time::sleep(wait).await;
    text(StatusCode::OK, &format!("waited {} ms\n", wait.as_millis()))
}

fn wait(query: &str) -> Option<Duration> {
    let millis = query.split('&').find_map(|pair| pair.strip_prefix("ms="))?.parse().ok()?;
    Some(Duration::from_millis(millis).min(LONGEST_WAIT))
}

fn trailers() -> Response<Body> {
    let trailers = HeaderMap::from_iter([(TRAILER_NAME, HeaderValue::from_static("after the body"))]);
    // In two frames, so that the length is unknown: HTTP/1.1 has trailers behind chunks only.
    let frames = [Frame::data(Bytes::from_static(b"a trailer follows\n")), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.map(Ok)));
    let mut response = Response::new(body.boxed_unsync());
    // HTTP/1.1 sends trailers only if they were announced (RFC 9110 §6.6.2) and the client said `TE: trailers`.
    response.headers_mut().insert(TRAILER, HeaderValue::from_name(TRAILER_NAME));
    response
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}

fn typed(status: StatusCode, content_type: &'static str, content: String) -> Response<Body> {
    let body = Full::new(Bytes::from(content)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // What a client sent comes back: no browser may take it for a page.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const TRAILER_NAME: http::HeaderName = http::HeaderName::from_static("x-echo-trailer");

/// Long enough for any timeout of the gate that a demonstration shortens, short enough not to pile up.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// What hyper's own examples and most servers wait when a process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "each test has its own runtime")]
mod tests;
