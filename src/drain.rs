//! The end in order: stop accepting, finish what is in flight, and know when nothing is.

use tokio::sync::watch;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Serving,
    /// No new connections; requests in flight are finished.
    Draining,
}

/// Starts the drain and waits for its end. Clones share it.
#[derive(Clone, Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    /// Every [`Busy`] holds a receiver; when none is left, everything has ended.
    busy: watch::Sender<()>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving), busy: watch::Sender::new(()) }
    }
}

/// Held by whatever must be waited for.
#[derive(Debug)]
pub struct Busy(#[expect(dead_code, reason = "held for its Drop")] watch::Receiver<()>);

impl Drain {
    /// Begins the drain; again is no harm.
    pub fn start(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// Where the process is now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// News of the phase.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Resolves once the drain has begun.
    pub async fn started(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
    }

    /// A guard that the drain waits for.
    #[must_use]
    pub fn busy(&self) -> Busy {
        Busy(self.busy.subscribe())
    }

    /// Resolves once the drain has begun and no guard is left.
    pub async fn finished_after_start(&self) {
        self.started().await;
        self.finished().await;
    }

    /// Resolves once no guard is left.
    pub async fn finished(&self) {
        self.busy.closed().await;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "each test has a runtime of its own")]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_drain_ends_when_the_last_guard_is_gone() {
        let drain = Drain::default();
        let (one, two) = (drain.busy(), drain.busy());
        assert_eq!(drain.phase(), Phase::Serving);
        assert!(drain.started().now_or_never().is_none());
        drain.start();
        drain.started().await;
        drop(one);
        assert!(drain.finished().now_or_never().is_none());
        drop(two);
        drain.finished().await;
    }

    #[tokio::test]
    async fn an_idle_drain_ends_at_once() {
        let drain = Drain::default();
        drain.start();
        drain.finished().await;
    }
}
