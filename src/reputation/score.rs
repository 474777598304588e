//! What somebody has done, by cause: numbers that halve with time.
//!
//! Every cause has a score of its own, so that a total can say where it comes from. All of them halve in the same
//! time, which is why one timestamp serves them.

use std::time::Duration;

use super::moment::Moment;

/// Why a score rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The client broke a protocol or its bounds.
    Abuse,
    /// The client presented a certificate that looks forged, or is none of ours.
    Forgery,
    /// The backend's answers say that something fails.
    Outcome,
    /// The requests come like a machine's.
    Pacing,
    /// The certificate is in too many places at once.
    Spread,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 5] = [Self::Abuse, Self::Forgery, Self::Outcome, Self::Pacing, Self::Spread];

    /// The word for it in logs, metrics and the header.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Abuse => "abuse",
            Self::Forgery => "forgery",
            Self::Outcome => "outcome",
            Self::Pacing => "pacing",
            Self::Spread => "spread",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Abuse => 0,
            Self::Forgery => 1,
            Self::Outcome => 2,
            Self::Pacing => 3,
            Self::Spread => 4,
        }
    }
}

/// The scores of one subject, as they were at a whole second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    scores: [f32; Cause::ALL.len()],
    at: u32,
}

impl Tally {
    /// Adds `weight`, or takes some back if it is negative: never below nothing, never beyond [`MOST`].
    pub(super) fn add(&mut self, cause: Cause, weight: f32, now: Moment, half_life: Duration) {
        self.settle(now, half_life);
        if let Some(score) = self.scores.get_mut(cause.index()) {
            let sum = *score + weight;
            *score = if sum.is_nan() { *score } else { sum.clamp(0.0, MOST) };
        }
    }

    /// All causes together, and the one that weighs most.
    pub(super) fn total(&self, now: Moment, half_life: Duration) -> (f32, Cause) {
        let mut then = *self;
        then.settle(now, half_life);
        let most = Cause::ALL.into_iter().max_by(|a, b| then.of(*a).total_cmp(&then.of(*b)));
        (then.scores.iter().sum(), most.unwrap_or(Cause::Outcome))
    }

    /// One cause, as it was when anything was last added.
    pub(super) fn of(&self, cause: Cause) -> f32 {
        self.scores.get(cause.index()).copied().unwrap_or(0.0)
    }

    /// Lets the time since the last change work. Only whole seconds are taken, so that many changes within one do
    /// not lose what is left of it.
    fn settle(&mut self, now: Moment, half_life: Duration) {
        let passed = now.secs().saturating_sub(self.at);
        if passed == 0 {
            return;
        }
        self.at = now.secs();
        if self.scores.iter().all(|score| *score == 0.0) {
            return;
        }
        let halves = Duration::from_secs(passed.into()).as_secs_f32() / half_life.as_secs_f32().max(1.0);
        let left = (-halves).exp2();
        for score in &mut self.scores {
            *score *= left;
            if *score < NOTHING {
                *score = 0.0;
            }
        }
    }
}

/// The highest score of a cause: ten half-lives and it is forgotten, whatever somebody has done.
pub const MOST: f32 = 1_000.0;

/// Below this a score is forgotten.
const NOTHING: f32 = 0.01;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(secs: u64) -> Moment {
        Moment::after(Duration::from_secs(secs))
    }

    #[test]
    fn a_score_halves_in_its_half_life_and_is_forgotten_at_last() {
        let mut tally = Tally::default();
        tally.add(Cause::Outcome, 8.0, at(100), HOUR);
        for (hours, left) in [(0, 8.0), (1, 4.0), (2, 2.0), (3, 1.0), (10, 0.0)] {
            let (score, cause) = tally.total(at(100 + hours * 3600), HOUR);
            assert!((score - left).abs() < 0.001, "{score} after {hours} hours");
            assert!(hours > 9 || cause == Cause::Outcome);
        }
    }

    #[test]
    fn the_total_names_the_cause_that_weighs_most() {
        let mut tally = Tally::default();
        tally.add(Cause::Spread, 2.0, at(0), HOUR);
        tally.add(Cause::Pacing, 3.0, at(0), HOUR);
        tally.add(Cause::Outcome, 1.5, at(0), HOUR);
        assert_eq!(tally.total(at(0), HOUR), (6.5, Cause::Pacing));
    }

    #[test]
    fn what_is_taken_back_leaves_no_credit_and_no_other_cause_less() {
        let mut tally = Tally::default();
        tally.add(Cause::Abuse, 2.0, at(0), HOUR);
        tally.add(Cause::Outcome, -50.0, at(0), HOUR);
        tally.add(Cause::Outcome, 1.0, at(0), HOUR);
        assert_eq!((tally.of(Cause::Outcome), tally.of(Cause::Abuse)), (1.0, 2.0));
    }

    #[test]
    fn a_number_that_is_none_changes_nothing_for_good() {
        let mut tally = Tally::default();
        tally.add(Cause::Abuse, f32::NAN, at(0), HOUR);
        tally.add(Cause::Abuse, f32::INFINITY, at(1), HOUR);
        let (score, _) = tally.total(at(1), HOUR);
        assert!((0.0..=MOST).contains(&score), "{score}");
    }

    proptest! {
        #[test]
        fn many_small_steps_in_time_decay_like_one_long_one(steps in prop::collection::vec(1u64..5_000, 1..60)) {
            let mut tally = Tally::default();
            tally.add(Cause::Outcome, 900.0, at(0), HOUR);
            let mut millis = 0;
            for step in &steps {
                millis += step;
                tally.add(Cause::Outcome, 0.0, Moment::after(Duration::from_millis(millis)), HOUR);
            }
            let mut once = Tally::default();
            once.add(Cause::Outcome, 900.0, at(0), HOUR);
            let end = Moment::after(Duration::from_millis(millis));
            let (many, one) = (tally.total(end, HOUR).0, once.total(end, HOUR).0);
            prop_assert!((many - one).abs() < 0.01, "{many} {one}");
        }

        #[test]
        fn a_score_stays_within_its_bounds(adds in prop::collection::vec((0usize..5, -2e3f32..2e3, 0u64..100_000), 0..50)) {
            let (mut tally, mut secs) = (Tally::default(), 0);
            for (cause, weight, later) in adds {
                secs += later;
                tally.add(Cause::ALL[cause], weight, at(secs), HOUR);
                for cause in Cause::ALL {
                    prop_assert!((0.0..=MOST).contains(&tally.of(cause)));
                }
            }
        }
    }
}
