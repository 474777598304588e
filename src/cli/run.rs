//! `portcullis run`: a gate, and the signals that steer it.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::check::print_problems;
use crate::app::{self, Running, StartError};
use crate::clock::Clock;
use crate::config::{self, Loaded};
use crate::{runtime, telemetry};

pub(super) fn run(file: PathBuf) -> ExitCode {
    let loaded = match config::load(&file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::FAILURE;
        }
    };
    let log = match telemetry::init(&loaded.config.log) {
        Ok(log) => log,
        Err(error) => return fail(&error),
    };
    let code = match start(file, loaded) {
        Ok(running) => {
            running.join();
            tracing::info!(target: "portcullis::run", "stopped");
            ExitCode::SUCCESS
        }
        Err(code) => code,
    };
    drop(log);
    code
}

/// Starts a gate that listens to the process's signals.
pub(super) fn start(file: PathBuf, loaded: Loaded) -> Result<Arc<Running>, ExitCode> {
    descriptors();
    // Signals first: a reload that is asked for a moment too early must not kill the process.
    let steer = steering().map_err(|error| fail(&format!("cannot listen to signals: {error}")))?;
    let running = match app::start_with(file, loaded, Clock::system()) {
        Ok(running) => Arc::new(running),
        Err(StartError::Config(problems)) => {
            print_problems(&problems);
            return Err(ExitCode::FAILURE);
        }
        Err(error) => return Err(fail(&error.to_string())),
    };
    for address in &running.addresses {
        tracing::info!(target: "portcullis::run", %address, "listening");
    }
    if let Some(address) = running.admin {
        tracing::info!(target: "portcullis::run", %address, "admin: /metrics, /live, /ready, /config/status, /deny");
    }
    // Its thread waits for nothing else, so it is there.
    let _ = steer.send(Arc::clone(&running));
    Ok(running)
}

/// Listens to signals from now on, and obeys them once there is a gate to steer.
fn steering() -> io::Result<oneshot::Sender<Arc<Running>>> {
    let (steer, running) = oneshot::channel();
    let (report, reported) = mpsc::channel();
    runtime::aside("signals", move || async move {
        let signals = Signals::listen();
        let failed = signals.as_ref().err().map(|error| io::Error::new(error.kind(), error.to_string()));
        let _ = report.send(failed);
        if let Ok(signals) = signals {
            signals.obey(running).await;
        }
    })?;
    match reported.recv() {
        Ok(None) => Ok(steer),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(io::Error::other("the signal thread has ended")),
    }
}

pub(super) fn fail(what: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "portcullis: {what}");
    ExitCode::FAILURE
}

/// A connection is a descriptor, and its upstream another: take all that the system grants.
pub(super) fn descriptors() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(target: "portcullis::run", limit, "file descriptors"),
        Err(error) => tracing::warn!(target: "portcullis::run", %error, "cannot raise the limit of file descriptors"),
    }
}

struct Signals {
    hup: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    async fn obey(self, running: oneshot::Receiver<Arc<Running>>) {
        let Self { mut hup, mut term, mut int } = self;
        let running = tokio::select! {
            running = running => running,
            // A start may hang (a file on a dead disk); then nothing is lost by leaving.
            _ = term.recv() => std::process::exit(STOPPED),
            _ = int.recv() => std::process::exit(STOPPED),
        };
        let Ok(running) = running else { return };
        let reloads = async {
            while hup.recv().await.is_some() {
                reload(&running).await;
            }
        };
        // A reload that takes its time (a slow disk, a large file) must not hold up the end.
        tokio::select! {
            () = reloads => {}
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!(target: "portcullis::run", "draining; a second signal stops at once");
        running.drain();
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::warn!(target: "portcullis::run", "stopped at once, requests in flight are lost");
        // Not one moment longer: the operator has said it twice.
        std::process::exit(STOPPED);
    }
}

/// What shells report of a program that was interrupted: 128 and SIGINT.
const STOPPED: i32 = 130;

async fn reload(running: &Arc<Running>) {
    let running = Arc::clone(running);
    // Building a snapshot takes CPU, and may take long with large files: not on the signal loop.
    // Its outcome is in the log and in the metrics.
    let _ = tokio::task::spawn_blocking(move || running.reload()).await;
}
