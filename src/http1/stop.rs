//! The wish that connections come to an end.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

/// Watches a flag that is set once, at a cost of next to nothing while it is not: the flag is shared by every
/// connection, so its lock must not be taken for every request.
pub(super) struct Stop {
    flag: watch::Receiver<bool>,
    change: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    parked: Option<Waker>,
    fired: bool,
}

impl Stop {
    /// A sender that has gone away wishes for the end, too.
    pub(super) fn new(mut flag: watch::Receiver<bool>) -> Self {
        let fired = *flag.borrow_and_update();
        Self { flag, change: None, parked: None, fired }
    }

    /// Whether the connection shall end.
    pub(super) fn requested(&self) -> bool {
        self.fired
            || match self.flag.has_changed() {
                Ok(false) => false,
                Ok(true) => *self.flag.borrow(),
                Err(_) => true,
            }
    }

    /// Ready when the connection shall end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.requested() {
            self.fired = true;
            return Poll::Ready(());
        }
        // A waker that waits is let go only after a change has been counted. None has been, so ours still waits.
        let parked = self.parked.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if parked && matches!(self.flag.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        let change = self.change.get_or_insert_with(|| Box::pin(set(self.flag.clone())));
        if change.as_mut().poll(cx).is_ready() {
            self.fired = true;
            self.change = None;
            return Poll::Ready(());
        }
        self.parked = Some(cx.waker().clone());
        Poll::Pending
    }
}

async fn set(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "#[tokio::test] builds a runtime of its own")]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn it_is_seen_whenever_it_is_set() {
        let (sender, receiver) = watch::channel(false);
        let mut before = Stop::new(receiver.clone());
        assert!(poll_fn(|cx| Poll::Ready(before.poll(cx))).await.is_pending());
        let waiting = tokio::spawn(async move { poll_fn(|cx| before.poll(cx)).await });
        tokio::task::yield_now().await;
        sender.send_replace(false);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        sender.send_replace(true);
        waiting.await.unwrap();
        assert!(Stop::new(receiver.clone()).requested());
    }

    #[tokio::test]
    async fn a_sender_that_is_gone_wishes_for_the_end() {
        let (sender, receiver) = watch::channel(false);
        let mut stop = Stop::new(receiver);
        assert!(!stop.requested());
        drop(sender);
        poll_fn(|cx| stop.poll(cx)).await;
    }
}
