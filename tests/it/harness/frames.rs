//! HTTP/2 by hand: what no client library would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Client, Gate, World};

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const PRIORITY: u8 = 0x2;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PING: u8 = 0x6;
pub const GOAWAY: u8 = 0x7;
pub const WINDOW_UPDATE: u8 = 0x8;
pub const CONTINUATION: u8 = 0x9;

pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;

/// A frame from the gate.
#[derive(Clone, Debug)]
pub struct RawFrame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The error code of a RST_STREAM or GOAWAY frame.
    pub fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status of a HEADERS frame: indexed (RFC 7541 appendix A has eight) or literal after its index.
    pub fn status(&self) -> String {
        let known = ["200", "204", "206", "304", "400", "404", "500"];
        match self.payload.as_slice() {
            [byte @ 0x88..=0x8e, ..] => known[usize::from(byte - 0x88)].to_owned(),
            // A literal with the name `:status`; the value is Huffman-coded or plain.
            [_, length, value @ ..] if length & 0x80 == 0 => {
                String::from_utf8_lossy(&value[..usize::from(*length)]).into_owned()
            }
            [_, length, value @ ..] => digits(&value[..usize::from(length & 0x7f)]),
            _ => String::new(),
        }
    }
}

/// Huffman-coded digits (RFC 7541 appendix B): 0 to 2 have 5 bits, 3 to 9 have 6.
fn digits(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let (mut out, mut rest) = (String::new(), bits.as_slice());
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    while rest.len() >= 5 {
        let (digit, used) = match value(&rest[..5]) {
            short @ 0..=2 => (b'0' + short, 5),
            _ if rest.len() < 6 => break,
            _ => match value(&rest[..6]) {
                long @ 0x19..=0x1f => (b'3' + long - 0x19, 6),
                _ => break,
            },
        };
        out.push(char::from(digit));
        rest = &rest[used..];
    }
    out
}

/// A connection on which frames are written by hand. The preface and empty SETTINGS are sent.
pub struct Frames {
    io: TlsStream<TcpStream>,
}

impl Frames {
    pub async fn good(world: &World, gate: &Gate) -> Self {
        Self::of(Client::good(world), gate).await
    }

    /// The same, of this client.
    pub async fn of(client: Client, gate: &Gate) -> Self {
        let mut io = client.alpn(&["h2"]).connect(gate).await.unwrap();
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        io.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self { io }
    }

    /// Writes, unless the gate has closed already.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.io.write_all(bytes).await.is_ok() && self.io.flush().await.is_ok()
    }

    /// The next frame; none when the gate has closed. Its PINGs are answered.
    pub async fn next(&mut self) -> Option<RawFrame> {
        let next = self.silent_next().await?;
        if next.kind == PING && next.flags == 0 {
            self.write(&frame(PING, 1, 0, &next.payload)).await;
        }
        Some(next)
    }

    /// The same, and nothing is answered.
    pub async fn silent_next(&mut self) -> Option<RawFrame> {
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await.ok()?;
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, l2, l1, l0])).unwrap()];
        self.io.read_exact(&mut payload).await.ok()?;
        Some(RawFrame { kind, flags, stream: u32::from_be_bytes([s3, s2, s1, s0]), payload })
    }

    /// Every frame until the gate closes.
    pub async fn rest(&mut self) -> Vec<RawFrame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// The first of these kinds; none when the gate has closed.
    pub async fn wait_for(&mut self, kinds: &[u8]) -> Option<RawFrame> {
        loop {
            let frame = self.next().await?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A whole request head, with or without a body behind it.
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &[u8])]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

/// Fields as HPACK literals without indexing (RFC 7541 §6.2.2), which need no state.
pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name.as_bytes(), value] {
            integer(&mut out, text.len());
            out.extend_from_slice(text);
        }
    }
    out
}

/// RFC 7541 §5.1, with a prefix of seven bits.
fn integer(out: &mut Vec<u8>, value: usize) {
    if value < 127 {
        return out.push(u8::try_from(value).unwrap());
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// What a well-formed GET begins with.
pub fn get(path: &str) -> Vec<(&str, &[u8])> {
    vec![(":method", b"GET"), (":scheme", b"https"), (":authority", b"api.test"), (":path", path.as_bytes())]
}

/// The same for POST.
pub fn post(path: &str) -> Vec<(&str, &[u8])> {
    vec![(":method", b"POST"), (":scheme", b"https"), (":authority", b"api.test"), (":path", path.as_bytes())]
}
