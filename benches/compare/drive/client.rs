//! TLS connections to the proxy that is measured.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

use crate::material::HOST;

/// No answer here takes that long: it is a fault of the measurement, and ends it.
const PATIENCE: Duration = Duration::from_secs(30);
/// A megabyte in sixteen reads.
const READ_BYTES: usize = 64 * 1024;

/// Whether sessions are resumed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tickets {
    Ignored,
    Used,
}

pub struct Client {
    address: String,
    config: Arc<ClientConfig>,
}

pub type Connection = StreamOwned<ClientConnection, Wire>;

impl Client {
    /// A client that shows `identities` in turn.
    pub fn new(address: &str, protocol: &[u8], identities: Vec<Arc<CertifiedKey>>, tickets: Tickets) -> Self {
        // One suite and one group, so that every proxy does the same cryptography.
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        });
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified));
        let mut config = builder.with_client_cert_resolver(Arc::new(InTurn { identities, next: AtomicUsize::new(0) }));
        config.alpn_protocols = vec![protocol.to_vec()];
        if tickets == Tickets::Ignored {
            config.resumption = Resumption::disabled();
        }
        Self { address: address.to_owned(), config: Arc::new(config) }
    }

    pub fn connect(&self) -> Connection {
        self.try_connect().expect("a proxy that accepts")
    }

    /// Connects; the handshake comes with the first request.
    pub fn try_connect(&self) -> io::Result<Connection> {
        let tcp = TcpStream::connect(&self.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let tls = ClientConnection::new(Arc::clone(&self.config), ServerName::try_from(HOST).unwrap()).unwrap();
        Ok(StreamOwned::new(tls, Wire(BufReader::with_capacity(READ_BYTES, tcp))))
    }
}

/// Whether the proxy has ended a connection on which nobody waits for anything.
pub fn has_ended(connection: &mut Connection) -> bool {
    let nonblocking = |connection: &Connection, on| connection.sock.0.get_ref().set_nonblocking(on).unwrap();
    nonblocking(connection, true);
    let read = connection.conn.read_tls(&mut connection.sock);
    nonblocking(connection, false);
    match read {
        Ok(0) => true,
        // A ticket, or the end.
        Ok(_) => connection.conn.process_new_packets().is_ok_and(|state| state.peer_has_closed()),
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// A socket that is read in large pieces: rustls asks for four kilobytes at a time.
pub struct Wire(BufReader<TcpStream>);

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Wire {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(from)
    }

    fn write_vectored(&mut self, from: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_mut().write_vectored(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct InTurn {
    identities: Vec<Arc<CertifiedKey>>,
    next: AtomicUsize,
}

impl ResolvesClientCert for InTurn {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.identities.get(next % self.identities.len().max(1)).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The proxy is our own child on loopback, and two signatures less leave time for load.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
