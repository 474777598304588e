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
mod tests {
    use std::num::NonZeroU32;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: PermitBounds = PermitBounds {
        per_address: 2,
        max_connections: 5,
        silent: 3,
        handshakes_per_address: Rate { count: NonZeroU32::new(3).unwrap(), per: Duration::from_hours(3) },
        handshakes: 4,
        requests_in_flight: 2,
    };

    fn permits() -> Permits {
        Permits::new(BOUNDS, &Clock::adjustable())
    }

    /// From the first byte to the handshake.
    fn shake(permits: &Permits, address: IpAddr) -> Result<HandshakePermit, Reject> {
        permits.start(address)?;
        permits.handshake(address)
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    fn reason<T>(result: Result<T, Reject>) -> Option<Reason> {
        result.err().map(|reject| reject.reason)
    }

    #[test]
    fn an_address_has_so_many_connections_and_gets_room_back() {
        let permits = permits();
        let a = permits.connection(ip("192.0.2.1")).unwrap();
        let b = permits.connection(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(reason(permits.connection(ip("192.0.2.1"))), Some(Reason::ConnectionsPerAddress));
        let _other = permits.connection(ip("192.0.2.2")).unwrap();
        assert_eq!(permits.connections_open(), 3, "a refusal holds nothing");
        drop(a);
        let _again = permits.connection(ip("192.0.2.1")).unwrap();
        drop(b);
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let permits = permits();
        let _held = ["2001:db8::1", "2001:db8::2"].map(|address| permits.connection(ip(address)).unwrap());
        assert_eq!(reason(permits.connection(ip("2001:db8::ffff:1"))), Some(Reason::ConnectionsPerAddress));
        assert_eq!(reason(permits.connection(ip("2001:db8:0:1::1"))), None);
    }

    #[test]
    fn there_are_only_so_many_connections_altogether() {
        let permits = permits();
        let held = [1, 2, 3, 4, 5].map(|n| permits.connection(ip(&format!("192.0.2.{n}"))).unwrap());
        assert_eq!(reason(permits.connection(ip("192.0.2.6"))), Some(Reason::Connections));
        drop(held);
        assert_eq!(permits.connections_open(), 0);
        assert_eq!(permits.0.addresses.known(), 0, "an address without connections is forgotten");
    }

    #[test]
    fn whoever_is_silent_takes_no_handshakes_place_and_makes_room_for_others_who_are() {
        let clock = Clock::adjustable();
        let permits = Permits::new(PermitBounds { handshakes: 1, ..BOUNDS }, &clock);
        let mut silent = [(); 3].map(|()| permits.silent().unwrap());
        assert_eq!(reason(shake(&permits, ip("192.0.2.1"))), None);
        let _newcomer = permits.silent().unwrap();
        assert_eq!(silent[0].revoked().now_or_never().unwrap().reason, Reason::ConnectionsSilent);
        assert!(silent[1].revoked().now_or_never().is_none());
        drop(silent);
        assert_eq!(permits.connections_silent(), 1);
    }

    #[test]
    fn an_address_starts_so_many_handshakes() {
        let clock = Clock::adjustable();
        let permits = Permits::new(BOUNDS, &clock);
        (0..10).for_each(|_| drop(shake(&permits, ip("2001:db8::1")).unwrap()));
        let reject = shake(&permits, ip("2001:db8::2")).unwrap_err();
        assert_eq!(reject.reason, Reason::HandshakesPerAddress);
        assert_eq!(permits.handshakes_under_way(), 0, "a refusal holds nothing");
        assert_eq!(reason(shake(&permits, ip("192.0.2.1"))), None);
        assert!(reject.retry_after.unwrap() > Duration::from_mins(59));
        clock.advance(reject.retry_after.unwrap() + Duration::from_millis(1));
        assert_eq!(reason(shake(&permits, ip("2001:db8::2"))), None);
    }

    #[test]
    fn a_fast_handshake_rate_has_a_burst_of_a_second() {
        let rate = Rate { count: NonZeroU32::new(36_000_000).unwrap(), per: Duration::from_hours(10) };
        let permits = Permits::new(PermitBounds { handshakes_per_address: rate, ..BOUNDS }, &Clock::adjustable());
        let passed = (0..1_000).take_while(|_| shake(&permits, ip("192.0.2.1")).is_ok()).count();
        assert!(passed >= 1_000, "{passed}");
    }

    #[test]
    fn handshakes_of_one_address_that_hang_leave_room_for_others() {
        let clock = Clock::adjustable();
        let rate = Rate { count: NonZeroU32::new(20).unwrap(), per: Duration::from_secs(1) };
        let permits = Permits::new(PermitBounds { handshakes: 100, handshakes_per_address: rate, ..BOUNDS }, &clock);
        let mut hanging = Vec::new();
        for _ in 0..10 {
            hanging.extend((0..20).filter_map(|_| shake(&permits, ip("192.0.2.1")).ok()));
            clock.advance(Duration::from_secs(1));
        }
        assert_eq!(hanging.len(), 20);
        assert_eq!(reason(shake(&permits, ip("192.0.2.1"))), Some(Reason::HandshakesPerAddress));
        assert_eq!(reason(shake(&permits, ip("192.0.2.2"))), None);
        hanging.pop();
        assert_eq!(reason(shake(&permits, ip("192.0.2.1"))), None);
        drop(hanging);
        assert_eq!(permits.0.shaking.known(), 0);
    }

    #[test]
    fn a_handshake_that_its_rate_refuses_makes_nobody_give_way() {
        let clock = Clock::adjustable();
        let permits = Permits::new(PermitBounds { handshakes: 1, ..BOUNDS }, &clock);
        (0..10).for_each(|_| drop(shake(&permits, ip("192.0.2.1")).unwrap()));
        let mut slow = shake(&permits, ip("192.0.2.2")).unwrap();
        clock.advance(Duration::from_secs(9));
        assert_eq!(reason(shake(&permits, ip("192.0.2.1"))), Some(Reason::HandshakesPerAddress));
        assert!(slow.revoked().now_or_never().is_none());
        let _newcomer = shake(&permits, ip("192.0.2.3")).unwrap();
        assert_eq!(slow.revoked().now_or_never().unwrap().reason, Reason::HandshakesInFlight);
    }

    #[test]
    fn a_handshake_that_finds_no_room_is_not_held_against_its_address() {
        let permits = permits();
        let held = [1, 2, 3, 4].map(|n| shake(&permits, ip(&format!("192.0.2.{n}"))).unwrap());
        for _ in 0..9 {
            assert_eq!(reason(shake(&permits, ip("192.0.2.9"))), Some(Reason::HandshakesInFlight));
        }
        drop(held);
        (0..10).for_each(|_| drop(shake(&permits, ip("192.0.2.9")).unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_in_order_and_not_for_ever() {
        let permits = permits();
        let mut held = [(); 2].map(|()| permits.request().unwrap()).into_iter();
        let second = Duration::from_secs(1);
        let mut first = Box::pin(permits.request_within(second));
        let mut next = Box::pin(permits.request_within(second * 2));
        assert!(first.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
        assert_eq!(permits.requests_waiting(), 2);
        let refused = permits.request_within(Duration::ZERO).await;
        assert_eq!(reason(refused), Some(Reason::RequestsInFlight), "as many wait as may");
        drop(held.next());
        assert_eq!(reason(permits.request()), Some(Reason::RequestsInFlight), "nobody jumps the queue");
        assert!(next.as_mut().now_or_never().is_none());
        let first = first.now_or_never().expect("its turn").unwrap();
        assert_eq!(reason(next.await), Some(Reason::RequestsInFlight), "nobody has ended");
        assert_eq!((permits.requests_waiting(), permits.requests_under_way()), (0, 2));
        drop((first, held));
        assert_eq!(reason(permits.request()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_has_waited_unless_too_many_do() {
        let permits = permits();
        let _held = [(); 2].map(|()| permits.request().unwrap());
        let wait = Duration::from_millis(100);
        let mut waiting: Vec<_> = (0..2 + REFUSED).map(|_| Box::pin(permits.request_within(wait))).collect();
        assert!(waiting.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
        let one_more = permits.request_within(wait).now_or_never().expect("a refusal at once");
        assert_eq!(reason(one_more), Some(Reason::RequestsInFlight));
        let started = tokio::time::Instant::now();
        for waiting in waiting {
            assert_eq!(reason(waiting.await), Some(Reason::RequestsInFlight));
        }
        assert!(started.elapsed() >= wait);
        assert_eq!(permits.0.refused.used(), 0);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_passes_the_place_on() {
        let permits = permits();
        let held = [(); 2].map(|()| permits.request().unwrap());
        let long = Duration::from_hours(1);
        let mut first = Box::pin(permits.request_within(long));
        let mut next = Box::pin(permits.request_within(long));
        assert!(first.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
        let [one, _other] = held;
        drop(one);
        drop(first);
        assert_eq!(reason(next.now_or_never().expect("its turn")), None);
    }

    #[test]
    fn a_panic_gives_everything_back() {
        let permits = permits();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _connection = permits.connection(ip("192.0.2.1")).unwrap();
            let _handshake = shake(&permits, ip("192.0.2.1")).unwrap();
            let _request = permits.request().unwrap();
            panic!("a bug");
        }));
        assert!(outcome.is_err());
        assert_eq!(
            (permits.connections_open(), permits.handshakes_under_way(), permits.requests_under_way()),
            (0, 0, 0)
        );
        assert_eq!(permits.0.addresses.known(), 0);
    }

    #[test]
    fn other_bounds_keep_the_counts() {
        let permits = permits();
        let held = [(); 2].map(|()| permits.request().unwrap());
        assert_eq!(reason(permits.request()), Some(Reason::RequestsInFlight));
        permits.set_bounds(PermitBounds { requests_in_flight: 3, ..BOUNDS });
        let third = permits.request().unwrap();
        permits.set_bounds(PermitBounds { requests_in_flight: 1, ..BOUNDS });
        drop(third);
        assert_eq!(reason(permits.request()), Some(Reason::RequestsInFlight), "two are still under way");
        drop(held);
        assert_eq!(reason(permits.request()), None);
    }

    #[test]
    fn the_handshake_rate_is_kept_over_a_reload_unless_it_is_another() {
        let permits = permits();
        (0..10).for_each(|_| drop(shake(&permits, ip("192.0.2.1")).unwrap()));
        permits.set_bounds(PermitBounds { handshakes: 99, ..BOUNDS });
        assert_eq!(reason(shake(&permits, ip("192.0.2.1"))), Some(Reason::HandshakesPerAddress));
        let per = Duration::from_hours(1);
        permits.set_bounds(PermitBounds {
            handshakes_per_address: Rate { per, ..BOUNDS.handshakes_per_address },
            ..BOUNDS
        });
        assert_eq!(reason(shake(&permits, ip("192.0.2.1"))), None);
    }

    #[test]
    fn zero_of_something_is_nothing() {
        let none = PermitBounds { per_address: 0, handshakes: 0, requests_in_flight: 0, ..BOUNDS };
        let permits = Permits::new(none, &Clock::adjustable());
        assert_eq!(reason(permits.connection(ip("192.0.2.1"))), Some(Reason::ConnectionsPerAddress));
        assert_eq!(reason(shake(&permits, ip("192.0.2.1"))), Some(Reason::HandshakesInFlight));
        assert_eq!(reason(permits.request()), Some(Reason::RequestsInFlight));
        assert_eq!(permits.0.addresses.known(), 0, "a refused address is not remembered");
    }

    #[test]
    fn permits_move_between_threads_and_outlive_their_source() {
        fn is_free<T: Send + Sync + 'static>(_: &T) {}
        let permits = permits();
        let (connection, handshake, request) =
            (permits.connection(ip("::1")).unwrap(), shake(&permits, ip("::1")).unwrap(), permits.request().unwrap());
        is_free(&connection);
        is_free(&handshake);
        is_free(&request);
        drop(permits);
    }

    #[test]
    fn threads_together_never_hold_more_than_the_bound() {
        let permits = Permits::new(PermitBounds { per_address: 3, ..BOUNDS }, &Clock::adjustable());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let held = (permits.request(), permits.connection(ip("192.0.2.1")));
                        assert!(permits.requests_under_way() <= 2);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!((permits.requests_under_way(), permits.connections_open(), permits.0.addresses.known()), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn any_order_of_coming_and_going_is_counted_exactly(
            steps in prop::collection::vec((0_u8..4, any::<bool>()), 0..80),
        ) {
            let permits = permits();
            let mut open = Vec::new();
            for (address, comes) in steps {
                if comes {
                    let own = open.iter().filter(|(other, _)| *other == address).count();
                    let expected = match (open.len(), own) {
                        (5.., _) => Some(Reason::Connections),
                        (_, 2..) => Some(Reason::ConnectionsPerAddress),
                        _ => None,
                    };
                    let permit = permits.connection(ip(&format!("192.0.2.{address}")));
                    prop_assert_eq!(permit.as_ref().err().map(|reject| reject.reason), expected);
                    open.extend(permit.ok().map(|permit| (address, permit)));
                } else if let Some(at) = open.iter().position(|(other, _)| *other == address) {
                    drop(open.swap_remove(at));
                }
                let known: std::collections::HashSet<_> = open.iter().map(|(address, _)| *address).collect();
                prop_assert_eq!(usize::try_from(permits.connections_open()).unwrap(), open.len());
                prop_assert_eq!(permits.0.addresses.known(), known.len());
            }
        }
    }
}
