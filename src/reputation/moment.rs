//! The room's time: milliseconds since its state was made. Small enough to be kept by the million.

use std::time::Duration;

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// So long after the state was made.
    #[must_use]
    pub fn after(start: Duration) -> Self {
        Self(u64::try_from(start.as_millis()).unwrap_or(u64::MAX))
    }

    /// Milliseconds.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds; 136 years fit.
    #[must_use]
    pub fn secs(self) -> u32 {
        u32::try_from(self.0 / 1000).unwrap_or(u32::MAX)
    }
}

/// Whole seconds of a duration, as [`Moment::secs`] counts them.
pub(super) fn whole_secs(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
