//! One server of a group, as all workers see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

use http::uri::Scheme;

use super::form::Protocol;
use super::health::{Health, Turn, Verdict, Watch};
use super::pool::Seat;
use super::spec::{ServerSpec, Timeouts, UpstreamSpec, Via};
use super::tls::Connector;
use crate::clock::Clock;
use crate::reject::{Reason, Reject};

/// A server: where it is, how it is, and what is connected with it.
pub(super) struct Server {
    pub(super) spec: ServerSpec,
    /// `host:port`, for logs and metrics.
    pub(super) name: Box<str>,
    pub(super) timeouts: Timeouts,
    pub(super) tls: Option<Connector>,
    pub(super) max_idle: usize,
    pub(super) health: Health,
    pub(super) watch: Watch,
    in_flight: AtomicUsize,
    /// What the last connection spoke; decides whether requests wait for one connection or open many.
    spoken: AtomicU8,
    seats: Box<[Seat]>,
}

/// A request on its way with a server; counted until dropped.
pub(super) struct InFlight {
    pub(super) server: Arc<Server>,
    turn: Turn,
}

impl Server {
    pub(super) fn new(
        spec: ServerSpec,
        group: &UpstreamSpec,
        tls: Option<Connector>,
        seats: usize,
        clock: &Clock,
    ) -> Self {
        let spoken = match spec.via {
            Via::Http1 => HTTP1,
            Via::Http2 => HTTP2,
            Via::Tls => UNKNOWN,
        };
        Self {
            name: name(&spec),
            spec,
            timeouts: group.timeouts,
            tls,
            max_idle: group.max_idle,
            health: Health::new(group.eject_after, group.eject_for),
            watch: Watch::new(clock),
            in_flight: AtomicUsize::new(0),
            spoken: AtomicU8::new(spoken),
            seats: std::iter::repeat_with(Seat::default).take(seats.max(1)).collect(),
        }
    }

    /// What the worker at `seat` keeps of this server.
    #[expect(clippy::indexing_slicing, reason = "the remainder is always less than the length, which is never 0")]
    pub(super) fn seat(&self, seat: usize) -> &Seat {
        &self.seats[seat % self.seats.len()]
    }

    /// Requests under way, their response bodies included.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// What this server speaks, as far as is known.
    pub(super) fn spoken(&self) -> Option<Protocol> {
        match self.spoken.load(Relaxed) {
            HTTP1 => Some(Protocol::Http1),
            HTTP2 => Some(Protocol::Http2),
            _ => None,
        }
    }

    /// A connection was made, and this is spoken on it.
    pub(super) fn speaks(&self, protocol: Protocol) {
        let spoken = match protocol {
            Protocol::Http1 => HTTP1,
            Protocol::Http2 => HTTP2,
        };
        if self.spoken.load(Relaxed) != spoken {
            self.spoken.store(spoken, Relaxed);
        }
    }

    /// What rests since before this time of the watch is too old.
    pub(super) fn oldest(&self) -> u64 {
        let keep_alive = u64::try_from(self.timeouts.keep_alive.as_millis()).unwrap_or(u64::MAX);
        self.watch.millis().saturating_sub(keep_alive)
    }

    /// The scheme of its URIs.
    pub(super) fn scheme(&self) -> &'static Scheme {
        static CLEAR: Scheme = Scheme::HTTP;
        static TLS: Scheme = Scheme::HTTPS;
        match self.spec.via {
            Via::Http1 | Via::Http2 => &CLEAR,
            Via::Tls => &TLS,
        }
    }
}

impl InFlight {
    pub(super) fn new(server: &Arc<Server>, turn: Turn) -> Self {
        server.in_flight.fetch_add(1, Relaxed);
        Self { server: Arc::clone(server), turn }
    }

    /// The server answered.
    pub(super) fn succeeded(&self) {
        self.server.health.succeeded(self.turn);
    }

    /// The exchange ended with `reject` before an answer. What the client is to blame for says nothing
    /// about the server.
    pub(super) fn failed(&self, reject: &Reject) {
        if !is_server_fault(reject.reason) {
            return;
        }
        let now = self.server.watch.millis();
        if self.server.health.failed(self.turn, now) == Verdict::Ejected {
            // A probe over a connection from before the failure would test that connection, not the server.
            self.server.seats.iter().for_each(Seat::clear);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Relaxed);
    }
}

fn is_server_fault(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UpstreamConnect
            | Reason::UpstreamConnectTimeout
            | Reason::UpstreamInvalid
            | Reason::UpstreamTimeout
            | Reason::UpstreamTls
    )
}

fn name(spec: &ServerSpec) -> Box<str> {
    if spec.host.contains(':') {
        format!("[{}]:{}", spec.host, spec.port).into()
    } else {
        format!("{}:{}", spec.host, spec.port).into()
    }
}

const UNKNOWN: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;
