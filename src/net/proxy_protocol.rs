//! The PROXY protocol header (HAProxy's proxy-protocol.txt, versions 1 and 2): who the client of a proxy before us is.
//!
//! The header is read to its last byte and not one further, so what follows (the ClientHello) is still in the
//! stream and the stream needs no wrapper. Every step reads no more than what any valid header still has to hold.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::reject::{Reason, Reject};

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Nothing about a client: a health check of the proxy itself (`LOCAL`), or a client that it cannot name
    /// (`UNKNOWN`, `AF_UNSPEC`). The addresses of the socket hold.
    Local,
    /// The proxy forwards a TCP connection.
    Forwarded {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
}

/// Reads a header. Ask [`is_from`] before: whoever may send one may claim any address. The caller bounds the time.
///
/// # Errors
///
/// [`Reason::ProxyHeaderInvalid`] if there is no header, or it is malformed, too long or not about TCP. The stream
/// is then somewhere inside of what came, and of no more use.
pub async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Header, Reject> {
    let mut bytes = Vec::with_capacity(V1_MOST);
    take(stream, &mut bytes, LEAST).await?;
    if bytes.starts_with(V1_START) {
        read_v1(stream, bytes).await
    } else if bytes.starts_with(v2::PROTOCOL_PREFIX) {
        read_v2(stream, bytes).await
    } else {
        Err(invalid("no PROXY header comes first"))
    }
}

/// Whether this peer is listed. An IPv4-mapped IPv6 address, as a listener on `[::]` sees IPv4 peers, is found by
/// its IPv4 address and by nothing else.
pub fn is_from(peer: IpAddr, listed: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    listed.iter().any(|net| net.contains(&peer))
}

async fn read_v1<R: AsyncRead + Unpin>(stream: &mut R, mut line: Vec<u8>) -> Result<Header, Reject> {
    // The line ends with CR LF; so after a CR one more byte belongs to it, and after anything else two more do.
    while !line.ends_with(b"\r\n") {
        let more = if line.ends_with(b"\r") { 1 } else { 2 };
        if line.len() + more > V1_MOST {
            return Err(invalid("v1: longer than 107 bytes"));
        }
        take(stream, &mut line, more).await?;
    }
    parse_v1(&line)
}

async fn read_v2<R: AsyncRead + Unpin>(stream: &mut R, mut bytes: Vec<u8>) -> Result<Header, Reject> {
    take(stream, &mut bytes, V2_FIXED - LEAST).await?;
    let Some(length) = bytes.last_chunk::<2>().map(|pair| usize::from(u16::from_be_bytes(*pair))) else {
        return Err(invalid("v2: no length"));
    };
    if V2_FIXED + length > V2_MOST {
        return Err(invalid("v2: longer than 4096 bytes"));
    }
    take(stream, &mut bytes, length).await?;
    parse_v2(&bytes)
}

/// Reads exactly `count` more bytes.
async fn take<R: AsyncRead + Unpin>(stream: &mut R, bytes: &mut Vec<u8>, count: usize) -> Result<(), Reject> {
    let start = bytes.len();
    bytes.resize(start + count, 0);
    let Some(room) = bytes.get_mut(start..) else { return Ok(()) };
    stream.read_exact(room).await.map(drop).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => invalid("closed before its end"),
        kind => Reject::new(Reason::ProxyHeaderInvalid, kind.to_string()),
    })
}

fn parse_v1(line: &[u8]) -> Result<Header, Reject> {
    let header = v1::Header::try_from(line).map_err(|error| malformed("v1", &error))?;
    // The parser stops at the first CR LF. So did the reading; what was read beyond it would be lost to TLS.
    if header.header.len() != line.len() {
        return Err(invalid("v1: bytes after the line"));
    }
    match header.addresses {
        v1::Addresses::Unknown => Ok(Header::Local),
        // The parser reads a port as Rust reads a number, and Rust lets a number have a plus.
        _ if line.contains(&b'+') => Err(invalid("v1: a port with a sign")),
        v1::Addresses::Tcp4(v1::IPv4 { source_address, source_port, destination_address, destination_port }) => {
            Ok(forwarded((source_address, source_port), (destination_address, destination_port)))
        }
        v1::Addresses::Tcp6(v1::IPv6 { source_address, source_port, destination_address, destination_port }) => {
            Ok(forwarded((source_address, source_port), (destination_address, destination_port)))
        }
    }
}

fn parse_v2(bytes: &[u8]) -> Result<Header, Reject> {
    let header = v2::Header::try_from(bytes).map_err(|error| malformed("v2", &error))?;
    if header.command == v2::Command::Local || header.addresses == v2::Addresses::Unspecified {
        return Ok(Header::Local);
    }
    if header.protocol != v2::Protocol::Stream {
        return Err(invalid("v2: not about a TCP connection"));
    }
    // Nothing here uses them, but a header that is broken anywhere is not to be believed in its addresses.
    if header.tlvs().any(|tlv| tlv.is_err()) {
        return Err(invalid("v2: broken additional fields"));
    }
    match header.addresses {
        v2::Addresses::IPv4(v2::IPv4 { source_address, source_port, destination_address, destination_port }) => {
            Ok(forwarded((source_address, source_port), (destination_address, destination_port)))
        }
        v2::Addresses::IPv6(v2::IPv6 { source_address, source_port, destination_address, destination_port }) => {
            Ok(forwarded((source_address, source_port), (destination_address, destination_port)))
        }
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => Err(invalid("v2: UNIX socket addresses")),
    }
}

fn forwarded(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> Header {
    Header::Forwarded { source: source.into(), destination: destination.into() }
}

fn malformed(version: &str, error: &dyn std::error::Error) -> Reject {
    // Escaped, because some of the parser's texts hold a line break.
    Reject::new(Reason::ProxyHeaderInvalid, format!("{version}: {}", error.to_string().escape_debug()))
}

fn invalid(detail: &str) -> Reject {
    Reject::new(Reason::ProxyHeaderInvalid, detail)
}

/// How a version 1 line starts.
const V1_START: &[u8] = b"PROXY ";

/// The shortest header of all: `PROXY UNKNOWN` and CR LF.
const LEAST: usize = 15;

/// The longest version 1 line (§2.1), with its CR LF.
const V1_MOST: usize = 107;

/// The fixed part of a version 2 header: signature, version and command, family and protocol, length (§2.2).
const V2_FIXED: usize = 16;

/// Longest version 2 header. The protocol allows 64 KiB; addresses take 36 bytes, and what proxies add (server
/// name up to 255, unique id up to 128, certificate name, cloud endpoint ids) well below 1 KiB.
const V2_MOST: usize = 4096;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "`tokio::test` builds the test's own runtime")]
#[path = "proxy_protocol_tests.rs"]
mod tests;
