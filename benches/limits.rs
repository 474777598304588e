//! What a limit costs a request, with one key and with a table of a million.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::clock::Clock;
use portcullis::fingerprint::Stack;
use portcullis::limits::{Key, KeyFacts, Limit, LimitSpec, Rate};

fn checks(criterion: &mut Criterion) {
    for keys in [1, 1_000_000_u32] {
        let limit = limit(usize::try_from(keys).expect("a table of 32 bits"));
        // Everybody has been seen before it is measured.
        for key in 0..keys {
            limit.check(&facts(key));
        }
        criterion.bench_function(&format!("limits/check/{keys}"), |bencher| {
            let mut key = 0_u32;
            bencher.iter(|| {
                // A step that is prime to the number of keys visits all of them, far apart in memory.
                key = (key + 611_953) % keys;
                limit.check(black_box(&facts(key)))
            });
        });
    }
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

criterion_group!(benches, checks);
criterion_main!(benches);
