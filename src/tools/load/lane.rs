//! The life of a lane: one connection at a time, unit after unit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::Reason;
use parking_lot::Mutex;
use tokio::sync::{Barrier, Semaphore};
use tokio::time::{sleep, timeout};

use super::connect::{Dialer, Dialing};
use super::failure::{Failure, Phase};
use super::pace::{Pace, Pacer, Schedule};
use super::plan::{Plan, Protocol, Work};
use super::stream::{Stream, Wire};
use super::tally::{Reply, Tally, Times};
use super::websocket::Socket;
use super::{http1, http2};
use crate::clock::Clock;

/// What all lanes of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) clock: Clock,
    pub(super) schedule: Arc<Schedule>,
    /// Where all lanes and threads wait until everybody is ready.
    pub(super) ready: Barrier,
    /// Lanes that connect at the same time before the start.
    pub(super) opening: Semaphore,
    /// One of them could not reach the server: the others need not wait for the same, one after the other.
    pub(super) unreachable: AtomicBool,
    pub(super) dialing: Arc<Dialing>,
    pub(super) http1: http1::Prepared,
    pub(super) http2: http2::Prepared,
}

/// One connection at a time.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) tally: Arc<Mutex<Tally>>,
    pacer: Arc<Pacer>,
    dialer: Dialer,
    pub(super) number: usize,
}

/// A connection that a request can be sent on.
#[derive(Debug)]
pub(super) enum Talk {
    Http1(http1::Connection),
    Http2(http2::Connection),
    WebSocket(Socket),
}

/// A unit that is to be done: when it was due, and how often a server has said that it did not look at it.
type Due = (Instant, u32);

impl Lane {
    pub(super) fn new(
        shared: &Arc<Shared>,
        tally: &Arc<Mutex<Tally>>,
        pacer: &Arc<Pacer>,
        wire: &Arc<Wire>,
        number: usize,
    ) -> Self {
        let dialer = Dialer::new(Arc::clone(&shared.dialing), Arc::clone(wire), Arc::clone(tally), number);
        Self { shared: Arc::clone(shared), tally: Arc::clone(tally), pacer: Arc::clone(pacer), dialer, number }
    }

    pub(super) async fn run(self) {
        match (self.shared.plan.work, self.shared.plan.protocol) {
            (Work::Idle(all), _) => Box::pin(self.idle(all.get())).await,
            (Work::NewConnection, _) => Box::pin(self.connections()).await,
            (Work::Requests, Protocol::Http1) | (Work::WebSocket(_), _) => Box::pin(self.requests()).await,
            (Work::Requests, Protocol::Http2) => Box::pin(self.streams()).await,
            (Work::Resume, _) => Box::pin(self.resumptions()).await,
        }
    }

    /// A connection, ready for requests.
    pub(super) async fn talk(&mut self) -> Result<Talk, Failure> {
        let stream = self.dialer.dial().await?;
        self.speak(stream).await
    }

    async fn speak(&self, stream: Stream) -> Result<Talk, Failure> {
        let plan = &self.shared.plan;
        let opening = async {
            Ok(match (plan.work, plan.protocol) {
                (Work::WebSocket(size), _) => Talk::WebSocket(Socket::open(stream, plan, size).await?),
                (_, Protocol::Http1) => Talk::Http1(http1::Connection::new(stream)),
                (_, Protocol::Http2) => Talk::Http2(http2::Connection::new(stream).await?),
            })
        };
        timeout(plan.timeout, opening).await.map_err(|_| Failure::Timeout(Phase::Request))?
    }

    /// Says goodbye, to whoever listens.
    async fn close(&self, talk: Talk) {
        let _ = timeout(self.shared.plan.timeout, talk.close()).await;
    }

    /// Waits for everybody, with the connection made if it can be: handshakes are no part of the requests that follow.
    async fn start(&mut self) -> Option<Talk> {
        if self.pace() == Pace::Closed && !self.shared.plan.ramp.is_zero() {
            self.everybody().await;
            self.stagger().await;
            return None;
        }
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed.
        let slot = shared.opening.acquire().await;
        // Whoever fails here tries again with the first unit, and that is told.
        let talk = if shared.unreachable.load(Ordering::Relaxed) { None } else { self.first().await };
        drop(slot);
        self.everybody().await;
        talk
    }

    async fn first(&mut self) -> Option<Talk> {
        let talk = self.talk().await;
        if talk.as_ref().is_err_and(Failure::is_unreachable) {
            self.shared.unreachable.store(true, Ordering::Relaxed);
        }
        talk.ok()
    }

    async fn everybody(&self) {
        self.shared.ready.wait().await;
        self.shared.schedule.begin();
    }

    /// In a closed loop lanes join one after the other during the ramp.
    async fn stagger(&self) {
        let plan = &self.shared.plan;
        if self.pace() == Pace::Closed {
            let share = u32::try_from(self.number).unwrap_or(u32::MAX);
            let all = u32::try_from(plan.connections.get()).unwrap_or(u32::MAX);
            sleep(plan.ramp.saturating_mul(share) / all).await;
        }
    }

    fn pace(&self) -> Pace {
        self.shared.plan.pace
    }

    /// Requests on a connection that is kept.
    async fn requests(mut self) {
        let mut talk = self.start().await;
        while let Some(due) = self.pacer.next().await {
            talk = match talk {
                Some(talk) => self.request(talk, due).await,
                None => match self.talk().await {
                    Ok(talk) => self.request(talk, due).await,
                    Err(failure) => self.failed(failure, due).await,
                },
            };
        }
        if let Some(talk) = talk {
            self.close(talk).await;
        }
    }

    /// A connection for each request.
    async fn connections(mut self) {
        self.everybody().await;
        self.stagger().await;
        while let Some(due) = self.pacer.next().await {
            let talk = match self.talk().await {
                Ok(talk) => self.request(talk, due).await,
                Err(failure) => self.failed(failure, due).await,
            };
            if let Some(talk) = talk {
                self.close(talk).await;
            }
        }
    }

    /// A resumed connection for each request.
    async fn resumptions(mut self) {
        // The first session to resume is not counted; if there is none, every unit will say so.
        if let Ok(talk) = self.talk().await {
            // What fails here fails again where it is counted.
            let _ = self.prime(talk).await;
        }
        self.everybody().await;
        self.stagger().await;
        while let Some(due) = self.pacer.next().await {
            let talk = match self.dialer.dial().await {
                Ok(stream) => (stream.is_resumed(), self.speak(stream).await),
                Err(failure) => (false, Err(failure)),
            };
            match talk {
                (true, Ok(talk)) => {
                    if let Some(talk) = self.request(talk, due).await {
                        self.close(talk).await;
                    }
                }
                (false, Ok(talk)) => {
                    // A client that is refused has no session either; then the refusal is what went wrong.
                    let failure = self.prime(talk).await.err().unwrap_or(Failure::NotResumed);
                    self.failed(failure, due).await;
                }
                (_, Err(failure)) => drop(self.failed(failure, due).await),
            }
        }
    }

    /// Fetches a session to resume: in TLS 1.3 it comes after the handshake (RFC 8446 §4.6.1).
    async fn prime(&self, mut talk: Talk) -> Result<(), Failure> {
        let exchange = timeout(self.shared.plan.timeout, talk.exchange(&self.shared)).await;
        exchange.map_err(|_| Failure::Timeout(Phase::Request))??;
        self.close(talk).await;
        Ok(())
    }

    /// Requests on as many streams of a connection as the plan says.
    async fn streams(mut self) {
        let mut connection = match self.start().await {
            Some(Talk::Http2(connection)) => Some(connection),
            _ => None,
        };
        let again: Mutex<Vec<Due>> = Mutex::default();
        loop {
            let established = if let Some(connection) = connection.take() {
                connection
            } else {
                let Some((due, tries)) = self.next(&again).await else { return };
                // A server that ends every connection in order would be asked forever.
                let talk = if tries < MOST_TRIES { self.talk().await } else { Err(Failure::Closed) };
                match talk {
                    Ok(Talk::Http2(connection)) => {
                        again.lock().push((due, tries + 1));
                        connection
                    }
                    Ok(Talk::Http1(_) | Talk::WebSocket(_)) => return,
                    Err(failure) => {
                        self.failed(failure, due).await;
                        continue;
                    }
                }
            };
            let count = self.shared.plan.streams.get();
            let mut streams: FuturesUnordered<_> = (0..count).map(|_| self.stream(&established, &again)).collect();
            while streams.next().await.is_some() {}
            drop(streams);
            self.close(Talk::Http2(established)).await;
        }
    }

    /// One request after the other on one connection, until it or the schedule ends.
    async fn stream(&self, connection: &http2::Connection, again: &Mutex<Vec<Due>>) {
        let mut requests = connection.requests();
        loop {
            // First whether it can be sent, then which: a connection that ends in order takes no unit with it.
            let ready = timeout(self.shared.plan.timeout, requests.ready()).await;
            if matches!(ready, Ok(Err(_))) {
                return;
            }
            let Some((due, tries)) = self.next(again).await else { return };
            let Ok(Ok(ready)) = ready else {
                // It lets no stream begin, so this one fails.
                self.failed(Failure::Timeout(Phase::Request), due).await;
                return;
            };
            requests = ready;
            let sent = self.shared.clock.now();
            let exchange = http2::exchange(&mut requests, &self.shared.http2);
            match timeout(self.shared.plan.timeout, exchange).await {
                Err(_) => drop(self.failed(Failure::Timeout(Phase::Request), due).await),
                Ok(Ok(reply)) => self.replied(reply, due, sent),
                Ok(Err(error)) => {
                    if is_untouched(&error) && tries < MOST_TRIES {
                        again.lock().push((due, tries + 1));
                    } else {
                        self.failed(connection.failure(&error), due).await;
                    }
                    if !error.is_reset() {
                        return;
                    }
                }
            }
        }
    }

    async fn next(&self, again: &Mutex<Vec<Due>>) -> Option<Due> {
        let waiting = again.lock().pop();
        match waiting {
            Some(due) => Some(due),
            None => self.pacer.next().await.map(|due| (due, 0)),
        }
    }

    /// One exchange; the connection, if it can be used again.
    pub(super) async fn request(&mut self, mut talk: Talk, due: Instant) -> Option<Talk> {
        let sent = self.shared.clock.now();
        match timeout(self.shared.plan.timeout, talk.exchange(&self.shared)).await {
            Err(_) => self.failed(Failure::Timeout(Phase::Request), due).await,
            Ok(Err(failure)) => self.failed(failure, due).await,
            Ok(Ok((reply, keep))) => {
                self.replied(reply, due, sent);
                keep.then_some(talk)
            }
        }
    }

    fn replied(&self, reply: Reply, due: Instant, sent: Instant) {
        let plan = &self.shared.plan;
        let wrong_length = plan.download.is_some_and(|length| length != reply.received);
        let failure = match reply.status {
            Some(status) if !plan.expected.holds(status) => Some(Failure::Status(status)),
            _ => wrong_length.then_some(Failure::Length),
        };
        let times = Times { sent, ..self.times(due) };
        self.tally.lock().reply(reply, failure, &times);
    }

    /// Takes note of a failed unit; leaves no connection.
    pub(super) async fn failed(&self, failure: Failure, due: Instant) -> Option<Talk> {
        let pause = failure.is_unreachable() && self.pace() == Pace::Closed;
        let times = self.times(due);
        self.tally.lock().failure(failure, &times);
        if pause {
            sleep(PAUSE).await;
        }
        None
    }

    fn times(&self, due: Instant) -> Times {
        Times { begin: self.shared.schedule.begun().unwrap_or(due), due, sent: due, end: self.shared.clock.now() }
    }
}

impl Talk {
    pub(super) async fn exchange(&mut self, shared: &Shared) -> Result<(Reply, bool), Failure> {
        match self {
            Self::Http1(connection) => connection.exchange(&shared.http1).await,
            Self::Http2(connection) => {
                let failed = |error: h2::Error| connection.failure(&error);
                let mut requests = connection.requests().ready().await.map_err(failed)?;
                Ok((http2::exchange(&mut requests, &shared.http2).await.map_err(failed)?, true))
            }
            Self::WebSocket(socket) => Ok((socket.echo().await?, true)),
        }
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn rest(&mut self) {
        if let Self::Http1(connection) = self {
            connection.rest();
        }
    }

    pub(super) async fn close(self) {
        match self {
            Self::Http1(connection) => connection.close().await,
            Self::Http2(connection) => connection.close().await,
            Self::WebSocket(socket) => socket.close().await,
        }
    }
}

/// Whether the server says that it has not looked at the request: then it may be sent again (RFC 9113 §8.7).
fn is_untouched(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::REFUSED_STREAM) || error.is_go_away() && error.reason() == Some(Reason::NO_ERROR)
}

/// What browsers and this gate's own client try.
const MOST_TRIES: u32 = 3;
/// After a server that cannot be reached, in a closed loop.
const PAUSE: Duration = Duration::from_millis(20);
