//! A group of servers that are all the same to a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::balance::choose;
use super::health::{Turn, probe_candidates};
use super::server::{InFlight, Server};
use super::spec::UpstreamSpec;
use crate::reject::{Reason, Reject};

/// A group of servers, with all that is known of them. Shared by all workers and, while nothing about
/// it changes, by all configurations.
pub struct Upstream {
    pub(super) spec: UpstreamSpec,
    /// Of the TLS files that it was built from.
    pub(super) digest: [u8; 32],
    pub(super) seats: usize,
    pub(super) servers: Box<[Arc<Server>]>,
    turn: AtomicUsize,
}

/// How a server is, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// `host:port`.
    pub name: Box<str>,
    /// Whether it gets no requests for now.
    pub ejected: bool,
    /// Requests under way with it, response bodies and tunnels included.
    pub in_flight: usize,
}

impl std::fmt::Debug for Upstream {
    /// By name: what is inside are keys and connections.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upstream").field(&self.spec.name).finish()
    }
}

impl Upstream {
    pub(super) fn new(spec: UpstreamSpec, digest: [u8; 32], seats: usize, servers: Box<[Arc<Server>]>) -> Self {
        Self { spec, digest, seats, servers, turn: AtomicUsize::new(0) }
    }

    /// What it was built from.
    pub fn spec(&self) -> &UpstreamSpec {
        &self.spec
    }

    /// How its servers are, in the order of the configuration.
    pub fn status(&self) -> Vec<ServerStatus> {
        let status = |server: &Arc<Server>| ServerStatus {
            name: server.name.clone(),
            ejected: server.health.ejected_until().is_some(),
            in_flight: server.in_flight(),
        };
        self.servers.iter().map(status).collect()
    }

    /// The server for the next request.
    pub(super) fn pick(&self) -> Result<InFlight, Reject> {
        if self.servers.iter().any(|server| server.health.ejected_until().is_some())
            && let Some(server) = self.probe()
        {
            return Ok(InFlight::new(server, Turn::Probe));
        }
        let turn = if self.servers.len() > 1 { self.turn.fetch_add(1, Relaxed) } else { 0 };
        self.regular(turn, |_| true).ok_or_else(|| self.unavailable())
    }

    /// A server for a request that `tried` could not be asked. Takes nobody's turn: of two servers of which
    /// one is down, the other would otherwise never have its own.
    pub(super) fn pick_other(&self, tried: &Arc<Server>) -> Option<InFlight> {
        self.regular(self.turn.load(Relaxed), |server| !Arc::ptr_eq(server, tried))
    }

    fn regular(&self, turn: usize, fit: impl Fn(&Arc<Server>) -> bool) -> Option<InFlight> {
        let load = |at: usize| {
            let server =
                self.servers.get(at).filter(|server| server.health.ejected_until().is_none() && fit(server))?;
            Some(server.in_flight())
        };
        let at = choose(self.spec.balance, self.servers.len(), turn, load)?;
        self.servers.get(at).map(|server| InFlight::new(server, Turn::Regular))
    }

    fn probe(&self) -> Option<&Arc<Server>> {
        let now = self.now()?;
        let ejected: Vec<Option<u64>> = self.servers.iter().map(|server| server.health.ejected_until()).collect();
        let mut candidates = probe_candidates(&ejected, now).filter_map(|at| self.servers.get(at));
        candidates.find(|server| server.health.try_probe(now))
    }

    #[cold]
    fn unavailable(&self) -> Reject {
        let now = self.now().unwrap_or_default();
        let next = self.servers.iter().map(|server| server.health.next_probe(now)).min().unwrap_or_default();
        let detail = format!("all {} servers of {} are ejected", self.servers.len(), self.spec.name);
        // Whole seconds are all that Retry-After can say, and 0 would invite at once.
        Reject::new(Reason::UpstreamUnavailable, detail).retry_after(next.max(Duration::from_secs(1)))
    }

    fn now(&self) -> Option<u64> {
        // All servers of a group are built at once: their watches agree.
        self.servers.first().map(|server| server.watch.millis())
    }
}
