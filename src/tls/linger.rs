//! Closing a refused connection so that the client hears why.
//!
//! Closing a socket with unread bytes makes the kernel send a reset, and a reset overtakes the
//! alert: in TLS 1.3 the client has sent its request by the time its certificate is refused, and
//! would see "connection reset" instead of "certificate expired".

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// Two round trips to the other side of the world, and a little.
const LONGEST: Duration = Duration::from_secs(1);
/// What a client may have sent before it hears of the refusal: an initial TCP window and more.
const MOST: u64 = 64 * 1024;

/// Says that nothing follows, and takes what the client still sends, for a short while.
pub async fn linger<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) {
    let goodbye = async {
        if io.shutdown().await.is_ok() {
            // Whatever comes, and however it ends: nobody is interested any more.
            let _ = tokio::io::copy(&mut (&mut io).take(MOST), &mut tokio::io::sink()).await;
        }
    };
    let _ = timeout(LONGEST, goodbye).await;
}
