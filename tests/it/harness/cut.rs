//! A client's first flight, cut as a network or an attacker may cut it.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;

/// The client's end of a connection whose first flight reaches `tcp` in the pieces that `pieces` makes of it, each
/// in a write (with `TCP_NODELAY`: a segment) of its own. What follows passes as it is.
pub fn cut(tcp: TcpStream, pieces: impl FnOnce(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) -> DuplexStream {
    let (client, mut middle) = tokio::io::duplex(256 * 1024);
    tcp.set_nodelay(true).unwrap();
    tokio::spawn(async move {
        let (mut from_gate, mut to_gate) = tcp.into_split();
        let mut flight = vec![0; 128 * 1024];
        let length = middle.read(&mut flight).await.unwrap();
        flight.truncate(length);
        let (mut from_client, mut to_client) = tokio::io::split(middle);
        let down = async {
            let _ = tokio::io::copy(&mut from_gate, &mut to_client).await;
            let _ = to_client.shutdown().await;
        };
        let up = async {
            for piece in pieces(flight) {
                if to_gate.write_all(&piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            let _ = tokio::io::copy(&mut from_client, &mut to_gate).await;
            let _ = to_gate.shutdown().await;
        };
        tokio::join!(down, up);
    });
    client
}

/// The same handshake messages in records of at most `size` bytes each (RFC 8446 §5.1 lets a message span records).
pub fn fragmented(records: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = records;
    while let [kind, major, minor, high, low, behind @ ..] = rest {
        let (payload, next) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        for part in payload.chunks(size) {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            out.push([&[*kind, *major, *minor, length[0], length[1]], part].concat());
        }
        rest = next;
    }
    out
}
