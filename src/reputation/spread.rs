//! In how many places a certificate is at once: networks, TLS stacks, connections.
//!
//! A device is in few: home, office, a train of cells; carrier NAT puts many devices behind one address, which is
//! nothing to any of them, and IPv6 privacy addresses stay within their /48. A certificate that a whole build of an
//! app shares is in many: it is compared with what it was before.

use std::time::Duration;

use super::distinct::{Distinct, Novelty, Pool};
use super::moment::{Moment, whole_secs};
#[cfg(test)]
use super::testing::block;

/// How many clients one certificate is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Class {
    /// One.
    #[default]
    Device,
    /// Any number: what is usual is learned.
    Shared,
}

/// What is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpreadRules {
    /// Within this time.
    pub window: Duration,
    /// Most networks of a device.
    pub networks: u16,
    /// Most TLS fingerprints of a device.
    pub prints: u16,
    /// Most connections of a device at once.
    pub connections: u16,
    /// Times what is usual that a shared certificate may have.
    pub multiple: f32,
    /// How long what is usual is learned before anything is judged.
    pub learn: Duration,
}

/// A new connection of somebody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// The hash of its network.
    pub(super) network: u64,
    /// The hash of its TLS fingerprint, if it has one.
    pub(super) print: Option<u64>,
    /// Connections that are open, with this one.
    pub(super) open: u32,
}

/// Where a certificate has been.
#[derive(Debug, Default)]
pub(super) struct Spread {
    networks: Distinct,
    prints: Distinct,
    usual: Option<Box<Usual>>,
}

/// What is usual for a shared certificate: of networks, fingerprints and connections the largest counts of windows, in
/// an average that favours the recent ones.
#[derive(Debug)]
struct Usual {
    mean: [f32; 3],
    peak: [f32; 3],
    windows: u16,
    began: u32,
}

impl Spread {
    /// Counts a connection, and says how much worse it makes things: 1 for every network, fingerprint or connection
    /// that is one too many; for a shared certificate in proportion to what it may have.
    pub(super) fn admit(
        &mut self,
        class: Class,
        arrival: Arrival,
        now: Moment,
        rules: &SpreadRules,
        pool: &Pool,
    ) -> f32 {
        let (secs, window) = (now.secs(), whole_secs(rules.window));
        let network = self.networks.insert(arrival.network, secs, window, pool);
        let print = arrival.print.map_or(Novelty::Known, |print| self.prints.insert(print, secs, window, pool));
        let counts = self.counts(arrival.open, now, rules);
        let bounds = match class {
            Class::Device => Some(device(rules)),
            Class::Shared => self.usual.get_or_insert_with(|| Box::new(Usual::new(secs))).bounds(counts, secs, rules),
        };
        let Some(bounds) = bounds else { return 0.0 };
        let news = [network == Novelty::New, print == Novelty::New, true];
        let over = counts.iter().zip(bounds).zip(device(rules)).zip(news);
        over.filter(|(((count, bound), _), new)| *new && *count > bound).map(|(((_, bound), one), _)| one / bound).sum()
    }

    /// Networks, fingerprints, connections.
    pub(super) fn counts(&mut self, open: u32, now: Moment, rules: &SpreadRules) -> [f32; 3] {
        let (secs, window) = (now.secs(), whole_secs(rules.window));
        let open = u16::try_from(open).map_or(f32::from(u16::MAX), f32::from);
        [self.networks.count(secs, window), self.prints.count(secs, window), open]
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let usual = self.usual.as_ref().map_or(0, |_| block(size_of::<Usual>()));
        self.networks.heap() + self.prints.heap() + usual
    }

    /// What is usual, if that has been learned or is being learned.
    pub(super) fn usual(&self) -> Option<[f32; 3]> {
        self.usual.as_ref().map(|usual| usual.mean)
    }
}

impl Usual {
    fn new(began: u32) -> Self {
        Self { mean: [0.0; 3], peak: [0.0; 3], windows: 0, began }
    }

    /// The most there may be; `None` while it is learned.
    fn bounds(&mut self, counts: [f32; 3], now: u32, rules: &SpreadRules) -> Option<[f32; 3]> {
        let window = whole_secs(rules.window).max(1);
        let learned = u16::try_from(whole_secs(rules.learn) / window).unwrap_or(u16::MAX).max(1);
        if now.saturating_sub(self.began) >= window {
            self.turn(self.windows >= learned);
            self.began = now;
        }
        for (peak, count) in self.peak.iter_mut().zip(counts) {
            *peak = peak.max(count);
        }
        (self.windows >= learned).then(|| {
            let mut bounds = device(rules);
            for (bound, mean) in bounds.iter_mut().zip(self.mean) {
                *bound = (*bound).max(mean) * rules.multiple.max(1.0);
            }
            bounds
        })
    }

    /// A window is over. While it is learned every window counts the same; later the new one counts a tenth, and
    /// not as more than twice the usual: who wants to be usual must be patient.
    fn turn(&mut self, learned: bool) {
        self.windows = self.windows.saturating_add(1);
        let share = if learned { RECENT } else { 1.0 / f32::from(self.windows) };
        for (mean, peak) in self.mean.iter_mut().zip(&mut self.peak) {
            let sample = if learned { peak.min(*mean * 2.0).max(*mean * 0.5) } else { *peak };
            *mean += (sample - *mean) * share;
            *peak = 0.0;
        }
    }
}

fn device(rules: &SpreadRules) -> [f32; 3] {
    [rules.networks, rules.prints, rules.connections].map(|most| f32::from(most.max(1)))
}

/// What a window counts once enough are known: a working day of hours makes the mean.
const RECENT: f32 = 0.1;

#[cfg(test)]
pub(super) mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    pub(crate) const RULES: SpreadRules = SpreadRules {
        window: Duration::from_hours(1),
        networks: 12,
        prints: 4,
        connections: 64,
        multiple: 4.0,
        learn: Duration::from_hours(24),
    };

    struct Bench {
        spread: Spread,
        pool: Pool,
        hasher: RandomState,
        class: Class,
    }

    impl Bench {
        fn new(class: Class) -> Self {
            Self { spread: Spread::default(), pool: Pool::new(8), hasher: RandomState::new(), class }
        }

        fn come(&mut self, network: u32, print: u32, open: u32, minute: u64) -> f32 {
            let hash = |thing| self.hasher.hash_one(thing);
            let arrival = Arrival { network: hash(network), print: Some(hash(print)), open };
            self.spread.admit(self.class, arrival, Moment::after(Duration::from_mins(minute)), &RULES, &self.pool)
        }
    }

    fn is(weight: f32, expected: f32) -> bool {
        (weight - expected).abs() < 0.001
    }

    #[test]
    fn a_device_on_its_way_through_a_day_is_not_flagged() {
        let mut device = Bench::new(Class::Device);
        for minute in 0..24 * 60 {
            // Home, office, and a cell every six minutes of two hours on the train; a few connections at a time.
            let network = match minute / 60 {
                7 | 17 => 100 + minute / 6,
                8..=16 => 2,
                _ => 1,
            };
            let weight = device.come(u32::try_from(network).unwrap(), 1, 6, minute);
            assert!(is(weight, 0.0), "{weight} in minute {minute}");
        }
    }

    #[test]
    fn every_network_beyond_a_devices_bound_counts_one() {
        let mut stolen = Bench::new(Class::Device);
        let total: f32 = (0..5_000).map(|network| stolen.come(network, 1, 1, u64::from(network) / 100)).sum();
        assert!(is(total, 5_000.0 - 12.0), "{total}");
    }

    #[test]
    fn three_thieves_with_their_own_tools_are_seen_by_their_stacks_and_many_connections_by_their_number() {
        let mut stolen = Bench::new(Class::Device);
        assert!(is((0..6).map(|print| stolen.come(1, print, 1, 0)).sum(), 2.0));
        let mut busy = Bench::new(Class::Device);
        assert!(is((1..=70).map(|open| busy.come(1, 1, open, 0)).sum(), 6.0));
    }

    #[test]
    fn a_shared_certificate_is_compared_with_itself() {
        let mut shared = Bench::new(Class::Shared);
        let mut network = 0;
        let mut hour = |shared: &mut Bench, hour: u64, clients: u32| -> f32 {
            (0..clients)
                .map(|client| {
                    network += 1;
                    shared.come(network, client % 3, 500, hour * 60 + u64::from(client * 50 / clients))
                })
                .sum()
        };
        for n in 0..72 {
            // Twice as many in the evening as at night.
            let clients = if n % 24 > 16 { 2_000 } else { 1_000 };
            assert!(is(hour(&mut shared, n, clients), 0.0), "hour {n}");
        }
        let flagged = hour(&mut shared, 72, 20_000);
        assert!(flagged > 10.0, "{flagged}");
    }

    #[test]
    fn who_wants_to_be_usual_must_be_patient() {
        let mut usual = Usual::new(0);
        usual.mean = [100.0; 3];
        for _ in 0..6 {
            usual.peak = [100_000.0; 3];
            usual.turn(true);
        }
        assert!(usual.mean[0] < 200.0, "{:?}", usual.mean);
    }

    proptest! {
        #[test]
        fn whoever_stays_within_a_devices_bounds_is_never_flagged(
            steps in prop::collection::vec((0u32..12, 0u32..4, 1u32..=64, 0u64..100), 1..300),
        ) {
            let (mut device, mut minute) = (Bench::new(Class::Device), 0);
            for (network, print, open, later) in steps {
                minute += later;
                prop_assert!(is(device.come(network, print, open, minute), 0.0));
            }
        }

        #[test]
        fn no_arrival_weighs_more_than_three(
            steps in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>(), 0u64..3_000), 1..300), shared: bool,
        ) {
            let (mut bench, mut minute) = (Bench::new(if shared { Class::Shared } else { Class::Device }), 0);
            for (network, print, open, later) in steps {
                minute += later;
                let weight = bench.come(network, print, open, minute);
                prop_assert!((0.0..=3.0).contains(&weight), "{weight}");
            }
        }
    }
}
