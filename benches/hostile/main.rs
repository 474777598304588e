//! What the gate still does when it is asked for more than it can, and what honest clients notice of an attack: whole
//! processes over real sockets.
//!
//! `cargo bench --bench hostile -- overload` (or a part of it: `handshakes`, `dear-handshakes`, `requests`,
//! `busy-requests`), `-- abuse` and `-- refuse`. The gate has one thread and, where `taskset` is there, one
//! core; the clients have the others. In `overload` handshakes come at a fixed rate whether or not earlier ones are answered, with a new connection each and
//! nothing resumed. A server key of RSA 4096 makes them dear to the gate and cheap to the clients, so that one machine
//! can ask for ten times what the gate can do; with P-256 the clients run out of breath at about twice.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::pedantic,
    reason = "a measuring program: it prints, and it may stop when something is not as it should be"
)]

mod abuse;
mod gate;
mod overload;
mod refuse;

use std::process::Command;

fn main() {
    rlimit::increase_nofile_limit(1 << 20).unwrap();
    if let Ok(cores) = std::thread::available_parallelism() {
        let others = format!("1-{}", (cores.get() - 1).max(1));
        // Best effort: without it the figures are of both together.
        let _ = Command::new("taskset").args(["-acp", &others, &std::process::id().to_string()]).output();
    }
    let wants = |what: &str| std::env::args().any(|arg| arg == what);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        overload::run(|what| wants(what) || wants("overload")).await;
        if wants("refuse") {
            refuse::run().await;
        }
        if wants("abuse") {
            abuse::run().await;
        }
    });
}
