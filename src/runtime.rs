//! The one file that builds async runtimes and threads: how connections spread over cores.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{Builder as ThreadBuilder, JoinHandle, available_parallelism};

use tokio::runtime::{Builder, Runtime};

/// How connections spread over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavor {
    /// One single-threaded runtime a thread, each with its own listening sockets and pools:
    /// nothing is shared on the request path, nothing moves between cores.
    #[default]
    ThreadPerCore,
    /// One runtime whose tasks move between threads.
    WorkStealing,
}

/// One unit of serving: an accept loop a listener and the pooled connections it alone uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(pub usize);

/// How many seats `threads` threads make.
#[must_use]
pub fn seats(flavor: Flavor, threads: NonZeroUsize) -> usize {
    match flavor {
        Flavor::ThreadPerCore => threads.get(),
        Flavor::WorkStealing => 1,
    }
}

/// Threads to serve with: what the operator said, or one per core.
#[must_use]
pub fn threads(wanted: Option<NonZeroUsize>) -> NonZeroUsize {
    wanted.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// Runs `serve` on every seat, each to its end, on threads of their own.
///
/// # Errors
/// When a runtime or a thread cannot be made; then none has begun to serve.
pub fn spawn<F, S>(flavor: Flavor, threads: NonZeroUsize, serve: S) -> io::Result<Vec<JoinHandle<()>>>
where
    S: Fn(Seat) -> F + Send + Sync + 'static,
    F: Future<Output = ()>,
{
    // All runtimes first: a failure must find no worker already serving.
    let runtimes = (0..seats(flavor, threads)).map(|_| runtime(flavor, threads)).collect::<io::Result<Vec<_>>>()?;
    let serve = Arc::new(serve);
    let start = |(index, runtime): (usize, Runtime)| {
        let serve = Arc::clone(&serve);
        thread(&format!("worker-{index}"), move || {
            runtime.block_on(serve(Seat(index)));
            // What is left are connections that outlived the drain's deadline.
            runtime.shutdown_background();
        })
    };
    runtimes.into_iter().enumerate().map(start).collect()
}

/// Runs `future` on a thread and a runtime of its own, away from the traffic.
///
/// # Errors
/// When the runtime or the thread cannot be made.
pub fn aside<F>(name: &str, future: impl FnOnce() -> F + Send + 'static) -> io::Result<JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    let runtime = runtime(Flavor::ThreadPerCore, NonZeroUsize::MIN)?;
    thread(name, move || {
        runtime.block_on(future());
        runtime.shutdown_background();
    })
}

#[expect(clippy::disallowed_methods, reason = "the one place that builds runtimes")]
fn runtime(flavor: Flavor, threads: NonZeroUsize) -> io::Result<Runtime> {
    match flavor {
        Flavor::ThreadPerCore => Builder::new_current_thread().enable_all().build(),
        Flavor::WorkStealing => Builder::new_multi_thread().worker_threads(threads.get()).enable_all().build(),
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // Linux shows 15 bytes of it: no room for the program's name, which is shown beside it.
    ThreadBuilder::new().name(name.to_owned()).spawn(run)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_flavor_runs_every_seat_to_its_end() {
        let two = NonZeroUsize::new(2).unwrap();
        for (flavor, expected) in [(Flavor::ThreadPerCore, 2), (Flavor::WorkStealing, 1)] {
            let ran = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&ran);
            let workers = spawn(flavor, two, move |_| {
                let count = Arc::clone(&count);
                async move {
                    tokio::task::yield_now().await;
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
            for worker in workers.unwrap() {
                worker.join().unwrap();
            }
            assert_eq!(ran.load(Ordering::SeqCst), expected, "{flavor:?}");
        }
    }
}
