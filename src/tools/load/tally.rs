//! What one thread has counted and timed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::failure::Failure;

/// What one thread has counted and timed. All its lanes write to it; the progress line looks a few times a second.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// From when a unit was due to its end.
    pub(super) latency: Histogram<u64>,
    /// From the first byte of a request to the last one of the response.
    pub(super) service: Histogram<u64>,
    pub(super) connect: Histogram<u64>,
    pub(super) full: Histogram<u64>,
    pub(super) resumed: Histogram<u64>,
    pub(super) refused_handshakes: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) errors: BTreeMap<Failure, u64>,
    pub(super) body_received: u64,
    pub(super) body_sent: u64,
    /// Idle connections that were held, and that still answered at the end.
    pub(super) held: u64,
    pub(super) alive: u64,
    /// Units that ended well, and not, in each second.
    pub(super) seconds: Vec<(u64, u64)>,
    /// When the last unit ended well.
    pub(super) last: Option<Instant>,
}

/// A response, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Bytes of its body.
    pub(super) received: u64,
    /// Bytes of the request's body.
    pub(super) sent: u64,
}

/// The times of a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When the schedule begins.
    pub(super) begin: Instant,
    /// When the unit was due.
    pub(super) due: Instant,
    /// When its request was sent.
    pub(super) sent: Instant,
    /// When it ended.
    pub(super) end: Instant,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            latency: histogram(),
            service: histogram(),
            connect: histogram(),
            full: histogram(),
            resumed: histogram(),
            refused_handshakes: 0,
            done: 0,
            failed: 0,
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            body_received: 0,
            body_sent: 0,
            held: 0,
            alive: 0,
            seconds: Vec::new(),
            last: None,
        }
    }

    pub(super) fn connected(&mut self, took: Duration) {
        record(&mut self.connect, took);
    }

    pub(super) fn handshake(&mut self, took: Duration, resumed: bool) {
        record(if resumed { &mut self.resumed } else { &mut self.full }, took);
    }

    pub(super) const fn refused_handshake(&mut self) {
        self.refused_handshakes += 1;
    }

    /// A response came; `failure` says why that is no success.
    pub(super) fn reply(&mut self, reply: Reply, failure: Option<Failure>, times: &Times) {
        *self.statuses.entry(reply.status).or_default() += 1;
        self.body_received += reply.received;
        self.body_sent += reply.sent;
        record(&mut self.latency, times.end.duration_since(times.due));
        record(&mut self.service, times.end.duration_since(times.sent));
        match failure {
            None => {
                self.done += 1;
                self.last = Some(times.end);
                self.second(times).0 += 1;
            }
            Some(failure) => self.failure(failure, times),
        }
    }

    /// A unit failed.
    pub(super) fn failure(&mut self, failure: Failure, times: &Times) {
        self.failed += 1;
        *self.errors.entry(failure).or_default() += 1;
        self.second(times).1 += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, others) in [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.connect, &other.connect),
            (&mut self.full, &other.full),
            (&mut self.resumed, &other.resumed),
        ] {
            // They have the same bounds.
            let _ = mine.add(others);
        }
        self.refused_handshakes += other.refused_handshakes;
        self.done += other.done;
        self.failed += other.failed;
        self.body_received += other.body_received;
        self.body_sent += other.body_sent;
        self.held += other.held;
        self.alive += other.alive;
        self.last = self.last.max(other.last);
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (failure, count) in &other.errors {
            *self.errors.entry(failure.clone()).or_default() += count;
        }
        self.seconds.resize(self.seconds.len().max(other.seconds.len()), (0, 0));
        for (mine, others) in self.seconds.iter_mut().zip(&other.seconds) {
            *mine = (mine.0 + others.0, mine.1 + others.1);
        }
    }

    fn second(&mut self, times: &Times) -> &mut (u64, u64) {
        let number = usize::try_from(times.end.saturating_duration_since(times.begin).as_secs()).unwrap_or(usize::MAX);
        let number = number.min(MOST_SECONDS);
        if self.seconds.len() <= number {
            self.seconds.resize(number + 1, (0, 0));
        }
        #[expect(clippy::indexing_slicing, reason = "made long enough above")]
        &mut self.seconds[number]
    }
}

/// Nanoseconds, up to an hour, to three digits: 200 KiB when full.
fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constants that the crate accepts, as every test shows")]
    Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds")
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// An hour.
const LONGEST: u64 = 3_600_000_000_000;
/// A day; what comes later is counted there.
const MOST_SECONDS: usize = 24 * 3600;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    #[test]
    fn what_two_threads_saw_adds_up() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let times = |due, end| Times { begin, due: at(due), sent: at(due + 1), end: at(end) };
        let reply = |status| Reply { status, received: 10, sent: 1 };
        let (mut one, mut two) = (Tally::new(), Tally::new());
        one.reply(reply(200), None, &times(0, 10));
        two.reply(reply(503), Some(Failure::Status(503)), &times(1000, 1100));
        two.failure(Failure::Closed, &times(0, 2100));
        two.handshake(Duration::from_micros(5), true);
        one.merge(&two);
        assert_eq!((one.done, one.failed, one.body_received, one.body_sent), (1, 2, 20, 2));
        assert_eq!(one.seconds, [(1, 0), (0, 1), (0, 1)]);
        assert_eq!(one.statuses, BTreeMap::from([(200, 1), (503, 1)]));
        assert_eq!(one.errors, BTreeMap::from([(Failure::Status(503), 1), (Failure::Closed, 1)]));
        assert_eq!((one.latency.len(), one.service.len(), one.resumed.len(), one.full.len()), (2, 2, 1, 0));
        assert_eq!(one.last, Some(at(10)));
    }
}
