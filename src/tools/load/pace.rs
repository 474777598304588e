//! When units of work begin.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::timer::Timer;
use crate::clock::Clock;

/// When units of work begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each lane begins a unit when its last one has ended: a slow server gets less to do.
    Closed,
    /// So many begin each second, whatever the server does; latency counts from the moment a unit was due.
    Open(f64),
}

/// The units of a run in their order, dealt out to all threads.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    ramp: Duration,
    duration: Option<Duration>,
    most: Option<u64>,
    clock: Clock,
    begin: OnceLock<Instant>,
    dealt: AtomicU64,
}

impl Schedule {
    pub(super) fn new(pace: Pace, ramp: Duration, limits: (Option<Duration>, Option<u64>), clock: Clock) -> Self {
        let (duration, most) = limits;
        Self { pace, ramp, duration, most, clock, begin: OnceLock::new(), dealt: AtomicU64::new(0) }
    }

    /// When the first unit was due: the first call says so.
    pub(super) fn begin(&self) -> Instant {
        *self.begin.get_or_init(|| self.clock.now())
    }

    /// The same, if it has begun.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.begin.get().copied()
    }

    /// When the last unit may begin.
    pub(super) fn end(&self) -> Option<Instant> {
        Some(self.begin() + self.duration?)
    }

    /// Units that were due before the end (or before `until`, if that was earlier) and did not begin.
    pub(super) fn missed(&self, until: Instant) -> u64 {
        let (Pace::Open(rate), Some(begin)) = (self.pace, self.begun()) else { return 0 };
        let ran = until.saturating_duration_since(begin);
        let ran = self.duration.map_or(ran, |duration| duration.min(ran));
        let due = due_until(rate, self.ramp, ran);
        let due = self.most.map_or(due, |most| most.min(due));
        due.saturating_sub(self.dealt.load(Ordering::Relaxed))
    }

    /// The next unit: when it is due. `None`: there are no more.
    fn deal(&self) -> Option<Instant> {
        let number = self.dealt.fetch_add(1, Ordering::Relaxed);
        let due = self.due(number);
        if due.is_none() {
            // Given back, so that what was dealt is what began.
            self.dealt.fetch_sub(1, Ordering::Relaxed);
        }
        due
    }

    fn due(&self, number: u64) -> Option<Instant> {
        if self.most.is_some_and(|most| number >= most) {
            return None;
        }
        let now = self.clock.now();
        let due = match self.pace {
            Pace::Closed => now,
            Pace::Open(rate) => self.begin() + due_after(rate, self.ramp, number),
        };
        let end = self.end();
        (end.is_none_or(|end| due < end && now < end)).then_some(due)
    }
}

/// One thread's way to its share of the schedule.
#[derive(Debug)]
pub(super) struct Pacer {
    schedule: std::sync::Arc<Schedule>,
    // Fair: who asked first waits for what is due first, and one timer is enough for all lanes.
    timer: Mutex<Timer>,
}

impl Pacer {
    pub(super) fn new(schedule: std::sync::Arc<Schedule>) -> Self {
        Self { schedule, timer: Mutex::new(Timer::new()) }
    }

    /// Waits until the next unit is due and says when that was; `None`: there are no more.
    pub(super) async fn next(&self) -> Option<Instant> {
        if self.schedule.pace == Pace::Closed {
            return self.schedule.deal();
        }
        let mut timer = self.timer.lock().await;
        let due = self.schedule.deal()?;
        timer.wait(due.saturating_duration_since(self.schedule.clock.now())).await;
        Some(due)
    }
}

/// When unit `number` (from 0) of a rate that grows evenly from nothing during `ramp` is due: the inverse of
/// [`due_until`].
fn due_after(rate: f64, ramp: Duration, number: u64) -> Duration {
    let (number, ramp) = (float(number), ramp.as_secs_f64());
    let ramped = rate * ramp / 2.0;
    let seconds = if number < ramped { (2.0 * number * ramp / rate).sqrt() } else { ramp + (number - ramped) / rate };
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
}

/// How many units are due within `time`.
fn due_until(rate: f64, ramp: Duration, time: Duration) -> u64 {
    let (time, ramp) = (time.as_secs_f64(), ramp.as_secs_f64());
    let units = if time < ramp { rate * time * time / (2.0 * ramp) } else { rate * (time - ramp / 2.0) };
    whole(units.ceil())
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "2^53 units are more than any run has")]
const fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what is wanted"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "each test has its own runtime")]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(pace: Pace, limits: (Option<Duration>, Option<u64>), clock: &Clock) -> Arc<Schedule> {
        Arc::new(Schedule::new(pace, Duration::ZERO, limits, clock.clone()))
    }

    #[test]
    fn a_rate_deals_evenly_and_a_ramp_deals_ever_faster() {
        for (number, seconds) in [(0, 0.0), (1, 0.1), (10, 1.0), (25, 2.5)] {
            assert!((due_after(10.0, Duration::ZERO, number).as_secs_f64() - seconds).abs() < 1e-9, "{number}");
        }
        // Half of the units of a steady rate fit into the ramp: five of its ten in one second.
        for (number, seconds) in [(0, 0.0), (5, 1.0), (15, 2.0), (25, 3.0)] {
            assert!((due_after(10.0, SECOND, number).as_secs_f64() - seconds).abs() < 1e-9, "{number}");
        }
        for (ramp, time, units) in [(0, 2, 20), (1, 1, 5), (1, 2, 15), (4, 2, 5)] {
            assert_eq!(due_until(10.0, SECOND * ramp, SECOND * time), units, "{ramp} {time}");
        }
    }

    #[tokio::test]
    async fn no_unit_begins_after_the_end_and_no_more_than_were_asked_for() {
        let clock = Clock::adjustable();
        let closed = schedule(Pace::Closed, (Some(SECOND), Some(3)), &clock);
        let pacer = Pacer::new(Arc::clone(&closed));
        let begin = closed.begin();
        assert!(pacer.next().await.unwrap() >= begin);
        assert!(pacer.next().await.is_some());
        assert!(pacer.next().await.is_some());
        assert_eq!(pacer.next().await, None);

        let timed = schedule(Pace::Closed, (Some(SECOND), None), &clock);
        timed.begin();
        clock.advance(SECOND);
        assert_eq!(Pacer::new(timed).next().await, None);
    }

    #[tokio::test]
    async fn what_was_due_and_could_not_begin_is_dealt_late_or_counted_as_missed() {
        let clock = Clock::adjustable();
        let open = schedule(Pace::Open(1000.0), (Some(SECOND), None), &clock);
        let pacer = Pacer::new(Arc::clone(&open));
        let begin = open.begin();
        assert_eq!(pacer.next().await, Some(begin));
        clock.advance(SECOND / 2);
        // The second unit was due half a second ago, and says so.
        assert_eq!(pacer.next().await, Some(begin + Duration::from_millis(1)));
        clock.advance(SECOND / 2);
        assert_eq!(pacer.next().await, None);
        assert_eq!(open.missed(clock.now()), 998);
    }

    #[tokio::test]
    async fn a_unit_does_not_begin_before_it_is_due() {
        let clock = Clock::system();
        let open = schedule(Pace::Open(200.0), (None, Some(5)), &clock);
        let pacer = Pacer::new(Arc::clone(&open));
        let begin = open.begin();
        for number in 0..5 {
            let due = pacer.next().await.unwrap();
            assert_eq!(due, begin + Duration::from_millis(5) * number);
            assert!(clock.now() >= due);
        }
        assert_eq!(pacer.next().await, None);
        assert_eq!(open.missed(clock.now() + SECOND), 0);
    }
}
