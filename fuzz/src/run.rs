//! Futures to their end, on a clock that stands still while there is work.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex};

/// Runs `future` to its end. Whoever waits, waits without time passing, so a timeout costs nothing here
/// and what has none is found: after an hour of the runtime's clock the promise is broken.
///
/// # Panics
/// When the future does not end.
pub fn to_the_end<T>(future: impl Future<Output = T>) -> T {
    const TOO_LONG: Duration = Duration::from_hours(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let ended = runtime.expect("a runtime").block_on(async { tokio::time::timeout(TOO_LONG, future).await });
    ended.expect("this never ends")
}

/// How bytes come.
#[derive(Clone, Copy, Debug)]
pub enum Pieces {
    /// One after the other.
    Single,
    /// All at once.
    Whole,
}

/// What the client does when it has said everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Closes its side.
    Close,
    /// Waits.
    Wait,
}

/// The server's end of a stream, and the client's.
pub fn stream() -> (DuplexStream, Client) {
    let (client, server) = duplex(64 * 1024);
    let (read, write) = tokio::io::split(client);
    (server, Client { read, write })
}

/// A client that says what it has to say, and listens to the end.
pub struct Client {
    read: ReadHalf<DuplexStream>,
    write: WriteHalf<DuplexStream>,
}

impl Client {
    /// Says `bytes` and returns all that comes back.
    pub async fn talk(mut self, bytes: &[u8], pieces: Pieces, then: Then) -> Vec<u8> {
        let step = match pieces {
            Pieces::Single => 1,
            Pieces::Whole => bytes.len().max(1),
        };
        let say = async {
            for piece in bytes.chunks(step) {
                // Who is not listened to any more has said enough.
                if self.write.write_all(piece).await.is_err() {
                    return;
                }
                // Twice: once for the waking, once for the reading.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            if then == Then::Close {
                let _ = self.write.shutdown().await;
            }
        };
        let mut heard = Vec::new();
        let _ = tokio::join!(say, self.read.read_to_end(&mut heard));
        heard
    }
}
