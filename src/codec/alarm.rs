//! One timer for all the deadlines of a connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is armed for the first deadline anybody waits for, and moved only if it rings too early or too late:
/// a busy connection has a new deadline for every request and touches the timer once in an idle timeout.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready when `deadline` has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// The time after `wait`.
pub fn after(wait: Duration) -> Instant {
    later(Instant::now(), wait)
}

/// `wait` after `since`.
pub fn later(since: Instant, wait: Duration) -> Instant {
    since.checked_add(wait).unwrap_or_else(|| since + FOREVER)
}

/// What a time too long for the clock becomes: longer than a process lives.
const FOREVER: Duration = Duration::from_hours(24 * 365);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "#[tokio::test] builds a runtime of its own")]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_that_is_asked_for_last() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx, at(60)))).await.is_pending());
        poll_fn(|cx| alarm.poll(cx, at(10))).await;
        assert_eq!(start.elapsed().as_secs(), 10);
        poll_fn(|cx| alarm.poll(cx, at(90))).await;
        assert_eq!(start.elapsed().as_secs(), 90);
        poll_fn(|cx| alarm.poll(cx, at(5))).await;
        assert_eq!(start.elapsed().as_secs(), 90);
    }

    #[test]
    fn a_wait_longer_than_the_clock_is_no_panic() {
        assert!(after(Duration::MAX) > Instant::now());
    }
}
