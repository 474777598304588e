//! A response head: from bytes to fields and framing, or what is wrong with it.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version};

use crate::codec::fields::connection_names;
use crate::codec::framing::{self, Framing};
use crate::codec::{Bounds, Flaw, Inbound, Scan, Wrong, fields};

/// A head that was understood.
#[derive(Debug)]
pub(in super::super) struct Head {
    pub(in super::super) version: Version,
    pub(in super::super) status: StatusCode,
    pub(in super::super) headers: HeaderMap,
}

/// Reads one head out of a buffer that grows.
#[derive(Debug, Default)]
pub(super) struct Reader {
    scan: Scan,
}

impl Reader {
    /// Takes a head out of `buffer` if there is a whole one. What is behind it stays.
    ///
    /// # Errors
    /// The head is malformed or too long; the connection is of no further use.
    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<Head>, Wrong> {
        // What is no HTTP at all may never have a line end.
        if !buffer.iter().zip(BEGINS).all(|(byte, expected)| byte == expected) {
            return Err(NOT_HTTP);
        }
        let window = buffer.get(..BOUNDS.bytes).unwrap_or(buffer);
        let end = self.scan.advance(window).map_err(Flaw::detail)?;
        if self.scan.lines().saturating_sub(1) > BOUNDS.count {
            return Err("more fields than are accepted");
        }
        match end {
            Some(end) => parse(&buffer.split_to(end).freeze(), self.scan.lines()).map(Some),
            None if window.len() == BOUNDS.bytes => Err("a longer head than is accepted"),
            None => Ok(None),
        }
    }
}

impl Head {
    /// How the body ends of a response to `method` (RFC 9112 §6.3).
    ///
    /// # Errors
    /// Its length could be read in two ways.
    pub(in super::super) fn inbound(&self, method: &Method) -> Result<Inbound, Wrong> {
        let framing = framing::of(&self.headers, self.version)?;
        let bodiless =
            method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status);
        Ok(match framing {
            _ if bodiless => Inbound::Done,
            Framing::None => Inbound::UntilClose,
            Framing::Length(_) | Framing::Chunked => Inbound::new(framing, BOUNDS),
        })
    }

    /// Whether the server keeps the connection open behind this response (RFC 9112 §9.3).
    pub(in super::super) fn persists(&self) -> bool {
        let modern = self.version == Version::HTTP_11;
        (modern || connection_names(&self.headers, "keep-alive")) && !connection_names(&self.headers, "close")
    }

    /// Whether a final response is still to come. After a 101 it is not: the connection is no HTTP any more.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Understands a whole head of one status line and `lines - 1` fields.
fn parse(block: &Bytes, lines: usize) -> Result<Head, Wrong> {
    let first = memchr::memchr(b'\n', block).map_or(block.len(), |at| at + 1);
    let line = block.get(..first).and_then(|line| line.strip_suffix(b"\r\n")).ok_or(NOT_HTTP)?;
    let (version, status) = status_line(line)?;
    let headers = fields::parse(&block.slice(first..), lines.saturating_sub(1))?;
    Ok(Head { version, status, headers })
}

/// `HTTP/1.1 200 any words`. The words are not read (RFC 9112 §4), and some servers leave their space away too.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Wrong> {
    let (version, rest) = match line.split_first_chunk() {
        Some((b"HTTP/1.1 ", rest)) => (Version::HTTP_11, rest),
        Some((b"HTTP/1.0 ", rest)) => (Version::HTTP_10, rest),
        _ => return Err(NOT_HTTP),
    };
    let (digits, words) = rest.split_first_chunk::<3>().ok_or(NO_STATUS)?;
    let status = StatusCode::from_bytes(digits).map_err(|_| NO_STATUS)?;
    let plain = words.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
    if plain && words.first().is_none_or(|first| *first == b' ') { Ok((version, status)) } else { Err(NO_STATUS) }
}

/// The largest head: 64 KiB is twice what nginx and HAProxy take by default, so that no backend that worked behind them
/// stops working, and a bound on what a broken one can make us hold; fields as many as HTTP/1.1 servers commonly send, ten times over.
pub(in super::super) const BOUNDS: Bounds = Bounds { bytes: 64 * 1024, count: 256 };

/// How every head begins.
const BEGINS: &[u8] = b"HTTP/1.";

const NOT_HTTP: Wrong = "not HTTP/1.1 or HTTP/1.0";
const NO_STATUS: Wrong = "no status of three digits";

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
