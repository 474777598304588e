//! Addresses that verified clients in good standing have come from lately.
//!
//! What nobody has proven is held against the address it came from; but behind one address may be many (carrier NAT).
//! Who holds no certificate could get an address closed that honest clients use. So an address where an identity in
//! good standing was lately is vouched for, and is not dropped for what strangers do there: the bounds on handshakes
//! are what they meet. Two Bloom filters, of this hour and the last, remember that: a false yes spares somebody a
//! drop, a false no there is none.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::moment::Moment;

/// The addresses.
#[derive(Debug)]
pub(super) struct Vouched {
    generations: [Box<[AtomicU64]>; 2],
    began: AtomicU32,
    young: AtomicU32,
}

impl Vouched {
    /// For so many addresses in an hour: two bytes for each.
    pub(super) fn new(addresses: usize) -> Self {
        let words = addresses.saturating_mul(BITS_EACH).div_ceil(64).max(64);
        let generation = || (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { generations: [generation(), generation()], began: AtomicU32::new(0), young: AtomicU32::new(0) }
    }

    /// Somebody in good standing has come from the address of this hash.
    pub(super) fn add(&self, hash: u64, now: Moment) {
        self.turn(now.secs());
        let young = usize::from(self.young.load(Ordering::Relaxed) == 1);
        if let Some(words) = self.generations.get(young) {
            for (word, bit) in bits(hash, words) {
                // Nearly always it is there already, and a load leaves the cache line shared.
                if word.load(Ordering::Relaxed) & bit == 0 {
                    word.fetch_or(bit, Ordering::Relaxed);
                }
            }
        }
    }

    /// Whether somebody has, in this hour or the one before.
    pub(super) fn has(&self, hash: u64, now: Moment) -> bool {
        self.turn(now.secs());
        let set = |words: &[AtomicU64]| bits(hash, words).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0);
        self.generations.iter().any(|words| set(words))
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.generations.iter().map(|words| words.len() * size_of::<AtomicU64>()).sum()
    }

    fn turn(&self, now: u32) {
        let began = self.began.load(Ordering::Relaxed);
        if now.saturating_sub(began) < LASTS {
            return;
        }
        // Whoever changes `began` turns; the others go on with what there is.
        if self.began.compare_exchange(began, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let old = self.young.load(Ordering::Relaxed) ^ 1;
            let long_ago = now.saturating_sub(began) >= LASTS.saturating_mul(2);
            for (index, words) in (0u32..).zip(&self.generations) {
                if index == old || long_ago {
                    words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
                }
            }
            self.young.store(old, Ordering::Relaxed);
        }
    }
}

/// Two bits of the filter, by the halves of the hash.
fn bits(hash: u64, words: &[AtomicU64]) -> impl Iterator<Item = (&AtomicU64, u64)> {
    let total = u64::try_from(words.len()).unwrap_or(1).saturating_mul(64).max(64);
    [hash, hash.rotate_left(32) | 1].into_iter().filter_map(move |half| {
        let bit = half.wrapping_mul(MIX) % total;
        let word = words.get(usize::try_from(bit / 64).ok()?)?;
        Some((word, 1 << (bit % 64)))
    })
}

const LASTS: u32 = 3600;
/// With two hashes and eight bits for each one in twenty is a false yes.
const BITS_EACH: usize = 8;
/// The golden ratio of 64 bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};
    use std::time::Duration;

    use super::*;

    fn at(minutes: u64) -> Moment {
        Moment::after(Duration::from_mins(minutes))
    }

    #[test]
    fn a_vouch_lasts_an_hour_at_least_and_two_at_most() {
        let vouched = Vouched::new(1_000);
        vouched.add(7, at(59));
        for (minute, has) in [(59, true), (60, true), (119, true), (121, false)] {
            assert_eq!(vouched.has(7, at(minute)), has, "minute {minute}");
        }
        vouched.add(7, at(130));
        assert!(!vouched.has(7, at(600)));
    }

    #[test]
    fn few_are_taken_for_others_when_it_is_full() {
        let (vouched, hasher) = (Vouched::new(10_000), RandomState::new());
        (0..10_000).for_each(|n| vouched.add(hasher.hash_one(n), at(1)));
        assert!((0..10_000).all(|n| vouched.has(hasher.hash_one(n), at(2))));
        let wrong = (10_000..20_000).filter(|n| vouched.has(hasher.hash_one(n), at(2))).count();
        assert!(wrong < 1_000, "{wrong}");
    }
}
