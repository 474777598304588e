//! The life of a connection, top to bottom.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::peer::Peer;
use super::request::Exchange;
use super::{Worker, tunnel};
use crate::drain::Busy;
use crate::http1::{self, Ended};
use crate::http2;
use crate::limits::ConnectionPermit;
use crate::net::ListenerSpec;
use crate::net::proxy_protocol::{self, Header};
use crate::reject::{Reason, Reject};
use crate::snapshot::{Published, Snapshot};
use crate::telemetry::ConnectionRecord;
use crate::tls::{self, Attempt, Doors, Handshaken, Protocol, Refused, TlsStream};

/// How long before its certificate's end a connection is asked to finish. What is in flight then
/// has this long; nothing is served past notAfter.
const EXPIRY_NOTICE: Duration = Duration::from_secs(5);

/// How long a connection whose admission was withdrawn may take to finish: what was taken away is gone within a
/// second, and a response that was ready gets out.
const WITHDRAWAL_NOTICE: Duration = Duration::from_millis(500);

type Plain = TlsStream<TcpStream>;

/// Carries one accepted connection to its end, and records it.
pub(super) async fn run(
    stream: TcpStream,
    socket_peer: SocketAddr,
    (index, listener): (usize, SocketAddr),
    worker: Worker,
) {
    let busy = worker.shared.drain.busy();
    let mut record = worker.shared.telemetry.connection(socket_peer, listener);
    // Boxed, so that an idle connection does not carry the handshake's state for hours.
    let admitted = Box::pin(establish(stream, index, &worker, &mut record)).await;
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
}

async fn establish(
    stream: TcpStream,
    index: usize,
    worker: &Worker,
    record: &mut ConnectionRecord,
) -> Result<Admitted, Turned> {
    let snapshot = worker.shared.published.current();
    let listener = snapshot.listener(index).ok_or_else(|| Reject::new(Reason::Abandoned, "no such listener"))?;
    let deadline = Instant::now() + snapshot.connection.handshake_timeout;
    let stream = announced(stream, &listener.spec, deadline, record).await?;
    let permit = worker.shared.permits.connection(record.peer.ip())?;
    let mut handshake = worker.shared.permits.handshake(record.peer.ip())?;
    let doors = Doors {
        hosts: &snapshot.hosts,
        configs: &snapshot.tls,
        default_host: listener.default_host,
        client_hello_bytes: snapshot.connection.client_hello_bytes,
    };
    let mut attempt = Attempt::default();
    let done = tokio::select! {
        done = timeout_at(deadline, tls::handshake(stream, &doors, &mut attempt)) => done,
        reject = handshake.revoked() => Ok(Err(Refused { reject, io: None })),
    };
    drop(handshake);
    record.identity = attempt.presented.take().and_then(|presented| presented.identity);
    record.server_name.clone_from(&attempt.server_name);
    let done: Handshaken<_> = match done {
        Ok(Ok(done)) => done,
        Ok(Err(Refused { reject, io })) => return Err(Turned { reject, farewell: io.map(|io| (io, permit)) }),
        Err(_) => {
            let detail = format!("{:?}", snapshot.connection.handshake_timeout);
            return Err(Reject::new(Reason::HandshakeTimeout, detail).into());
        }
    };
    let peer = Peer::establish(&done, attempt.server_name.as_deref(), record.peer, &snapshot)?;
    record.established(&peer.who.host, done.version, peer.who.protocol);
    Ok(Admitted { stream: done.stream, protocol: done.protocol, peer, snapshot, permit })
}

/// Reads the PROXY header where the listener takes one; the record then knows the real client.
async fn announced(
    mut stream: TcpStream,
    spec: &ListenerSpec,
    deadline: Instant,
    record: &mut ConnectionRecord,
) -> Result<TcpStream, Reject> {
    if spec.proxy_protocol_from.is_empty() {
        return Ok(stream);
    }
    if !proxy_protocol::is_from(record.peer.ip(), &spec.proxy_protocol_from) {
        return Err(Reason::ProxyPeerUntrusted.into());
    }
    let read = timeout_at(deadline, proxy_protocol::read(&mut stream)).await;
    match read.unwrap_or_else(|_| Err(Reject::new(Reason::ProxyHeaderInvalid, "timed out")))? {
        Header::Forwarded { source, .. } => record.peer = source,
        Header::Local => {}
    }
    Ok(stream)
}

/// Speaks HTTP until the client, the certificate, the drain or a bound ends it.
async fn converse(admitted: Admitted, worker: Worker, busy: Busy) -> Result<(), Reject> {
    let Admitted { stream, protocol, peer, snapshot, permit } = admitted;
    let life = Life::of(&peer, &snapshot, &worker);
    let (http1, http2) = (snapshot.http1, snapshot.http2);
    // The connection outlives snapshots; holding this one would keep old configurations alive.
    drop(snapshot);
    let drain = worker.shared.drain.clone();
    let clock = worker.shared.clock.clone();
    let published = Arc::clone(&worker.shared.published);
    let exchange = Arc::new(Exchange::new(peer, worker));
    let (stop, stopped) = watch::channel(false);
    let talk = async {
        match protocol {
            Protocol::Http2 => http2::serve(stream, http2, clock, stopped, Arc::clone(&exchange)).await,
            Protocol::Http1 => match http1::serve(stream, http1, stopped, &*exchange).await {
                // A client that leaves is no refusal of ours; its request's record says so.
                Ended::Closed | Ended::ClientGone => Ok(()),
                Ended::Failed(reject) => Err(reject),
                Ended::Upgraded { io, tunnel } => {
                    tunnel::run(io, tunnel, &exchange).await;
                    Ok(())
                }
            },
        }
    };
    let notice = async {
        let withdrawn = tokio::select! {
            () = drain.started() => None,
            () = sleep_until(life.notice) => None,
            reject = withdrawn(&exchange, &published) => Some(reject),
        };
        stop.send_replace(true);
        let end = if withdrawn.is_some() { Instant::now() + WITHDRAWAL_NOTICE } else { life.end };
        sleep_until(end).await;
        withdrawn
    };
    let ended = tokio::select! {
        ended = talk => ended,
        withdrawn = notice => withdrawn.map_or(Ok(()), Err),
    };
    drop((permit, busy));
    ended
}

/// Resolves once a snapshot no longer admits this connection. Its next request would be refused anyway, but a tunnel
/// or a long response has no next one.
async fn withdrawn(exchange: &Exchange, published: &Published) -> Reject {
    let mut news = published.news();
    loop {
        if let Err(reject) = exchange.admitted(&published.current()) {
            return reject;
        }
        if news.changed().await.is_err() {
            // Nothing will ever be published again.
            std::future::pending::<()>().await;
        }
    }
}

/// When a connection is asked to finish, and when it is cut.
#[derive(Clone, Copy)]
struct Life {
    notice: Instant,
    end: Instant,
}

impl Life {
    fn of(peer: &Peer, snapshot: &Snapshot, worker: &Worker) -> Self {
        let now = Instant::now();
        let aged = now + snapshot.connection.max_age;
        let Some(identity) = peer.identity() else {
            return Self { notice: aged, end: aged + snapshot.config.drain_timeout };
        };
        // notAfter is inclusive (RFC 5280 §4.1.2.5), so the certificate is over a second later.
        let over = u64::try_from(identity.not_after).unwrap_or(0).saturating_add(1);
        let left = Duration::from_secs(over).saturating_sub(worker.shared.clock.unix());
        // A certificate without an end (RFC 5280's 9999) must not overflow the timer.
        let left = left.min(Duration::from_hours(24 * 365));
        let end = now + left;
        let notice = now + left.saturating_sub(EXPIRY_NOTICE);
        Self { notice: notice.min(aged), end: end.min(aged + snapshot.config.drain_timeout) }
    }
}
