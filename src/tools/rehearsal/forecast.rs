//! What a configuration promises: which rung an actor must get to, from what it does and the time that it has.

use std::time::Duration;

use crate::reputation::{Action, Kind, Ladder, Rung};

/// What must become of an actor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Promise {
    /// It must get to this rung.
    Rung {
        /// The word of its action.
        action: &'static str,
        /// Whether anything is to be felt of it.
        felt: bool,
        /// Its score.
        score: f32,
        /// The score that is to be expected.
        expected: f32,
    },
    /// Nothing of it may get through, whatever the ladder.
    Refusal,
    /// Nothing, and why.
    Nothing(String),
}

/// The time that attackers have, and how often something can happen in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) times: u32,
    pub(super) every: Duration,
}

impl Pace {
    /// `wanted` times in three quarters of `long`, but not faster than `least`.
    pub(super) fn within(long: Duration, wanted: u32, least: Duration) -> Self {
        let room = long * 3 / 4;
        let every = (room / wanted.max(1)).max(least);
        let most = u32::try_from(room.as_micros() / every.as_micros().max(1)).unwrap_or(u32::MAX);
        Self { times: wanted.min(most), every }
    }

    /// The score of `times` additions of `weight`, which halves meanwhile.
    pub(super) fn climbs(self, weight: f32, half_life: Duration) -> f32 {
        let kept = (-self.every.as_secs_f32() / half_life.as_secs_f32().max(1.0)).exp2();
        let times = u16::try_from(self.times).unwrap_or(u16::MAX);
        if kept > 0.999_999 {
            return weight * f32::from(times);
        }
        weight * (1.0 - kept.powi(i32::from(times.min(i16::MAX.unsigned_abs())))) / (1.0 - kept)
    }
}

/// The score of the first rung that stops somebody, which is what an actor has to reach; of those that are not too
/// high for a rehearsal, or else of the first at all.
pub(super) fn goal(ladder: &Ladder, kind: Kind) -> f32 {
    let rungs = || ladder.rungs().filter(|rung| rung.by.contains(&kind) && rung.score <= MOST_GOAL);
    let stops = |rung: &&Rung| match rung.action {
        // Who is slow meets no limit.
        Action::Observe | Action::Tag | Action::Slow(_) | Action::Limit(_) => false,
        // Of an address nothing else is to be felt: whoever has proven nothing has no requests.
        _ if kind == Kind::Address => rung.action == Action::Drop,
        _ => !rung.dry_run,
    };
    rungs().find(stops).or_else(|| rungs().next()).map_or(USUAL_GOAL, |rung| rung.score)
}

/// What the ladder promises for a score of `expected`: the first rung that is felt, or else the first at all.
pub(super) fn promise(ladder: &Ladder, kind: Kind, expected: f32, acts: impl Fn(&Action) -> bool) -> Promise {
    let rungs = || ladder.rungs().filter(|rung| rung.by.contains(&kind) && acts(&rung.action));
    let felt = |rung: &&Rung| !rung.dry_run && rung.action != Action::Observe;
    let Some(lowest) = rungs().next() else {
        return Promise::Nothing(format!(
            "no rung of the ladder is about an {}: add [[reputation.ladder]] with by = [\"{}\"]",
            kind.word(),
            kind.word()
        ));
    };
    let reached = |rung: &&Rung| rung.score <= expected * SURE;
    let Some(rung) = rungs().filter(reached).find(felt).or_else(|| rungs().find(reached)) else {
        return Promise::Nothing(format!(
            "a score of about {expected:.0} is all it can get in this time, and the first rung is at {:.0}: rehearse for longer",
            lowest.score
        ));
    };
    Promise::Rung { action: rung.action.word(), felt: felt(&rung), score: rung.score, expected }
}

/// What is expected comes a little late on a busy machine.
const SURE: f32 = 0.8;
/// Where nothing is said: twice the score at which the gate begins to look.
const USUAL_GOAL: f32 = 20.0;
/// Higher scores take longer than anybody rehearses.
const MOST_GOAL: f32 = 300.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(score: f32, action: Action, by: &[Kind], dry_run: bool) -> Rung {
        Rung { score, action, hold: Duration::from_mins(1), by: by.to_vec(), dry_run, reason: "".into() }
    }

    #[test]
    fn things_happen_as_often_as_is_wanted_or_as_fits() {
        let pace = |long, wanted, least| Pace::within(Duration::from_secs(long), wanted, Duration::from_millis(least));
        assert_eq!(pace(40, 30, 10), Pace { times: 30, every: Duration::from_secs(1) });
        assert_eq!(pace(4, 1_000, 100), Pace { times: 30, every: Duration::from_millis(100) });
        assert_eq!(pace(4, 0, 100).times, 0);
    }

    #[test]
    fn a_score_climbs_and_halves_meanwhile() {
        let climbs = |times, secs, weight, half| {
            let pace = Pace { times, every: Duration::from_secs(secs) };
            pace.climbs(weight, Duration::from_secs(half))
        };
        for (score, expected) in [
            (climbs(10, 0, 2.0, 60), 20.0),
            // 4 and 4 * (1 + 1/2 + 1/4).
            (climbs(1, 60, 4.0, 60), 4.0),
            (climbs(3, 60, 4.0, 60), 7.0),
            (climbs(1_000, 60, 4.0, 60), 8.0),
            (climbs(0, 60, 4.0, 60), 0.0),
        ] {
            assert!((score - expected).abs() < 0.01, "{score} {expected}");
        }
    }

    #[test]
    fn the_first_rung_that_is_felt_is_what_is_promised() {
        let ladder = Ladder::new(vec![
            rung(5.0, Action::Observe, &[Kind::Identity], false),
            rung(10.0, Action::Reject, &[Kind::Identity], true),
            rung(20.0, Action::Tag, &[Kind::Identity, Kind::Network], false),
            rung(50.0, Action::Drop, &[Kind::Address], false),
        ]);
        let any = |_: &Action| true;
        let promised = |kind, expected| match promise(&ladder, kind, expected, any) {
            Promise::Rung { action, felt, .. } => format!("{action} {felt}"),
            Promise::Nothing(why) => why,
            Promise::Refusal => unreachable!("nobody asked"),
        };
        assert_eq!(promised(Kind::Identity, 100.0), "tag true");
        assert_eq!(promised(Kind::Identity, 15.0), "observe false");
        assert!(promised(Kind::Identity, 2.0).contains("rehearse for longer"));
        assert_eq!(promised(Kind::Address, 100.0), "drop true");
        assert!(promised(Kind::Print, 100.0).contains("by = [\"fingerprint\"]"));
        let drops = promise(&ladder, Kind::Identity, 100.0, |action| *action == Action::Drop);
        assert!(matches!(drops, Promise::Nothing(_)));
        for (kind, score) in [(Kind::Address, 50.0), (Kind::Print, 20.0), (Kind::Identity, 5.0), (Kind::Network, 20.0)]
        {
            assert!((goal(&ladder, kind) - score).abs() < 0.1, "{kind:?}");
        }
        let more = Ladder::new(vec![
            rung(5.0, Action::Tag, &[Kind::Identity, Kind::Address], false),
            rung(7.0, Action::Reject, &[Kind::Identity, Kind::Address], true),
            rung(10.0, Action::Challenge(403), &[Kind::Identity, Kind::Address], false),
            rung(30.0, Action::Drop, &[Kind::Identity, Kind::Address], false),
        ]);
        let goals = [goal(&more, Kind::Identity), goal(&more, Kind::Address)];
        assert!((goals[0] - 10.0).abs() < 0.1 && (goals[1] - 30.0).abs() < 0.1, "{goals:?}");
    }
}
