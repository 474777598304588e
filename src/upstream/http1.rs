//! HTTP/1.1 connections and where they rest between two requests.

use std::collections::VecDeque;

use hyper::client::conn::http1::SendRequest;

use super::alarm::Alarm;
use super::upload::Upload;

/// A connection that one request at a time may use.
pub(super) struct Http1 {
    pub(super) sender: SendRequest<Upload>,
    pub(super) alarm: Alarm,
}

/// The resting connections of one worker with one server: the youngest is used first, so that what a
/// quiet hour does not need grows old and goes.
#[derive(Default)]
pub(super) struct Idle {
    /// The oldest in front; each with the time (of the server's watch) since when it rests.
    resting: VecDeque<(u64, Http1)>,
}

impl Http1 {
    pub(super) fn new(sender: SendRequest<Upload>) -> Self {
        Self { sender, alarm: Alarm::default() }
    }
}

impl Idle {
    /// Takes a connection that is ready for a request.
    ///
    /// A connection comes to rest as soon as the end of its response was read. Its task knows of that
    /// end before the reader does, but on another thread it may still be about to say that it is ready:
    /// such a one is passed over and not lost.
    pub(super) fn take(&mut self, oldest: u64) -> Option<Http1> {
        self.drop_older(oldest);
        while let Some(at) =
            self.resting.iter().rposition(|(_, http1)| http1.sender.is_ready() || http1.sender.is_closed())
        {
            let (_, http1) = self.resting.remove(at)?;
            if http1.sender.is_ready() {
                return Some(http1);
            }
        }
        None
    }

    /// Lays a connection to rest; the oldest has to go when there would be more than `most`.
    pub(super) fn put(&mut self, http1: Http1, now: u64, most: usize) {
        if http1.sender.is_closed() || most == 0 {
            return;
        }
        if self.resting.len() >= most {
            self.resting.pop_front();
        }
        self.resting.push_back((now, http1));
    }

    /// Closes what has rested since before `oldest`, or was closed by the server; whether any is left.
    pub(super) fn prune(&mut self, oldest: u64) -> bool {
        self.drop_older(oldest);
        self.resting.retain(|(_, http1)| !http1.sender.is_closed());
        !self.resting.is_empty()
    }

    fn drop_older(&mut self, oldest: u64) {
        while self.resting.front().is_some_and(|(since, _)| *since < oldest) {
            self.resting.pop_front();
        }
    }
}
