//! Numbers that look like chance and are the same in every rehearsal: what differs between two is the gate.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`; 0 if there is none.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(bound).unwrap_or(0)
    }

    /// How long a person looks at something: their logarithms are even from 150 ms to 3.7 s, with a mean of 1.1 s.
    pub(super) fn pause(&mut self) -> Duration {
        let even = Duration::from_micros(self.below(1_000_000)).as_secs_f64();
        Duration::from_secs_f64(0.15 * (3.2 * even).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_no_metronomes_and_every_rehearsal_has_the_same_ones() {
        let mut chance = Chance::new(7);
        let pauses: Vec<_> = (0..1_000).map(|_| chance.pause().as_secs_f64()).collect();
        assert!(pauses.iter().all(|pause| (0.149..3.7).contains(pause)));
        let logs: Vec<_> = pauses.iter().map(|pause| pause.ln()).collect();
        let mean = logs.iter().sum::<f64>() / 1_000.0;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / 1_000.0;
        assert!(variance.sqrt() > 0.8, "{variance}");
        let mut again = Chance::new(7);
        assert!(pauses.iter().all(|pause| (*pause - again.pause().as_secs_f64()).abs() < f64::EPSILON));
        assert_eq!(chance.below(0), 0);
    }
}
