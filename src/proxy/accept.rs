//! One accept loop. Only the drain ends it: an error is waited out, never spun on, never fatal.

use super::{Door, Worker, connection};
use crate::net::listen::{self, BackOff, Pause};

/// Accepts on `door` until the drain begins.
pub(super) async fn run(door: Door, worker: Worker) {
    let mut pause = BackOff::default();
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
