//! A timer that costs next to nothing while nothing is late.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that is set only when somebody has to wait, and kept for the next wait. A pooled
/// connection carries its alarm along: moving a timer that is already registered to a later time is
/// one atomic store, whereas a new one takes the lock of the timer wheel twice.
#[derive(Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Alarm {
    /// Something happened: the next wait starts anew.
    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }

    /// Ready when `after` has gone by since the first call after [`Self::disarm`] (or since the time
    /// given to [`Self::set`]).
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        if !self.armed {
            // A time beyond what the clock can count is never: nothing to wait for.
            let Some(at) = Instant::now().checked_add(after) else { return Poll::Pending };
            self.set(at);
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Arms the alarm for `at`.
    pub(super) fn set(&mut self, at: Instant) {
        self.armed = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "each #[tokio::test] builds its own runtime")]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn an_alarm_goes_off_after_the_time_and_again_after_it_was_disarmed() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        poll_fn(|cx| alarm.poll(cx, SHORT)).await;
        alarm.disarm();
        poll_fn(|cx| alarm.poll(cx, SHORT)).await;
        assert!(start.elapsed() >= SHORT * 2);
    }

    #[tokio::test]
    async fn a_time_that_no_clock_can_count_is_never() {
        let mut alarm = Alarm::default();
        poll_fn(|cx| {
            assert!(alarm.poll(cx, Duration::MAX).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}
