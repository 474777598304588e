//! One limit: who is counted together, and whether this request still fits.

use std::hash::Hash;
use std::net::IpAddr;

use http::HeaderValue;
use ipnet::IpNet;

use super::gcra::{Gcra, Outcome};
use super::headers;
use super::spec::{Key, LimitSpec};
use super::store::KeyHash;
use crate::clock::Clock;
use crate::fingerprint::Stack;

/// What the gate knows about who asks for what: the components of a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyFacts<'a> {
    /// SHA-256 fingerprint of the verified certificate.
    pub identity: Option<&'a [u8; 32]>,
    /// What is known of the client's software.
    pub stack: Stack<'a>,
    /// The peer's address; an IPv4-mapped IPv6 address counts as the IPv4 address.
    pub address: IpAddr,
    /// Which host entry.
    pub host: u64,
    /// Which route.
    pub route: u64,
}

/// A limit at work: its wish, and the counts of everybody it has seen lately.
#[derive(Debug)]
pub struct Limit {
    spec: LimitSpec,
    gcra: Gcra,
    policy: HeaderValue,
}

impl Limit {
    /// A limit that has seen nobody yet.
    #[must_use]
    pub fn new(spec: &LimitSpec, clock: &Clock) -> Self {
        Self {
            gcra: Gcra::new(spec.rate, spec.burst.get(), spec.max_keys, clock),
            policy: headers::policy(&spec.name, spec.rate),
            spec: spec.clone(),
        }
    }

    /// Counts one request, unless it does not fit.
    ///
    /// [`Key::Identity`] without an identity means the address prefix: a client without a certificate cannot
    /// escape by having none, nor do all of them share one counter that one of them could use up.
    pub fn check(&self, facts: &KeyFacts<'_>) -> Outcome {
        self.gcra.check(self.key(facts))
    }

    /// Takes back a request that this limit counted and another one then refused.
    pub fn give_back(&self, facts: &KeyFacts<'_>) {
        self.gcra.store.give_back(self.key(facts));
    }

    /// The operator's wish.
    pub fn spec(&self) -> &LimitSpec {
        &self.spec
    }

    /// The `RateLimit-Policy` value.
    pub fn policy(&self) -> &HeaderValue {
        &self.policy
    }

    /// How many decisions were made for keys that shared a counter because the table was full of keys in debt. A
    /// growing number says that `max_keys` is too small, or that somebody fills the table.
    pub fn crowded(&self) -> u64 {
        self.gcra.store.shared_decisions()
    }

    fn key(&self, facts: &KeyFacts<'_>) -> KeyHash {
        self.gcra.store.hash(&Composite { limit: self, facts })
    }

    fn component<'a>(&self, key: Key, facts: &KeyFacts<'a>) -> Component<'a> {
        let prefix = || network(facts.address, self.spec.prefix_v4, self.spec.prefix_v6);
        match key {
            Key::Address => Component::Address(facts.address.to_canonical()),
            Key::All => Component::All,
            Key::Fingerprint => {
                Component::Fingerprint(facts.stack.tls.map(|print| *print.stable.as_bytes()), facts.stack.http2)
            }
            Key::Host => Component::Host(facts.host),
            Key::Identity => facts.identity.map_or_else(|| Component::Nobody(prefix()), Component::Identity),
            Key::Prefix => Component::Prefix(prefix()),
            Key::Route => Component::Route(facts.route),
        }
    }
}

/// One component of a key as it is hashed: `derive` puts the variant before the value, so no two different keys
/// can be spelled the same.
#[derive(Hash)]
enum Component<'a> {
    Address(IpAddr),
    All,
    Fingerprint(Option<[u8; 36]>, Option<&'a str>),
    Host(u64),
    Identity(&'a [u8; 32]),
    Nobody(IpAddr),
    Prefix(IpAddr),
    Route(u64),
}

struct Composite<'a> {
    limit: &'a Limit,
    facts: &'a KeyFacts<'a>,
}

impl Hash for Composite<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for key in &self.limit.spec.key {
            self.limit.component(*key, self.facts).hash(state);
        }
    }
}

/// The first address of the network that `address` is in, for prefixes of the given lengths. An IPv4-mapped IPv6
/// address counts as IPv4; a length beyond the address is the whole address.
pub(super) fn network(address: IpAddr, prefix_v4: u8, prefix_v6: u8) -> IpAddr {
    let address = address.to_canonical();
    let length = if address.is_ipv4() { prefix_v4 } else { prefix_v6 };
    IpNet::new(address, length).map_or(address, |net| net.network())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::spec::Rate;
    use super::*;

    fn spec(key: &[Key]) -> LimitSpec {
        LimitSpec {
            name: "login".into(),
            key: key.into(),
            rate: Rate { count: NonZeroU32::new(6).unwrap(), per: Duration::from_hours(6) },
            burst: NonZeroU32::new(3).unwrap(),
            prefix_v4: 24,
            prefix_v6: 56,
            max_keys: 1_000,
        }
    }

    fn from(address: &str) -> KeyFacts<'static> {
        KeyFacts { identity: None, stack: Stack::default(), address: address.parse().unwrap(), host: 1, route: 1 }
    }

    /// Whether the two are counted together.
    fn together(key: &[Key], a: &KeyFacts<'_>, b: &KeyFacts<'_>) -> bool {
        let limit = Limit::new(&spec(key), &Clock::adjustable());
        limit.key(a) == limit.key(b)
    }

    fn remaining(outcome: Outcome) -> Option<u32> {
        match outcome {
            Outcome::Allowed { remaining, .. } => Some(remaining),
            Outcome::Exhausted { .. } => None,
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let clock = Clock::adjustable();
        let limit = Limit::new(&spec(&[Key::Address]), &clock);
        let who = from("192.0.2.1");
        assert_eq!([(); 4].map(|()| remaining(limit.check(&who))), [Some(2), Some(1), Some(0), None]);
        let Outcome::Exhausted { retry_after } = limit.check(&who) else { panic!("it was allowed") };
        assert!(retry_after <= Duration::from_hours(1) && retry_after > Duration::from_mins(59), "{retry_after:?}");
        clock.advance(retry_after + Duration::from_millis(1));
        assert_eq!([(); 2].map(|()| remaining(limit.check(&who))), [Some(0), None]);
    }

    #[test]
    fn the_reset_is_when_the_whole_burst_is_back() {
        let clock = Clock::adjustable();
        let limit = Limit::new(&spec(&[Key::Address]), &clock);
        let who = from("192.0.2.1");
        for hours in 1..=3 {
            let Outcome::Allowed { reset, .. } = limit.check(&who) else { panic!("it was refused") };
            assert_eq!(reset, Duration::from_hours(hours));
        }
        clock.advance(Duration::from_hours(3));
        assert_eq!(remaining(limit.check(&who)), Some(2));
    }

    #[test]
    fn refilling_is_monotone() {
        let clock = Clock::adjustable();
        let limit = Limit::new(&spec(&[Key::All]), &clock);
        let who = from("192.0.2.1");
        assert!((0..4).all(|n| remaining(limit.check(&who)).is_some() == (n < 3)));
        let mut last = Duration::MAX;
        for _ in 0..5 {
            let Outcome::Exhausted { retry_after } = limit.check(&who) else { panic!("it was allowed") };
            assert!(retry_after < last);
            last = retry_after;
            clock.advance(Duration::from_mins(10));
        }
    }

    #[test]
    fn an_ipv4_mapped_address_is_the_ipv4_address() {
        for key in [Key::Address, Key::Prefix, Key::Identity] {
            assert!(together(&[key], &from("::ffff:192.0.2.1"), &from("192.0.2.1")), "{key:?}");
        }
    }

    #[test]
    fn a_prefix_is_as_wide_as_it_says() {
        assert!(together(&[Key::Prefix], &from("192.0.2.1"), &from("192.0.2.254")));
        assert!(!together(&[Key::Prefix], &from("192.0.2.1"), &from("192.0.3.1")));
        assert!(together(&[Key::Prefix], &from("2001:db8::1"), &from("2001:db8:0:ff::2")));
        assert!(!together(&[Key::Prefix], &from("2001:db8::1"), &from("2001:db8:0:100::1")));
        assert!(!together(&[Key::Address], &from("192.0.2.1"), &from("192.0.2.2")));
    }

    #[test]
    fn an_identity_is_counted_wherever_it_comes_from_and_nobody_by_the_network() {
        let (a, b) = ([1; 32], [2; 32]);
        let with = |identity, address: &str| KeyFacts { identity, ..from(address) };
        let key = [Key::Identity];
        assert!(together(&key, &with(Some(&a), "192.0.2.1"), &with(Some(&a), "203.0.113.1")));
        assert!(!together(&key, &with(Some(&a), "192.0.2.1"), &with(Some(&b), "192.0.2.1")));
        assert!(together(&key, &from("192.0.2.1"), &from("192.0.2.9")));
        assert!(!together(&key, &from("192.0.2.1"), &from("203.0.113.1")));
        assert!(!together(&key, &with(Some(&a), "192.0.2.1"), &from("192.0.2.1")));
    }

    #[test]
    fn a_fingerprint_is_counted_whoever_has_it_and_whether_or_not_it_resumes_a_session() {
        let ja4 = |text: &str| text.parse::<crate::fingerprint::Ja4>().unwrap();
        let (plain, resumed) =
            (ja4("t13d1515h2_8daaf6152771_f37e75b10bcc"), ja4("t13d1516h2_8daaf6152771_9b887d9acb53"));
        let with = |ja4, stable, http2, address| KeyFacts {
            stack: Stack { tls: Some(crate::fingerprint::TlsPrint { ja4, stable }), http2 },
            identity: Some(&[9; 32]),
            ..from(address)
        };
        let key = [Key::Fingerprint];
        let who = with(plain, plain, None, "192.0.2.1");
        assert!(together(&key, &who, &with(resumed, plain, None, "203.0.113.1")));
        assert!(!together(&key, &who, &with(plain, plain, Some("|00|0|m,a,s,p"), "192.0.2.1")));
        assert!(!together(&key, &who, &with(resumed, resumed, None, "192.0.2.1")));
        assert!(!together(&key, &who, &from("192.0.2.1")));
        assert!(together(&key, &from("192.0.2.1"), &from("203.0.113.1")));
    }

    #[test]
    fn components_do_not_run_into_each_other() {
        let key = [Key::Host, Key::Route];
        let at = |host, route| KeyFacts { host, route, ..from("192.0.2.1") };
        assert!(!together(&key, &at(1, 2), &at(2, 1)));
        assert!(!together(&key, &at(0x0101, 1), &at(1, 0x0101)));
        assert!(together(&key, &at(1, 2), &KeyFacts { identity: Some(&[9; 32]), ..at(1, 2) }));
        assert!(together(&[Key::All], &at(1, 2), &from("2001:db8::1")));
    }

    #[test]
    fn extreme_wishes_are_kept_in_range() {
        let longest = Duration::MAX;
        for (count, per, burst) in [
            (1, longest, u32::MAX),
            (u32::MAX, Duration::from_nanos(1), u32::MAX),
            (1, Duration::ZERO, 1),
            (u32::MAX, longest, 1),
        ] {
            let rate = Rate { count: NonZeroU32::new(count).unwrap(), per };
            let burst = NonZeroU32::new(burst).unwrap();
            let limit =
                Limit::new(&LimitSpec { rate, burst, prefix_v4: 99, ..spec(&[Key::Prefix]) }, &Clock::adjustable());
            assert!(remaining(limit.check(&from("192.0.2.1"))).is_some());
            let _may_be_either = limit.check(&from("192.0.2.1"));
        }
    }

    proptest! {
        #[test]
        fn no_more_than_the_burst_and_the_rate_passes(
            count in 1u32..50, burst in 1u32..50, waits in prop::collection::vec(0u64..7_200, 1..100),
        ) {
            let clock = Clock::adjustable();
            let rate = Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_hours(10) };
            let limit = Limit::new(
                &LimitSpec { rate, burst: NonZeroU32::new(burst).unwrap(), ..spec(&[Key::All]) }, &clock);
            let (mut passed, mut seconds) = (0, 0);
            for wait in waits {
                clock.advance(Duration::from_secs(wait));
                seconds += wait;
                passed += u64::from(remaining(limit.check(&from("192.0.2.1"))).is_some());
                prop_assert!(passed <= u64::from(burst) + 1 + seconds * u64::from(count) / 36_000);
            }
        }
    }
}
