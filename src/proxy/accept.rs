//! One accept loop. Only the drain ends it: an error is waited out, never spun on, never fatal.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{Door, Worker, connection};
use crate::net::listen::{self, BackOff, Pause};
use crate::reject::{Reason, Reject};

/// Accepts on `door` until the drain begins.
pub(super) async fn run(door: Door, worker: Worker) {
    let mut pause = BackOff::default();
    let mut refused = 0_u64;
    let drain = worker.shared.drain.clone();
    let mut draining = std::pin::pin!(drain.started());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            accepted = door.socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause.reset();
                if worker.own.turns.is_full(worker.shared.published.current().connection.turns) {
                    refuse(stream, peer, &door, &worker);
                    refused += 1;
                    if refused.is_multiple_of(AT_ONCE) {
                        // The next ones wait where they cost nothing, in the system's queue, until some work is done.
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
                // A connection that cannot be prepared is gone; its own reads will say so.
                let _ = listen::prepare(&stream);
                tokio::spawn(connection::run(stream, peer, (door.index, door.address), worker.clone()));
            }
            Err(error) => match listen::accept_error(&error) {
                Pause::None => {}
                Pause::BackOff => {
                    let wait = pause.next();
                    tracing::warn!(target: "portcullis::accept", listener = %door.address, %error, ?wait, "cannot accept");
                    tokio::time::sleep(wait).await;
                }
            },
        }
    }
}

/// Closes a connection that would wait in vain, before anything is spent on it.
fn refuse(stream: TcpStream, peer: SocketAddr, door: &Door, worker: &Worker) {
    drop(stream);
    let record = worker.shared.telemetry.connection(peer, door.address);
    record.refused(Reject::new(Reason::HandshakesWaiting, "as many wait as may"));
}

/// Refusals between two looks at the other work: about 0.1 ms.
const AT_ONCE: u64 = 8;
