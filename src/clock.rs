//! Time as a parameter: one clock feeds TLS, limits and records, so a test can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic and the wall clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// How far a test has moved the clock forward, in milliseconds; `None` outside tests.
    ahead: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that starts at the system's time and can be [moved forward](Self::advance).
    #[must_use]
    pub fn adjustable() -> Self {
        Self { ahead: Some(Arc::default()) }
    }

    /// Moves an adjustable clock (and all its clones) forward; the system's clock stays.
    pub fn advance(&self, by: Duration) {
        if let Some(ahead) = &self.ahead {
            let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            ahead.fetch_add(millis, Ordering::Relaxed);
        }
    }

    /// Monotonic time.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now() + self.ahead()
    }

    /// Wall-clock time since the Unix epoch.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    #[must_use]
    pub fn unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.ahead()
    }

    fn ahead(&self) -> Duration {
        self.ahead.as_ref().map_or(Duration::ZERO, |ms| Duration::from_millis(ms.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adjustable_clock_moves_both_times_in_every_clone() {
        let clock = Clock::adjustable();
        let clone = clock.clone();
        let (before, wall) = (clock.now(), clock.unix());
        clone.advance(Duration::from_hours(1));
        assert!(clock.now() - before >= Duration::from_hours(1));
        assert!(clock.unix().saturating_sub(wall) >= Duration::from_hours(1));
    }
}
