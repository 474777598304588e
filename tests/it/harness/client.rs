//! A TLS client that says exactly what a test wants.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::tools::pki::Issued;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Gate, World};

/// A client; [`Client::good`] is let in.
pub struct Client {
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    roots: Arc<RootCertStore>,
    server_name: String,
    alpn: Vec<Vec<u8>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    groups: Vec<&'static dyn SupportedKxGroup>,
    send_server_name: bool,
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A field's value; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The reject code of a problem body.
    pub fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).expect("a problem body");
        problem["code"].as_str().expect("a code").to_owned()
    }
}

impl Client {
    /// Without a certificate.
    pub fn anonymous(world: &World) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(world.pki.ca.cert_der()).unwrap();
        Self {
            identity: None,
            roots: Arc::new(roots),
            server_name: "api.test".to_owned(),
            alpn: vec![b"http/1.1".to_vec()],
            versions: vec![&rustls::version::TLS13],
            groups: aws_lc_rs::default_provider().kx_groups,
            send_server_name: true,
        }
    }

    /// With this certificate.
    pub fn with(world: &World, issued: &Issued) -> Self {
        Self::holding(world, issued.chain_der(), issued.key_der())
    }

    /// With this chain and this key, whether or not they belong together.
    pub fn holding(world: &World, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { identity: Some((chain, key)), ..Self::anonymous(world) }
    }

    /// With the good certificate.
    pub fn good(world: &World) -> Self {
        Self::with(world, &world.pki.good)
    }

    /// Offers these application protocols.
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Speaks TLS 1.2 only.
    pub fn tls12(mut self) -> Self {
        self.versions = vec![&rustls::version::TLS12];
        self
    }

    /// Asks for this server name. The certificate must have it.
    pub fn server_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.server_name);
        self
    }

    /// Offers these groups; the first has the key share.
    pub fn groups(mut self, groups: &[&'static dyn SupportedKxGroup]) -> Self {
        self.groups = groups.to_vec();
        self
    }

    /// Trusts servers of this authority only.
    pub fn trusting(mut self, authority: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority).unwrap();
        self.roots = Arc::new(roots);
        self
    }

    /// Sends no server name.
    pub fn no_server_name(mut self) -> Self {
        self.send_server_name = false;
        self
    }

    /// Presents this chain, whatever the key.
    pub fn chain(mut self, chain: Vec<CertificateDer<'static>>) -> Self {
        if let Some((presented, _)) = &mut self.identity {
            *presented = chain;
        }
        self
    }

    /// What it is made of; connections of one configuration may resume each other's sessions.
    pub fn config(&self) -> ClientConfig {
        let provider = aws_lc_rs::default_provider();
        let identity = self.identity.as_ref().map(|(chain, key)| {
            let key = provider.key_provider.load_private_key(key.clone_key()).unwrap();
            Arc::new(Presents(Arc::new(CertifiedKey::new(chain.clone(), key))))
        });
        let provider = Arc::new(rustls::crypto::CryptoProvider { kx_groups: self.groups.clone(), ..provider });
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&self.versions).unwrap();
        let builder = builder.with_root_certificates(Arc::clone(&self.roots));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(identity),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = self.send_server_name;
        config
    }

    /// Its ClientHello.
    pub fn hello(&self) -> Vec<u8> {
        let mut hello = Vec::new();
        let name = ServerName::try_from(self.server_name.clone()).unwrap();
        let mut session = rustls::ClientConnection::new(Arc::new(self.config()), name).unwrap();
        session.write_tls(&mut hello).unwrap();
        hello
    }

    /// A connection with a finished handshake (in TLS 1.3 the server may still refuse it).
    pub async fn connect(&self, gate: &Gate) -> io::Result<TlsStream<TcpStream>> {
        self.connect_to(gate.address).await
    }

    /// The same, to any address.
    pub async fn connect_to(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(address).await?).await
    }

    /// The same, over a connection that is there already.
    pub async fn over<IO: AsyncRead + AsyncWrite + Unpin>(&self, tcp: IO) -> io::Result<TlsStream<IO>> {
        let name = ServerName::try_from(self.server_name.clone()).unwrap();
        TlsConnector::from(Arc::new(self.config())).connect(name, tcp).await
    }

    /// The name of the TLS alert with which the gate refuses this client; `UnexpectedEof` or
    /// another kind of I/O error if there is none.
    pub async fn refused(&self, gate: &Gate) -> String {
        let outcome = async {
            let mut stream = self.connect(gate).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        match outcome.await {
            Ok(answer) => panic!("not refused: {answer}"),
            Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::AlertReceived(alert)) => format!("{alert:?}"),
                _ => format!("{:?}", error.kind()),
            },
        }
    }

    /// Sends raw bytes (HTTP/1.1) and returns all that comes back until the gate closes.
    pub async fn raw(&self, gate: &Gate, bytes: &[u8]) -> String {
        let mut stream = self.connect(gate).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A gate that closes while we still talk may cut the connection short.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// GET over the first protocol offered.
    pub async fn get(&self, gate: &Gate, path: &str) -> Answer {
        let host = self.server_name.clone();
        self.send(gate, Request::get(path).header("host", host).body(Full::default()).unwrap()).await
    }

    /// One request on a connection of its own. For HTTP/2 the `Host` field becomes `:authority`.
    pub async fn send(&self, gate: &Gate, request: Request<Full<Bytes>>) -> Answer {
        let stream = self.connect(gate).await.unwrap();
        exchange(stream, self.alpn.first().is_some_and(|alpn| alpn == b"h2"), request).await
    }
}

/// A certificate that is presented whatever the server asks for, and whether or not the key is its own.
#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

async fn exchange<IO>(stream: IO, http2: bool, mut request: Request<Full<Bytes>>) -> Answer
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let response = if http2 {
        let host = request.headers_mut().remove("host").expect("a host");
        let uri = format!("https://{}{}", host.to_str().unwrap(), request.uri());
        *request.uri_mut() = uri.parse().unwrap();
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        send.send_request(request).await.unwrap()
    } else {
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        send.send_request(request).await.unwrap()
    };
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    Answer { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes(), trailers }
}

/// GET without TLS.
pub async fn plain_get(address: SocketAddr, path: &str) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange(stream, false, Request::get(path).header("host", "localhost").body(Full::default()).unwrap()).await
}
