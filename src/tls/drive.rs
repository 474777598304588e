//! A handshake from the ClientHello on: rustls says what to send and when more must come, this brings it there.

use std::io;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData};
use rustls::{Error, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::outgoing::Outgoing;
use super::presented::{Presented, capture};
use super::record::Protection;
use super::rekey::{self, Rekey};
use super::stream::Established;
use crate::fingerprint::TlsPrint;

/// What a client may send that is not understood yet: the largest message that rustls takes (64 KiB) in its records, and
/// a record behind it.
const MOST: usize = 96 * 1024;
/// Usual flights of a client fit: a certificate or two, or the first request behind them.
const READ: usize = 4 * 1024;

/// A handshake under way.
pub(super) struct Drive<IO> {
    io: IO,
    connection: UnbufferedServerConnection,
    /// Read and not understood yet.
    incoming: Vec<u8>,
    /// To be sent.
    outgoing: Vec<u8>,
    /// Data that came behind the client's last message.
    opened: Vec<u8>,
}

/// What the library is waiting for.
enum Need {
    /// Nothing: the handshake is over.
    Nothing,
    /// Bytes of the client.
    Bytes,
    /// That it is asked again.
    Turn,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Drive<IO> {
    /// Begins with the ClientHello, which has been read, and what came with it.
    pub(super) fn new(io: IO, config: Arc<ServerConfig>, hello: Vec<u8>) -> Result<Self, (io::Error, IO)> {
        match UnbufferedServerConnection::new(config) {
            Ok(connection) => Ok(Self { io, connection, incoming: hello, outgoing: Vec::new(), opened: Vec::new() }),
            Err(error) => Err((invalid(error), io)),
        }
    }

    /// Brings it to its end. The verifier looks at `print`; its verdict and what tickets need are kept in `seen`.
    ///
    /// The server's last records (a ticket) are not sent: they go out with the first answer.
    ///
    /// # Errors
    /// What went wrong; the client has been told by an alert where there is one, and the stream comes back.
    pub(super) async fn run(
        mut self,
        print: Option<TlsPrint>,
        seen: &mut Option<Presented>,
    ) -> Result<Self, (io::Error, IO)> {
        match self.shake(print, seen).await {
            Ok(()) => Ok(self),
            Err(error) => Err((error, self.io)),
        }
    }

    async fn shake(&mut self, print: Option<TlsPrint>, seen: &mut Option<Presented>) -> io::Result<()> {
        loop {
            match capture(print, seen, || self.step()) {
                Ok(Need::Turn) => {}
                // In TLS 1.2 the client waits for our last message; what TLS 1.3 has left is a ticket.
                Ok(Need::Nothing) if self.connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) => {
                    return self.send().await;
                }
                Ok(Need::Nothing) => return Ok(()),
                Ok(Need::Bytes) => {
                    self.send().await?;
                    self.receive().await?;
                }
                Err(error) => {
                    self.collect_alert();
                    // Best effort: the handshake has failed whether or not the client hears why.
                    let _ = self.send().await;
                    return Err(error);
                }
            }
        }
    }

    /// One answer of the library.
    fn step(&mut self) -> io::Result<Need> {
        let status = self.connection.process_tls_records(&mut self.incoming);
        let discard = status.discard;
        let mut over = false;
        let need = match status.state {
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing).map(|()| Need::Turn),
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                // It is sent before more is read, and that is all that the library needs to know.
                transmit.done();
                Ok(Need::Turn)
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    self.opened.extend_from_slice(record.payload);
                }
                Ok(Need::Turn)
            }
            Ok(ConnectionState::WriteTraffic(_)) => {
                over = true;
                Ok(Need::Nothing)
            }
            Ok(ConnectionState::BlockedHandshake) => Ok(Need::Bytes),
            // The client has closed; or early data, which is off; and whatever is new is not understood.
            Ok(_) => Err(invalid(Error::HandshakeNotComplete)),
            Err(error) => Err(invalid(error)),
        };
        // After an error too: the library goes on counting from here when it is asked for its alert.
        self.incoming.drain(..discard.min(self.incoming.len()));
        // TLS 1.3 lets a server that asks for no certificate write before the client has finished.
        if over && self.connection.is_handshaking() { Ok(Need::Bytes) } else { need }
    }

    /// The alert that the library has for the client after an error.
    fn collect_alert(&mut self) {
        // No further than its alerts: behind them it would read what it stumbled over once more.
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(&mut self.incoming);
            let discard = status.discard;
            let Ok(ConnectionState::EncodeTlsData(data)) = status.state else { return };
            if encode(data, &mut self.outgoing).is_err() {
                return;
            }
            self.incoming.drain(..discard.min(self.incoming.len()));
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        self.io.write_all(&self.outgoing).await?;
        self.outgoing.clear();
        self.io.flush().await
    }

    async fn receive(&mut self) -> io::Result<()> {
        if self.incoming.len() >= MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.incoming.reserve(READ);
        match self.io.read_buf(&mut self.incoming).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// What was negotiated.
    pub(super) const fn session(&self) -> &UnbufferedServerConnection {
        &self.connection
    }

    /// Hands the keys over.
    ///
    /// # Errors
    /// Of the library: the handshake is not over, or its keys are kept secret.
    pub(super) fn establish(self) -> io::Result<Established<IO>> {
        self.establish_for(u64::MAX)
    }

    /// As [`Self::establish`]; a key protects no more than `most` records, nor more than its suite lets it.
    pub(super) fn establish_for(self, most: u64) -> io::Result<Established<IO>> {
        let Self { io, connection, mut incoming, mut outgoing, opened } = self;
        // Kept for as long as the connection lives: no larger than what is in them.
        incoming.shrink_to_fit();
        outgoing.shrink_to_fit();
        let (secrets, kernel) = connection.dangerous_into_kernel_connection().map_err(invalid)?;
        let (version, limit) = (kernel.protocol_version(), rekey::limit(kernel.negotiated_cipher_suite()).min(most));
        let unknown = || io::Error::other("a cipher suite without a record layer");
        let opener = Protection::new(version, secrets.rx, limit).ok_or_else(unknown)?;
        let sealer = Protection::new(version, secrets.tx, limit).ok_or_else(unknown)?;
        let (out, rekey) = (Outgoing::new(sealer, outgoing), Rekey::new(kernel, limit));
        Ok(Established { io, opener, out, rekey, sealed: incoming, opened })
    }
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    let mut room = 0;
    loop {
        out.resize(start.saturating_add(room), 0);
        match data.encode(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start.saturating_add(written));
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) if size.required_size > room => room = size.required_size,
            Err(error) => return Err(io::Error::other(error.to_string())),
        }
    }
}

/// As tokio-rustls puts it, so that one downcast finds it.
fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
