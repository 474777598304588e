//! Entries by subject, as many as were asked for and no more.
//!
//! Every subject has one set where its entry may stand, by a hash under a random key. When the table is full, or a
//! set is, somebody of the set is forgotten for a newcomer: the one who was not seen for longest of those without a
//! connection, without a rung, and whose score is not above what the newcomer comes with. Nobody is freed of a rung
//! or of a score by throw-away subjects, however many: they replace each other. Where nobody may be forgotten the
//! newcomer's entry lives only as long as its connection, and is counted.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::entry::Entry;
use super::moment::Moment;
use super::subject::Subject;
#[cfg(test)]
use super::testing::block;

type Set = Vec<(u64, Arc<Entry>)>;

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    hasher: RandomState,
    shards: Box<[Mutex<Vec<Set>>]>,
    sets: u64,
    most: usize,
    entries: AtomicUsize,
    /// Goes up with every new entry: who found nothing need not look again while it stands still.
    arrivals: AtomicU64,
    crowded: AtomicU64,
}

impl Table {
    /// Room for `most` entries. An empty set costs 24 bytes.
    pub(super) fn new(most: usize) -> Self {
        let sets = most.div_ceil(USUAL_WAYS).div_ceil(SHARDS).max(1);
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::new(vec![Set::new(); sets])).collect(),
            sets: u64::try_from(sets).unwrap_or(1),
            most: most.max(1),
            entries: AtomicUsize::new(0),
            arrivals: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
        }
    }

    pub(super) fn find(&self, subject: &Subject) -> Option<Arc<Entry>> {
        if self.is_empty() {
            return None;
        }
        let (shard, set, hash) = self.place(subject);
        let shard = shard.lock();
        find(shard.get(set)?, hash)
    }

    /// The entry of `subject`, which is made if there is none and it may come in with a score of `worth`.
    pub(super) fn enter(&self, subject: Subject, worth: f32, now: Moment, half_life: Duration) -> Arc<Entry> {
        let (shard, set, hash) = self.place(&subject);
        let mut shard = shard.lock();
        let Some(set) = shard.get_mut(set) else { return Arc::new(Entry::new(subject)) };
        if let Some(entry) = find(set, hash) {
            entry.saw(now);
            return entry;
        }
        let entry = Arc::new(Entry::new(subject));
        entry.saw(now);
        if set.len() < MOST_WAYS && self.grow() {
            set.push((hash, Arc::clone(&entry)));
            self.arrivals.fetch_add(1, Ordering::Release);
        } else if let Some(place) = forgettable(set, worth.max(LITTLE), now, half_life) {
            *place = (hash, Arc::clone(&entry));
            self.arrivals.fetch_add(1, Ordering::Release);
        } else {
            self.crowded.fetch_add(1, Ordering::Relaxed);
        }
        entry
    }

    /// Changes with every new entry.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Acquire)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many newcomers found no place.
    pub(super) fn crowded(&self) -> u64 {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Looks at every entry, a shard at a time.
    pub(super) fn each(&self, mut look: impl FnMut(&Arc<Entry>)) {
        for shard in &self.shards {
            shard.lock().iter().flatten().for_each(|(_, entry)| look(entry));
        }
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let set = |set: &Set| {
            block(set.capacity() * size_of::<(u64, Arc<Entry>)>())
                + set.iter().map(|(_, entry)| entry.heap()).sum::<usize>()
        };
        let shard = |shard: &Mutex<Vec<Set>>| {
            let sets = shard.lock();
            block(sets.capacity() * size_of::<Set>()) + sets.iter().map(set).sum::<usize>()
        };
        block(self.shards.len() * size_of::<Mutex<Vec<Set>>>()) + self.shards.iter().map(shard).sum::<usize>()
    }

    /// A hash under this table's key, for sketches.
    pub(super) fn hash(&self, thing: &impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(thing)
    }

    fn grow(&self) -> bool {
        let more = |entries: usize| (entries < self.most).then(|| entries + 1);
        self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    #[expect(clippy::indexing_slicing, reason = "the index is a remainder of the length, which is never zero")]
    fn place(&self, subject: &Subject) -> (&Mutex<Vec<Set>>, usize, u64) {
        let hash = self.hasher.hash_one(subject);
        let set = usize::try_from(hash % self.sets).unwrap_or(0);
        let shard = usize::try_from(hash >> 48).unwrap_or(0);
        (&self.shards[shard % self.shards.len()], set, hash)
    }
}

fn find(set: &Set, hash: u64) -> Option<Arc<Entry>> {
    set.iter().find(|(other, _)| *other == hash).map(|(_, entry)| Arc::clone(entry))
}

fn forgettable(set: &mut Set, worth: f32, now: Moment, half_life: Duration) -> Option<&mut (u64, Arc<Entry>)> {
    let may_go = |(_, entry): &&mut (u64, Arc<Entry>)| {
        Arc::strong_count(entry) == 1 && entry.is_forgettable(worth, now, half_life)
    };
    set.iter_mut().filter(may_go).min_by_key(|(_, entry)| entry.seen())
}

/// What may be forgiven to somebody who is forgotten: half a failure.
const LITTLE: f32 = 0.5;
/// Entries of a set of a full table, on average.
const USUAL_WAYS: usize = 16;
/// Entries of a set at most. At an average of 16 no set of a million comes near it.
const MOST_WAYS: usize = 64;
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::reputation::score::Cause;
    use crate::reputation::testing::rules;

    const HOUR: Duration = Duration::from_hours(1);

    fn subject(n: u32) -> Subject {
        Subject::Address(IpAddr::V4(Ipv4Addr::from_bits(n)))
    }

    fn at(secs: u64) -> Moment {
        Moment::after(Duration::from_secs(secs))
    }

    #[test]
    fn a_subject_keeps_its_entry_and_the_table_its_bound() {
        let table = Table::new(2_000);
        let first = table.enter(subject(1), 0.0, at(0), HOUR);
        for n in 2..50_000 {
            table.enter(subject(n), 0.0, at(1), HOUR);
        }
        assert!(Arc::ptr_eq(&first, &table.find(&subject(1)).unwrap()), "who is connected was forgotten");
        assert_eq!(table.len(), 2_000);
        let mut counted = 0;
        table.each(|_| counted += 1);
        assert_eq!(counted, 2_000);
    }

    #[test]
    fn throw_away_subjects_free_nobody_of_a_score_or_a_rung() {
        let (table, rules) = (Table::new(1_024), rules());
        for n in 0..50 {
            let entry = table.enter(subject(n), 60.0, at(0), HOUR);
            entry.score(Cause::Outcome, if n < 25 { 60.0 } else { 7.0 }, at(0), &rules);
        }
        for n in 1_000..100_000 {
            // Each comes with as much as a forgery weighs.
            let entry = table.enter(subject(n), 5.0, at(1), HOUR);
            entry.score(Cause::Forgery, 5.0, at(1), &rules);
        }
        for n in 0..50 {
            let entry = table.find(&subject(n)).unwrap_or_else(|| panic!("{n} was forgotten"));
            assert!(entry.total(at(1), HOUR).0 > 6.9);
        }
    }

    #[test]
    fn a_table_full_of_the_punished_leaves_newcomers_to_themselves_and_says_so() {
        let (table, rules) = (Table::new(64), rules());
        for n in 0..5_000 {
            table.enter(subject(n), 60.0, at(0), HOUR).score(Cause::Outcome, 60.0, at(0), &rules);
        }
        let before = table.crowded();
        let entry = table.enter(subject(9_999_999), 1.0, at(1), HOUR);
        entry.score(Cause::Outcome, 1.0, at(1), &rules);
        assert!(table.crowded() > before && table.find(&subject(9_999_999)).is_none());
        assert_eq!(table.len(), 64);
    }

    #[test]
    fn who_was_not_seen_for_longest_goes_first() {
        let table = Table::new(1);
        table.enter(subject(1), 0.0, at(0), HOUR);
        for n in 2..10_000 {
            table.enter(subject(n), 0.0, at(n.into()), HOUR);
        }
        assert_eq!(table.len(), 1);
        let mut last = 0;
        table.each(|entry| last = entry.seen());
        assert!(last > 0);
    }
}
