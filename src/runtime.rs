//! The one file that builds async runtimes: how connections spread over threads.

/// How connections spread over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavor {
    /// One single-threaded runtime a thread, each with its own listening sockets and pools.
    #[default]
    ThreadPerCore,
    /// One runtime whose tasks move between threads.
    WorkStealing,
}
