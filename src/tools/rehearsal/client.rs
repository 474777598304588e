//! A client of a rehearsal: who it is, from where it comes, what software it is, and what it asks.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::load::{Failure, Phase, connect, presenting};
use super::backend::{TAG, UPSTREAM};
use crate::clock::Clock;
use crate::fingerprint::TlsPrint;

/// The gate, as clients see it.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) name: ServerName<'static>,
    /// What `Host` and `:authority` say.
    pub(super) host: String,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) clock: Clock,
}

/// What software a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Software {
    /// The app, over HTTP/1.1.
    App1,
    /// The app, over HTTP/2.
    App2,
    /// A script: another TLS stack, which does not resume.
    Script,
}

/// A client.
#[derive(Clone)]
pub(super) struct Client {
    door: Door,
    tls: TlsConnector,
    http2: bool,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The gate's reason, if it answered itself.
    pub(super) code: Option<String>,
    /// What the backend was told of the client.
    pub(super) tag: Option<String>,
    /// Which upstream answered.
    pub(super) upstream: Option<Box<str>>,
    pub(super) took: Duration,
}

/// A connection.
pub(super) enum Link {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Software {
    fn config(self, roots: &Arc<RootCertStore>) -> Result<ClientConfig, String> {
        let mut provider = aws_lc_rs::default_provider();
        if self == Self::Script {
            provider.cipher_suites.truncate(1);
            provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        }
        let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::new(provider));
        let builder = match self {
            Self::Script => builder.with_protocol_versions(&[&rustls::version::TLS13]),
            Self::App1 | Self::App2 => builder.with_safe_default_protocol_versions(),
        };
        let builder = builder.map_err(|error| error.to_string())?;
        let mut config = builder.with_root_certificates(Arc::clone(roots)).with_no_client_auth();
        config.alpn_protocols = vec![if self == Self::App2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        config.resumption = match self {
            Self::Script => Resumption::disabled(),
            // The extension for tickets of TLS 1.2 is left out of a hello that resumes: two pieces of software, it seems.
            Self::App1 | Self::App2 => config.resumption.tls12_resumption(Tls12Resumption::SessionIdOnly),
        };
        Ok(config)
    }

    /// The stable JA4 of it.
    ///
    /// # Errors
    /// When TLS cannot do what it should.
    pub(super) fn print(self, name: &ServerName<'static>) -> Result<Option<String>, String> {
        let config = self.config(&Arc::new(RootCertStore::empty()))?;
        let session = rustls::ClientConnection::new(Arc::new(config), name.clone());
        let mut hello = Vec::new();
        session.map_err(|error| error.to_string())?.write_tls(&mut hello).map_err(|error| error.to_string())?;
        Ok(TlsPrint::of(&hello).map(|print| print.stable.to_string()))
    }
}

impl Client {
    /// # Errors
    /// When TLS cannot do what it should.
    pub(super) fn new(door: &Door, who: Option<Arc<CertifiedKey>>, software: Software) -> Result<Self, String> {
        let mut config = software.config(&door.roots)?;
        config.client_auth_cert_resolver = presenting(who);
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { door: door.clone(), tls, http2: software == Software::App2 })
    }

    /// The same over another protocol.
    pub(super) fn speaking(mut self, http2: bool) -> Self {
        let mut config = (**self.tls.config()).clone();
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        self.tls = TlsConnector::from(Arc::new(config));
        self.http2 = http2;
        self
    }

    /// TCP only.
    pub(super) async fn knock(&self, from: Ipv4Addr) -> Result<TcpStream, Failure> {
        let tcp = timeout(PATIENCE, connect(self.door.address, Some(IpAddr::V4(from)))).await;
        tcp.map_err(|_| Failure::Timeout(Phase::Connect))?.map_err(|error| Failure::connect(&error))
    }

    /// A handshake. In TLS 1.3 the gate may still refuse it in its first answer.
    pub(super) async fn dial(&self, from: Ipv4Addr) -> Result<TlsStream<TcpStream>, Failure> {
        let tcp = self.knock(from).await?;
        let stream = timeout(PATIENCE, self.tls.connect(self.door.name.clone(), tcp)).await;
        stream.map_err(|_| Failure::Timeout(Phase::Handshake))?.map_err(|error| Failure::io(&error))
    }

    /// A connection to ask on.
    pub(super) async fn link(&self, from: Ipv4Addr) -> Result<Link, Failure> {
        let stream = TokioIo::new(self.dial(from).await?);
        if self.http2 {
            let (send, connection) =
                http2::handshake(TokioExecutor::new(), stream).await.map_err(|error| failure(&error))?;
            tokio::spawn(connection);
            return Ok(Link::Http2(send));
        }
        let (send, connection) = http1::handshake(stream).await.map_err(|error| failure(&error))?;
        tokio::spawn(connection);
        Ok(Link::Http1(send))
    }

    /// One request.
    pub(super) async fn ask(&self, link: &mut Link, ask: &Ask) -> Result<Answer, Failure> {
        let begin = self.door.clock.now();
        let exchange = async {
            let response = match link {
                Link::Http1(send) => {
                    send.ready().await.map_err(|error| failure(&error))?;
                    send.send_request(self.request(ask)?).await
                }
                Link::Http2(send) => {
                    send.ready().await.map_err(|error| failure(&error))?;
                    send.send_request(self.request(ask)?).await
                }
            };
            read(response.map_err(|error| failure(&error))?).await
        };
        let answer = timeout(PATIENCE, exchange).await.map_err(|_| Failure::Timeout(Phase::Request))??;
        Ok(Answer { took: self.door.clock.now().duration_since(begin), ..answer })
    }

    /// A connection, a request, and the end.
    pub(super) async fn once(&self, from: Ipv4Addr, ask: &Ask) -> Result<Answer, Failure> {
        let mut link = self.link(from).await?;
        self.ask(&mut link, ask).await
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::new(Full::new(Bytes::new()));
        if ask.method == Method::POST {
            *request.body_mut() = Full::from(Bytes::from_static(b"{}"));
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        *request.method_mut() = ask.method.clone();
        let uri = if self.http2 { format!("https://{}{}", self.door.host, ask.path) } else { ask.path.clone() };
        *request.uri_mut() = Uri::try_from(uri).map_err(|_| Failure::Http1("no_target"))?;
        if !self.http2 {
            let host = HeaderValue::from_str(&self.door.host).map_err(|_| Failure::Http1("no_host"))?;
            request.headers_mut().insert(HOST, host);
        }
        request.headers_mut().extend(ask.fields.iter().cloned());
        Ok(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("http2", &self.http2).finish_non_exhaustive()
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    let text = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(body, MOST_BODY).collect().await.map_err(|error| io_failure(error.as_ref()))?.to_bytes();
    let is_problem = text(&CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    let problem = is_problem.then(|| serde_json::from_slice::<serde_json::Value>(&body).ok()).flatten();
    let code = problem.and_then(|problem| problem.get("code")?.as_str().map(str::to_owned));
    let (tag, upstream) = (text(&TAG), text(&UPSTREAM).map(Box::from));
    Ok(Answer { status: head.status.as_u16(), code, tag, upstream, took: Duration::ZERO })
}

/// What an error of hyper means: what is below it, or else that the connection is gone.
fn failure(error: &hyper::Error) -> Failure {
    io_failure(error)
}

fn io_failure(error: &(dyn Error + 'static)) -> Failure {
    let mut below = Some(error);
    while let Some(error) = below {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Failure::io(error);
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return Failure::http2(error);
        }
        below = error.source();
    }
    Failure::Closed
}

/// Longer than any of them waits for anything that is meant to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// The backend's answers are a few bytes, and so are the gate's.
const MOST_BODY: usize = 64 * 1024;
