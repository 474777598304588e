//! A connection before its ClientHello: next to nothing is kept of it, and there are only so many.

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Worker, reputation};
use crate::limits::{ConnectionPermit, SilentPermit};
use crate::net::ListenerSpec;
use crate::net::proxy_protocol::{self, Header};
use crate::reject::{Reason, Reject};
use crate::snapshot::Snapshot;
use crate::telemetry::ConnectionRecord;

/// A connection that has begun to speak.
pub(super) struct Arrival {
    /// Until when its handshake must be over.
    pub(super) deadline: Instant,
    /// Held until its ClientHello is whole.
    pub(super) silent: SilentPermit,
    /// Its place among the connections of its address, where that is known already.
    pub(super) permit: Option<ConnectionPermit>,
}

/// Waits for the first byte. No snapshot is held meanwhile: the silent must not keep old configurations alive.
pub(super) async fn first_byte(
    stream: &TcpStream,
    index: usize,
    worker: &Worker,
    record: &ConnectionRecord,
) -> Result<Arrival, Reject> {
    let permits = &worker.shared.permits;
    let (deadline, permit) = {
        let snapshot = worker.shared.published.current();
        let listener = snapshot.listener(index).ok_or_else(|| Reject::new(Reason::Abandoned, "no such listener"))?;
        let (proxies, address) = (&listener.spec.proxy_protocol_from, record.peer.ip());
        let permit = if proxies.is_empty() {
            reputation::door(worker, &snapshot, address)?;
            Some(permits.connection(address)?)
        } else if proxy_protocol::is_from(address, proxies) {
            // The address that counts is the one that its header names.
            None
        } else {
            return Err(Reason::ProxyPeerUntrusted.into());
        };
        (Instant::now() + snapshot.connection.handshake_timeout, permit)
    };
    let (mut silent, mut first) = (permits.silent()?, [0]);
    tokio::select! {
        // Asked of the system: `readable` may say so before anything has come. What is wrong shows when it is read.
        _ = stream.peek(&mut first) => {}
        reject = silent.revoked() => return Err(reject),
        () = tokio::time::sleep_until(deadline) => {
            return Err(if permit.is_none() { unannounced() } else { late(&worker.shared.published.current()) });
        }
    }
    Ok(Arrival { deadline, silent, permit })
}

/// The refusal of a handshake that took too long.
pub(super) fn late(snapshot: &Snapshot) -> Reject {
    Reject::new(Reason::HandshakeTimeout, format!("{:?}", snapshot.connection.handshake_timeout))
}

/// Reads the PROXY header where the listener takes one; the record then knows the real client.
pub(super) async fn announced(
    mut stream: TcpStream,
    spec: &ListenerSpec,
    deadline: Instant,
    record: &mut ConnectionRecord,
) -> Result<TcpStream, Reject> {
    if spec.proxy_protocol_from.is_empty() {
        return Ok(stream);
    }
    // The configuration may have changed since it was let wait.
    if !proxy_protocol::is_from(record.peer.ip(), &spec.proxy_protocol_from) {
        return Err(Reason::ProxyPeerUntrusted.into());
    }
    let read = timeout_at(deadline, proxy_protocol::read(&mut stream)).await;
    match read.unwrap_or_else(|_| Err(unannounced()))? {
        Header::Forwarded { source, .. } => record.peer = source,
        Header::Local => {}
    }
    Ok(stream)
}

fn unannounced() -> Reject {
    Reject::new(Reason::ProxyHeaderInvalid, "timed out")
}
