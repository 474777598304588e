//! Which servers get requests, learned from the requests themselves.
//!
//! What counts as a failure: no connection, a failed TLS handshake, no answer in time, an answer that
//! is not HTTP or a connection closed in place of one. What does not: any status, 502 to 504
//! included. A status is an answer, so the server lives; and since a client may be able to provoke
//! one (a path whose own backend is down), counting it would let one client take a server away from
//! everybody. What the client broke off itself counts neither way, and neither does the end of a
//! connection that was used before (see `send`).
//!
//! When every server of a group is ejected, one request a second still goes to the one that was
//! ejected first. Otherwise a group of one server would be down for the whole of `eject_for` after a
//! restart of a second, and a whole group after a hiccup of the network between.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// Milliseconds since it was made; all the atomics below count in them.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    clock: Clock,
    start: Instant,
}

/// Why a server was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// To see whether an ejected server answers again.
    Probe,
    /// Its turn.
    Regular,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server gets no requests for a while: its pooled connections are suspect.
    Ejected,
    /// Nothing changed.
    Stays,
}

/// The health of one server, shared by all workers.
#[derive(Debug)]
pub(super) struct Health {
    /// Failures in a row that eject; 0 never.
    after: u32,
    /// Milliseconds of an ejection.
    span: u64,
    failures: AtomicU32,
    /// When the ejection ends; 0 while there is none.
    until: AtomicU64,
    /// Earliest time of the next probe. A probe is granted by moving it on, never given back: one
    /// that is broken off by its client only delays the next.
    probe: AtomicU64,
}

impl Watch {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), start: clock.now() }
    }

    /// Never 0, which stands for "never".
    pub(super) fn millis(&self) -> u64 {
        millis(self.clock.now().saturating_duration_since(self.start)).saturating_add(1)
    }
}

impl Health {
    pub(super) fn new(after: u32, span: Duration) -> Self {
        Self {
            after,
            span: millis(span),
            failures: AtomicU32::new(0),
            until: AtomicU64::new(0),
            probe: AtomicU64::new(0),
        }
    }

    /// When the ejection ends, if there is one. The end itself does not let requests in again: a
    /// probe that succeeds does.
    pub(super) fn ejected_until(&self) -> Option<u64> {
        match self.until.load(Relaxed) {
            0 => None,
            until => Some(until),
        }
    }

    /// Whether this request may go to an ejected server as a probe: one a second.
    pub(super) fn try_probe(&self, now: u64) -> bool {
        let due = self.probe.load(Relaxed);
        now >= due && self.probe.compare_exchange(due, now.saturating_add(PROBE_EVERY), Relaxed, Relaxed).is_ok()
    }

    /// How long until the next probe may go.
    pub(super) fn next_probe(&self, now: u64) -> Duration {
        Duration::from_millis(self.probe.load(Relaxed).saturating_sub(now))
    }

    /// The server answered. Only a probe ends an ejection: the late answer to a request from before it
    /// says nothing about now.
    pub(super) fn succeeded(&self, turn: Turn) {
        if turn == Turn::Probe {
            self.failures.store(0, Relaxed);
            self.until.store(0, Relaxed);
        } else if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// The server failed at `now`.
    pub(super) fn failed(&self, turn: Turn, now: u64) -> Verdict {
        if self.after == 0 {
            return Verdict::Stays;
        }
        let until = now.saturating_add(self.span).max(1);
        let ejects = match turn {
            Turn::Probe => {
                self.until.store(until, Relaxed);
                true
            }
            Turn::Regular => {
                let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
                failures >= self.after && self.until.compare_exchange(0, until, Relaxed, Relaxed).is_ok()
            }
        };
        if !ejects {
            return Verdict::Stays;
        }
        self.failures.store(0, Relaxed);
        self.probe.store(now.saturating_add(self.span.min(PROBE_EVERY)), Relaxed);
        Verdict::Ejected
    }
}

/// The servers that may be probed at `now`, given when the ejection of each ends: those whose
/// ejection is over, or, when all are ejected, the one that was ejected first. Pure.
pub(super) fn probe_candidates(ejected: &[Option<u64>], now: u64) -> impl Iterator<Item = usize> {
    let last_resort = ejected.iter().all(Option::is_some);
    let first = ejected.iter().enumerate().filter_map(|(at, until)| until.map(|until| (until, at))).min();
    let over = ejected.iter().enumerate().filter(move |(_, until)| until.is_some_and(|until| until <= now));
    over.map(|(at, _)| at).chain(first.filter(|(until, _)| last_resort && *until > now).map(|(_, at)| at))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds between two probes: what a client waits at most after a server has come back, and a
/// rate that hurts no server.
const PROBE_EVERY: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn ejected_at(now: u64) -> Health {
        let health = Health::new(2, Duration::from_secs(10));
        assert_eq!(health.failed(Turn::Regular, now), Verdict::Stays);
        assert_eq!(health.failed(Turn::Regular, now), Verdict::Ejected);
        health
    }

    #[test]
    fn failures_in_a_row_eject_and_an_answer_between_starts_the_count_anew() {
        let health = Health::new(2, Duration::from_secs(10));
        for now in 1..20 {
            assert_eq!(health.failed(Turn::Regular, now), Verdict::Stays);
            health.succeeded(Turn::Regular);
        }
        assert_eq!(health.ejected_until(), None);
        assert_eq!(ejected_at(5).ejected_until(), Some(10_005));
    }

    #[test]
    fn zero_never_ejects() {
        let health = Health::new(0, Duration::from_secs(10));
        (1..1_000).for_each(|now| assert_eq!(health.failed(Turn::Regular, now), Verdict::Stays));
        assert_eq!(health.ejected_until(), None);
    }

    #[test]
    fn failures_of_requests_that_were_on_their_way_do_not_prolong_an_ejection() {
        let health = ejected_at(5);
        (6..100).for_each(|now| assert_eq!(health.failed(Turn::Regular, now), Verdict::Stays));
        assert_eq!(health.ejected_until(), Some(10_005));
    }

    #[test]
    fn only_a_probe_ends_an_ejection_and_a_failed_one_starts_another() {
        let health = ejected_at(5);
        health.succeeded(Turn::Regular);
        assert!(health.ejected_until().is_some());
        assert_eq!(health.failed(Turn::Probe, 10_005), Verdict::Ejected);
        assert_eq!(health.ejected_until(), Some(20_005));
        health.succeeded(Turn::Probe);
        assert_eq!(health.ejected_until(), None);
    }

    #[test]
    fn one_probe_a_second_is_granted_and_the_first_only_after_a_second() {
        let health = ejected_at(5);
        let granted: Vec<u64> = (5..3_500).filter(|now| health.try_probe(*now)).collect();
        assert_eq!(granted, [1_005, 2_005, 3_005]);
    }

    #[test]
    fn probes_go_to_those_whose_time_is_over_or_else_to_the_one_ejected_first() {
        let candidates = |ejected: &[Option<u64>], now| probe_candidates(ejected, now).collect::<Vec<_>>();
        assert_eq!(candidates(&[None, Some(50)], 10), Vec::<usize>::new());
        assert_eq!(candidates(&[None, Some(50)], 50), [1]);
        assert_eq!(candidates(&[Some(70), Some(50), Some(60)], 10), [1]);
        assert_eq!(candidates(&[Some(70), Some(50), Some(60)], 65), [1, 2]);
        assert_eq!(candidates(&[], 65), Vec::<usize>::new());
    }
}
