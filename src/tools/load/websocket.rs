//! The client's side of RFC 6455, as far as an echo needs it: one message at a time, in one frame.

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWriteExt as _;

use super::failure::Failure;
use super::http1::{Connection, Prepared, fill, length};
use super::plan::Plan;
use super::stream::Stream;
use super::tally::Reply;

/// A WebSocket, and the one message that it sends.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    unread: BytesMut,
    frame: Vec<u8>,
    payload: Vec<u8>,
}

/// What a frame's head says (§5.2), and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    first: u8,
    payload: usize,
    size: usize,
}

impl Socket {
    /// The opening handshake (§4.1); messages will have `size` bytes.
    ///
    /// # Errors
    /// When the server does not open one.
    pub(super) async fn open(stream: Stream, plan: &Plan, size: usize) -> Result<Self, Failure> {
        let mut key = [0; 16];
        rand::fill(&mut key).map_err(|_| Failure::WebSocket("no_random_numbers"))?;
        let key = STANDARD.encode(key);
        let opening = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", &key),
        ];
        let mut connection = Connection::new(stream);
        let (status, accept) = connection.upgrade(&Prepared::with(plan, &opening)).await?;
        if status != 101 {
            return Err(Failure::Status(status));
        }
        if accept.as_deref() != Some(accepted(&key).as_bytes()) {
            return Err(Failure::WebSocket("accept"));
        }
        let (stream, unread) = connection.into_parts();
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        // Of the connection and not of each message: it protects intermediaries from chosen bytes (§10.3), and these are
        // not chosen by anybody.
        let mut mask = [0; 4];
        rand::fill(&mut mask).map_err(|_| Failure::WebSocket("no_random_numbers"))?;
        let frame = masked(BINARY, &payload, mask);
        Ok(Self { stream, unread, frame, payload })
    }

    /// Sends the message and waits for it to come back.
    ///
    /// # Errors
    /// When something else comes, or nothing.
    pub(super) async fn echo(&mut self) -> Result<Reply, Failure> {
        self.send(None).await?;
        loop {
            let head = loop {
                match head(&self.unread)? {
                    Some(head) if head.payload > LONGEST => return Err(Failure::WebSocket("too_long")),
                    Some(head) if self.unread.len() >= head.size.saturating_add(head.payload) => break head,
                    _ => {}
                }
                if fill(&mut self.stream, &mut self.unread).await? == 0 {
                    return Err(Failure::Closed);
                }
            };
            let end = head.size.saturating_add(head.payload);
            let payload = self.unread.get(head.size..end).unwrap_or_default();
            match head.first {
                first if first == FIN | BINARY => {
                    let same = payload == self.payload;
                    let received = length(payload.len());
                    self.unread.advance(end);
                    let reply = Reply { status: None, received, sent: length(self.payload.len()) };
                    return if same { Ok(reply) } else { Err(Failure::WebSocket("other_message")) };
                }
                first if first == FIN | PING => {
                    // §5.5.3: the same payload comes back. The mask may be any.
                    let pong = masked(PONG, payload, [0; 4]);
                    self.unread.advance(end);
                    self.send(Some(&pong)).await?;
                }
                first if first == FIN | PONG => self.unread.advance(end),
                first if first == FIN | CLOSE => return Err(Failure::WebSocket("closed")),
                _ => return Err(Failure::WebSocket("unexpected_frame")),
            }
        }
    }

    /// Says goodbye: a close frame (§5.5.1), and the end of the connection.
    pub(super) async fn close(mut self) {
        // Who is gone already needs no goodbye.
        let _ = self.send(Some(&masked(CLOSE, &NORMAL.to_be_bytes(), [0; 4]))).await;
        let _ = self.stream.shutdown().await;
    }

    /// Sends a frame; the message unless there is another.
    async fn send(&mut self, frame: Option<&[u8]>) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::io(&error);
        self.stream.write_all(frame.unwrap_or(&self.frame)).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)
    }
}

/// What a server that understood `key` answers (§4.2.2).
fn accepted(key: &str) -> String {
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat()))
}

/// A whole frame of a client.
fn masked(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![FIN | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => out.push(MASK | short),
        (_, Ok(medium)) => {
            out.push(MASK | MEDIUM);
            out.extend(medium.to_be_bytes());
        }
        _ => {
            out.push(MASK | LONG);
            out.extend(length(payload.len()).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// The head of the frame at the start of `bytes`, if it is there.
fn head(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    // §5.1: servers do not mask.
    if second & MASK != 0 {
        return Err(Failure::WebSocket("masked"));
    }
    let head =
        |payload: u64, size| Head { first: *first, payload: usize::try_from(payload).unwrap_or(usize::MAX), size };
    Ok(match second {
        &MEDIUM => rest.first_chunk().map(|bytes| head(u16::from_be_bytes(*bytes).into(), 4)),
        &LONG => rest.first_chunk().map(|bytes| head(u64::from_be_bytes(*bytes), 10)),
        short => Some(head(u64::from(*short), 2)),
    })
}

const FIN: u8 = 0x80;
const MASK: u8 = 0x80;
/// §5.2: the length is in the next two bytes, or eight.
const MEDIUM: u8 = 0x7e;
const LONG: u8 = 0x7f;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// §7.4.1.
const NORMAL: u16 = 1000;
/// Longest message that is taken.
pub(super) const LONGEST: usize = 16 * 1024 * 1024;
/// §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        assert_eq!(accepted("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_are_those_of_the_rfc() {
        // §5.7: a masked "Hello".
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        assert_eq!(masked(1, b"Hello", mask), [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        for (bytes, found) in [
            (&[0x82, 0x05][..], Some((5, 2))),
            (&[0x82, 0x7e, 0x01, 0x00], Some((256, 4))),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0], Some((65536, 10))),
            (&[0x82, 0x7e, 0x01], None),
            (&[0x82], None),
            (&[], None),
        ] {
            assert_eq!(head(bytes).unwrap().map(|head| (head.payload, head.size)), found, "{bytes:x?}");
        }
        assert_eq!(head(&[0x82, 0x85]), Err(Failure::WebSocket("masked")));
    }

    proptest! {
        #[test]
        fn a_frame_says_how_long_it_is(size in 0_usize..70_000, mask: [u8; 4]) {
            let mut frame = masked(BINARY, &vec![7; size], mask);
            frame[1] &= !MASK;
            let head = head(&frame).unwrap().unwrap();
            prop_assert_eq!((head.first, head.payload), (FIN | BINARY, size));
            prop_assert_eq!(head.size + 4 + size, frame.len());
        }
    }
}
