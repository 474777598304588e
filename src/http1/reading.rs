//! How fast the client reads: whether it takes anything at all, and whether it takes enough.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::settings::Settings;
use crate::codec::{Alarm, later};
use crate::message::pace::Pace;
use crate::reject::{Reason, Reject};

/// A client that takes what is written to it.
#[derive(Debug)]
pub(super) struct Reading {
    timeout: Duration,
    pace: Pace,
    /// What it had taken when it was last looked at.
    taken: u64,
    stalled: Option<Stalled>,
}

/// Something waits for the client.
#[derive(Clone, Copy, Debug)]
struct Stalled {
    /// Since when it takes nothing.
    silent: Instant,
    /// Until when its time is counted.
    counted: Instant,
}

impl Reading {
    pub(super) const fn new(settings: &Settings) -> Self {
        let pace = Pace::new(settings.pace.response, settings.pace.grace);
        Self { timeout: settings.write_timeout, pace, taken: 0, stalled: None }
    }

    /// It has taken so much since the beginning, and nothing waits for it.
    pub(super) fn goes_on(&mut self, taken: u64) {
        if let Some(stalled) = self.stalled.take() {
            self.pace.waited(stalled.counted.elapsed());
        }
        self.moved(taken);
    }

    /// It has taken so much since the beginning, and more waits for it. Ready with the reason when that has been so for
    /// too long.
    pub(super) fn poll_patience(&mut self, cx: &mut Context<'_>, taken: u64, alarm: &mut Alarm) -> Poll<Reject> {
        let now = Instant::now();
        let stalled = self.stalled.get_or_insert(Stalled { silent: now, counted: now });
        self.pace.waited(now.saturating_duration_since(stalled.counted));
        stalled.counted = now;
        if taken != self.taken {
            stalled.silent = now;
        }
        let silent = later(stalled.silent, self.timeout);
        self.moved(taken);
        match self.pace.left().map(|left| later(now, left)).filter(|slow| *slow < silent) {
            Some(slow) => alarm.poll(cx, slow).map(|()| Reject::new(Reason::ResponseTooSlow, self.pace.asked())),
            None => alarm.poll(cx, silent).map(|()| {
                let detail = format!("nothing taken for {:?}", self.timeout);
                Reject::new(Reason::WriteTimeout, detail)
            }),
        }
    }

    fn moved(&mut self, taken: u64) {
        self.pace.moved(taken.wrapping_sub(self.taken));
        self.taken = taken;
    }
}
