//! How many different things there were in a window of time: exact while they are few, a sketch when they are many.
//!
//! The last [`EXACT`] things of a kind are kept with the time they were last seen, so that small counts are exact
//! and slide: a device's threshold is within them, and an error there would accuse somebody. Beyond that a
//! [`Sketch`] counts what comes in windows that follow each other; the count is the larger of this window's and the
//! last one's. What is spread evenly over two of them is seen by half at least. Sketches come from a [`Pool`] with
//! a bound; without one the count stops at [`EXACT`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::sketch::Sketch;
#[cfg(test)]
use super::testing::block;

/// One thing: the end of its hash, and when it was last there.
#[derive(Clone, Copy, Debug)]
struct Seen {
    hash: u32,
    at: u32,
}

/// The things of one kind.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    seen: Vec<Seen>,
    many: Option<Box<Many>>,
}

#[derive(Debug)]
struct Many {
    sketch: Sketch,
    began: u32,
    last: f32,
    _place: Place,
}

/// Whether a thing is among the last few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// It is.
    Known,
    /// It is not, or has not been there for a window.
    New,
}

impl Distinct {
    /// One thing, now.
    pub(super) fn insert(&mut self, hash: u64, now: u32, window: u32, pool: &Pool) -> Novelty {
        self.forget(now, window);
        if let Some(many) = &mut self.many {
            many.sketch.insert(hash);
        }
        let [.., b3, b2, b1, b0] = hash.to_be_bytes();
        let hash32 = u32::from_be_bytes([b3, b2, b1, b0]);
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.hash == hash32) {
            seen.at = now;
            return Novelty::Known;
        }
        let new = Seen { hash: hash32, at: now };
        if self.seen.len() < EXACT {
            self.seen.reserve_exact(if self.seen.is_empty() { 2 } else { 1 });
            self.seen.push(new);
            return Novelty::New;
        }
        if self.many.is_none() {
            self.many = pool.take().map(|place| Box::new(Many::new(&self.seen, now, place)));
            if let Some(many) = &mut self.many {
                many.sketch.insert(hash);
            }
        }
        if let Some(oldest) = self.seen.iter_mut().min_by_key(|seen| seen.at) {
            *oldest = new;
        }
        Novelty::New
    }

    /// How many there were in the last window.
    pub(super) fn count(&mut self, now: u32, window: u32) -> f32 {
        self.forget(now, window);
        let exact = u16::try_from(self.seen.len()).map_or(f32::MAX, f32::from);
        self.many.as_ref().map_or(exact, |many| many.sketch.estimate().max(many.last).max(exact))
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let many = self.many.as_ref().map_or(0, |_| block(size_of::<Many>()));
        block(self.seen.capacity() * size_of::<Seen>()) + many
    }

    fn forget(&mut self, now: u32, window: u32) {
        self.seen.retain(|seen| now.saturating_sub(seen.at) < window);
        if let Some(many) = &mut self.many
            && now.saturating_sub(many.began) >= window
        {
            many.turn(now, window);
            // Few again for two windows: exact again.
            if self.seen.len() < EXACT && many.last < FEW_AGAIN {
                self.many = None;
            }
        }
    }
}

impl Many {
    fn new(seen: &[Seen], now: u32, place: Place) -> Self {
        let exact = u16::try_from(seen.len()).map_or(0.0, f32::from);
        // Of what is known exactly only 32 bits are left: its count goes on as the last window's.
        Self { sketch: Sketch::default(), began: now, last: exact, _place: place }
    }

    fn turn(&mut self, now: u32, window: u32) {
        let passed = now.saturating_sub(self.began);
        self.last = if passed < window.saturating_mul(2) { self.sketch.estimate() } else { 0.0 };
        self.began = now;
        self.sketch.clear();
    }
}

/// How many sketches there may be.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<AtomicU32>);

/// A sketch's place in the pool; given back on drop.
#[derive(Debug)]
struct Place(Arc<AtomicU32>);

impl Pool {
    pub(super) fn new(most: u32) -> Self {
        Self(Arc::new(AtomicU32::new(most)))
    }

    fn take(&self) -> Option<Place> {
        let less = |left: u32| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Things that are known exactly; 8 bytes each, and only as many as there are.
pub(super) const EXACT: usize = 16;

const FEW_AGAIN: f32 = 12.0;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    const WINDOW: u32 = 3600;

    #[test]
    fn few_are_counted_exactly_and_slide_out_of_the_window() {
        let (mut distinct, pool) = (Distinct::default(), Pool::new(0));
        for (at, thing, novelty, count) in [
            (0, 1, Novelty::New, 1.0),
            (10, 2, Novelty::New, 2.0),
            (3500, 1, Novelty::Known, 2.0),
            (3700, 3, Novelty::New, 2.0),
            (7200, 2, Novelty::New, 2.0),
            (20_000, 2, Novelty::New, 1.0),
        ] {
            assert_eq!(distinct.insert(thing, at, WINDOW, &pool), novelty, "second {at}");
            assert!((distinct.count(at, WINDOW) - count).abs() < 0.01, "second {at}");
        }
    }

    #[test]
    fn many_are_estimated_within_a_fifth_and_forgotten_after_two_windows() {
        let hasher = RandomState::new();
        let (mut distinct, pool) = (Distinct::default(), Pool::new(1));
        for thing in 0..5_000u32 {
            distinct.insert(hasher.hash_one(thing), thing / 2, WINDOW, &pool);
        }
        // Three standard errors.
        let count = distinct.count(2_500, WINDOW);
        assert!((4_000.0..6_000.0).contains(&count), "{count}");
        assert!((4_000.0..6_000.0).contains(&distinct.count(WINDOW + 20, WINDOW)), "the last window counts");
        distinct.insert(1, 4 * WINDOW, WINDOW, &pool);
        assert!(distinct.count(4 * WINDOW, WINDOW) < 2.0);
        assert!(pool.take().is_some(), "its place was not given back");
    }

    #[test]
    fn without_a_sketch_the_count_stops_but_does_not_fall() {
        let (mut distinct, pool) = (Distinct::default(), Pool::new(0));
        for thing in 0..1_000 {
            assert_eq!(distinct.insert(thing, 0, WINDOW, &pool), Novelty::New);
        }
        assert!((distinct.count(0, WINDOW) - 16.0).abs() < 0.01);
        assert_eq!(distinct.seen.len(), EXACT);
    }

    proptest! {
        #[test]
        fn up_to_sixteen_it_says_what_a_map_says(steps in prop::collection::vec((0u64..16, 0u32..2_000), 1..300)) {
            let (mut distinct, pool, mut now) = (Distinct::default(), Pool::new(0), 0);
            let mut map = HashMap::new();
            for (thing, later) in steps {
                now += later;
                distinct.insert(thing, now, WINDOW, &pool);
                map.insert(thing, now);
                let truth = map.values().filter(|at| now - **at < WINDOW).count();
                prop_assert_eq!(distinct.seen.len(), truth);
            }
        }

        #[test]
        fn it_never_holds_more_than_its_bound(steps in prop::collection::vec((any::<u64>(), any::<u32>()), 1..300)) {
            let (mut distinct, pool) = (Distinct::default(), Pool::new(1));
            for (hash, now) in steps {
                distinct.insert(hash, now, WINDOW, &pool);
                prop_assert!(distinct.seen.len() <= EXACT && distinct.count(now, WINDOW).is_finite());
            }
        }
    }
}
