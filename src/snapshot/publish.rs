//! The swap.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Snapshot;

/// The current snapshot. Readers never wait, and hold what they took until they are done.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    news: watch::Sender<()>,
}

impl Published {
    /// Publishes the first snapshot.
    #[must_use]
    pub fn new(first: Snapshot) -> Self {
        Self { current: ArcSwap::from_pointee(first), news: watch::Sender::new(()) }
    }

    /// The snapshot for one unit of work: ask once, hold the answer.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Changes with every snapshot. Ask for it first and for [`current`](Self::current) then, and none is missed.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Swaps `next` in.
    pub(super) fn publish(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
        self.news.send_replace(());
    }
}
