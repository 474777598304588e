//! How slowly a client may send or take a body: a least rate, with a grace that is earned by moving bytes.
//!
//! A bound on silence alone lets a client hold a request for as long as it likes with a byte now and then. A bound
//! on the whole time of a body would cut honest large ones. So there is a purse of time: waiting for the client
//! spends it, every byte earns some, and it never holds more than the grace, so that nobody can save up.

use std::time::Duration;

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceSpec {
    /// Bytes a second of a request body; 0: any.
    pub request: u64,
    /// Bytes a second of a response body; 0: any.
    pub response: u64,
    /// How long a client may be slower than that.
    pub grace: Duration,
}

impl PaceSpec {
    /// Nothing is asked.
    pub const NONE: Self = Self { request: 0, response: 0, grace: Duration::ZERO };
}

/// The purse of one body, or of one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    rate: u64,
    grace: Duration,
    left: Duration,
}

impl Pace {
    /// With all of its grace; `rate` in bytes a second, 0: any.
    #[must_use]
    pub const fn new(rate: u64, grace: Duration) -> Self {
        Self { rate, grace, left: grace }
    }

    /// The client sent or took so many bytes.
    pub fn moved(&mut self, bytes: u64) {
        if self.left < self.grace && self.rate > 0 {
            let nanos = u128::from(bytes).saturating_mul(NANOS) / u128::from(self.rate);
            let earned = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.left = self.left.saturating_add(earned).min(self.grace);
        }
    }

    /// The client was waited for.
    pub fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// How much longer the client may be waited for; `None`: as long as it likes.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        (self.rate > 0).then_some(self.left)
    }

    /// What was asked, in words for the log.
    #[must_use]
    pub fn asked(&self) -> String {
        format!("less than {} bytes a second, and {:?} of grace used up", self.rate, self.grace)
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    /// How long a client lasts that moves `bytes` every `interval`; `None`: for an hour and more.
    fn lasts(rate: u64, bytes: u64, interval: Duration) -> Option<Duration> {
        let (mut pace, mut time) = (Pace::new(rate, GRACE), Duration::ZERO);
        while time < Duration::from_hours(1) {
            if pace.left().is_some_and(|left| left < interval) {
                return Some(time + pace.left().unwrap());
            }
            pace.waited(interval);
            pace.moved(bytes);
            time += interval;
        }
        None
    }

    #[test]
    fn a_client_below_the_rate_lasts_as_long_as_its_grace_and_what_it_earns() {
        let second = Duration::from_secs(1);
        assert_eq!(lasts(100, 0, second), Some(GRACE));
        // Half the rate: every second costs half a second.
        assert_eq!(lasts(100, 50, second), Some(Duration::from_millis(19_500)));
        assert_eq!(lasts(100, 100, second), None);
        assert_eq!(lasts(100, 1_000, GRACE), None);
        assert_eq!(lasts(0, 0, second), None);
    }

    #[test]
    fn nobody_saves_up() {
        let mut pace = Pace::new(100, GRACE);
        pace.moved(u64::MAX);
        pace.moved(u64::MAX);
        assert_eq!(pace.left(), Some(GRACE));
        pace.waited(GRACE);
        assert_eq!(pace.left(), Some(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn the_purse_is_never_more_than_its_grace(rate: u64, steps in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20)) {
            let mut pace = Pace::new(rate, GRACE);
            for (bytes, nanos) in steps {
                pace.moved(bytes);
                pace.waited(Duration::from_nanos(nanos));
                prop_assert!(pace.left().is_none_or(|left| left <= GRACE));
            }
        }
    }
}
