//! One connection with the gate and as many exchanges as a test wants, over either protocol.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use super::{Answer, Client, Gate, World};

/// What both have to be checked with.
pub const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];

/// Any request body.
pub type AnyBody = BoxBody<Bytes, io::Error>;

/// A connection with the gate.
pub enum Talk {
    Http1(http1::SendRequest<AnyBody>),
    Http2(http2::SendRequest<AnyBody>),
}

impl Talk {
    /// A connection of a client that is let in.
    pub async fn good(world: &World, gate: &Gate, protocol: &str) -> Self {
        Self::open(Client::good(world), gate, protocol).await
    }

    pub async fn open(client: Client, gate: &Gate, protocol: &str) -> Self {
        let io = TokioIo::new(client.alpn(&[protocol]).connect(gate).await.unwrap());
        if protocol == "h2" {
            let (send, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            Self::Http2(send)
        } else {
            let (send, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Self::Http1(send)
        }
    }

    /// Sends a request (to `api.test` if it names no host) and gives the head of the response.
    pub async fn send(&mut self, mut request: Request<AnyBody>) -> Result<Response<Incoming>, hyper::Error> {
        let host = request.headers_mut().remove("host");
        let host = host.map_or("api.test".to_owned(), |host| host.to_str().unwrap().to_owned());
        match self {
            Self::Http1(send) => {
                request.headers_mut().insert("host", host.parse().unwrap());
                send.ready().await?;
                send.send_request(request).await
            }
            Self::Http2(send) => {
                let uri: Uri = format!("https://{host}{}", request.uri()).parse().unwrap();
                *request.uri_mut() = uri;
                send.ready().await?;
                send.send_request(request).await
            }
        }
    }

    /// Sends a request and reads its response to the end.
    pub async fn ask(&mut self, request: Request<AnyBody>) -> Answer {
        read(self.send(request).await.unwrap()).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(Request::get(path).body(empty()).unwrap()).await
    }
}

/// Reads a response to its end.
pub async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    Answer { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes(), trailers }
}

pub fn empty() -> AnyBody {
    full("")
}

pub fn full(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// A body that the test feeds, at most one frame ahead; an error breaks it off.
pub fn fed() -> (mpsc::Sender<io::Result<Frame<Bytes>>>, AnyBody) {
    let (sender, mut receiver) = mpsc::channel(1);
    let frames = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, BoxBody::new(StreamBody::new(frames)))
}

/// A body of this text and these trailers.
pub fn with_trailers(text: &'static str, trailers: HeaderMap) -> AnyBody {
    let frames = [Ok(Frame::data(Bytes::from_static(text.as_bytes()))), Ok(Frame::trailers(trailers))];
    BoxBody::new(StreamBody::new(futures_util::stream::iter(frames)))
}

pub fn data(text: impl Into<Bytes>) -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(text.into()))
}
