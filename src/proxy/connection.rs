//! The life of a connection, top to bottom.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::arrival::{self, Arrival};
use super::peer::Peer;
use super::request::Exchange;
use super::{Worker, tunnel};
use crate::clock::Clock;
use crate::drain::{Busy, Drain};
use crate::http1::{self, Ended};
use crate::http2;
use crate::limits::ConnectionPermit;
use crate::reject::{Reason, Reject};
use crate::snapshot::Snapshot;
use crate::telemetry::{ConnectionRecord, HandshakeFacts};
use crate::tls::{self, Attempt, Doors, Handshaken, Protocol, Refused, TlsStream};

/// How long before its certificate's end a connection is asked to finish. What is in flight then
/// has this long; nothing is served past notAfter.
const EXPIRY_NOTICE: Duration = Duration::from_secs(5);

/// How long a connection that is cut off may take to say so: well within the second that is promised.
const FAREWELL: Duration = Duration::from_millis(250);

type Plain = TlsStream<TcpStream>;

/// Carries one accepted connection to its end, and records it.
pub(super) async fn run(
    stream: TcpStream,
    socket_peer: SocketAddr,
    (index, listener): (usize, SocketAddr),
    worker: Worker,
) {
    let busy = worker.shared.drain.busy();
    let record = worker.shared.telemetry.connection(socket_peer, listener);
    match arrival::first_byte(&stream, index, &worker, &record).await {
        // Boxed: whoever has said nothing costs no more than its socket and a timer.
        Ok(arrival) => Box::pin(carry(stream, arrival, index, worker, record, busy)).await,
        Err(reject) => record.refused(reject),
    }
}

async fn carry(
    stream: TcpStream,
    arrival: Arrival,
    index: usize,
    worker: Worker,
    mut record: ConnectionRecord,
    busy: Busy,
) {
    // Boxed, so that an idle connection does not carry the handshake's state for hours.
    let admitted = Box::pin(establish(stream, arrival, index, &worker, &mut record)).await;
    match admitted {
        Ok(admitted) => match converse(admitted, worker, busy).await {
            Ok(()) => record.served(),
            Err(reject) => record.refused(reject),
        },
        Err(Turned { reject, farewell }) => {
            record.refused(reject);
            if let Some((stream, _permit)) = farewell {
                tls::linger(stream).await;
            }
        }
    }
}

/// A connection that was turned away.
struct Turned {
    reject: Reject,
    /// To be closed gently, while it still counts.
    farewell: Option<(TcpStream, ConnectionPermit)>,
}

impl From<Reject> for Turned {
    fn from(reject: Reject) -> Self {
        Self { reject, farewell: None }
    }
}

/// A connection whose client is known.
struct Admitted {
    stream: Plain,
    protocol: Protocol,
    peer: Peer,
    snapshot: Arc<Snapshot>,
    permit: ConnectionPermit,
    changes: watch::Receiver<std::time::Instant>,
}

async fn establish(
    stream: TcpStream,
    arrival: Arrival,
    index: usize,
    worker: &Worker,
    record: &mut ConnectionRecord,
) -> Result<Admitted, Turned> {
    // Before the snapshot is taken: a change of trust between now and the first request is heard.
    let changes = worker.shared.published.changes();
    let snapshot = worker.shared.published.current();
    let listener = snapshot.listener(index).ok_or_else(|| Reject::new(Reason::Abandoned, "no such listener"))?;
    let Arrival { deadline, mut silent, permit } = arrival;
    let stream = arrival::announced(stream, &listener.spec, deadline, record).await?;
    let permits = &worker.shared.permits;
    let permit = match permit {
        Some(permit) => permit,
        None => permits.connection(record.peer.ip())?,
    };
    permits.start(record.peer.ip())?;
    let doors = Doors {
        hosts: &snapshot.hosts,
        configs: &snapshot.tls,
        default_host: listener.default_host,
        client_hello_bytes: snapshot.connection.client_hello_bytes,
    };
    let mut attempt = Attempt::default();
    let done = async {
        let greeted = tokio::select! {
            greeted = tls::greet(stream, &doors, &mut attempt) => greeted?,
            reject = silent.revoked() => return Err(Refused { reject, io: None }),
        };
        drop(silent);
        let refused = |reject| Refused { reject, io: None };
        let mut handshake = permits.handshake(record.peer.ip()).map_err(refused)?;
        let conclude = async {
            let waiting = worker.shared.telemetry.metrics.handshake_waits();
            worker.turns.take(snapshot.connection.turns).await.map_err(refused)?;
            drop(waiting);
            tls::conclude(greeted, &doors, &mut attempt).await
        };
        tokio::select! {
            done = conclude => done,
            reject = handshake.revoked() => Err(refused(reject)),
        }
    };
    let done = timeout_at(deadline, done).await;
    record.identity = attempt.presented.take().and_then(|presented| presented.identity);
    record.server_name.clone_from(&attempt.server_name);
    let done: Handshaken<_> = match done {
        Ok(Ok(done)) => done,
        Ok(Err(Refused { reject, io })) => return Err(Turned { reject, farewell: io.map(|io| (io, permit)) }),
        Err(_) => return Err(arrival::late(&snapshot).into()),
    };
    let peer = Peer::establish(&done, attempt.server_name.as_deref(), record.peer, &snapshot, &worker.shared.clock)?;
    peer.count_anchor(&snapshot, done.host, &worker.shared.telemetry.metrics);
    let kind = if done.resumed { "resumed" } else { "full" };
    record.established(&peer.who.host, HandshakeFacts { version: done.version, protocol: peer.who.protocol, kind });
    Ok(Admitted { stream: done.stream, protocol: done.protocol, peer, snapshot, permit, changes })
}

/// Speaks HTTP until the client, the certificate, the drain or a bound ends it.
async fn converse(admitted: Admitted, worker: Worker, busy: Busy) -> Result<(), Reject> {
    let Admitted { stream, protocol, peer, snapshot, permit, changes } = admitted;
    let ages = Ages::of(&snapshot);
    let (http1, http2) = (snapshot.http1, snapshot.http2);
    // The connection outlives snapshots; holding this one would keep old configurations alive.
    drop(snapshot);
    let clock = worker.shared.clock.clone();
    let drain = worker.shared.drain.clone();
    let exchange = Arc::new(Exchange::new(peer, worker));
    let ((stop, stopped), (cut, is_cut)) = (watch::channel(false), watch::channel(false));
    let talk = async {
        match protocol {
            Protocol::Http2 => {
                http2::serve(stream, http2, clock.clone(), (stopped, is_cut), Arc::clone(&exchange)).await
            }
            Protocol::Http1 => speak_http1(stream, http1, stopped, is_cut, &exchange).await,
        }
    };
    let mut talk = pin!(talk);
    let ended = tokio::select! {
        ended = &mut talk => ended,
        over = age(&exchange, ages, &clock, drain, changes, &stop) => match over {
            Over::Life => {
                exchange.ends_with_certificate();
                Ok(())
            }
            Over::Trust { reject, since } => {
                cut.send_replace(true);
                // Resets, GOAWAY or a close frame, if the client takes them; then nothing more.
                let _ = timeout(FAREWELL, talk).await;
                exchange.enforced(since);
                Err(reject)
            }
        },
    };
    drop((permit, busy));
    ended
}

async fn speak_http1(
    stream: Plain,
    settings: http1::Settings,
    stop: watch::Receiver<bool>,
    mut cut: watch::Receiver<bool>,
    exchange: &Exchange,
) -> Result<(), Reject> {
    let ended = tokio::select! {
        ended = http1::serve(stream, settings, stop, exchange) => ended,
        // HTTP/1.1 has no word for it: the connection just ends, in the middle of whatever it is in.
        _ = cut.wait_for(|cut| *cut) => return Ok(()),
    };
    match ended {
        // A client that leaves is no refusal of ours; its request's record says so.
        Ended::Closed | Ended::ClientGone => Ok(()),
        Ended::Failed(reject) => Err(reject),
        Ended::Upgraded { io, tunnel } => {
            tunnel::run(io, tunnel, exchange, cut).await;
            Ok(())
        }
    }
}

/// Why a connection is cut.
enum Over {
    /// Its time is up.
    Life,
    /// A configuration that was published at `since` does not want it.
    Trust { reject: Reject, since: std::time::Instant },
}

/// Asks the connection to finish when it is time to, and resolves when it must end. With `changes`
/// from before the handshake no configuration is missed; each may move the end.
async fn age(
    exchange: &Exchange,
    ages: Ages,
    clock: &Clock,
    drain: Drain,
    mut changes: watch::Receiver<std::time::Instant>,
    stop: &watch::Sender<bool>,
) -> Over {
    // Which configuration it was made with is not known here any more: ask the current one.
    let mut since = *changes.borrow();
    let mut asked = false;
    loop {
        let life = match exchange.welcome() {
            Ok(ends) => Life::of(ages, ends, clock),
            Err(reject) => return Over::Trust { reject, since },
        };
        while !asked {
            tokio::select! {
                () = drain.started() => asked = true,
                () = sleep_until(life.notice) => asked = true,
                Ok(()) = changes.changed() => break,
            }
        }
        if asked {
            stop.send_replace(true);
            tokio::select! {
                () = sleep_until(life.end) => return Over::Life,
                // The sender lives as long as the process.
                Ok(()) = changes.changed() => {}
            }
        }
        since = *changes.borrow_and_update();
    }
}

/// When a connection has lived long enough, whoever it is.
#[derive(Clone, Copy)]
struct Ages {
    aged: Instant,
    end: Instant,
}

impl Ages {
    fn of(snapshot: &Snapshot) -> Self {
        let aged = Instant::now() + snapshot.connection.max_age;
        Self { aged, end: aged + snapshot.config.drain_timeout }
    }
}

/// When a connection is asked to finish, and when it is cut.
#[derive(Clone, Copy)]
struct Life {
    notice: Instant,
    end: Instant,
}

impl Life {
    fn of(ages: Ages, ends: Option<i64>, clock: &Clock) -> Self {
        let Some(ends) = ends else {
            return Self { notice: ages.aged, end: ages.end };
        };
        let now = Instant::now();
        // notAfter is inclusive (RFC 5280 §4.1.2.5), so the certificate is over a second later.
        let over = u64::try_from(ends).unwrap_or(0).saturating_add(1);
        let left = Duration::from_secs(over).saturating_sub(clock.unix());
        // A certificate without an end (RFC 5280's 9999) must not overflow the timer.
        let left = left.min(Duration::from_hours(24 * 365));
        let end = now + left;
        let notice = now + left.saturating_sub(EXPIRY_NOTICE);
        Self { notice: notice.min(ages.aged), end: end.min(ages.end) }
    }
}
