//! HTTP/2 by the frame (RFC 9113): what a load needs to say, and no more than it needs to understand.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Instant;

use super::client::{Client, Connection};
use super::{Job, Meter};
use crate::material::HOST;

/// Many requests at a time on the one connection of a thread.
pub fn requests(client: &Client, job: &Job, meter: &mut Meter) {
    let mut session = Session::open(client.connect(), &job.request);
    session.exchange(1, |_| {});
    meter.shared.ready.wait();
    for _ in 0..job.streams {
        session.ask();
    }
    session.send();
    while meter.goes_on() {
        for since in session.receive() {
            meter.unit(since);
            session.ask();
        }
        session.send();
    }
}

/// One connection.
pub struct Session {
    connection: Connection,
    path: String,
    next_stream: u32,
    /// When each open stream was asked for.
    open: HashMap<u32, Instant>,
    out: Vec<u8>,
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of bodies since the last update of the connection's window.
    unacknowledged: u32,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// Windows that no body here fills (RFC 9113, section 6.9.1: at most 2^31 - 1).
const WINDOW: u32 = 1 << 30;

impl Session {
    pub fn open(connection: Connection, request: &str) -> Self {
        let path = request.strip_prefix("GET ").expect("no bodies are sent over HTTP/2").to_owned();
        let mut session = Self {
            connection,
            path,
            next_stream: 1,
            open: HashMap::new(),
            out: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            buffer: vec![0; 256 * 1024],
            filled: 0,
            unacknowledged: 0,
        };
        // ENABLE_PUSH 0, INITIAL_WINDOW_SIZE.
        let settings = [&[0, 2, 0, 0, 0, 0, 0, 4][..], &WINDOW.to_be_bytes()].concat();
        session.frame(SETTINGS, 0, 0, &settings);
        session.frame(WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        session
    }

    /// `count` requests one after the other.
    pub fn exchange(&mut self, count: usize, mut done: impl FnMut(Instant)) {
        for _ in 0..count {
            self.ask();
            self.send();
            while !self.open.is_empty() {
                self.receive().into_iter().for_each(&mut done);
                self.send();
            }
        }
    }

    /// Gives its buffer back.
    pub fn rest(&mut self) {
        self.buffer = Vec::new();
    }

    /// Queues a request.
    fn ask(&mut self) {
        let stream = self.next_stream;
        self.next_stream += 2;
        // HPACK, as clients do it: the first request puts its fields into the dynamic table (RFC 7541,
        // section 6.2.1), the others name their places in it. Static: 2 `GET`, 7 `https`.
        let mut block = vec![0x82, 0x87];
        if stream == 1 {
            let mut literal = |name: u8, value: &str| {
                block.extend([0x40 | name, value.len() as u8]);
                block.extend(value.bytes());
            };
            literal(4, &self.path.clone());
            literal(1, HOST);
            literal(58, "compare");
            literal(19, "*/*");
        } else {
            // The newest entry is 62.
            block.extend([0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
        }
        self.frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        self.open.insert(stream, Instant::now());
    }

    /// Sends what is queued.
    fn send(&mut self) {
        if !self.out.is_empty() {
            self.connection.write_all(&self.out).expect("frames that are taken");
            self.connection.flush().expect("frames that are taken");
            self.out.clear();
        }
    }

    /// Waits for something to come; returns since when the streams that it ends were open.
    fn receive(&mut self) -> Vec<Instant> {
        let read = self.connection.read(&mut self.buffer[self.filled..]).expect("frames");
        assert!(read > 0, "closed with streams open");
        self.filled += read;
        let (mut at, mut ended) = (0, Vec::new());
        while let Some((head, rest)) = self.buffer[at..self.filled].split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if rest.len() < length {
                break;
            }
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            let payload = rest[..length].to_vec();
            at += 9 + length;
            ended.extend(self.take(kind, flags, stream, &payload));
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        ended
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Option<Instant> {
        match kind {
            DATA => {
                self.unacknowledged += payload.len() as u32;
                if self.unacknowledged > WINDOW / 2 {
                    self.frame(WINDOW_UPDATE, 0, 0, &self.unacknowledged.to_be_bytes());
                    self.unacknowledged = 0;
                }
            }
            HEADERS => {
                assert_eq!(flags & (PADDED | PRIORITY), 0, "a proxy that pads");
                // Updates of the table's size may come first (RFC 7541, section 6.3); 8 is `:status: 200`.
                let first = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                assert_eq!(first, Some(&0x88), "not a 200");
            }
            SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload),
            RST_STREAM | GOAWAY => panic!("frame {kind} on stream {stream}: {payload:?}"),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 { self.open.remove(&stream) } else { None }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = (payload.len() as u32).to_be_bytes();
        self.out.extend([length[1], length[2], length[3], kind, flags]);
        self.out.extend(stream.to_be_bytes());
        self.out.extend(payload);
    }
}
