//! From a server's name to a connection that speaks HTTP with it.

use std::io;

use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::fault::describe;
use super::form::Protocol;
use super::http1::{self, Http1};
use super::http2::Http2;
use super::server::Server;
use super::spec::Via;
use super::tls::Offer;
use crate::reject::{Reason, Reject};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests, as many as it lasts.
    Requests,
    /// One request that may turn it into a tunnel: always HTTP/1.1.
    Upgrade,
}

/// A new connection.
pub(super) enum Connected {
    Http1(Box<Http1>),
    Http2(Http2),
}

/// Connects to `server`: DNS, TCP, TLS and all within its connect timeout.
pub(super) async fn connect(server: &Server, purpose: Purpose) -> Result<Connected, Reject> {
    // Boxed: connecting is rare, and the state of a TLS handshake would make every request's future large.
    let connecting = Box::pin(establish(server, purpose));
    match tokio::time::timeout(server.timeouts.connect, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(Reject::new(Reason::UpstreamConnectTimeout, server.name.clone())),
    }
}

async fn establish(server: &Server, purpose: Purpose) -> Result<Connected, Reject> {
    let offer = match purpose {
        Purpose::Upgrade => Offer::Http1,
        Purpose::Requests => Offer::Both,
    };
    let tcp = TcpStream::connect((&*server.spec.host, server.spec.port)).await;
    let tcp = tcp.and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp));
    let tcp = tcp.map_err(|error| refused(server, Reason::UpstreamConnect, &error))?;
    match (&server.tls, server.spec.via) {
        (Some(tls), _) => {
            let stream = tls.handshake(tcp, offer).await;
            let (stream, protocol) = stream.map_err(|error| refused(server, Reason::UpstreamTls, &error))?;
            speak(server, stream, protocol).await
        }
        (None, Via::Http1) => speak(server, tcp, Protocol::Http1).await,
        (None, Via::Http2) => speak(server, tcp, Protocol::Http2).await,
        // Cannot be built; never in the clear instead.
        (None, Via::Tls) => Err(Reject::new(Reason::UpstreamTls, format!("{}: no TLS material", server.name))),
    }
}

/// A connection of HTTP/2 is driven by a task of its own on the runtime of the caller, and stays there.
async fn speak<S>(server: &Server, stream: S, protocol: Protocol) -> Result<Connected, Reject>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if protocol == Protocol::Http1 {
        return Ok(Connected::Http1(Box::new(Http1::new(Box::new(stream)))));
    }
    let broken = |error: hyper::Error| Reject::new(Reason::UpstreamInvalid, describe(&server.name, &error));
    let (sender, connection) = http2_settings().handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let (http2, driver) = Http2::new(sender, connection);
    tokio::spawn(driver);
    Ok(Connected::Http2(http2))
}

fn http2_settings() -> conn::http2::Builder<TokioExecutor> {
    let mut settings = conn::http2::Builder::new(TokioExecutor::new());
    settings
        .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(http1::BOUNDS.bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER);
    settings
}

fn refused(server: &Server, reason: Reason, error: &io::Error) -> Reject {
    Reject::new(reason, describe(&server.name, error))
}

/// Streams until the server has said how many it permits; more wait that long. A guess that is too high
/// costs requests: a server may refuse what it does not permit.
const STREAMS_BEFORE_SETTINGS: usize = 1;
/// How much of one response a server may send ahead of its reader: 256 KiB fill a 1 Gbit/s path of
/// 2 ms, and bound what a slow client makes the gate hold.
const STREAM_WINDOW: u32 = 256 * 1024;
/// As much as HTTP/2 can say (RFC 9113 §6.9.1). With less, a few clients that do not read would use up
/// the window of the connection that all others share; memory is bounded by the streams' windows.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// How much of one request is taken from its client ahead of the server, in bytes; as one stream's window.
const SEND_BUFFER: usize = 256 * 1024;
