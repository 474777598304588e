//! The end of an exchange and of a connection: what is left of the request, and a close that lets the client read its response.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::connection::{Connection, Cut};
use super::encode::Persistence;
use super::handler::Handler;
use super::wire::Rest;
use crate::codec::{GLANCE, after};

impl<IO, H> Connection<IO, H>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    /// Brings the request to its end behind its response. Whether another one may follow.
    pub(super) async fn finish(&mut self, persistence: Persistence) -> Result<bool, Cut> {
        let reading = {
            let wire = self.wire.lock();
            wire.is_held() && !wire.is_uninvited()
        };
        if reading {
            self.let_holder_read().await;
        }
        if persistence != Persistence::Close && self.drain().await {
            return Ok(true);
        }
        self.close().await;
        Ok(false)
    }

    /// Says goodbye and closes, without waiting for an answer.
    pub(super) async fn shut_down(&mut self) {
        let deadline = after(LINGER_TIME);
        poll_fn(|cx| self.poll_shut_down(cx, deadline)).await;
    }

    /// The response is complete, but the upstream may still read the request. It may, while it makes progress.
    async fn let_holder_read(&mut self) {
        let mut progress = None;
        poll_fn(|cx| {
            let received = {
                let mut wire = self.wire.lock();
                wire.park(cx);
                if !wire.is_held() {
                    return Poll::Ready(());
                }
                wire.received()
            };
            loop {
                let (before, deadline) = *progress.get_or_insert_with(|| (received, after(self.settings.body_timeout)));
                ready!(self.alarm.poll(cx, deadline));
                if before == received {
                    return Poll::Ready(());
                }
                progress = None;
            }
        })
        .await;
    }

    /// Reads a little rest of a body that nobody wants, if it comes soon. Whether the next byte begins a request.
    async fn drain(&mut self) -> bool {
        let mut deadline = None;
        poll_fn(|cx| {
            let mut wire = self.wire.lock();
            wire.cut();
            loop {
                match wire.discard() {
                    Rest::None => return Poll::Ready(true),
                    Rest::Much => return Poll::Ready(false),
                    Rest::Little => {}
                }
                match wire.poll_glance(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => break,
                }
            }
            let deadline = *deadline.get_or_insert_with(|| after(LINGER_TIME));
            self.alarm.poll(cx, deadline).map(|()| false)
        })
        .await
    }

    /// Closes. If the client may still be sending, a plain close would make its system throw our response away
    /// unread (RFC 9112 §9.6), so what it sends is read and ignored for a while.
    async fn close(&mut self) {
        let deadline = after(LINGER_TIME);
        let quiet = {
            let mut wire = self.wire.lock();
            wire.cut();
            wire.is_quiet()
        };
        poll_fn(|cx| self.poll_shut_down(cx, deadline)).await;
        if !quiet {
            let mut left = LINGER_BYTES;
            poll_fn(|cx| self.poll_linger(cx, &mut left, deadline)).await;
        }
    }

    fn poll_shut_down(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if self.wire.lock().poll_shutdown(cx).is_ready() {
            return Poll::Ready(());
        }
        self.alarm.poll(cx, deadline)
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>, left: &mut usize, deadline: Instant) -> Poll<()> {
        while *left > 0 {
            match self.wire.lock().poll_ignore(cx) {
                Poll::Ready(Ok(count @ 1..)) => *left = left.saturating_sub(count),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.alarm.poll(cx, deadline),
            }
        }
        Poll::Ready(())
    }
}

/// How long a client may take to take notice of its response: two retransmissions of a far-away client.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How much of what it sends meanwhile is read: more than a socket's buffers hold by default.
const LINGER_BYTES: usize = 256 * 1024;

const _: () = assert!(LINGER_BYTES > GLANCE, "lingering must read more than once");
