//! What a limit costs a request, with one key and with a table of a million.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use portcullis::clock::Clock;
use portcullis::fingerprint::Stack;
use portcullis::limits::{Key, KeyFacts, Limit, LimitSpec, Rate};

use super::{Case, Work, case};

pub fn cases() -> Vec<Case> {
    [1, 1_000, 100_000, 1_000_000].into_iter().map(check).collect()
}

fn check(keys: u32) -> Case {
    let prepare = move || -> Work {
        let limit = limit(usize::try_from(keys).expect("a table of 32 bits"));
        // Everybody has been seen before it is measured.
        for key in 0..keys {
            limit.check(&facts(key));
        }
        let mut key = 0_u32;
        Box::new(move || {
            // A step that is prime to the number of keys visits all of them, far apart in memory.
            key = (key + 611_953) % keys;
            black_box(limit.check(black_box(&facts(key))));
        })
    };
    Case { counted: keys <= 1_000, ..case(format!("limits/check/{keys}"), prepare) }
}

/// A limit that everybody meets and nobody exhausts.
fn limit(max_keys: usize) -> Limit {
    let million = NonZeroU32::new(1_000_000).expect("not zero");
    let spec = LimitSpec {
        name: "bench".into(),
        key: vec![Key::Address, Key::Route],
        rate: Rate { count: million, per: Duration::from_secs(1) },
        burst: million,
        prefix_v4: 24,
        prefix_v6: 56,
        max_keys,
    };
    Limit::new(&spec, &Clock::system())
}

fn facts(key: u32) -> KeyFacts<'static> {
    let address = IpAddr::V4(Ipv4Addr::from_bits(key));
    KeyFacts { identity: None, stack: Stack::default(), address, host: 1, route: 2 }
}
