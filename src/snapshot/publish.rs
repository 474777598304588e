//! The swap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Snapshot;

/// The current snapshot. Readers never wait, and hold what they took until they are done.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    changes: watch::Sender<()>,
    /// When the last [`REMEMBERED`] generations were published.
    times: Mutex<VecDeque<(u64, Instant)>>,
}

/// A connection is judged within a second of a change; nobody changes things so often in that.
const REMEMBERED: usize = 1024;

impl Published {
    /// Publishes the first snapshot.
    #[must_use]
    pub fn new(first: Snapshot, now: Instant) -> Self {
        let times = Mutex::new(VecDeque::from([(first.generation, now)]));
        Self { current: ArcSwap::from_pointee(first), changes: watch::Sender::new(()), times }
    }

    /// The snapshot for one unit of work: ask once, hold the answer.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// News of every snapshot after this call. Who subscribes before it takes the current
    /// snapshot misses none.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// When the first snapshot after `generation` was published, if there is one.
    #[must_use]
    pub fn first_after(&self, generation: u64) -> Option<Instant> {
        self.times.lock().iter().find(|(published, _)| *published > generation).map(|(_, at)| *at)
    }

    /// Swaps `next` in, and tells whoever waits for it: every live connection is to be judged anew.
    pub(super) fn publish(&self, next: Snapshot, now: Instant) {
        {
            let mut times = self.times.lock();
            times.push_back((next.generation, now));
            if times.len() > REMEMBERED {
                times.pop_front();
            }
        }
        self.current.store(Arc::new(next));
        self.changes.send_replace(());
    }
}
