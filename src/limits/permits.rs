//! What may happen at once: guards that count while they live, and give back when they drop, panics included.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{sleep, timeout};

use super::gcra::{Gcra, Outcome};
use super::limit::network;
use super::live::{AddressPermit, Addresses, Gauge, Held};
use super::slots::{Slot, Slots};
use super::spec::Rate;
use crate::clock::Clock;
use crate::reject::{Reason, Reject};

/// How much may happen at once. Zero of anything is nothing at all, not everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitBounds {
    /// Connections from one address (IPv6: one /64).
    pub per_address: u32,
    /// Connections altogether.
    pub max_connections: u32,
    /// Connections that have sent no ClientHello yet.
    pub silent: u32,
    /// Handshakes that one address (IPv6: one /64) may start. At once may come what the rate gives in a second, and
    /// never fewer than ten.
    pub handshakes_per_address: Rate,
    /// Handshakes under way.
    pub handshakes: u32,
    /// Requests under way.
    pub requests_in_flight: u32,
}

/// Gives out permits. Clones share the counts.
///
/// Addresses count as networks: an IPv4 address by itself, an IPv6 address by its /64, because that is the least
/// that one customer gets (RFC 6177) and he may use every address of it. IPv4-mapped IPv6 addresses are IPv4.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    clock: Clock,
    connections: Arc<Gauge>,
    addresses: Arc<Addresses>,
    silent: Arc<Slots>,
    pace: ArcSwap<Pace>,
    handshakes: Arc<Slots>,
    /// Handshakes under way, by address.
    shaking: Arc<Addresses>,
    requests: Arc<Gauge>,
    /// Requests that are refused, and wait for their refusal.
    refused: Arc<Gauge>,
}

/// The rate of handshakes an address may have, and its counts.
#[derive(Debug)]
struct Pace {
    rate: Rate,
    burst: u32,
    gcra: Gcra,
}

/// A connection that may be open as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it closes the slot"]
pub struct ConnectionPermit {
    _address: AddressPermit,
    _total: Held,
}

/// A connection that may be without a ClientHello as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it closes the slot"]
pub struct SilentPermit(Slot);

/// A handshake that may be under way as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it closes the slot"]
pub struct HandshakePermit {
    _address: AddressPermit,
    slot: Slot,
}

/// A request that may be under way as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it closes the slot"]
pub struct RequestPermit {
    _held: Held,
}

/// How many refused requests wait at a time for their refusal: a waiting one is some kilobytes, so all are no more than a few
/// thousand idle connections.
const REFUSED: u32 = 4096;

impl Permits {
    /// Nothing is under way yet.
    #[must_use]
    pub fn new(bounds: PermitBounds, clock: &Clock) -> Self {
        let pace = Pace::new(bounds.handshakes_per_address, clock);
        Self(Arc::new(Counts {
            clock: clock.clone(),
            connections: Gauge::new(bounds.max_connections),
            addresses: Addresses::new(bounds.per_address),
            silent: Slots::impatient(bounds.silent),
            handshakes: Slots::new(bounds.handshakes),
            shaking: Addresses::new(pace.burst),
            pace: ArcSwap::from_pointee(pace),
            requests: Gauge::new(bounds.requests_in_flight),
            refused: Gauge::new(REFUSED),
        }))
    }

    /// Other bounds for the same counts. What is under way goes on, also beyond a bound that is now lower; the
    /// handshake rate starts afresh if (and only if) it is another one.
    pub fn set_bounds(&self, bounds: PermitBounds) {
        let Counts { clock, connections, addresses, silent, pace, handshakes, shaking, requests, .. } = &*self.0;
        connections.set_bound(bounds.max_connections);
        addresses.set_bound(bounds.per_address);
        silent.set_bound(bounds.silent);
        handshakes.set_bound(bounds.handshakes);
        requests.set_bound(bounds.requests_in_flight);
        if pace.load().rate != bounds.handshakes_per_address {
            let next = Pace::new(bounds.handshakes_per_address, clock);
            shaking.set_bound(next.burst);
            pace.store(Arc::new(next));
        }
    }

    /// Before a connection is read from. Behind a PROXY protocol header, `address` is the one the header names.
    ///
    /// # Errors
    ///
    /// [`Reason::ConnectionsPerAddress`], and [`Reason::Connections`] if there is no more room for anybody.
    pub fn connection(&self, address: IpAddr) -> Result<ConnectionPermit, Reject> {
        let total = self.0.connections.hold().ok_or(Reason::Connections)?;
        let permit = self.0.addresses.hold(client(address)).ok_or(Reason::ConnectionsPerAddress)?;
        Ok(ConnectionPermit { _address: permit, _total: total })
    }

    /// While a connection has not said what it wants. The one that has been silent longest makes room for a newcomer.
    ///
    /// # Errors
    ///
    /// [`Reason::ConnectionsSilent`] if nobody may be silent.
    pub fn silent(&self) -> Result<SilentPermit, Reject> {
        let slot = self.0.silent.take(self.0.clock.now());
        slot.map(SilentPermit).ok_or(Reason::ConnectionsSilent.into())
    }

    /// When a client begins its handshake: at the first byte, before anything is kept of it. One that would find no
    /// room is not held against its address.
    ///
    /// # Errors
    ///
    /// [`Reason::HandshakesInFlight`] and [`Reason::HandshakesPerAddress`], the latter with when to come back.
    pub fn start(&self, address: IpAddr) -> Result<(), Reject> {
        if !self.0.handshakes.has_room(self.0.clock.now()) {
            return Err(Reason::HandshakesInFlight.into());
        }
        if let Outcome::Exhausted { retry_after } = self.0.pace.load().check(client(address)) {
            return Err(Reject::from(Reason::HandshakesPerAddress).retry_after(retry_after));
        }
        Ok(())
    }

    /// Behind a whole ClientHello, before a handshake costs anything. It finds no room only while all others are
    /// young, see [`HandshakePermit::revoked`].
    ///
    /// An address may have as many under way as it may start at once: one that lets all of them hang until they time
    /// out would otherwise take every slot there is, at the rate that it is allowed.
    ///
    /// # Errors
    ///
    /// [`Reason::HandshakesInFlight`] and [`Reason::HandshakesPerAddress`].
    pub fn handshake(&self, address: IpAddr) -> Result<HandshakePermit, Reject> {
        let hanging = || Reject::new(Reason::HandshakesPerAddress, "as many under way as it may start at once");
        let permit = self.0.shaking.hold(client(address)).ok_or_else(hanging)?;
        let slot = self.0.handshakes.take(self.0.clock.now()).ok_or(Reason::HandshakesInFlight)?;
        Ok(HandshakePermit { _address: permit, slot })
    }

    /// Before a request is forwarded.
    ///
    /// # Errors
    ///
    /// [`Reason::RequestsInFlight`].
    pub fn request(&self) -> Result<RequestPermit, Reject> {
        self.0.requests.hold().map(|held| RequestPermit { _held: held }).ok_or(Reason::RequestsInFlight.into())
    }

    /// The same, for a request that may wait for so long until another one ends. As many may wait as may be under way.
    /// Whoever is refused has waited, as long as fewer than 4,096 do: a client that asks again at once cannot make the gate
    /// busy with refusals, of which it could write tens of thousands a second and do nothing else.
    ///
    /// # Errors
    ///
    /// [`Reason::RequestsInFlight`].
    pub async fn request_within(&self, wait: Duration) -> Result<RequestPermit, Reject> {
        match timeout(wait, self.0.requests.wait()).await {
            Ok(Some(held)) => Ok(RequestPermit { _held: held }),
            Ok(None) => {
                if let Some(_place) = self.0.refused.hold() {
                    sleep(wait).await;
                }
                Err(Reject::new(Reason::RequestsInFlight, "and as many wait"))
            }
            Err(_) => Err(Reject::new(Reason::RequestsInFlight, format!("for {wait:?}"))),
        }
    }

    /// Requests that wait now.
    pub fn requests_waiting(&self) -> u32 {
        self.0.requests.waiting()
    }

    /// Connections open now.
    pub fn connections_open(&self) -> u32 {
        self.0.connections.used()
    }

    /// Connections without a ClientHello now.
    pub fn connections_silent(&self) -> u32 {
        u32::try_from(self.0.silent.used()).unwrap_or(u32::MAX)
    }

    /// Handshakes under way now.
    pub fn handshakes_under_way(&self) -> u32 {
        u32::try_from(self.0.handshakes.used()).unwrap_or(u32::MAX)
    }

    /// Requests under way now.
    pub fn requests_under_way(&self) -> u32 {
        self.0.requests.used()
    }
}

impl SilentPermit {
    /// Resolves when the connection has been silent for so long that its slot is needed for another.
    pub async fn revoked(&mut self) -> Reject {
        self.0.revoked().await;
        Reject::new(Reason::ConnectionsSilent, "silent for longer than all others, and others wait")
    }
}

impl HandshakePermit {
    /// Resolves when the handshake has hung for so long that its slot is needed for another.
    pub async fn revoked(&mut self) -> Reject {
        self.slot.revoked().await;
        Reject::new(Reason::HandshakesInFlight, "the slowest of all, and others wait")
    }
}

impl Pace {
    fn new(rate: Rate, clock: &Clock) -> Self {
        let a_second = u128::from(rate.count.get()) * NANOS_PER_SECOND / rate.per.as_nanos().max(1);
        let burst = u32::try_from(a_second).unwrap_or(u32::MAX).max(LEAST_BURST);
        Self { rate, burst, gcra: Gcra::new(rate, burst, HANDSHAKE_KEYS, clock) }
    }

    fn check(&self, client: IpAddr) -> Outcome {
        self.gcra.check(self.gcra.store.hash(&client))
    }
}

/// Who an address stands for.
fn client(address: IpAddr) -> IpAddr {
    network(address, 32, 64)
}

/// Addresses whose handshakes are remembered: 4 MiB once all of it has been used. More addresses than this would
/// have to keep their full rate at the same time before newcomers share a counter.
const HANDSHAKE_KEYS: usize = 1 << 18;

/// A browser opens six connections to a host at once, and a shared address hides more than one client.
const LEAST_BURST: u32 = 10;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "`tokio::test` builds the test's own runtime")]
mod tests;
