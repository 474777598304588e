//! The ClientHello: read once, bounded, however it is cut, and kept as it came.

use std::io;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Typical hellos: 300 bytes without, 1,800 with an ML-KEM key share.
const USUAL_BYTES: usize = 2048;

/// Why there is no ClientHello.
pub(super) enum NoHello {
    /// It is longer than it may be.
    TooLarge,
    /// It is none, or the stream ended.
    Invalid(io::Error),
}

/// Reads into `bytes` until the ClientHello is whole, and no more than `limit` bytes. The server name in it, as the
/// client wrote it; none for an IP address (RFC 6066 §3).
///
/// # Errors
/// What is no ClientHello; the client has been told by an alert, if there is one for it.
pub(super) async fn read<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    limit: usize,
    bytes: &mut Vec<u8>,
) -> Result<Option<Box<str>>, NoHello> {
    let mut acceptor = Acceptor::default();
    loop {
        let before = bytes.len();
        let room = limit.saturating_sub(before);
        if room == 0 {
            return Err(NoHello::TooLarge);
        }
        bytes.reserve(USUAL_BYTES.min(room));
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        if io.take(room).read_buf(bytes).await.map_err(NoHello::Invalid)? == 0 {
            return Err(NoHello::Invalid(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut piece = bytes.get(before..).unwrap_or_default();
        while !piece.is_empty() {
            acceptor.read_tls(&mut piece).map_err(NoHello::Invalid)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Ok(accepted.client_hello().server_name().map(Box::from));
                }
                Err((error, mut alert)) => {
                    let mut told = Vec::new();
                    // Best effort: it is refused whether or not it hears why.
                    if alert.write_all(&mut told).is_ok() {
                        let _ = io.write_all(&told).await;
                    }
                    return Err(NoHello::Invalid(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
            }
        }
    }
}
