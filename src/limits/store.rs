//! A table of GCRA states whose memory is fixed when it is made, however many keys strangers bring.
//!
//! A state is one number: the theoretical arrival time (TAT), in nanoseconds since the limiter's start. The
//! distance from now to the TAT is a key's debt; a TAT in the past is no debt, the same as never seen.
//!
//! The table is set-associative: a key's hash names the one set of [`WAYS`] slots where it may stand. The hash is
//! SipHash under a random key, so nobody outside can choose keys that fall into one set.
//!
//! # When a set is full
//!
//! The newcomer takes the slot with the smallest TAT, but only if forgetting it forgives at most one request: its
//! TAT is not beyond the newcomer's own, and its key is not refused at this moment. From this follows:
//!
//! - A key that is being limited owes `burst` requests, and so do, in part, keys on their way there. They stay,
//!   however many throw-away keys come: those owe one request each, and replace one another.
//! - Nobody gains from being forgotten: it forgives one request, and the set must be filled with fresh keys for it.
//!
//! A newcomer that finds no slot is decided by the set's *shared cell*: one more GCRA state, with the same quota,
//! for all keys of that set without a slot. Treating it as fresh instead would let an attacker fill the table with
//! exhausted keys and be unlimited with all others; refusing it would lock out everybody new for free. With the
//! shared cell there is no free pass, keys that hold a slot do not notice, and to starve the newcomers of a set an
//! attacker must keep that set's slots *and* its cell in debt. As sets cannot be aimed at, that takes more distinct
//! keys than `max_keys`, each of them at its full allowed rate for as long as it shall last.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

/// A key after hashing. The slots keep nothing else of it, so two keys with one hash would share a state: among a
/// million keys one chance in 2^25, and not to be provoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyHash(u64);

/// The table. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Store(Arc<Table>);

#[derive(Debug)]
struct Table {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    sets: u64,
    cell: u64,
    spare: u64,
    shared: AtomicU64,
}

/// Some of the sets, under one lock. `vec![0; n]` asks the system for zeroed pages, which it commits when they are
/// first written: a large table costs memory only as it fills.
#[derive(Debug)]
struct Shard {
    hashes: Vec<[u64; WAYS]>,
    tats: Vec<[u64; WAYS]>,
    shared_cells: Vec<u64>,
}

impl Store {
    /// A table for at least `max_keys` keys. `cell` is how long one request takes to be forgotten, `burst` how many
    /// may come at once: what the quota of the limiter that uses the table says.
    pub(super) fn new(max_keys: usize, cell: Nanos, burst: u32) -> Self {
        let sets = max_keys.div_ceil(WAYS).max(1);
        let shards = sets.min(SHARDS);
        let each = sets.div_ceil(shards);
        let cell = cell.as_u64();
        Self(Arc::new(Table {
            hasher: RandomState::new(),
            shards: (0..shards).map(|_| Mutex::new(Shard::new(each))).collect(),
            sets: u64::try_from(each.saturating_mul(shards)).unwrap_or(u64::MAX),
            cell,
            // With a burst of one every key that was seen is refused for a while, so only settled debts may go.
            spare: if burst > 1 { cell } else { 0 },
            shared: AtomicU64::new(0),
        }))
    }

    /// Hashes a key. Only hashes of this very table find anything in it.
    pub(super) fn hash(&self, key: &impl Hash) -> KeyHash {
        KeyHash(self.0.hasher.hash_one(key))
    }

    /// Takes back the last request of a key: its debt shrinks by one cell, as if the request had not been made.
    /// A key without a slot gets nothing back, because its cell belongs to others too.
    pub(super) fn give_back(&self, key: KeyHash) {
        let (shard, set) = self.0.place(key);
        let mut shard = shard.lock();
        if let Some(tat) = shard.find(set, key) {
            *tat = tat.saturating_sub(self.0.cell);
        }
    }

    /// How many decisions the shared cells have made: above zero, `max_keys` is too small for the traffic.
    pub(super) fn shared_decisions(&self) -> u64 {
        self.0.shared.load(Ordering::Relaxed)
    }

    /// How many slots there are.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().tats.len() * WAYS).sum()
    }
}

impl StateStore for Store {
    type Key = KeyHash;

    fn measure_and_replace<T, F, E>(&self, key: &KeyHash, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (shard, set) = self.0.place(*key);
        let mut shard = shard.lock();
        if let Some(tat) = shard.find(set, *key) {
            return update(tat, decide);
        }
        let (verdict, next) = decide(None)?;
        let now = next.as_u64().saturating_sub(self.0.cell);
        if let Some((hash, tat)) = shard.forgettable(set, now.saturating_add(self.0.spare)) {
            (*hash, *tat) = (key.0, next.as_u64());
            return Ok(verdict);
        }
        self.0.shared.fetch_add(1, Ordering::Relaxed);
        match shard.shared_cells.get_mut(set) {
            Some(tat) => update(tat, decide),
            None => Ok(verdict),
        }
    }
}

fn update<T, E>(tat: &mut u64, decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
    let (verdict, next) = decide(Some(Nanos::new(*tat)))?;
    *tat = next.as_u64();
    Ok(verdict)
}

impl Table {
    /// The shard of a key, and which of its sets.
    #[expect(clippy::indexing_slicing, reason = "the index is a remainder of the length, which is never zero")]
    fn place(&self, key: KeyHash) -> (&Mutex<Shard>, usize) {
        // A fair share of the sets without a division: the high half of hash * sets.
        let set = (u128::from(key.0) * u128::from(self.sets)) >> u64::BITS;
        let set = usize::try_from(set).unwrap_or(0);
        (&self.shards[set % self.shards.len()], set / self.shards.len())
    }
}

impl Shard {
    fn new(sets: usize) -> Self {
        Self { hashes: vec![[0; WAYS]; sets], tats: vec![[0; WAYS]; sets], shared_cells: vec![0; sets] }
    }

    /// The state of a key that holds a slot.
    fn find(&mut self, set: usize, key: KeyHash) -> Option<&mut u64> {
        let way = self.hashes.get(set)?.iter().position(|hash| *hash == key.0)?;
        self.tats.get_mut(set)?.get_mut(way)
    }

    /// The slot of the set that owes least, if that is no more than up to `until`. An empty slot owes nothing.
    fn forgettable(&mut self, set: usize, until: u64) -> Option<(&mut u64, &mut u64)> {
        let hashes = self.hashes.get_mut(set)?;
        let tats = self.tats.get_mut(set)?;
        hashes.iter_mut().zip(tats).min_by_key(|(_, tat)| **tat).filter(|(_, tat)| **tat <= until)
    }
}

/// Slots of a set: at half load one key in two thousand finds its set full; the hashes fill two cache lines. The
/// standard library asks for zeroed pages only for arrays of up to 16.
const WAYS: usize = 16;

/// Locks: with a core count well below it, two threads rarely want the same one.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;
    use governor::middleware::NoOpMiddleware;
    use governor::state::keyed::HashMapStateStore;
    use governor::{Quota, RateLimiter};
    use proptest::prelude::*;

    use super::*;

    type Bounded = RateLimiter<KeyHash, Store, FakeRelativeClock, NoOpMiddleware<Nanos>>;
    type Model = RateLimiter<u32, HashMapStateStore<u32>, FakeRelativeClock, NoOpMiddleware<Nanos>>;

    const CELL: Duration = Duration::from_secs(1);

    struct Bench {
        store: Store,
        limiter: Bounded,
        model: Model,
        clock: FakeRelativeClock,
    }

    impl Bench {
        fn new(max_keys: usize, burst: u32) -> Self {
            let clock = FakeRelativeClock::default();
            let store = Store::new(max_keys, CELL.into(), burst);
            let quota = Quota::with_period(CELL).unwrap().allow_burst(NonZeroU32::new(burst).unwrap());
            let limiter = RateLimiter::new(quota, store.clone(), clock.clone());
            let model = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
            // A limiter's time zero is where an empty slot's TAT lies: move on, as real time does.
            clock.advance(Duration::from_hours(1));
            Self { store, limiter, model, clock }
        }

        fn check(&self, key: u32) -> bool {
            self.limiter.check_key(&self.store.hash(&key)).is_ok()
        }

        fn exhaust(&self, key: u32) {
            assert!((0..100).any(|_| !self.check(key)), "{key} cannot be exhausted");
        }
    }

    #[test]
    fn capacity_is_the_wish_rounded_up_to_whole_sets() {
        for (wish, slots) in [(0, 16), (1, 16), (17, 32), (1000, 1008), (1024, 1024), (100_000, 100_352)] {
            assert_eq!(Store::new(wish, CELL.into(), 2).slots(), slots, "{wish}");
        }
    }

    #[test]
    fn a_flood_of_throw_away_keys_frees_no_limited_key_and_takes_no_memory() {
        for burst in [1, 2, 20] {
            let bench = Bench::new(1024, burst);
            let slots = bench.store.slots();
            (0..8).for_each(|key| bench.exhaust(key));
            for stranger in 1_000..400_000 {
                bench.check(stranger);
                if stranger % 1_000 == 0 {
                    assert!((0..8).all(|key| !bench.check(key)), "freed after {stranger} strangers, burst {burst}");
                }
            }
            assert_eq!(bench.store.slots(), slots);
        }
    }

    #[test]
    fn who_keeps_knocking_during_a_flood_gets_the_rate_and_no_more() {
        for burst in [1, 2, 20] {
            let bench = Bench::new(1024, burst);
            let (steps, step) = (1_000, Duration::from_millis(37));
            let mut passed = 0;
            for turn in 0..steps {
                bench.clock.advance(step);
                for stranger in 0..50 {
                    bench.check(1_000 + turn * 50 + stranger);
                }
                passed += u128::from(bench.check(1)) + u128::from(bench.check(1));
            }
            let allowed = u128::from(burst) + (step * steps).as_millis() / CELL.as_millis();
            // A key that is pushed out owes one request at most, and that one is forgotten: where in its set a key
            // stands is chance, so a request more is, too.
            assert!(passed <= allowed + allowed / 10, "{passed} of {allowed}, burst {burst}");
            assert!(burst == 1 || passed >= allowed - 1, "{passed} of {allowed}, burst {burst}");
        }
    }

    #[test]
    fn throw_away_keys_do_not_lock_newcomers_out() {
        let bench = Bench::new(64, 2);
        for stranger in 0..100_000 {
            assert!(bench.check(stranger), "{stranger} was refused at its first request");
        }
        assert_eq!(bench.store.shared_decisions(), 0);
    }

    #[test]
    fn a_table_full_of_limited_keys_gives_no_free_pass() {
        let bench = Bench::new(64, 5);
        (0..1_000).for_each(|key| bench.exhaust(key));
        let passed = (0..1_000).filter(|_| bench.check(5_000)).count();
        assert!(passed <= 5, "one key had {passed} requests in a moment");
        assert!(bench.store.shared_decisions() > 0);
    }

    #[test]
    fn a_table_full_of_limited_keys_lets_everybody_in_again_once_the_debts_are_paid() {
        let bench = Bench::new(64, 5);
        (0..1_000).for_each(|key| bench.exhaust(key));
        bench.clock.advance(CELL * 5);
        assert!((2_000..2_016).all(|key| bench.check(key)));
    }

    #[test]
    fn a_key_with_a_slot_does_not_notice_that_the_table_is_full() {
        let bench = Bench::new(64, 5);
        (0..4).for_each(|_| assert!(bench.check(1)));
        (1_000..2_000).for_each(|key| bench.exhaust(key));
        assert!(bench.check(1), "one of its five was left");
        assert!(!bench.check(1));
    }

    #[test]
    fn a_request_that_is_given_back_was_never_made() {
        let bench = Bench::new(64, 3);
        bench.exhaust(1);
        bench.store.give_back(bench.store.hash(&1));
        assert!(bench.check(1));
        assert!(!bench.check(1));
        bench.store.give_back(bench.store.hash(&2));
        assert_eq!((0..9).filter(|_| bench.check(2)).count(), 3, "a stranger has nothing to get back");
    }

    #[test]
    fn threads_together_get_what_one_would_get() {
        let bench = Bench::new(64, 1_000);
        let passed: usize = std::thread::scope(|scope| {
            let count = || (0..1_000).filter(|_| bench.check(7)).count();
            let threads = [(); 4].map(|()| scope.spawn(count));
            threads.map(|thread| thread.join().unwrap()).into_iter().sum()
        });
        assert_eq!(passed, 1_000);
    }

    proptest! {
        #[test]
        fn it_decides_like_a_plain_map_while_it_is_not_full(
            burst in 1u32..6,
            steps in prop::collection::vec((0u32..12, 0u64..3_000), 1..200),
        ) {
            // Twelve keys fit into one set of sixteen, wherever they fall.
            let bench = Bench::new(16, burst);
            for (key, millis) in steps {
                bench.clock.advance(Duration::from_millis(millis));
                prop_assert_eq!(bench.check(key), bench.model.check_key(&key).is_ok());
            }
        }

        #[test]
        fn it_never_lets_a_key_have_more_than_its_slot_and_the_shared_cell(
            burst in 1u32..6,
            steps in prop::collection::vec((0u32..200, 0u64..20), 1..2_000),
        ) {
            let bench = Bench::new(16, burst);
            let (mut elapsed, mut passed) = (0, 0u64);
            for (key, millis) in steps {
                bench.clock.advance(Duration::from_millis(millis));
                elapsed += millis;
                passed += u64::from(bench.check(key) && key == 0);
                // Twice: a key may use up the shared cell before it finds a slot. One more for each time that it
                // was forgotten, which needs sixteen others in between.
                prop_assert!(passed <= 2 * (u64::from(burst) + elapsed / 1_000) + 2_000 / 16);
            }
        }
    }
}
