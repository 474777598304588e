//! A run: threads, their lanes, and what comes of them.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Barrier, Semaphore, watch};
use tokio::task::JoinSet;

use super::connect::Dialing;
use super::lane::{Lane, Shared};
use super::outcome::Outcome;
use super::pace::{Pacer, Schedule};
use super::plan::Plan;
use super::stream::Wire;
use super::tally::Tally;
use super::{cpu, http1, http2};
use crate::clock::Clock;
use crate::runtime::{self, Flavor, Seat};

/// Why a run cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An anchor is no CA certificate.
    #[error("an anchor for the server's certificate is of no use: {0}")]
    Anchor(String),
    /// TLS without anchors trusts nobody.
    #[error("no anchor for the server's certificate: give --cacert")]
    NoAnchor,
    /// The target makes no request.
    #[error("no request can be made for this target: {0}")]
    Request(#[from] http::Error),
    /// No threads to be had.
    #[error("cannot start threads: {0}")]
    Threads(#[from] io::Error),
}

/// A run that goes on.
#[derive(Debug)]
pub struct Running {
    plan: Arc<Plan>,
    clock: Clock,
    schedule: Arc<Schedule>,
    seats: Vec<Arc<Share>>,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
}

/// What is true of a run right now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    /// Since all lanes were ready; `None` before.
    pub elapsed: Option<Duration>,
    /// Units that ended well.
    pub done: u64,
    /// Units that did not.
    pub failed: u64,
    /// Connections that are open.
    pub open: u64,
    /// Idle connections that are held.
    pub held: u64,
}

/// What one thread leaves behind.
#[derive(Debug)]
struct Share {
    tally: Arc<Mutex<Tally>>,
    wire: Arc<Wire>,
    cpu: Mutex<Option<Duration>>,
}

/// Starts a run.
///
/// # Errors
///
/// As [`StartError`] says; then nothing runs.
pub fn start(plan: Plan, clock: &Clock) -> Result<Running, StartError> {
    let threads = plan.threads.min(plan.connections);
    let plan = Arc::new(Plan { threads, ..plan });
    let limits = (plan.duration, plan.requests);
    let schedule = Arc::new(Schedule::new(plan.pace, plan.ramp, limits, clock.clone()));
    let shared = Arc::new(Shared {
        ready: Barrier::new(plan.connections.get().saturating_add(threads.get())),
        opening: Semaphore::new(OPENING),
        unreachable: AtomicBool::new(false),
        dialing: Arc::new(Dialing::new(Arc::clone(&plan), clock.clone())?),
        http1: http1::Prepared::new(&plan),
        http2: http2::Prepared::new(&plan)?,
        plan: Arc::clone(&plan),
        clock: clock.clone(),
        schedule: Arc::clone(&schedule),
    });
    let seats: Vec<_> = (0..threads.get()).map(|_| Arc::new(Share::new())).collect();
    let (stop, stopped) = watch::channel(false);
    let given = seats.clone();
    let workers = runtime::spawn(Flavor::ThreadPerCore, threads, move |Seat(number)| {
        work(given.get(number).cloned(), Arc::clone(&shared), stopped.clone(), (number, threads))
    })?;
    Ok(Running { plan, clock: clock.clone(), schedule, seats, stop, workers })
}

impl Running {
    /// How far it is.
    #[must_use]
    pub fn live(&self) -> Live {
        let elapsed = self.schedule.begun().map(|begin| self.clock.now().saturating_duration_since(begin));
        let mut live = Live { elapsed, ..Live::default() };
        for seat in &self.seats {
            let tally = seat.tally.lock();
            live.done += tally.done;
            live.failed += tally.failed;
            live.held += tally.held;
            live.open += seat.wire.open.load(Ordering::Relaxed);
        }
        live
    }

    /// Whether all of it is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Ends it now; what is in flight is not waited for.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for its end.
    #[must_use]
    pub fn join(self) -> Outcome {
        for worker in self.workers {
            // What a thread that is gone has counted is in its tally all the same.
            let _ = worker.join();
        }
        let ended = self.clock.now();
        let mut all = Tally::new();
        let (mut received, mut sent, mut cpu) = (0, 0, Some(Duration::ZERO));
        for seat in &self.seats {
            all.merge(&seat.tally.lock());
            received += seat.wire.received.load(Ordering::Relaxed);
            sent += seat.wire.sent.load(Ordering::Relaxed);
            cpu = cpu.zip(*seat.cpu.lock()).map(|(all, one)| all + one);
        }
        let begin = self.schedule.begun().unwrap_or(ended);
        let elapsed = all.last.unwrap_or(ended).saturating_duration_since(begin);
        let missed = self.schedule.missed(ended);
        Outcome::new(self.plan, &all, super::outcome::Frame { elapsed, missed, received, sent, cpu })
    }
}

impl Share {
    fn new() -> Self {
        Self { tally: Arc::new(Mutex::new(Tally::new())), wire: Arc::default(), cpu: Mutex::new(None) }
    }
}

/// One thread: its lanes, from the first connection to the last answer.
async fn work(
    share: Option<Arc<Share>>,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
    (number, threads): (usize, NonZeroUsize),
) {
    let Some(share) = share else { return };
    let pacer = Arc::new(Pacer::new(Arc::clone(&shared.schedule)));
    let mut lanes = JoinSet::new();
    for lane in (number..shared.plan.connections.get()).step_by(threads.get()) {
        lanes.spawn(Lane::new(&shared, &share.tally, &pacer, &share.wire, lane).run());
    }
    let before = Mutex::new(None);
    let all = async {
        shared.ready.wait().await;
        shared.schedule.begin();
        *before.lock() = cpu::of_this_thread();
        while lanes.join_next().await.is_some() {}
    };
    tokio::select! {
        () = all => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    let spent = cpu::of_this_thread().zip(*before.lock()).map(|(now, before)| now.saturating_sub(before));
    *share.cpu.lock() = spent;
}

/// Far below any server's backlog (the smallest in use is 128), so that no connection waits for a SYN sent again.
const OPENING: usize = 64;
