//! One handshake: ClientHello, host, the rest, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::drive::Drive;
use super::hello::{self, NoHello};
use super::presented::Presented;
use super::quirks;
use super::server::{ALPN_H2, HostConfig};
use super::stream::TlsStream;
use super::trust::Proof;
use crate::fingerprint::TlsPrint;
use crate::identity::Identity;
use crate::message::target::normalize_host;
use crate::policy::{HostId, HostTable, entry};
use crate::reject::{Reason, Reject};

/// A fatal `unrecognized_name` alert (RFC 6066 §3) as a plaintext record: rustls has no way to
/// say it before a configuration is chosen.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Where a handshake may lead: the one host table that routing uses too, and a configuration per host.
pub struct Doors<'a> {
    /// Names to hosts.
    pub hosts: &'a HostTable,
    /// By [`HostId`].
    pub configs: &'a [HostConfig],
    /// Who serves clients without a server name.
    pub default_host: Option<HostId>,
    /// Longest ClientHello.
    pub client_hello_bytes: usize,
    /// Asked right behind the ClientHello, before anything is signed or agreed on.
    pub first_look: &'a (dyn Fn(&FirstLook<'_>) -> Result<(), Reject> + Sync),
}

/// What is known of a client when its ClientHello has been read, for a tenth of what a handshake costs or less.
#[derive(Clone, Copy, Debug)]
pub struct FirstLook<'a> {
    /// What its ClientHello says of its software.
    pub print: Option<TlsPrint>,
    /// The name it asks for, normalized.
    pub server_name: Option<&'a str>,
    /// The host that this name leads to.
    pub host: HostId,
}

/// The HTTP version that ALPN settled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http/1.1`, or no ALPN at all.
    Http1,
    /// `h2`.
    Http2,
}

/// What is known of a handshake so far; outlives its failure or its cancellation, for the record.
#[derive(Debug, Default)]
pub struct Attempt {
    /// The name the client asked for, normalized.
    pub server_name: Option<Box<str>>,
    /// The host it was taken to.
    pub host: Option<HostId>,
    /// What the ClientHello says of the client's software.
    pub print: Option<TlsPrint>,
    /// The certificate it presented.
    pub presented: Option<Presented>,
    /// The raw bytes that the ClientHello came in, TLS records included.
    pub client_hello: Vec<u8>,
}

/// A client certificate that verified.
#[derive(Debug)]
pub struct Verified {
    /// What it says.
    pub identity: Arc<Identity>,
    /// What its chain proved.
    pub proof: Arc<Proof>,
    /// The chain as presented, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// A completed handshake.
#[derive(Debug)]
pub struct Handshaken<IO> {
    /// The decrypted stream.
    pub stream: TlsStream<IO>,
    /// The host entry it was made with.
    pub host: HostId,
    /// HTTP/1.1 or HTTP/2.
    pub protocol: Protocol,
    /// The verified identity and its chain as presented, leaf first; `None` if the client sent none and the host let it.
    pub identity: Option<Verified>,
    /// `TLSv1_3` or `TLSv1_2`, and the cipher suite.
    pub version: &'static str,
    /// Name of the cipher suite.
    pub cipher: &'static str,
    /// Whether it resumed a session.
    pub resumed: bool,
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct Refused<IO> {
    /// Why.
    pub reject: Reject,
    /// The connection, on which an alert has been sent: see [`linger`](super::linger()).
    pub io: Option<IO>,
}

/// Carries a connection from its first byte to HTTP: [`greet`], then [`conclude`]. The caller bounds the time.
///
/// # Errors
/// A [`Refused`] for everything that can go wrong; `attempt` says what was known by then.
pub async fn handshake<IO>(io: IO, doors: &Doors<'_>, attempt: &mut Attempt) -> Result<Handshaken<IO>, Refused<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let greeted = greet(io, doors, attempt).await?;
    conclude(greeted, doors, attempt).await
}

/// A whole ClientHello that leads to a host. Nothing has been computed for it yet.
pub struct Greeted<IO> {
    io: IO,
    host: HostId,
}

/// Reads the ClientHello and finds its host. Costs no cryptography. The caller bounds the time.
///
/// # Errors
/// A [`Refused`] for everything that can go wrong; `attempt` says what was known by then.
pub async fn greet<IO>(mut io: IO, doors: &Doors<'_>, attempt: &mut Attempt) -> Result<Greeted<IO>, Refused<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let read = hello::read(&mut io, doors.client_hello_bytes, &mut attempt.client_hello).await;
    // What the library refuses can be read all the same: who tries is worth knowing.
    attempt.print = TlsPrint::of(&attempt.client_hello);
    let name = match read {
        Ok(name) => name,
        Err(no) => {
            let reject = match no {
                NoHello::TooLarge => too_large(doors.client_hello_bytes),
                NoHello::Invalid(error) => quirks::hello(&error),
            };
            return Err(Refused { reject, io: Some(io) });
        }
    };
    let host = match door(doors, name.as_deref(), attempt) {
        Ok(host) => host,
        Err(reject) => {
            // Best effort: the refusal stands whether or not the client hears of it.
            let _ = io.write_all(&UNRECOGNIZED_NAME).await;
            return Err(Refused { reject, io: Some(io) });
        }
    };
    attempt.host = Some(host);
    let look = FirstLook { print: attempt.print, server_name: attempt.server_name.as_deref(), host };
    match (doors.first_look)(&look) {
        Ok(()) => Ok(Greeted { io, host }),
        // Without a word, which is cheapest.
        Err(reject) => Err(Refused { reject, io: None }),
    }
}

/// Carries a connection from its ClientHello to HTTP. The caller bounds the time.
///
/// # Errors
/// A [`Refused`] for everything that can go wrong; `attempt` says what was known by then.
pub async fn conclude<IO>(
    greeted: Greeted<IO>,
    doors: &Doors<'_>,
    attempt: &mut Attempt,
) -> Result<Handshaken<IO>, Refused<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Greeted { io, host } = greeted;
    let Some(config) = doors.configs.get(host.index()) else {
        return Err(Refused { reject: Reason::Abandoned.into(), io: None });
    };
    let (print, hello) = (attempt.print, attempt.client_hello.clone());
    let ended = match Drive::new(io, Arc::clone(&config.config), hello) {
        Ok(drive) => drive.run(print, &mut attempt.presented).await,
        Err(failed) => Err(failed),
    };
    match ended {
        Ok(drive) => finish(drive, host, config, attempt).map_err(|reject| Refused { reject, io: None }),
        Err((error, io)) => {
            let told = attempt.presented.as_mut().and_then(|presented| presented.reject.take());
            Err(Refused { reject: told.unwrap_or_else(|| quirks::handshake(&error)), io: Some(io) })
        }
    }
}

fn too_large(most: usize) -> Reject {
    Reject::new(Reason::ClientHelloTooLarge, format!("more than {most} bytes"))
}

/// The host that this server name leads to, or a refusal; the decision is policy's.
fn door(doors: &Doors<'_>, name: Option<&str>, attempt: &mut Attempt) -> Result<HostId, Reject> {
    attempt.server_name = name.and_then(|name| normalize_host(name).ok()).map(Box::from);
    // rustls takes an IP address for no server name at all (RFC 6066 §3 permits none).
    entry(doors.hosts, doors.default_host, name)
}

fn finish<IO: AsyncRead + AsyncWrite + Unpin>(
    drive: Drive<IO>,
    host: HostId,
    config: &HostConfig,
    attempt: &mut Attempt,
) -> Result<Handshaken<IO>, Reject> {
    let session = drive.session();
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    if let (true, Some(verifier)) = (resumed, &config.verifier) {
        // Nobody has asked the verifier. No byte is served before it has been.
        let now = UnixTime::since_unix_epoch(Duration::from_secs(config.clock.unix().as_secs()));
        attempt.presented = verifier.recheck(session.peer_certificates().unwrap_or_default(), attempt.print, now)?;
    }
    let protocol = if session.alpn_protocol() == Some(ALPN_H2) { Protocol::Http2 } else { Protocol::Http1 };
    let version = session.protocol_version().and_then(|v| v.as_str()).unwrap_or("unknown");
    let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    let chain = session.peer_certificates().map(|chain| chain.iter().map(|der| der.clone().into_owned()).collect());
    let presented = attempt.presented.as_ref().and_then(|p| p.identity.clone().zip(p.proof.clone()));
    let identity = match (presented, chain) {
        (Some((identity, proof)), Some(chain)) => Some(Verified { identity, proof, chain }),
        (None, None) => None,
        // A certificate that was not seen by the verifier, or the other way round: never an identity.
        (_, _) => {
            return Err(Reject::new(Reason::Abandoned, "session and verifier disagree about the client certificate"));
        }
    };
    let stream = drive.establish().map_err(|error| Reject::new(Reason::Abandoned, error.to_string()))?;
    let stream = TlsStream::new(stream);
    Ok(Handshaken { stream, host, protocol, identity, version, cipher, resumed })
}
