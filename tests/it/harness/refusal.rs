//! A refusal from both sides: what the client hears, what the log says, what the counters count.

use std::io;
use std::net::SocketAddr;

use portcullis::reject::{Reason, Wire};
use rustls::AlertDescription;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Client, Gate};

/// How a connection ends for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A fatal alert, by its RFC 8446 name.
    Alert(String),
    /// The end, in order or not, but not a reset.
    End,
    /// A TCP reset.
    Reset,
    /// The client gave up by itself.
    Own(String),
    /// Data: it was not refused.
    Data(String),
}

impl Heard {
    fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(rfc_name(*alert)),
            Some(other) => Self::Own(other.to_string()),
            None if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => Self::Reset,
            None => Self::End,
        }
    }
}

/// `CertificateUnknown` as RFC 8446 §6 writes it.
pub fn rfc_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    for c in format!("{alert:?}").chars() {
        if c.is_ascii_uppercase() && name.ends_with(|last: char| last.is_ascii_lowercase()) {
            name.push('_');
        }
        name.push(c);
    }
    name.to_ascii_lowercase().replace("unrecognised", "unrecognized")
}

impl Client {
    /// Connects over `io`, sends a request at once and listens until the end.
    pub async fn hears<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> Heard {
        let outcome = async {
            let mut stream = self.over(io).await?;
            // In TLS 1.3 the client is done before its certificate is looked at; its request may find the gate closing.
            let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n").await;
            let mut bytes = Vec::new();
            match (stream.read_to_end(&mut bytes).await, sent) {
                (Ok(_), _) if !bytes.is_empty() => Ok(Heard::Data(String::from_utf8_lossy(&bytes).into_owned())),
                (Ok(_), Ok(())) => Ok(Heard::End),
                (Ok(_), Err(error)) | (Err(error), _) => Err(error),
            }
        };
        outcome.await.unwrap_or_else(|error: io::Error| Heard::of(&error))
    }
}

impl Gate {
    /// A TCP connection, and the address by which the log knows it.
    pub async fn tcp(&self) -> (TcpStream, SocketAddr) {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let local = tcp.local_addr().unwrap();
        (tcp, local)
    }

    /// The line about the refused connection of `peer`.
    pub fn refusal_line(&self, peer: SocketAddr) -> Value {
        let (peer, listener) = (format!("\"{peer}\""), format!("\"{}\"", self.address));
        let line = self
            .find_log(|line| line.contains("connection refused") && line.contains(&peer) && line.contains(&listener));
        serde_json::from_str(&line).unwrap()
    }

    /// How often this reason has been counted.
    pub async fn rejects(&self, reason: Reason) -> u64 {
        self.metric(&format!("portcullis_rejects_total{{reason=\"{reason}\"}}")).await as u64
    }

    /// Asserts that `client` is refused for `reason`: with the alert of the table, one count, and the returned line.
    pub async fn refuses(&self, client: &Client, reason: Reason) -> Value {
        let before = self.rejects(reason).await;
        let (tcp, peer) = self.tcp().await;
        let heard = client.hears(tcp).await;
        let line = self.refusal_line(peer);
        assert_eq!(line["reason"], reason.code(), "heard {heard:?}, log {line}");
        match reason.row().wire {
            Wire::Alert(name) => assert_eq!(heard, Heard::Alert(name.to_owned()), "{line}"),
            Wire::Close => assert!(matches!(heard, Heard::End | Heard::Reset), "{heard:?} {line}"),
            other => panic!("{reason} is no end of a connection but {other:?}"),
        }
        assert_eq!(self.rejects(reason).await, before + 1, "{reason}");
        line
    }

    /// Asserts that `client` is answered.
    pub async fn serves(&self, client: &Client) {
        let (tcp, peer) = self.tcp().await;
        let heard = client.hears(tcp).await;
        let served = matches!(&heard, Heard::Data(answer) if answer.starts_with("HTTP/1.1 200"));
        assert!(served, "{heard:?}; {}", self.any_line(peer));
    }

    fn any_line(&self, peer: SocketAddr) -> String {
        let peer = format!("\"{peer}\"");
        self.lines(|line| line.contains(&peer)).join("\n")
    }
}
