//! Whether requests come like a machine's: at even intervals, or in the same order again and again.
//!
//! Of a row of requests the logarithms of the intervals are looked at: Welford's running variance, and how an interval
//! follows from the one before. A person's vary by factors; a timer's, even one that is shaken by a third, do not. Of
//! the paths every three in a row are one gram: a script has few different ones. Both are also true of honest apps that
//! poll, which is why routes ask for it.

use std::time::Duration;

use super::moment::Moment;

/// What is a machine's pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PacingRules {
    /// Intervals that are looked at together.
    pub requests: u16,
    /// Shorter ones belong to what one action of a person loads, and do not count.
    pub least: Duration,
    /// Most standard deviation of the logarithms of a machine's intervals; 0: do not look.
    pub regularity: f32,
    /// Least share of grams that were there before of a script's; above 1: do not look.
    pub repetition: f32,
    /// What a row that looks like a machine's adds to the score, for either sign.
    pub weight: f32,
}

/// What a row of requests looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) metronomic: bool,
    pub(super) repeated: bool,
}

/// The row that is under way.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    last: Option<u64>,
    intervals: u16,
    mean: f32,
    squares: f32,
    /// The first interval, which the products are relative to: small numbers keep their digits.
    first: f32,
    previous: f32,
    products: f32,
    grams: u16,
    seen: u128,
    paths: [u32; 2],
}

impl Pacing {
    /// One request, by the hash of its path; the verdict when a row is full.
    pub(super) fn request(&mut self, path: u32, now: Moment, rules: &PacingRules) -> Option<Row> {
        let last = self.last.replace(now.millis());
        let interval = Duration::from_millis(now.millis().saturating_sub(last?));
        if interval < rules.least || interval > PAUSE {
            return None;
        }
        self.interval(interval.as_secs_f32().max(0.001).ln());
        self.path(path);
        (self.intervals >= rules.requests.max(LEAST_REQUESTS)).then(|| {
            let row = Row { metronomic: self.is_metronomic(rules), repeated: self.is_repeated(rules) };
            *self = Self { last: self.last, paths: self.paths, ..Self::default() };
            row
        })
    }

    fn interval(&mut self, x: f32) {
        if self.intervals == 0 {
            (self.first, self.previous) = (x, x);
        } else {
            self.products += (x - self.first) * (self.previous - self.first);
        }
        self.previous = x;
        self.intervals = self.intervals.saturating_add(1);
        let off = x - self.mean;
        self.mean += off / f32::from(self.intervals);
        self.squares += off * (x - self.mean);
    }

    fn path(&mut self, path: u32) {
        let [older, old] = self.paths;
        self.paths = [old, path];
        // Each place in the gram counts differently; the multiplier is the golden ratio of 32 bits.
        let gram = older.wrapping_mul(MIX).rotate_left(7) ^ old.wrapping_mul(MIX).rotate_left(19) ^ path;
        let bit = gram.wrapping_mul(MIX) >> 25;
        self.grams = self.grams.saturating_add(1);
        self.seen |= 1 << bit;
    }

    fn is_metronomic(&self, rules: &PacingRules) -> bool {
        let n = f32::from(self.intervals);
        let variance = self.squares / n;
        if variance.sqrt() < rules.regularity {
            return true;
        }
        // Two intervals that take turns: each follows from the one before.
        let off = self.mean - self.first;
        let follows = (self.products / (n - 1.0) - off * off) / variance;
        rules.regularity > 0.0 && follows < ALTERNATING
    }

    fn is_repeated(&self, rules: &PacingRules) -> bool {
        let empty = u16::try_from(self.seen.count_zeros()).map_or(0.0, f32::from).max(1.0);
        // Linear counting, as Whang, Vander-Zanden and Taylor 1990 have it.
        let distinct = BITS * (BITS / empty).ln();
        1.0 - distinct / f32::from(self.grams.max(1)) >= rules.repetition
    }
}

/// A row of fewer says nothing.
pub const LEAST_REQUESTS: u16 = 16;
/// What comes after a pause belongs to no rhythm.
const PAUSE: Duration = Duration::from_hours(1);
/// Correlation of neighbours; -1 is a perfect alternation, and chance gives -0.3 in a row of 50 at most.
const ALTERNATING: f32 = -0.8;
const MIX: u32 = 0x9e37_79b9;
const BITS: f32 = 128.0;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const RULES: PacingRules = PacingRules {
        requests: 50,
        least: Duration::from_millis(200),
        regularity: 0.25,
        repetition: 0.85,
        weight: 5.0,
    };

    /// Numbers from 0 to 1 that are the same in every run: xorshift (Marsaglia 2003).
    fn chance(mut seed: u32) -> impl FnMut() -> f64 {
        move || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            f64::from(seed) / f64::from(u32::MAX)
        }
    }

    fn rows(intervals: impl Iterator<Item = Duration>, mut path: impl FnMut(usize) -> u32) -> Vec<Row> {
        let (mut pacing, mut now) = (Pacing::default(), Duration::ZERO);
        let mut rows = Vec::new();
        for (n, interval) in intervals.enumerate() {
            now += interval;
            rows.extend(pacing.request(path(n), Moment::after(now), &RULES));
        }
        rows
    }

    fn of(n: usize) -> u32 {
        u32::try_from(n).unwrap()
    }

    #[test]
    fn a_timer_is_seen_also_one_that_is_shaken_by_a_third_and_one_that_alternates() {
        let mut random = chance(1);
        let mut shaken = move || Duration::from_secs_f64(2.0 * (1.0 + 0.33 * (2.0 * random() - 1.0)));
        let even = rows((0..500).map(|_| Duration::from_secs(2)), of);
        let shaken = rows((0..500).map(|_| shaken()), of);
        let alternating = rows((0..500).map(|n| Duration::from_secs(if n % 2 == 0 { 1 } else { 20 })), of);
        for rows in [even, shaken, alternating] {
            assert!(rows.len() >= 9 && rows.iter().all(|row| row.metronomic), "{rows:?}");
        }
    }

    #[test]
    fn people_are_not_taken_for_timers() {
        // Think times of people are about log-normal with sigma 1 (web workload models have 0.8 to 1.5).
        let mut random = chance(2);
        let mut normal = move || (0..12).map(|_| random()).sum::<f64>() - 6.0;
        for sigma in [0.6, 1.0, 1.5] {
            let rows = rows((0..20_000).map(|_| Duration::from_secs_f64((1.0 + sigma * normal()).exp())), of);
            assert!(rows.len() > 200 && rows.iter().all(|row| !row.metronomic), "sigma {sigma}");
        }
    }

    #[test]
    fn what_one_action_loads_is_no_rhythm() {
        let rows = rows((0..5_000).map(|_| Duration::from_millis(40)), of);
        assert!(rows.is_empty());
    }

    #[test]
    fn a_script_repeats_itself_and_a_reader_does_not() {
        let pause = || (0..1_000).map(|_| Duration::from_secs(3));
        for length in [1, 2, 3, 5] {
            let rows = rows(pause(), |n| of(n % length) + 77);
            assert!(rows.iter().skip(1).all(|row| row.repeated), "a script of {length}");
        }
        assert!(rows(pause(), of).iter().all(|row| !row.repeated));
        let mut random = chance(3);
        // Back to the start page after every item, of which there are a hundred.
        let mut item = move || (1..100).find(|item| random() < f64::from(*item) / 100.0).unwrap_or(100);
        let rows = rows(pause(), |n| if n % 2 == 0 { 0 } else { item() });
        assert!(rows.iter().all(|row| !row.repeated));
    }

    #[test]
    fn a_sign_that_is_switched_off_is_not_seen() {
        let off = PacingRules { regularity: 0.0, repetition: 1.1, ..RULES };
        let mut pacing = Pacing::default();
        for n in 0..1_000 {
            let row = pacing.request(1, Moment::after(Duration::from_secs(n)), &off);
            assert!(row.is_none_or(|row| !row.metronomic && !row.repeated));
        }
    }

    proptest! {
        #[test]
        fn the_variance_is_the_textbooks(intervals in prop::collection::vec(0.2f32..3_000.0, 2..49)) {
            let mut pacing = Pacing::default();
            for interval in &intervals {
                pacing.interval(interval.ln());
            }
            let n = f32::from(u16::try_from(intervals.len()).unwrap());
            let mean = intervals.iter().map(|x| x.ln()).sum::<f32>() / n;
            let squares: f32 = intervals.iter().map(|x| (x.ln() - mean).powi(2)).sum();
            prop_assert!((pacing.squares - squares).abs() <= 0.001 * squares + 0.001);
        }

        #[test]
        fn no_row_of_requests_breaks_it(steps in prop::collection::vec((any::<u32>(), any::<u64>()), 0..200)) {
            let mut pacing = Pacing::default();
            for (path, millis) in steps {
                pacing.request(path, Moment::after(Duration::from_millis(millis)), &RULES);
            }
        }
    }
}
