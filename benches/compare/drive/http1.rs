//! HTTP/1.1: one request after the other.

use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustls::HandshakeKind;

use super::client::{Client, Connection};
use super::{Job, Meter};
use crate::material::HOST;
use crate::origin::{LARGE, content_length};

/// Keep-alive: all requests of a thread on one connection.
pub fn requests(client: &Client, job: &Job, meter: &mut Meter) {
    let (mut connection, mut exchange) = (client.connect(), Exchange::new(&job.request));
    exchange.run(&mut connection);
    meter.shared.ready.wait();
    while meter.goes_on() {
        let since = Instant::now();
        exchange.run(&mut connection);
        meter.unit(since);
    }
}

/// A new connection for each request.
pub fn handshakes(client: &Client, job: &Job, meter: &mut Meter) {
    let mut exchange = Exchange::new(&job.request);
    if job.kind == "resumed" {
        // For its ticket.
        exchange.run(&mut client.connect());
    }
    meter.shared.ready.wait();
    while meter.goes_on() {
        let since = Instant::now();
        let mut connection = client.connect();
        exchange.run(&mut connection);
        let resumed = connection.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed && meter.shared.counts.load(Ordering::Relaxed) {
            meter.shared.resumed.fetch_add(1, Ordering::Relaxed);
        }
        connection.conn.send_close_notify();
        let _ = connection.flush();
        meter.unit(since);
    }
}

/// A request in bytes, and a buffer for its answers.
pub struct Exchange {
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Exchange {
    /// A method and a path, as in `GET /1k`.
    pub fn new(request: &str) -> Self {
        let mut bytes = format!("{request} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: compare\r\nAccept: */*\r\n");
        let body = if request.starts_with("POST") { LARGE } else { 0 };
        if body > 0 {
            bytes += &format!("Content-Length: {body}\r\n");
        }
        bytes += "\r\n";
        let mut request = bytes.into_bytes();
        request.resize(request.len() + body, b'x');
        Self { request, buffer: vec![0; 64 * 1024] }
    }

    /// Sends the request and takes the whole answer.
    ///
    /// # Panics
    /// If it is not what was asked for: then there is nothing to measure.
    pub fn run(&mut self, connection: &mut Connection) {
        self.try_run(connection).expect("an answer");
    }

    /// The same, for when connections may end.
    pub fn try_run(&mut self, connection: &mut Connection) -> io::Result<()> {
        connection.write_all(&self.request)?;
        connection.flush()?;
        let mut filled = 0;
        let end = loop {
            filled += some(connection.read(&mut self.buffer[filled..])?)?;
            if let Some(end) = memchr::memmem::find(&self.buffer[..filled], b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = &self.buffer[..end];
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(head));
        let (length, mut taken) = (content_length(head), filled - end);
        while taken < length {
            taken += some(connection.read(&mut self.buffer)?)?;
        }
        Ok(())
    }

    /// What was in the last answer, if it was small.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.buffer).trim_end_matches('\0').to_owned()
    }
}

fn some(read: usize) -> io::Result<usize> {
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
}
