//! Assembly: from a configuration file to a running gate, and to its end.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, UnixListener};

use crate::admin;
use crate::clock::Clock;
use crate::config::{self, AdminAddress, Config, Loaded};
use crate::drain::Drain;
use crate::limits::{Permits, Turns};
use crate::net::listen;
use crate::proxy::{self, Door, Own, Rounds, Shared, Worker};
use crate::runtime::{self, Seat};
use crate::snapshot::{
    self, Contents, FileWatch, Inputs, Parts, Published, Reloader, Reputation, Snapshot, Trigger, build,
};
use crate::telemetry::{AccessLog, Telemetry};

/// Why a gate did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Every problem of the configuration and of the files it names.
    #[error("{} in the configuration", count(.0))]
    Config(Vec<config::Problem>),
    /// A socket, a thread or a limit of the system.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

fn count(problems: &[config::Problem]) -> String {
    match problems.len() {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    }
}

/// Reads the configuration and everything it names, as a start would, and starts nothing.
///
/// # Errors
/// Every problem.
pub fn check(file: &Path) -> Result<Snapshot, Vec<config::Problem>> {
    let loaded = config::load(file)?;
    let clock = Clock::system();
    let telemetry = Telemetry::new(clock.clone(), AccessLog::Refusals);
    let contents = Contents::read(&loaded);
    let inputs = Inputs {
        config: loaded.config,
        contents,
        previous: None,
        seats: 1,
        clock: &clock,
        metrics: &telemetry.metrics,
    };
    build(inputs)
}

/// A gate that serves.
#[derive(Debug)]
pub struct Running {
    /// Where its listeners are bound, in the order of the file.
    pub addresses: Vec<SocketAddr>,
    /// Where its admin listener is bound, if it has one at an address.
    pub admin: Option<SocketAddr>,
    reloader: Arc<Reloader>,
    reputation: Arc<Reputation>,
    drain: Drain,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Running {
    /// Reads the configuration again.
    ///
    /// # Errors
    /// Every problem; the running configuration stays.
    pub fn reload(&self) -> Result<(), Vec<String>> {
        self.reloader.reload(Trigger::Signal)
    }

    /// Begins the drain: no new connections, requests in flight are finished.
    pub fn drain(&self) {
        self.drain.start();
    }

    /// Waits until everything has ended: after the drain has begun, and at most its timeout later.
    pub fn join(&self) {
        let workers = std::mem::take(&mut *self.workers.lock());
        for worker in workers {
            // A worker that panicked has ended too; the panic was printed where it happened.
            let _ = worker.join();
        }
        self.reloader.published().current().write_learned();
        self.reputation.keep(&self.reloader);
    }
}

/// Starts a gate from the configuration at `file`.
///
/// # Errors
/// Every problem of the configuration, or what the system refuses. Then nothing is left running.
pub fn start(file: PathBuf, clock: Clock) -> Result<Running, StartError> {
    let loaded = config::load(&file).map_err(StartError::Config)?;
    start_with(file, loaded, clock)
}

/// Starts a gate from a configuration that has been read from `file` already.
///
/// # Errors
/// As [`start`].
pub fn start_with(file: PathBuf, loaded: Loaded, clock: Clock) -> Result<Running, StartError> {
    // Looked at before they are read: a change in between is then seen, not missed.
    let watched = FileWatch::new(snapshot::files(&file, &loaded.config));
    let contents = Contents::read(&loaded);
    let config = loaded.config;
    let threads = runtime::threads(config.runtime.threads);
    let flavor = config.runtime.flavor;
    let seats = runtime::seats(flavor, threads);
    let access = if config.log.access { AccessLog::All } else { AccessLog::Refusals };
    let telemetry = Arc::new(Telemetry::new(clock.clone(), access));
    let inputs = Inputs { config, contents, previous: None, seats, clock: &clock, metrics: &telemetry.metrics };
    let first = build(inputs).map_err(StartError::Config)?;
    let config = first.config.clone();

    let reputation = Reputation::open(&config, &clock).map_err(|problem| StartError::Config(vec![*problem]))?;
    let reputation = Arc::new(reputation);
    let sockets = bind(&config, seats)?;
    let addresses = addresses(&sockets)?;
    let permits = Arc::new(Permits::new(config.permit_bounds(), &clock));
    let parts =
        Parts { file, seats, clock: clock.clone(), telemetry: Arc::clone(&telemetry), permits: Arc::clone(&permits) };
    let reloader = Arc::new(Reloader::new(parts, first));
    let published = Arc::clone(reloader.published());
    let drain = Drain::default();
    let shared = Arc::new(Shared {
        published,
        permits,
        reputation: Arc::clone(&reputation),
        telemetry,
        clock,
        drain: drain.clone(),
    });

    let (admin_socket, admin) = bind_admin(&config)?;
    let state = admin::State {
        telemetry: Arc::clone(&shared.telemetry),
        reloader: Arc::clone(&reloader),
        reputation: Arc::clone(&reputation),
        drain: drain.clone(),
        clock: shared.clock.clone(),
    };
    aside(admin_socket, state, Arc::clone(&reloader), watched)?;
    let doors: Vec<_> = sockets.into_iter().map(|seat| Mutex::new(Some(seat))).collect();
    let bound = addresses.clone();
    let per_seat = u32::try_from(threads.get() / seats.max(1)).unwrap_or(u32::MAX);
    let serve = move |Seat(index): Seat| {
        let sockets = doors.get(index).and_then(|seat| seat.lock().take()).unwrap_or_default();
        let own = Arc::new(Own { turns: Turns::new(per_seat), rounds: Rounds::default() });
        let worker = Worker { seat: Seat(index), own, shared: Arc::clone(&shared) };
        seat(worker, sockets, bound.clone())
    };
    let workers = runtime::spawn(flavor, threads, serve).map_err(system("cannot start the workers"))?;
    Ok(Running { addresses, admin, reloader, reputation, drain, workers: Mutex::new(workers) })
}

async fn seat(worker: Worker, sockets: Vec<std::net::TcpListener>, bound: Vec<SocketAddr>) {
    let mut doors = Vec::with_capacity(sockets.len());
    for (index, (socket, address)) in sockets.into_iter().zip(bound).enumerate() {
        match TcpListener::from_std(socket) {
            Ok(socket) => doors.push(Door { index, address, socket }),
            Err(error) => tracing::error!(target: "portcullis::accept", %address, %error, "cannot listen"),
        }
    }
    proxy::serve(worker, doors).await;
}

/// The sockets of one seat, in the order of the listeners.
type Sockets = Vec<std::net::TcpListener>;

/// By seat.
fn bind(config: &Config, seats: usize) -> Result<Vec<Sockets>, StartError> {
    let count = NonZeroUsize::new(seats).unwrap_or(NonZeroUsize::MIN);
    let mut by_seat: Vec<Vec<_>> = (0..seats).map(|_| Vec::new()).collect();
    for spec in &config.listeners {
        let sockets = listen::bind_shared(spec, count).map_err(system("listener"))?;
        for (seat, socket) in by_seat.iter_mut().zip(sockets) {
            seat.push(socket);
        }
    }
    Ok(by_seat)
}

fn addresses(sockets: &[Sockets]) -> Result<Vec<SocketAddr>, StartError> {
    let first = sockets.first().map(Vec::as_slice).unwrap_or_default();
    first.iter().map(|socket| socket.local_addr().map_err(system("cannot read a socket's address"))).collect()
}

/// What the admin thread makes its listener of, as it must be made in its runtime.
enum AdminSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl AdminSocket {
    fn listen(self) -> io::Result<admin::Socket> {
        match self {
            Self::Tcp(socket) => TcpListener::from_std(socket).map(admin::Socket::Tcp),
            Self::Unix(socket) => UnixListener::from_std(socket).map(admin::Socket::Unix),
        }
    }
}

fn bind_admin(config: &Config) -> Result<(Option<AdminSocket>, Option<SocketAddr>), StartError> {
    let Some(spec) = &config.admin else { return Ok((None, None)) };
    let fail = || format!("cannot listen on admin.address {}", spec.address);
    match &spec.address {
        AdminAddress::Tcp(address) => {
            let socket = std::net::TcpListener::bind(address).map_err(system(fail()))?;
            socket.set_nonblocking(true).map_err(system(fail()))?;
            let address = socket.local_addr().map_err(system(fail()))?;
            Ok((Some(AdminSocket::Tcp(socket)), Some(address)))
        }
        AdminAddress::Unix(path) => {
            let socket = admin::bind_unix(path).map_err(system(fail()))?;
            socket.set_nonblocking(true).map_err(system(fail()))?;
            Ok((Some(AdminSocket::Unix(socket)), None))
        }
    }
}

/// Admin and file watching, away from the traffic. The thread ends with the process, so that
/// `/live` and `/metrics` answer until the end of a drain.
fn aside(
    socket: Option<AdminSocket>,
    state: admin::State,
    reloader: Arc<Reloader>,
    watched: FileWatch,
) -> Result<(), StartError> {
    let thread = runtime::aside("aside", move || async move {
        let drain = state.drain.clone();
        tokio::spawn(keep(Arc::clone(&state.reputation), Arc::clone(&reloader)));
        if let Some(socket) = socket.and_then(|socket| socket.listen().ok()) {
            tokio::spawn(admin::serve(socket, state));
        }
        tokio::select! {
            () = watch(&reloader, watched) => {}
            () = write_learned(reloader.published()) => {}
            () = drain.finished_after_start() => {}
        }
    });
    thread.map(drop).map_err(system("cannot start the admin thread"))
}

/// Writes down who is kept out, soon after that has changed.
async fn keep(reputation: Arc<Reputation>, reloader: Arc<Reloader>) {
    loop {
        reputation.due().await;
        let (reputation, reloader) = (Arc::clone(&reputation), Arc::clone(&reloader));
        // What goes wrong is in the log.
        let _ = tokio::task::spawn_blocking(move || reputation.keep(&reloader)).await;
    }
}

/// Reloads when files have changed and then kept still from one look to the next, as often as the
/// current configuration says: what is still being written is not a configuration yet.
async fn watch(reloader: &Arc<Reloader>, mut watched: FileWatch) {
    /// How often a gate that does not watch looks whether it should.
    const OFF: Duration = Duration::from_secs(1);
    let mut unread = false;
    loop {
        let interval = reloader.published().current().config.reload_interval;
        tokio::time::sleep(if interval.is_zero() { OFF } else { interval }).await;
        if interval.is_zero() {
            continue;
        }
        let changed = watched.changed();
        unread |= changed;
        if changed || !unread {
            continue;
        }
        unread = false;
        let reloading = Arc::clone(reloader);
        // Not on this thread, which answers probes. Its outcome is in the log and in the metrics.
        let _ = tokio::task::spawn_blocking(move || reloading.reload(Trigger::FileChange)).await;
        watched.replace(reloader.files());
    }
}

/// Writes down what is learned of clients, as long as the gate runs.
async fn write_learned(published: &Published) {
    /// Seldom enough for any disk; what a crash loses is learned again.
    const INTERVAL: Duration = Duration::from_secs(5);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let snapshot = published.current();
        // Its outcome is in the log.
        let _ = tokio::task::spawn_blocking(move || snapshot.write_learned()).await;
    }
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::System { what, source }
}
