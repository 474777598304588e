//! The swap.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Snapshot;

/// The current snapshot. Readers never wait, and hold what they took until they are done.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    /// When the current one was published.
    changes: watch::Sender<Instant>,
}

impl Published {
    /// Publishes the first snapshot.
    #[must_use]
    pub fn new(first: Snapshot, now: Instant) -> Self {
        Self { current: ArcSwap::from_pointee(first), changes: watch::Sender::new(now) }
    }

    /// The snapshot for one unit of work: ask once, hold the answer.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// News of every snapshot after this call. Who subscribes before it takes the current
    /// snapshot misses none.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Instant> {
        self.changes.subscribe()
    }

    /// Swaps `next` in, and wakes whoever waits for it: every live connection judges itself anew.
    pub(super) fn publish(&self, next: Snapshot, now: Instant) {
        self.current.store(Arc::new(next));
        self.changes.send_replace(now);
    }
}
