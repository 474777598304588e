//! `/ws`: the least of RFC 6455 that a WebSocket client will talk to.
//!
//! Text, binary and continuation frames come back as they are (text is not checked to be UTF-8), pings
//! become pongs, a close is answered and ends it.

use std::io;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::sync::watch;

use super::{Body, text};

/// Answers the opening handshake (§4.2.2) and echoes until the client or `stopped` ends it.
pub(super) fn accept(mut request: Request<Incoming>, mut stopped: watch::Receiver<()>) -> Response<Body> {
    let Some(accept) = handshake(&request) else {
        let mut response = text(StatusCode::UPGRADE_REQUIRED, "/ws takes a WebSocket over HTTP/1.1\n");
        // Connection-specific fields would make an HTTP/2 response malformed (RFC 9113 §8.2.2).
        if request.version() == Version::HTTP_11 {
            switch(response.headers_mut());
        }
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let tunnel = async {
            let stream = BufStream::new(TokioIo::new(upgrade.await.map_err(io::Error::other)?));
            echo(stream).await
        };
        tokio::select! {
            _ = tunnel => {}
            _ = stopped.changed() => {}
        }
    });
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    switch(response.headers_mut());
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn switch(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// The value that proves we understood the request, if it is one.
fn handshake<B>(request: &Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    let asked = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &UPGRADE, "websocket")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asked)?;
    // §4.1: a nonce of 16 bytes.
    STANDARD.decode(key).ok().filter(|nonce| nonce.len() == 16)?;
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    HeaderValue::try_from(STANDARD.encode(digest)).ok()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// One frame (§5.2), unmasked.
struct Frame {
    fin: bool,
    opcode: u8,
    payload: Vec<u8>,
}

/// Why no frame could be read.
enum Broken {
    /// The stream ended or failed.
    Gone(io::Error),
    /// The client must be told this code (§7.4.1).
    Wrong(u16),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    loop {
        let frame = match Frame::read(&mut stream).await {
            Ok(frame) => frame,
            Err(Broken::Gone(error)) => return Err(error),
            Err(Broken::Wrong(code)) => {
                let payload = code.to_be_bytes().to_vec();
                Frame { fin: true, opcode: CLOSE, payload }.write(&mut stream).await?;
                return stream.shutdown().await;
            }
        };
        match frame.opcode {
            CLOSE => {
                frame.write(&mut stream).await?;
                return stream.shutdown().await;
            }
            PING => Frame { opcode: PONG, ..frame }.write(&mut stream).await?,
            PONG => {}
            _ => frame.write(&mut stream).await?,
        }
    }
}

impl Frame {
    async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Self, Broken> {
        let (first, second) = (stream.read_u8().await?, stream.read_u8().await?);
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let control = opcode & 0x08 != 0;
        let known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        let length = second & 0x7f;
        // Reserved bits without an extension, an unmasked client (§5.1), a long or split control frame (§5.5).
        if first & 0x70 != 0 || second & 0x80 == 0 || !known || control && (!fin || length > 125) {
            return Err(Broken::Wrong(PROTOCOL_ERROR));
        }
        let length = match length {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= LONGEST) else {
            return Err(Broken::Wrong(TOO_BIG));
        };
        let mask = stream.read_u32().await?.to_be_bytes();
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok(Self { fin, opcode, payload })
    }

    /// Servers do not mask (§5.1).
    async fn write<S: AsyncWrite + Unpin>(&self, stream: &mut S) -> io::Result<()> {
        stream.write_u8(u8::from(self.fin) << 7 | self.opcode).await?;
        match (u8::try_from(self.payload.len()), u16::try_from(self.payload.len())) {
            (Ok(short @ ..126), _) => stream.write_u8(short).await?,
            (_, Ok(medium)) => {
                stream.write_u8(126).await?;
                stream.write_u16(medium).await?;
            }
            _ => {
                stream.write_u8(127).await?;
                stream.write_u64(u64::try_from(self.payload.len()).unwrap_or(u64::MAX)).await?;
            }
        }
        stream.write_all(&self.payload).await?;
        stream.flush().await
    }
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// 64 KiB: more than any test sends in a frame, and all a client can make us hold.
const LONGEST: usize = 64 * 1024;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "each test has its own runtime")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opening() -> http::request::Builder {
        Request::get("/ws")
            .header(CONNECTION, "keep-alive, Upgrade")
            .header(UPGRADE, "WebSocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
    }

    /// What a client would send.
    fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            length @ ..126 => out.push(0x80 | u8::try_from(length).unwrap()),
            length => {
                out.push(0x80 | 127);
                out.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// What the echo answers to these bytes before it ends.
    async fn exchange(sent: &[u8]) -> Vec<u8> {
        let (client, server) = tokio::io::duplex(4 * LONGEST);
        let (mut reader, mut writer) = tokio::io::split(client);
        let talk = async {
            let _ = writer.write_all(sent).await;
            let _ = writer.shutdown().await;
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).await.unwrap();
            answer
        };
        tokio::join!(talk, echo(server)).0
    }

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        let request = opening().header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==").body(()).unwrap();
        assert_eq!(handshake(&request).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_not_a_websocket_handshake_is_not_accepted() {
        const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
        for request in [
            opening().body(()),
            opening().header(SEC_WEBSOCKET_KEY, "c2hvcnQ=").body(()),
            opening().header(SEC_WEBSOCKET_KEY, "!").body(()),
            opening().header(SEC_WEBSOCKET_KEY, KEY).method(Method::POST).body(()),
            opening().header(SEC_WEBSOCKET_KEY, KEY).version(Version::HTTP_10).body(()),
            Request::get("/ws").header(SEC_WEBSOCKET_KEY, KEY).body(()),
        ] {
            assert_eq!(handshake(&request.unwrap()), None);
        }
    }

    #[tokio::test]
    async fn what_breaks_the_protocol_is_closed_with_its_code() {
        let close = |code: u16| [&[0x88, 2][..], &code.to_be_bytes()].concat();
        let too_long = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes()].concat();
        for (sent, answer) in [
            (vec![0x81, 0x01, b'a'], close(PROTOCOL_ERROR)),          // not masked
            (masked(0xc1, b"a", [0; 4]), close(PROTOCOL_ERROR)),      // a reserved bit
            (masked(0x83, b"a", [0; 4]), close(PROTOCOL_ERROR)),      // an unknown opcode
            (masked(0x09, b"a", [0; 4]), close(PROTOCOL_ERROR)),      // a ping in parts
            (masked(0x89, &[0; 126], [0; 4]), close(PROTOCOL_ERROR)), // a long ping
            (too_long, close(TOO_BIG)),
            (masked(0x82, &vec![0; LONGEST + 1], [0; 4]), close(TOO_BIG)),
            (masked(0x88, &1000_u16.to_be_bytes(), [9; 4]), close(1000)),
            (masked(0x89, b"hi", [7; 4]), vec![0x8a, 2, b'h', b'i']),
            (masked(0x8a, b"hi", [7; 4]), vec![]),
            (vec![0x81], vec![]),
        ] {
            assert_eq!(exchange(&sent).await, answer, "{:02x?}", sent.get(..2));
        }
    }

    #[tokio::test]
    async fn the_longest_frame_comes_back() {
        let payload = vec![b'x'; LONGEST];
        let answer = exchange(&masked(0x82, &payload, [1, 2, 3, 4])).await;
        assert_eq!(answer, [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &payload].concat());
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic_and_any_message_comes_back(
            noise in prop::collection::vec(any::<u8>(), 0..300), payload in prop::collection::vec(any::<u8>(), 0..300), mask: [u8; 4],
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(exchange(&noise));
            let answer = runtime.block_on(exchange(&masked(0x82, &payload, mask)));
            prop_assert_eq!(answer.first(), Some(&0x82));
            prop_assert!(answer.ends_with(&payload));
            let head = if payload.len() < 126 { 2 } else { 4 };
            prop_assert_eq!(answer.len(), head + payload.len());
        }
    }
}
