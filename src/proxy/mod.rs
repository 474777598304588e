//! The walk of a connection, from the socket to the upstream. Order of events only: every
//! decision is made in `policy`, every refusal comes from the table in `reject`.

mod accept;
mod arrival;
mod body;
mod connection;
mod peer;
mod plausible;
mod reputation;
mod request;
mod respond;
mod rounds;
mod stack;
mod stamp;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

pub use self::rounds::Rounds;
use crate::clock::Clock;
use crate::drain::Drain;
use crate::limits::{Permits, Turns};
use crate::runtime::Seat;
use crate::snapshot::{Published, Reputation};
use crate::telemetry::Telemetry;

/// Everything of the process that connections share.
#[derive(Debug)]
pub struct Shared {
    /// The current snapshot.
    pub published: Arc<Published>,
    /// What may happen at once.
    pub permits: Arc<Permits>,
    /// What is remembered of behaviour.
    pub reputation: Arc<Reputation>,
    /// Records and metrics.
    pub telemetry: Arc<Telemetry>,
    /// The time.
    pub clock: Clock,
    /// The end.
    pub drain: Drain,
}

/// One seat's share: what its connections need beside [`Shared`].
#[derive(Clone, Debug)]
pub struct Worker {
    /// Whose pooled upstream connections are used.
    pub seat: Seat,
    /// What its connections have in common.
    pub own: Arc<Own>,
    /// Everything else.
    pub shared: Arc<Shared>,
}

/// What the connections of one seat have in common.
#[derive(Debug)]
pub struct Own {
    /// Whose turn it is to begin a handshake.
    pub turns: Turns,
    /// In which order they hear of changes.
    pub rounds: Rounds,
}

/// One listening socket of a seat.
#[derive(Debug)]
pub struct Door {
    /// The listener's place in the file.
    pub index: usize,
    /// Where it is bound.
    pub address: SocketAddr,
    /// The socket.
    pub socket: TcpListener,
}

/// Serves `doors` until the drain has begun and its work is done, at most as much later as the configuration says
/// by then.
pub async fn serve(worker: Worker, doors: Vec<Door>) {
    let own = Arc::clone(&worker.own);
    let turning = tokio::spawn(async move { own.turns.run().await });
    // Subscribed here, before there are connections.
    let (own, changes) = (Arc::clone(&worker.own), worker.shared.published.changes());
    let telling = tokio::spawn(async move { own.rounds.run(changes).await });
    let loops: Vec<_> = doors.into_iter().map(|door| tokio::spawn(accept::run(door, worker.clone()))).collect();
    for accepting in loops {
        // An accept loop ends by the drain alone; a panic in it must not stop the others.
        let _ = accepting.await;
    }
    // As it is configured now, not as it was at the start.
    let drain_timeout = worker.shared.published.current().config.drain_timeout;
    let _ = tokio::time::timeout(drain_timeout, worker.shared.drain.finished()).await;
    turning.abort();
    telling.abort();
}
