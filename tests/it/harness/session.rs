//! A client's connection that is kept for several requests.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::{Answer, Client};

/// What the connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speak {
    Http1,
    Http2,
}

impl Speak {
    pub const BOTH: [Self; 2] = [Self::Http1, Self::Http2];

    pub fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// A connection to a gate. Requests are for `api.test`.
pub struct Session {
    sender: Sender,
    connection: JoinHandle<Result<(), hyper::Error>>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Session {
    /// Connects `client`.
    pub async fn open(client: Client, address: SocketAddr, speak: Speak) -> std::io::Result<Self> {
        let stream = client.alpn(&[speak.alpn()]).connect_to(address).await?;
        let io = TokioIo::new(stream);
        Ok(match speak {
            Speak::Http1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(std::io::Error::other)?;
                Self { sender: Sender::Http1(sender), connection: tokio::spawn(connection) }
            }
            Speak::Http2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.map_err(std::io::Error::other)?;
                Self { sender: Sender::Http2(sender), connection: tokio::spawn(connection) }
            }
        })
    }

    /// GET.
    pub async fn get(&mut self, path: &str) -> Result<Answer, hyper::Error> {
        self.send(Request::get(path)).await
    }

    /// A request without a body.
    pub async fn send(&mut self, request: http::request::Builder) -> Result<Answer, hyper::Error> {
        let mut request = request.body(Full::default()).unwrap();
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                request.headers_mut().insert("host", "api.test".parse().unwrap());
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                *request.uri_mut() = format!("https://api.test{}", request.uri()).parse().unwrap();
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes(), trailers })
    }

    /// Waits until the gate has ended the connection.
    pub async fn closed(self) {
        let Self { sender, connection } = self;
        // Whether it ends in order or not is not what is asked.
        let _ = connection.await.unwrap();
        drop(sender);
    }
}
