//! Backends: one that answers with what it got, one that keeps every byte.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use portcullis::tools::echo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// The echo backend of the demonstration.
pub struct Backend {
    pub address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Backend {
    pub async fn echo() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(echo::serve(listener, async {
            let _ = stopped.await;
        }));
        Self { address, _stop: stop }
    }
}

/// Keeps the raw bytes of every connection, and answers the first head of each with `200 ok`.
pub struct Recorder {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    changed: watch::Receiver<usize>,
}

const CANNED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

impl Recorder {
    pub async fn start() -> Self {
        Self::answering(CANNED).await
    }

    /// Answers with these raw bytes instead.
    pub async fn answering(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (change, changed) = watch::channel(0);
        let (all, change) = (Arc::clone(&seen), Arc::new(change));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (all, change) = (Arc::clone(&all), Arc::clone(&change));
                tokio::spawn(async move {
                    let index = {
                        let mut all = all.lock();
                        all.push(Vec::new());
                        all.len() - 1
                    };
                    let (mut buffer, mut answered) = ([0; 4096], false);
                    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                        let head = {
                            let mut all = all.lock();
                            all[index].extend_from_slice(&buffer[..read]);
                            all[index].windows(4).any(|w| w == b"\r\n\r\n")
                        };
                        change.send_modify(|count| *count += 1);
                        if head && !answered {
                            answered = true;
                            let _ = stream.write_all(answer).await;
                        }
                    }
                });
            }
        });
        Self { address, seen, changed }
    }

    /// What every connection has received so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// What the connections have received, once `enough` holds.
    pub async fn wait_for(&mut self, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        loop {
            let seen = self.seen();
            if enough(&seen) {
                return seen;
            }
            self.changed.changed().await.unwrap();
        }
    }
}
