//! Connections that are kept: one seat for each worker and server, so that under thread-per-core no
//! lock is contended and a connection stays on the runtime that drives it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::connect::{Connected, Purpose, connect};
use super::form::Protocol;
use super::http1::{Http1, Idle};
use super::http2::{Shared, Stream};
use super::server::Server;
use crate::reject::{Reason, Reject};

/// What one worker keeps of one server. Aligned so that two workers never write to the same cache
/// line (128: two lines, which x86 fetches together).
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Seat {
    kept: Mutex<Kept>,
    /// Held while connecting where a connection can be shared: the others wait for that one.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    idle: Idle,
    shared: Shared,
    reaped: Reaped,
}

#[derive(Default, PartialEq, Eq)]
enum Reaped {
    /// A task looks after what grows old.
    ByTask,
    #[default]
    ByNobody,
}

/// A connection for one request.
pub(super) enum Lease {
    Http1(Box<Http1>),
    Http2(Stream),
}

/// Whether a connection was used before, so that its server may have closed it in the meantime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    New,
    Reused,
}

/// Which connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Any that is ready.
    Any,
    /// None that has been resting: the last one turned out to be stale, and so may the others.
    Fresh,
}

impl Seat {
    /// A connection with `server` that is there already.
    pub(super) fn ready(server: &Server, seat: usize) -> Option<Lease> {
        server.seat(seat).kept(server, Want::Any)
    }

    /// A connection with `server` for one request of the worker at `seat`: a new one, or one that
    /// another request has made in the meantime.
    pub(super) async fn open(server: &Arc<Server>, seat: usize, want: Want) -> Result<(Lease, Origin), Reject> {
        let this = server.seat(seat);
        if server.spoken() == Some(Protocol::Http1) {
            return connect(server, Purpose::Requests).await.map(|new| this.keep(server, seat, new));
        }
        // Waiting for another request's attempt counts as connecting, or a server that swallows
        // connections would let each of its waiters wait for all before it.
        let turn = tokio::time::timeout(server.timeouts.connect, this.connecting.lock()).await;
        let turn = turn.map_err(|_| Reject::new(Reason::UpstreamConnectTimeout, server.name.clone()))?;
        if let Some(lease) = this.kept(server, want) {
            return Ok((lease, Origin::Reused));
        }
        let turn = if server.spoken() == Some(Protocol::Http1) { None } else { Some(turn) };
        let lease = connect(server, Purpose::Requests).await.map(|new| this.keep(server, seat, new));
        drop(turn);
        lease
    }

    /// Takes back the connection of a request that has ended well.
    pub(super) fn put(server: &Arc<Server>, seat: usize, mut http1: Box<Http1>) {
        http1.rest();
        let this = server.seat(seat);
        let mut kept = this.kept.lock();
        kept.idle.put(http1, server.watch.millis(), server.max_idle);
        Self::look_after(&mut kept, server, seat);
    }

    /// No new request on the connection of `stream`.
    pub(super) fn retire(&self, stream: &Stream) {
        self.kept.lock().shared.retire(stream);
    }

    /// Forgets all connections; what is under way on them goes on.
    pub(super) fn clear(&self) {
        let mut kept = self.kept.lock();
        let (idle, shared) = (std::mem::take(&mut kept.idle), std::mem::take(&mut kept.shared));
        drop(kept);
        drop((idle, shared));
    }

    fn kept(&self, server: &Server, want: Want) -> Option<Lease> {
        let mut kept = self.kept.lock();
        match server.spoken() {
            Some(Protocol::Http2) => kept.shared.take(server.watch.millis()).map(Lease::Http2),
            Some(Protocol::Http1) if want == Want::Any => kept.idle.take(server.oldest()).map(Lease::Http1),
            Some(Protocol::Http1) | None => None,
        }
    }

    fn keep(&self, server: &Arc<Server>, seat: usize, new: Connected) -> (Lease, Origin) {
        let lease = match new {
            Connected::Http1(http1) => {
                server.speaks(Protocol::Http1);
                Lease::Http1(http1)
            }
            Connected::Http2(http2) => {
                server.speaks(Protocol::Http2);
                let mut kept = self.kept.lock();
                let stream = kept.shared.add(http2, server.watch.millis());
                Self::look_after(&mut kept, server, seat);
                Lease::Http2(stream)
            }
        };
        (lease, Origin::New)
    }

    fn look_after(kept: &mut Kept, server: &Arc<Server>, seat: usize) {
        // Outside a runtime there is nothing to drive a connection either.
        if kept.reaped == Reaped::ByNobody
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            kept.reaped = Reaped::ByTask;
            runtime.spawn(reap(Arc::downgrade(server), seat, server.timeouts.keep_alive));
        }
    }

    /// Closes what is too old; whether anything is left to look after.
    fn prune(&self, oldest: u64) -> bool {
        let mut kept = self.kept.lock();
        let idle = kept.idle.prune(oldest);
        let left = kept.shared.prune(oldest) || idle;
        if !left {
            kept.reaped = Reaped::ByNobody;
        }
        left
    }
}

/// Closes connections that nobody has used for `keep_alive`, and those that the server has closed, also when no request
/// ever comes again.
async fn reap(server: Weak<Server>, seat: usize, keep_alive: Duration) {
    loop {
        tokio::time::sleep(keep_alive.clamp(REAP_AT_MOST_EVERY, REAP_AT_LEAST_EVERY)).await;
        let Some(server) = server.upgrade() else { return };
        if !server.seat(seat).prune(server.oldest()) {
            return;
        }
    }
}

/// Often enough for a keep-alive time of seconds, and no load.
const REAP_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// A connection that its server has closed is kept no longer than that, and neither is the task of a server that is gone from
/// the configuration.
const REAP_AT_LEAST_EVERY: Duration = Duration::from_secs(5);
