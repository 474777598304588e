//! Where connections rest between two requests.

use std::collections::VecDeque;

use super::Http1;

/// The resting connections of one worker with one server: the youngest is used first, so that what a
/// quiet hour does not need grows old and goes.
#[derive(Default)]
pub(in super::super) struct Idle {
    /// The oldest in front; each with the time (of the server's watch) since when it rests.
    resting: VecDeque<(u64, Box<Http1>)>,
}

impl Idle {
    /// Takes a connection that the server has left open and silent.
    pub(in super::super) fn take(&mut self, oldest: u64) -> Option<Box<Http1>> {
        self.drop_older(oldest);
        while let Some((_, mut http1)) = self.resting.pop_back() {
            if http1.is_quiet() {
                return Some(http1);
            }
        }
        None
    }

    /// Lays a connection to rest; the oldest has to go when there would be more than `most`.
    pub(in super::super) fn put(&mut self, http1: Box<Http1>, now: u64, most: usize) {
        if most == 0 {
            return;
        }
        if self.resting.len() >= most {
            self.close_oldest();
        }
        self.resting.push_back((now, http1));
    }

    /// Closes what has rested since before `oldest`, or was closed by the server; whether any is left.
    pub(in super::super) fn prune(&mut self, oldest: u64) -> bool {
        self.drop_older(oldest);
        self.resting.retain_mut(|(_, http1)| http1.is_quiet());
        !self.resting.is_empty()
    }

    fn drop_older(&mut self, oldest: u64) {
        while self.resting.front().is_some_and(|(since, _)| *since < oldest) {
            self.close_oldest();
        }
    }

    fn close_oldest(&mut self) {
        if let Some((_, http1)) = self.resting.pop_front() {
            http1.close();
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        while !self.resting.is_empty() {
            self.close_oldest();
        }
    }
}
