//! How many different things there were, in 256 bytes: HyperLogLog (Flajolet, Fusy, Gandouet, Meunier 2007).
//!
//! With m = 256 registers the standard error is 1.04 / sqrt(m) = 6.5 %. Hashes have 64 bits, so there is no
//! correction for large counts. Hashes are made with a random key: nobody outside can choose what collides.

/// The sketch.
#[derive(Clone, Debug)]
pub(super) struct Sketch([u8; REGISTERS]);

impl Default for Sketch {
    fn default() -> Self {
        Self([0; REGISTERS])
    }
}

impl Sketch {
    /// One more thing, or one that was there before.
    pub(super) fn insert(&mut self, hash: u64) {
        let [register, ..] = hash.to_be_bytes();
        // The other 56 bits: the position of their first one, from 1; a bit below ends the row of zeros.
        let rank = ((hash << 8) | 0x80).leading_zeros() + 1;
        if let Some(seen) = self.0.get_mut(usize::from(register)) {
            *seen = (*seen).max(u8::try_from(rank).unwrap_or(u8::MAX));
        }
    }

    /// About how many there were.
    pub(super) fn estimate(&self) -> f32 {
        let (mut sum, mut empty) = (0.0, 0u16);
        for rank in &self.0 {
            sum += (-f32::from(*rank)).exp2();
            empty += u16::from(*rank == 0);
        }
        let raw = ALPHA * M * M / sum;
        if empty > 0 && raw <= 2.5 * M {
            // Few things: counting empty registers is more exact.
            return M * (M / f32::from(empty)).ln();
        }
        raw
    }

    pub(super) fn clear(&mut self) {
        self.0 = [0; REGISTERS];
    }
}

const REGISTERS: usize = 256;
const M: f32 = 256.0;
/// 0.7213 / (1 + 1.079 / m), for m of 128 and more.
const ALPHA: f32 = 0.718_273;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    fn estimate(things: impl Iterator<Item = u32>) -> f32 {
        let hasher = RandomState::new();
        let mut sketch = Sketch::default();
        things.for_each(|thing| sketch.insert(hasher.hash_one(thing)));
        sketch.estimate()
    }

    #[test]
    fn nothing_is_nothing_and_the_same_thing_is_one() {
        assert!(Sketch::default().estimate().abs() < 0.001);
        assert!((estimate([7; 1000].into_iter()) - 1.0).abs() < 0.01);
    }

    #[test]
    fn the_mean_error_is_the_published_one() {
        // 60 runs: the error of their mean square is a tenth of it, so 9 % is more than three of those away.
        for count in [40u16, 300, 3_000, 30_000] {
            let runs = 60u16;
            let squares: f32 =
                (0..runs).map(|_| (estimate(0..u32::from(count)) / f32::from(count) - 1.0).powi(2)).sum();
            let error = (squares / f32::from(runs)).sqrt();
            assert!(error < 0.09, "{error} for {count}");
        }
    }

    proptest! {
        #[test]
        fn no_hash_breaks_it(hashes in prop::collection::vec(any::<u64>(), 0..2_000)) {
            let mut sketch = Sketch::default();
            let mut before = 0.0;
            for hash in hashes {
                sketch.insert(hash);
            }
            let all = sketch.estimate();
            prop_assert!(all.is_finite() && all >= before, "{}", all);
            before = all;
            for hash in [0, u64::MAX, 1, 1 << 55] {
                sketch.insert(hash);
            }
            prop_assert!(sketch.estimate() >= before * 0.9);
        }
    }
}
