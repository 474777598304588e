//! Whose turn it is to begin a handshake, when a thread has more to do than it can.
//!
//! A full handshake costs about 0.3 ms of processor time. A thread that begins every one it is asked for, begins more
//! than it can end, and all of them are late together. So newcomers begin in turns: a turn is over when everything
//! that was ready to run has run, be it the second half of another handshake or a request, and only then the next few
//! may begin. The others wait, in order and not for long; whoever finds too many waiting already is refused at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::reject::{Reason, Reject};

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnBounds {
    /// Newcomers that may wait.
    pub waiting: u32,
    /// How long each may.
    pub wait: Duration,
}

/// The turns of one seat. Clones are the same.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Somebody has begun, or waits.
    news: Notify,
    batch: u32,
}

#[derive(Debug)]
struct State {
    /// How many may still begin in this turn.
    left: u32,
    waiting: VecDeque<oneshot::Sender<()>>,
}

impl Turns {
    /// For a seat with so many threads.
    #[must_use]
    pub fn new(threads: u32) -> Self {
        let batch = BATCH.saturating_mul(threads.max(1));
        let state = Mutex::new(State { left: batch, waiting: VecDeque::new() });
        Self(Arc::new(Shared { state, news: Notify::new(), batch }))
    }

    /// Waits until a handshake may begin; at once, unless the thread is busy.
    ///
    /// # Errors
    /// [`Reason::HandshakesWaiting`] if too many wait already, or the wait was too long.
    pub async fn take(&self, bounds: TurnBounds) -> Result<(), Reject> {
        let Some(mine) = self.ask(bounds)? else { return Ok(()) };
        match timeout(bounds.wait, mine).await {
            Ok(Ok(())) => Ok(()),
            // The sender goes unused only if the seat has ended.
            Ok(Err(_)) | Err(_) => {
                Err(Reject::new(Reason::HandshakesWaiting, format!("no turn within {:?}", bounds.wait)))
            }
        }
    }

    /// Whether a newcomer would be refused: nothing needs to be read from it to know.
    #[must_use]
    pub fn is_full(&self, bounds: TurnBounds) -> bool {
        let state = self.0.state.lock();
        state.left == 0 && full(&state, bounds)
    }

    /// Newcomers that wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.state.lock().waiting.len()
    }

    /// Ends one turn after the other, for as long as the seat serves.
    pub async fn run(&self) {
        loop {
            self.0.news.notified().await;
            loop {
                // Behind everything that is ready to run now.
                tokio::task::yield_now().await;
                if self.next_turn() == Next::Quiet {
                    break;
                }
            }
        }
    }

    fn ask(&self, bounds: TurnBounds) -> Result<Option<oneshot::Receiver<()>>, Reject> {
        let mut state = self.0.state.lock();
        let asked = if state.left > 0 {
            state.left -= 1;
            None
        } else if full(&state, bounds) {
            return Err(Reject::new(Reason::HandshakesWaiting, "as many wait as may"));
        } else {
            let (tell, mine) = oneshot::channel();
            state.waiting.push_back(tell);
            Some(mine)
        };
        drop(state);
        self.0.news.notify_one();
        Ok(asked)
    }

    fn next_turn(&self) -> Next {
        let mut state = self.0.state.lock();
        let quiet = state.left == self.0.batch;
        state.left = self.0.batch;
        while state.left > 0 {
            let Some(first) = state.waiting.pop_front() else { break };
            // Whoever has stopped waiting leaves its place to the next.
            if first.send(()).is_ok() {
                state.left -= 1;
            }
        }
        if quiet && state.left == self.0.batch { Next::Quiet } else { Next::Busy }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Busy,
    /// Nobody has begun since the last turn, and nobody waits.
    Quiet,
}

fn full(state: &State, bounds: TurnBounds) -> bool {
    u32::try_from(state.waiting.len()).unwrap_or(u32::MAX) >= bounds.waiting
}

/// How many begin in one turn of a thread: 5 ms of work, which is what a request then waits at most, and enough that
/// the turns themselves cost nothing.
const BATCH: u32 = 16;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "#[tokio::test] builds a runtime of its own")]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    const BOUNDS: TurnBounds = TurnBounds { waiting: 20, wait: Duration::from_secs(1) };

    #[tokio::test]
    async fn a_quiet_thread_begins_at_once_and_a_busy_one_in_turns() {
        let turns = Turns::new(1);
        for _ in 0..BATCH {
            turns.take(BOUNDS).now_or_never().expect("at once").unwrap();
        }
        let mut next = Box::pin(turns.take(BOUNDS));
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(turns.waiting(), 1);
        assert_eq!(turns.next_turn(), Next::Busy);
        next.now_or_never().expect("its turn").unwrap();
        assert_eq!(turns.next_turn(), Next::Busy);
        assert_eq!(turns.next_turn(), Next::Quiet);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_are_refused_at_once_and_nobody_waits_for_long() {
        let turns = Turns::new(1);
        let begun: Vec<_> = (0..BATCH).map(|_| turns.take(BOUNDS).now_or_never().unwrap()).collect();
        assert!(begun.iter().all(Result::is_ok));
        let mut waiting: Vec<_> = (0..BOUNDS.waiting).map(|_| Box::pin(turns.take(BOUNDS))).collect();
        assert!(!turns.is_full(BOUNDS));
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        assert!(turns.is_full(BOUNDS));
        let refused = turns.take(BOUNDS).now_or_never().expect("at once").unwrap_err();
        assert_eq!(refused.reason, Reason::HandshakesWaiting);
        // In order: the first sixteen have their turn, the others run out of time.
        turns.next_turn();
        let outcomes: Vec<_> = join_all(waiting).await.into_iter().map(|outcome| outcome.is_ok()).collect();
        assert_eq!(outcomes, [vec![true; 16], vec![false; 4]].concat());
        turns.next_turn();
        assert_eq!(turns.waiting(), 0, "those who have gone take no turn");
    }

    #[tokio::test]
    async fn everybody_has_a_turn_while_they_run() {
        let turns = Turns::new(1);
        let running = turns.clone();
        let pump = tokio::spawn(async move { running.run().await });
        let bounds = TurnBounds { waiting: 1_000, ..BOUNDS };
        for outcome in join_all((0..1_000).map(|_| turns.take(bounds))).await {
            outcome.unwrap();
        }
        assert_eq!(turns.waiting(), 0);
        pump.abort();
    }

    #[tokio::test]
    async fn no_bound_is_no_waiting() {
        let turns = Turns::new(1);
        let none = TurnBounds { waiting: 0, ..BOUNDS };
        let passed = (0..100).filter(|_| turns.take(none).now_or_never().is_some_and(|turn| turn.is_ok())).count();
        assert_eq!(passed, usize::try_from(BATCH).unwrap());
    }
}
