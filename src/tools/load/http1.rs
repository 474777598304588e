//! HTTP/1.1 without a task per connection: the request is bytes made once, of the response the head is parsed and the
//! body counted.

use bytes::{Buf as _, BytesMut};
use http::Method;
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};

use super::failure::Failure;
use super::plan::Plan;
use super::stream::Stream;
use super::tally::Reply;
use crate::codec::{Bounds, Chunked, Decoded};

/// A request as it is sent, again and again.
#[derive(Debug)]
pub(super) struct Prepared {
    head: Vec<u8>,
    body: u64,
    is_head: bool,
}

/// A connection that is kept.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// Bytes that belong to what comes next.
    unread: BytesMut,
}

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Chunked,
    Length(u64),
    UntilClose,
}

struct Head {
    status: u16,
    body: Body,
    keep: bool,
    /// `Sec-WebSocket-Accept` (RFC 6455 §4.2.2).
    accept: Option<Vec<u8>>,
}

impl Prepared {
    pub(super) fn new(plan: &Plan) -> Self {
        Self::with(plan, &[])
    }

    /// With more fields than the plan's.
    pub(super) fn with(plan: &Plan, more: &[(&str, &str)]) -> Self {
        let mut head = format!("{} {} HTTP/1.1\r\n", plan.method, plan.target.path).into_bytes();
        let has = |name: &str| plan.headers.iter().any(|(given, _)| given == name);
        if !has("host") {
            head.extend_from_slice(format!("host: {}\r\n", plan.target.authority).as_bytes());
        }
        if plan.upload > 0 || plan.method == Method::POST {
            head.extend_from_slice(format!("content-length: {}\r\n", plan.upload).as_bytes());
        }
        let given = plan.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        for (name, value) in given.chain(more.iter().map(|(name, value)| (*name, value.as_bytes()))) {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend_from_slice(b"\r\n");
        Self { head, body: plan.upload, is_head: plan.method == Method::HEAD }
    }
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, unread: BytesMut::new() }
    }

    /// Sends the request and reads the response to its end. The flag says whether the connection may be used again.
    ///
    /// # Errors
    /// What went wrong; the connection is then of no use.
    pub(super) async fn exchange(&mut self, request: &Prepared) -> Result<(Reply, bool), Failure> {
        if request.body > 0 {
            return self.upload(request).await;
        }
        let sent = self.send(request).await;
        match receive(&mut self.stream, &mut self.unread, request.is_head).await {
            Ok((status, received, keep)) => {
                sent?;
                Ok((Reply { status: Some(status), received, sent: 0 }, keep))
            }
            // What was read says more than what could not be written: a refusal of the certificate, for one.
            Err(failure) => Err(failure),
        }
    }

    /// Sends a request for another protocol: the status, and what the server makes of our nonce.
    ///
    /// # Errors
    /// As [`Connection::exchange`].
    pub(super) async fn upgrade(&mut self, request: &Prepared) -> Result<(u16, Option<Vec<u8>>), Failure> {
        let sent = self.send(request).await;
        let head = head(&mut self.stream, &mut self.unread, false).await?;
        sent?;
        Ok((head.status, head.accept))
    }

    /// For who speaks the other protocol.
    pub(super) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.unread)
    }

    async fn send(&mut self, request: &Prepared) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::io(&error);
        self.stream.write_all(&request.head).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)
    }

    /// Gives buffers back: this connection will be idle.
    pub(super) fn rest(&mut self) {
        self.unread = BytesMut::new();
    }

    /// Says goodbye, as far as that goes without waiting.
    pub(super) async fn close(mut self) {
        // Who is gone already needs no goodbye.
        let _ = self.stream.shutdown().await;
    }

    /// Sends a body while the answer may be coming already.
    async fn upload(&mut self, request: &Prepared) -> Result<(Reply, bool), Failure> {
        let (mut reader, mut writer) = split(&mut self.stream);
        let mut sent = 0;
        let sending = send(&mut writer, request, &mut sent);
        let receiving = receive::<ReadHalf<&mut Stream>>(&mut reader, &mut self.unread, request.is_head);
        let mut receiving = std::pin::pin!(receiving);
        let received = tokio::select! {
            biased;
            received = &mut receiving => received,
            // A server that answers before it has read all may well close; its answer is what counts.
            _ = sending => receiving.await,
        };
        let (status, received, keep) = received?;
        // What was not sent cannot be left out: the next request would be taken for it.
        Ok((Reply { status: Some(status), received, sent }, keep && sent == request.body))
    }
}

async fn send(writer: &mut WriteHalf<&mut Stream>, request: &Prepared, sent: &mut u64) -> std::io::Result<()> {
    writer.write_all(&request.head).await?;
    while *sent < request.body {
        let left = usize::try_from(request.body - *sent).unwrap_or(usize::MAX);
        let chunk = ZEROS.get(..left).unwrap_or(ZEROS);
        writer.write_all(chunk).await?;
        *sent += length(chunk.len());
    }
    writer.flush().await
}

/// Reads a response to its end: its status, the bytes of its body, whether the connection lives on.
async fn receive<R: AsyncRead + Unpin>(
    reader: &mut R,
    unread: &mut BytesMut,
    is_head: bool,
) -> Result<(u16, u64, bool), Failure> {
    let head = head(reader, unread, is_head).await?;
    let received = match head.body {
        Body::Length(left) => {
            take(reader, unread, left).await?;
            left
        }
        Body::Chunked => chunked(reader, unread).await?,
        Body::UntilClose => until_close(reader, unread).await?,
    };
    Ok((head.status, received, head.keep && head.body != Body::UntilClose))
}

/// Reads the head that was asked for.
async fn head<R: AsyncRead + Unpin>(reader: &mut R, unread: &mut BytesMut, is_head: bool) -> Result<Head, Failure> {
    loop {
        let Some((head, size)) = parse(unread, is_head)? else {
            if unread.len() > LONGEST_HEAD {
                return Err(Failure::Http1("head_too_long"));
            }
            if fill(reader, unread).await? == 0 {
                return Err(Failure::Closed);
            }
            continue;
        };
        unread.advance(size);
        // RFC 9110 §15.2: interim responses come before the one that was asked for. 101 is the last one of HTTP.
        if head.status >= 200 || head.status == 101 {
            return Ok(head);
        }
    }
}

/// The head at the start of `bytes` and its length, if it is complete.
fn parse(bytes: &[u8], is_head: bool) -> Result<Option<(Head, usize)>, Failure> {
    let mut fields = [EMPTY_HEADER; MOST_FIELDS];
    let mut response = Response::new(&mut fields);
    let size = match response.parse(bytes).map_err(|_| Failure::Http1("malformed"))? {
        Status::Complete(size) => size,
        Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or_default();
    let mut keep = response.version == Some(1);
    let (mut body, mut accept) = (Body::UntilClose, None);
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") && body != Body::Chunked {
            let text = std::str::from_utf8(field.value).ok().and_then(|text| text.trim().parse().ok());
            body = Body::Length(text.ok_or(Failure::Http1("content_length"))?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            body = Body::Chunked;
        } else if field.name.eq_ignore_ascii_case("sec-websocket-accept") {
            accept = Some(field.value.to_vec());
        } else if field.name.eq_ignore_ascii_case("connection") {
            keep &=
                !field.value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
    }
    // RFC 9112 §6.3: these have no body, whatever their fields say.
    if is_head || status < 200 || status == 204 || status == 304 {
        body = Body::Length(0);
    }
    Ok(Some((Head { status, body, keep, accept }, size)))
}

/// Reads `left` bytes away.
async fn take<R: AsyncRead + Unpin>(reader: &mut R, unread: &mut BytesMut, mut left: u64) -> Result<(), Failure> {
    loop {
        let here = length(unread.len()).min(left);
        unread.advance(usize::try_from(here).unwrap_or(unread.len()));
        left -= here;
        if left == 0 {
            return Ok(());
        }
        if fill(reader, unread).await? == 0 {
            return Err(Failure::Closed);
        }
    }
}

async fn until_close<R: AsyncRead + Unpin>(reader: &mut R, unread: &mut BytesMut) -> Result<u64, Failure> {
    let mut received = 0;
    loop {
        received += length(unread.len());
        unread.clear();
        if fill(reader, unread).await? == 0 {
            return Ok(received);
        }
    }
}

async fn chunked<R: AsyncRead + Unpin>(reader: &mut R, unread: &mut BytesMut) -> Result<u64, Failure> {
    let mut decoder = Chunked::new(Bounds { bytes: LONGEST_HEAD, count: MOST_FIELDS });
    let mut received = 0;
    loop {
        match decoder.decode(unread).map_err(|_| Failure::Http1("chunked"))? {
            Decoded::Data(data) => received += length(data.len()),
            Decoded::Trailers(_) => {}
            Decoded::More => {
                if fill(reader, unread).await? == 0 {
                    return Err(Failure::Closed);
                }
            }
            Decoded::End => return Ok(received),
        }
    }
}

/// Reads more; 0: there is no more.
pub(super) async fn fill<R: AsyncRead + Unpin>(reader: &mut R, unread: &mut BytesMut) -> Result<usize, Failure> {
    unread.reserve(READ);
    reader.read_buf(unread).await.map_err(|error| Failure::io(&error))
}

pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A TLS record's worth (RFC 8446 §5.1).
const READ: usize = 16 * 1024;
/// What the gate takes in a request; nobody sends more back.
const LONGEST_HEAD: usize = 64 * 1024;
const MOST_FIELDS: usize = 96;
/// What one write to a socket takes at best.
static ZEROS: &[u8] = &[0; 64 * 1024];

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "each test has its own runtime")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The response at the start of what comes in pieces of this size, and what of it is left.
    async fn read(bytes: &[u8], piece: usize, is_head: bool) -> (Result<(u16, u64, bool), Failure>, Vec<u8>) {
        let (mut there, mut here) = tokio::io::duplex(piece);
        let mut unread = BytesMut::new();
        let feed = async {
            // Who has read enough is gone.
            let _ = there.write_all(bytes).await;
            drop(there);
        };
        let receiving = async {
            let outcome = receive(&mut here, &mut unread, is_head).await;
            let mut left = unread.to_vec();
            here.read_to_end(&mut left).await.unwrap();
            (outcome, left)
        };
        tokio::join!(feed, receiving).1
    }

    #[tokio::test]
    async fn a_response_ends_where_its_framing_says() {
        for (bytes, outcome, left) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcNEXT", (200, 3, true), "NEXT"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", (200, 0, false), ""),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\nNEXT",
                (200, 19, true),
                "NEXT",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n",
                (200, 1, true),
                "",
            ),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", (200, 13, false), ""),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na", (200, 1, false), ""),
            ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nNEXT", (204, 0, true), "NEXT"),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", (304, 0, true), ""),
        ] {
            for piece in [1, 7, 4096] {
                let (found, rest) = read(bytes.as_bytes(), piece, false).await;
                assert_eq!(found, Ok(outcome), "{bytes} by {piece}");
                assert_eq!(rest, left.as_bytes(), "{bytes} by {piece}");
            }
        }
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
        assert_eq!(read(head, 4096, true).await.0, Ok((200, 0, true)));
    }

    #[tokio::test]
    async fn what_is_no_response_fails_by_name() {
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(2 * LONGEST_HEAD));
        let line =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}", "b".repeat(2 * LONGEST_HEAD));
        for (bytes, failure) in [
            ("", Failure::Closed),
            ("HTTP/1.1 200 OK\r\ncontent-le", Failure::Closed),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab", Failure::Closed),
            ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", Failure::Http1("content_length")),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", Failure::Http1("chunked")),
            ("SSH-2.0-OpenSSH\r\n", Failure::Http1("malformed")),
            (&long, Failure::Http1("head_too_long")),
            (&line, Failure::Http1("chunked")),
        ] {
            assert_eq!(read(bytes.as_bytes(), 4096, false).await.0, Err(failure), "{bytes:.60}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(noise: Vec<u8>, chunks in "[0-9a-f;\r\n]{0,40}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(&noise, 4096, false));
            let coded = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunks.as_bytes()].concat();
            let _ = runtime.block_on(read(&coded, 4096, false));
        }
    }
}
