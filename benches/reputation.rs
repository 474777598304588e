//! What a reputation costs: a request and a connection of an honest client, a refusal at the door, and the memory
//! of a million identities.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "criterion does not measure memory")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use portcullis::clock::Clock;
use portcullis::fingerprint::Ja4;
use portcullis::identity::{AlternativeNames, Digest, DistinguishedName, Identity, PublicKey, Serial};
use portcullis::reputation::{
    Action, Arriving, Book, Cause, Class, Client, Forgery, Kind, Ladder, Moment, OutcomeClass, PacingRules, Rules,
    Rung, SpreadRules, outcome,
};

static PRINT: LazyLock<Option<Ja4>> = LazyLock::new(|| "t13d1516h2_8daaf6152771_e5627efa2ab1".parse().ok());

const MILLION: u32 = 1_000_000;

fn requests(criterion: &mut Criterion) {
    let (clock, rules) = (Clock::system(), rules());
    let book = Book::new(10_000, clock.now());
    let client = admit(&book, 1, 0, &rules);
    criterion.bench_function("reputation/standing", |bencher| {
        bencher.iter(|| client.standing(|| book.moment(clock.now()), black_box(&rules)));
    });
    let classes = classes();
    let headers = HeaderMap::new();
    criterion.bench_function("reputation/request with outcome and pacing", |bencher| {
        bencher.iter(|| {
            let now = book.moment(clock.now());
            let standing = client.standing(|| now, black_box(&rules));
            client.request(black_box("/v1/items/42"), now, &rules);
            let verdict = outcome(&classes, black_box(200), &headers, Duration::from_millis(3));
            client.outcome(verdict, now, &rules);
            standing
        });
    });
    criterion.bench_function("reputation/failed outcome", |bencher| {
        bencher.iter(|| {
            let now = book.moment(clock.now());
            let verdict = outcome(&classes, black_box(401), &headers, Duration::from_millis(3));
            client.outcome(verdict, now, &rules)
        });
    });
}

fn connections(criterion: &mut Criterion) {
    let (clock, rules) = (Clock::system(), rules());
    let before = resident();
    let book = Book::new(1_000_000, clock.now());
    let empty = resident();
    for n in 0..MILLION {
        // Three networks each, as a phone has in an hour.
        for network in 0..3 {
            admit(&book, n, network, &rules).standing(Moment::default, &rules);
        }
    }
    let full = resident();
    println!(
        "reputation/memory: {} entries; book {} MiB empty, {} MiB full, {} bytes an identity",
        book.entries(Kind::Identity),
        (empty - before) >> 20,
        (full - before) >> 20,
        (full - empty) / u64::from(MILLION)
    );
    criterion.bench_function("reputation/connection of one in a million", |bencher| {
        let mut n = 0;
        bencher.iter_batched(
            || {
                n = (n + 611_953) % MILLION;
                (identity(n), address(n, 0))
            },
            |(identity, address)| {
                let arriving = Arriving { identity: Some(&identity), class: Class::Device, address, print: *PRINT };
                book.admit(&arriving, book.moment(clock.now()), &rules)
            },
            BatchSize::SmallInput,
        );
    });
    for n in 0..100_000 {
        let _ = book.forged(address(n, 0), Forgery::Stolen, Moment::default(), &rules);
        let _ = book.stranger(address(n, 0), Cause::Abuse, 100.0, Moment::default(), &rules);
    }
    let stranger = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    let _ = book.stranger(stranger, Cause::Abuse, 100.0, Moment::default(), &rules);
    criterion.bench_function("reputation/door, let in", |bencher| {
        bencher.iter(|| book.door(black_box(address(7_777_777, 1)), Moment::default(), &rules));
    });
    criterion.bench_function("reputation/door, dropped", |bencher| {
        bencher.iter(|| book.door(black_box(stranger), Moment::default(), &rules));
    });
}

fn admit(book: &Book, n: u32, network: u32, rules: &Rules) -> Client {
    let identity = identity(n);
    let address = address(n, network);
    let arriving = Arriving { identity: Some(&identity), class: Class::Device, address, print: *PRINT };
    book.admit(&arriving, Moment::default(), rules).0
}

fn address(n: u32, network: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761).wrapping_add(network << 8)))
}

fn identity(n: u32) -> Identity {
    let digest = |first: u8| {
        let mut digest = [first; 32];
        digest.iter_mut().zip(n.to_be_bytes()).for_each(|(to, from)| *to = from);
        Digest(digest)
    };
    let name = |text: String| DistinguishedName { text: text.into(), ..DistinguishedName::default() };
    Identity {
        subject: name(format!("CN=device-{n},O=Example")),
        issuer: name("CN=Mobile CA,O=Example".to_owned()),
        serial: Serial(Box::from(n.to_be_bytes())),
        names: AlternativeNames::default(),
        fingerprint: digest(1),
        spki: digest(2),
        not_before: 0,
        not_after: i64::MAX,
        key: PublicKey::Ed25519,
    }
}

fn classes() -> Vec<OutcomeClass> {
    let class = |statuses, slower_than| OutcomeClass { statuses, header: None, slower_than, weight: 1.0 };
    vec![class(vec![401, 403, 429], None), class(vec![500], Some(Duration::from_secs(2)))]
}

fn rules() -> Rules {
    let rung = |score, action| Rung {
        score,
        action,
        hold: Duration::from_mins(10),
        by: vec![Kind::Address, Kind::Identity, Kind::Network],
        dry_run: false,
        reason: "".into(),
    };
    Rules {
        half_life: Duration::from_hours(1),
        tolerated: 0.25,
        spread: SpreadRules {
            window: Duration::from_hours(1),
            networks: 12,
            prints: 4,
            connections: 64,
            multiple: 4.0,
            learn: Duration::from_hours(24),
        },
        pacing: PacingRules {
            requests: 50,
            least: Duration::from_millis(200),
            regularity: 0.25,
            repetition: 0.85,
            weight: 5.0,
        },
        ladder: Ladder::new(vec![rung(10.0, Action::Tag), rung(50.0, Action::Drop)]),
    }
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4096
}

criterion_group!(benches, requests, connections);
criterion_main!(benches);
