//! In which order the live connections of a seat hear of a change.
//!
//! To wake ten thousand tasks at once keeps every request of their thread waiting behind them. So connections stand in
//! lots of a few, and one lot is told of a change at a time: the next is told when everything that was ready to run
//! has run. A round is spread over half a second, if the thread has time for that, and over somewhat more if it has
//! not; that everybody has been told in time comes before that nobody waits.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// Connections of a lot: they are judged, and some of them cut, between two turns of everybody else. A cut costs about
/// 0.05 ms, most of it in the kernel.
const SIZE: u32 = 8;

/// How long a round takes at the least, for each connection. Few connections are told at once.
const EACH: Duration = Duration::from_micros(50);

/// How long a round takes at the least, for however many.
const LONGEST: Duration = Duration::from_millis(500);

/// How much longer it may take on a thread that has no time; then lots are told together. Of the second that is
/// promised, what is left is for the farewells.
const SLACK: Duration = Duration::from_millis(200);

/// How many lots are told together then: between two turns of everybody else, however late it is.
const TOGETHER: u32 = 32;

/// The connections of one seat. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Arc<Mutex<Lots>>);

#[derive(Debug, Default)]
struct Lots {
    /// They stay when their members go, for others to come: as many as were needed at once.
    all: Vec<Lot>,
    /// Those that have room.
    open: Vec<usize>,
    /// Members of all.
    members: u32,
    /// Counts the changes that the rounds have heard of.
    changes: u64,
    /// Which is looked at next. A round begins where the one before has ended, or has been overtaken by a change.
    hand: usize,
}

#[derive(Debug)]
struct Lot {
    bell: Arc<Bell>,
    members: u32,
    /// The last change that it was told of.
    told: u64,
}

/// A sixth of what a `watch` takes, and there is one for every few connections.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicU64,
    rings: Notify,
}

impl Bell {
    fn ring(&self) {
        self.rung.fetch_add(1, Ordering::Release);
        self.rings.notify_waiters();
    }
}

/// News that a connection has not heard yet.
#[derive(Clone, Debug)]
pub(super) struct News {
    bell: Arc<Bell>,
    heard: u64,
}

impl News {
    /// Resolves when there is some; at once, if there has been some since it last did.
    pub(super) async fn changed(&mut self) {
        loop {
            let mut rings = pin!(self.bell.rings.notified());
            // First listen, then look: what comes in between is heard.
            rings.as_mut().enable();
            let rung = self.bell.rung.load(Ordering::Acquire);
            if std::mem::replace(&mut self.heard, rung) != rung {
                return;
            }
            rings.await;
        }
    }
}

/// A connection's place in a lot. Who takes one *before* it takes the current snapshot hears of every change after
/// that snapshot.
#[derive(Debug)]
pub(super) struct Place {
    rounds: Rounds,
    lot: usize,
    news: News,
}

impl Place {
    /// News of every change after the place was taken.
    pub(super) fn news(&self) -> News {
        self.news.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rounds.0.lock().leave(self.lot);
    }
}

impl Rounds {
    /// Takes a place.
    pub(super) fn join(&self) -> Place {
        let (lot, news) = self.0.lock().join();
        Place { rounds: self.clone(), lot, news }
    }

    /// Goes round at every change, for as long as the seat serves.
    pub(super) async fn run(&self, mut changes: watch::Receiver<()>) {
        // The sender lives as long as the process.
        while changes.changed().await.is_ok() {
            let mut pace = Pace::begin(self.change());
            let mut together = 0;
            while let Some(lot) = self.next() {
                lot.ring();
                pace.told();
                if changes.has_changed().unwrap_or(false) {
                    changes.mark_unchanged();
                    // Those who were told already are told again, behind those who were not.
                    pace.follow(self.change());
                }
                together += 1;
                if pace.is_late() && together < TOGETHER {
                    continue;
                }
                together = 0;
                // Behind everything that is ready to run now, the lot included.
                tokio::task::yield_now().await;
                pace.wait().await;
            }
        }
    }

    /// Everybody has to hear of a change: how many in how many lots they are.
    fn change(&self) -> (u32, usize) {
        let mut lots = self.0.lock();
        lots.changes = lots.changes.saturating_add(1);
        (lots.members, lots.all.len())
    }

    /// Who is to be told next; nobody, if all have been told.
    fn next(&self) -> Option<Arc<Bell>> {
        self.0.lock().next()
    }
}

impl Lots {
    fn join(&mut self) -> (usize, News) {
        let open = self.open.last().copied();
        let (at, lot) = if let Some(open) = open.and_then(|at| Some((at, self.all.get_mut(at)?))) {
            open
        } else {
            let at = self.all.len();
            self.open.push(at);
            (at, self.all.push_mut(Lot { bell: Arc::default(), members: 0, told: self.changes }))
        };
        lot.members = lot.members.saturating_add(1);
        let full = lot.members >= SIZE;
        let news = News { bell: Arc::clone(&lot.bell), heard: lot.bell.rung.load(Ordering::Acquire) };
        if full {
            self.open.pop();
        }
        self.members = self.members.saturating_add(1);
        (at, news)
    }

    fn leave(&mut self, at: usize) {
        let Some(lot) = self.all.get_mut(at) else { return };
        if lot.members >= SIZE {
            self.open.push(at);
        }
        lot.members = lot.members.saturating_sub(1);
        self.members = self.members.saturating_sub(1);
    }

    fn next(&mut self) -> Option<Arc<Bell>> {
        for _ in 0..self.all.len() {
            let at = if self.hand < self.all.len() { self.hand } else { 0 };
            self.hand = at.saturating_add(1);
            let lot = self.all.get_mut(at)?;
            let told = std::mem::replace(&mut lot.told, self.changes);
            if told != self.changes && lot.members > 0 {
                return Some(Arc::clone(&lot.bell));
            }
        }
        None
    }
}

/// How fast a round goes.
#[derive(Debug)]
struct Pace {
    /// When the next lot is to be told, at the earliest.
    due: Instant,
    /// From one lot to the next.
    step: Duration,
}

impl Pace {
    fn begin(size: (u32, usize)) -> Self {
        Self { due: Instant::now(), step: step(size) }
    }

    /// Another change, while the round is under way. What it owes it still owes.
    fn follow(&mut self, size: (u32, usize)) {
        self.step = step(size);
    }

    fn told(&mut self) {
        self.due += self.step;
    }

    fn is_late(&self) -> bool {
        self.due + SLACK < Instant::now()
    }

    async fn wait(&self) {
        if Instant::now() < self.due {
            sleep_until(self.due).await;
        }
    }
}

fn step((members, lots): (u32, usize)) -> Duration {
    EACH.saturating_mul(members).min(LONGEST) / u32::try_from(lots).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
