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
    assert_eq!((permits.connections_open(), permits.handshakes_under_way(), permits.requests_under_way()), (0, 0, 0));
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
    permits
        .set_bounds(PermitBounds { handshakes_per_address: Rate { per, ..BOUNDS.handshakes_per_address }, ..BOUNDS });
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
