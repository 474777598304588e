//! The generic cell rate algorithm over a bounded table: what limits and permits have in common.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::Clock as GovernorClock;
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::{NotUntil, Quota, RateLimiter};

use super::spec::Rate;
use super::store::{KeyHash, Store};
use crate::clock::Clock;

/// What a limit says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request fits and has been counted.
    Allowed {
        /// How many more may come at this moment.
        remaining: u32,
        /// When the whole burst is there again, if nothing else comes; up to one request's spacing too long.
        reset: Duration,
    },
    /// The request does not fit and has not been counted.
    Exhausted {
        /// When the next one fits.
        retry_after: Duration,
    },
}

/// A rate and a burst, for whatever the keys stand for.
#[derive(Debug)]
pub(super) struct Gcra {
    limiter: RateLimiter<KeyHash, Store, Monotonic, StateInformationMiddleware>,
    pub(super) store: Store,
    cell: Duration,
    burst: u32,
}

impl Gcra {
    pub(super) fn new(rate: Rate, burst: u32, max_keys: usize, clock: &Clock) -> Self {
        let cell = (rate.per / rate.count.get()).clamp(Duration::from_nanos(1), LONGEST);
        let most = u32::try_from(LONGEST.as_nanos() / cell.as_nanos()).unwrap_or(u32::MAX);
        let burst = burst.clamp(1, most);
        let store = Store::new(max_keys, cell.into(), burst);
        Self {
            limiter: RateLimiter::new(quota(cell, burst), store.clone(), Monotonic(clock.clone())),
            store,
            cell,
            burst,
        }
    }

    pub(super) fn check(&self, key: KeyHash) -> Outcome {
        match self.limiter.check_key(&key) {
            Ok(state) => self.allowed(&state),
            Err(until) => self.exhausted(&until),
        }
    }

    fn allowed(&self, state: &StateSnapshot) -> Outcome {
        let remaining = state.remaining_burst_capacity().min(self.burst);
        Outcome::Allowed { remaining, reset: self.cell.saturating_mul(self.burst - remaining) }
    }

    fn exhausted(&self, until: &NotUntil<Instant>) -> Outcome {
        Outcome::Exhausted { retry_after: until.wait_time_from(self.limiter.clock().now()) }
    }
}

fn quota(cell: Duration, burst: u32) -> Quota {
    // Neither is zero after the clamps above; if it were, one at a time and one a second is the careful answer.
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(cell).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

/// The gate's clock, as the limiter wants it.
#[derive(Debug)]
struct Monotonic(Clock);

impl GovernorClock for Monotonic {
    type Instant = Instant;

    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// The longest debt there can be. The limiter counts nanoseconds in 64 bits (584 years) and multiplies them
/// without looking; ten years for a whole burst leave room for any uptime.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);
