//! All limits of a configuration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::gcra::Outcome;
use super::headers;
use super::limit::{KeyFacts, Limit};
use super::spec::LimitSpec;
use crate::clock::Clock;
use crate::reject::{Reason, Reject};

/// The limits of a configuration, in its order.
#[derive(Debug, Default)]
pub struct Limits {
    limits: Vec<Arc<Limit>>,
    by_name: HashMap<Box<str>, usize>,
}

impl Limits {
    /// Builds the limits. One that stands unchanged in `carry` goes on with its counts, so a reload is no amnesty;
    /// one that was changed in any way starts afresh.
    ///
    /// Names are unique (the configuration says so); of two with one name the later is found.
    #[must_use]
    pub fn build(specs: &[LimitSpec], clock: &Clock, carry: Option<&Self>) -> Self {
        let old = |spec: &LimitSpec| carry?.find(&spec.name).filter(|old| old.spec() == spec).cloned();
        let limits = specs.iter().map(|spec| old(spec).unwrap_or_else(|| Arc::new(Limit::new(spec, clock)))).collect();
        let by_name = specs.iter().enumerate().map(|(index, spec)| (spec.name.clone(), index)).collect();
        Self { limits, by_name }
    }

    /// Where the limit of this name stands.
    pub fn by_name(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The limit that stands there.
    pub fn get(&self, index: usize) -> Option<&Arc<Limit>> {
        self.limits.get(index)
    }

    /// All of them, for metrics.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Limit>> {
        self.limits.iter()
    }

    fn find(&self, name: &str) -> Option<&Arc<Limit>> {
        self.by_name(name).and_then(|index| self.get(index))
    }
}

/// Where a request stands with the limit that is closest to being exhausted.
#[derive(Clone, Debug)]
pub struct Standing {
    limit: Arc<Limit>,
    remaining: u32,
    reset: Duration,
}

impl Standing {
    /// Puts `RateLimit-Policy` and `RateLimit` into the response.
    pub fn insert_into(&self, headers: &mut HeaderMap) {
        headers::insert(headers, &self.limit, self.remaining, self.reset);
    }

    /// The limit.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// How many more requests may come at this moment.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }
}

/// Counts one request in every limit, and says which of them is tightest; `None` without limits.
///
/// A refused request counts in none of them: otherwise somebody whose own limit is exhausted could go on to use up
/// a limit that he shares with others.
///
/// # Errors
///
/// [`Reason::RateLimited`] from the first limit that is exhausted, with its name and when to come back.
pub fn check_all(limits: &[Arc<Limit>], facts: &KeyFacts<'_>) -> Result<Option<Standing>, Reject> {
    let mut tightest: Option<Standing> = None;
    for (index, limit) in limits.iter().enumerate() {
        match limit.check(facts) {
            Outcome::Exhausted { retry_after } => {
                limits.iter().take(index).for_each(|counted| counted.give_back(facts));
                return Err(refusal(limit, retry_after));
            }
            Outcome::Allowed { remaining, reset } => {
                if tightest.as_ref().is_none_or(|other| remaining < other.remaining) {
                    tightest = Some(Standing { limit: Arc::clone(limit), remaining, reset });
                }
            }
        }
    }
    Ok(tightest)
}

fn refusal(limit: &Limit, retry_after: Duration) -> Reject {
    let mut fields = HeaderMap::with_capacity(2);
    headers::insert(&mut fields, limit, 0, retry_after);
    let detail = format!("limit {}", limit.spec().name);
    Reject { fields: Some(Box::new(fields)), ..Reject::new(Reason::RateLimited, detail).retry_after(retry_after) }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::super::spec::{Key, Rate};
    use super::*;

    fn spec(name: &str, key: Key, burst: u32) -> LimitSpec {
        LimitSpec {
            name: name.into(),
            key: vec![key],
            rate: Rate { count: NonZeroU32::new(burst).unwrap(), per: Duration::from_hours(1) },
            burst: NonZeroU32::new(burst).unwrap(),
            prefix_v4: 24,
            prefix_v6: 56,
            max_keys: 100,
        }
    }

    fn from(address: &str) -> KeyFacts<'static> {
        KeyFacts {
            identity: None,
            stack: crate::fingerprint::Stack::default(),
            address: address.parse().unwrap(),
            host: 0,
            route: 0,
        }
    }

    fn build(specs: &[LimitSpec]) -> Vec<Arc<Limit>> {
        Limits::build(specs, &Clock::adjustable(), None).limits
    }

    #[test]
    fn the_first_exhausted_limit_refuses_by_its_name() {
        let limits = build(&[spec("wide", Key::All, 100), spec("narrow", Key::Address, 2)]);
        let who = from("192.0.2.1");
        (0..2).for_each(|_| assert!(check_all(&limits, &who).is_ok()));
        let reject = check_all(&limits, &who).unwrap_err();
        assert_eq!((reject.reason, &*reject.detail), (Reason::RateLimited, "limit narrow"));
        assert!(reject.retry_after.unwrap() > Duration::from_mins(29));
    }

    #[test]
    fn who_is_refused_by_one_limit_uses_up_no_other() {
        let limits = build(&[spec("shared", Key::All, 10), spec("own", Key::Address, 2)]);
        let greedy = from("192.0.2.1");
        let passed = (0..1_000).filter(|_| check_all(&limits, &greedy).is_ok()).count();
        assert_eq!(passed, 2);
        for honest in 1..=4 {
            let who = from(&format!("203.0.113.{honest}"));
            (0..2).for_each(|_| assert!(check_all(&limits, &who).is_ok(), "{honest} was locked out"));
        }
        assert_eq!(&*check_all(&limits, &from("198.51.100.1")).unwrap_err().detail, "limit shared");
    }

    #[test]
    fn the_tightest_limit_is_what_the_client_is_told() {
        let limits =
            build(&[spec("wide", Key::All, 100), spec("narrow", Key::Address, 5), spec("other", Key::Host, 50)]);
        let standing = check_all(&limits, &from("192.0.2.1")).unwrap().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("ratelimit", "\"upstream\";r=9;t=9".parse().unwrap());
        standing.insert_into(&mut headers);
        assert_eq!(headers.get_all("ratelimit").iter().collect::<Vec<_>>(), [r#""narrow";r=4;t=720"#]);
        assert_eq!(headers.get("ratelimit-policy").unwrap(), r#""narrow";q=5;w=3600"#);
    }

    #[test]
    fn no_limits_allow_and_say_nothing() {
        assert!(check_all(&[], &from("192.0.2.1")).unwrap().is_none());
    }

    #[test]
    fn a_reload_keeps_the_counts_of_what_did_not_change() {
        let clock = Clock::adjustable();
        let (same, mut changed) = (spec("same", Key::All, 2), spec("changed", Key::All, 2));
        let before = Limits::build(&[same.clone(), changed.clone()], &clock, None);
        let who = from("192.0.2.1");
        (0..2).for_each(|_| assert!(check_all(&before.limits, &who).is_ok()));

        changed.burst = NonZeroU32::new(3).unwrap();
        let after = Limits::build(&[changed, spec("new", Key::All, 2), same], &clock, Some(&before));
        let left = |name| after.find(name).map(|limit| (0..9).filter(|_| allowed(limit, &who)).count());
        assert_eq!([left("same"), left("changed"), left("new"), left("gone")], [Some(0), Some(3), Some(2), None]);
        assert_eq!(after.by_name("same"), Some(2));
    }

    fn allowed(limit: &Limit, who: &KeyFacts<'_>) -> bool {
        matches!(limit.check(who), Outcome::Allowed { .. })
    }

    proptest! {
        #[test]
        fn a_request_counts_in_all_limits_or_in_none(
            bursts in prop::collection::vec((0_usize..3, 1_u32..6), 1..4),
            requests in prop::collection::vec((0_u8..3, 0_u64..2), 0..60),
        ) {
            let keys = [Key::All, Key::Address, Key::Host];
            let specs: Vec<_> = bursts.iter().enumerate().map(|(n, (key, burst))| spec(&n.to_string(), keys[*key], *burst)).collect();
            // The clock stands still for the test's purposes: an hour's rate gives nothing back meanwhile.
            let limits = build(&specs);
            let mut counted: HashMap<(usize, Option<u64>), u32> = HashMap::new();
            for (address, host) in requests {
                let who = KeyFacts { host, ..from(&format!("192.0.2.{address}")) };
                let places: Vec<_> = bursts.iter().enumerate().map(|(n, (key, _))| {
                    (n, match keys[*key] { Key::All => None, Key::Host => Some(host), _ => Some(u64::from(address)) })
                }).collect();
                let first_full = places.iter().position(|place| counted.get(place).copied().unwrap_or(0) >= bursts[place.0].1);
                let outcome = check_all(&limits, &who);
                if let Some(full) = first_full {
                    prop_assert_eq!(&*outcome.unwrap_err().detail, format!("limit {full}"));
                    continue;
                }
                for place in &places {
                    *counted.entry(*place).or_default() += 1;
                }
                let left = places.iter().map(|place| bursts[place.0].1 - counted[place]).min();
                prop_assert_eq!(outcome.unwrap().map(|standing| standing.remaining()), left);
            }
        }
    }
}
