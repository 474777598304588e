//! A timer that keeps the time: tokio's knows milliseconds only, which would be most of the latency that is measured.

use std::time::Duration;

#[cfg(target_os = "linux")]
pub(super) use self::linux::Timer;
#[cfg(not(target_os = "linux"))]
pub(super) use self::other::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;

    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
    use rustix::time::{timerfd_create, timerfd_settime};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::Duration;

    /// timerfd_create(2): wakes the runtime as a socket would. Made when it is first needed.
    #[derive(Debug, Default)]
    pub(in super::super) struct Timer(Option<AsyncFd<OwnedFd>>);

    impl Timer {
        pub(in super::super) fn new() -> Self {
            Self::default()
        }

        /// Waits.
        pub(in super::super) async fn wait(&mut self, time: Duration) {
            if time.is_zero() {
                return;
            }
            if self.armed(time).await.is_none() {
                // No timer to be had: late is better than never.
                tokio::time::sleep(time).await;
            }
        }

        async fn armed(&mut self, time: Duration) -> Option<()> {
            if self.0.is_none() {
                let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
                let timer = timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
                #[expect(
                    deprecated,
                    reason = "unsound for types that lie about their descriptor, which OwnedFd does not"
                )]
                let registered = AsyncFd::with_interest(timer, Interest::READABLE);
                self.0 = registered.ok();
            }
            let timer = self.0.as_ref()?;
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec { tv_sec: i64::try_from(time.as_secs()).ok()?, tv_nsec: time.subsec_nanos().into() },
            };
            timerfd_settime(timer, TimerfdTimerFlags::empty(), &once).ok()?;
            loop {
                let mut ready = timer.readable().await.ok()?;
                let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0; 8])?));
                if let Ok(read) = read {
                    return read.ok().map(|_| ());
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::Duration;

    /// Tokio's, as precise as it is.
    #[derive(Debug)]
    pub(in super::super) struct Timer;

    impl Timer {
        pub(in super::super) fn new() -> Self {
            Self
        }

        /// Waits.
        pub(in super::super) async fn wait(&mut self, time: Duration) {
            tokio::time::sleep(time).await;
        }
    }
}
