//! What an operator wants of reputations.

use std::time::Duration;

use super::ladder::Ladder;
use super::pacing::PacingRules;
use super::spread::SpreadRules;

/// What counts, how much, and what it leads to. A part of the configuration: the state knows none of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// In which a score halves.
    pub half_life: Duration,
    /// The share of failures that is usual of honest clients, below 1: with more, scores rise; with less, they fall.
    pub tolerated: f32,
    /// Of how many clients, in how many places, a certificate may be.
    pub spread: SpreadRules,
    /// What is a machine's pace.
    pub pacing: PacingRules,
    /// What scores lead to.
    pub ladder: Ladder,
}

impl Rules {
    /// What a good outcome takes back of one that weighs `weight`: as much that the score of somebody who fails as
    /// often as is tolerated stays where it is (Page's CUSUM test, 1954).
    #[must_use]
    pub fn relief(&self, weight: f32) -> f32 {
        let share = self.tolerated.clamp(0.0, MOST_TOLERATED);
        -weight * share / (1.0 - share)
    }
}

/// Who fails nine times of ten is beyond what anybody tolerates.
const MOST_TOLERATED: f32 = 0.9;
