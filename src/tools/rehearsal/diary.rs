//! What an actor has done, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::super::load::Failure;
use super::client::Answer;

/// What the gate does to a client, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// The backend was told.
    Tag,
    /// It waited.
    Slow,
    /// A limit was reached.
    Limit,
    /// It was asked to prove itself.
    Challenge,
    /// It was answered from somewhere else.
    Quarantine,
    /// Its request was refused for its reputation.
    Reject,
    /// Its request was refused for another reason.
    Refuse,
    /// Its connection was closed without a word.
    Drop,
    /// Its handshake was refused.
    Handshake,
}

impl Effect {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Slow => "slow",
            Self::Limit => "limit",
            Self::Challenge => "challenge",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
            Self::Refuse => "refuse",
            Self::Drop => "drop",
            Self::Handshake => "handshake refused",
        }
    }

    /// Whether its client got what it wanted all the same.
    pub(super) const fn serves(self) -> bool {
        matches!(self, Self::Tag | Self::Slow | Self::Quarantine)
    }
}

/// What the ladder has that shows only by its signs.
#[derive(Clone, Debug, Default)]
pub(super) struct Signs {
    /// How long it lets requests wait.
    pub(super) slow: Option<Duration>,
    /// Where it sends suspects.
    pub(super) quarantine: Vec<Box<str>>,
    /// The statuses of the backend's own refusals.
    pub(super) failing: Vec<u16>,
}

/// What came of one attempt: what the gate did, if anything, and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It was served.
    Served,
    /// The backend said no.
    Failed,
    /// The gate did something.
    Felt(Effect, String),
    /// Neither did anything that could be told: too late, or no connection.
    Lost(String),
}

impl Signs {
    /// What an attempt has met.
    pub(super) fn read(&self, outcome: &Result<Answer, Failure>) -> Came {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(Failure::Alert(alert)) => return Came::Felt(Effect::Handshake, format!("alert_{alert}")),
            Err(failure @ (Failure::Closed | Failure::Reset)) => return Came::Felt(Effect::Drop, failure.to_string()),
            Err(failure) => return Came::Lost(failure.to_string()),
        };
        if let Some(code) = &answer.code {
            let effect = match code.as_str() {
                "rate_limited" => Effect::Limit,
                "reputation_slowed" => Effect::Slow,
                "reputation_challenge" | "reputation_unauthorized" => Effect::Challenge,
                "reputation_rejected" => Effect::Reject,
                "reputation_dropped" => Effect::Drop,
                _ => Effect::Refuse,
            };
            return Came::Felt(effect, code.clone());
        }
        match (&answer.upstream, &answer.tag) {
            (Some(upstream), _) if self.quarantine.contains(upstream) => {
                Came::Felt(Effect::Quarantine, format!("upstream {upstream}"))
            }
            (_, Some(tag)) if self.slow.is_some_and(|slow| answer.took >= slow) => {
                Came::Felt(Effect::Slow, tag.clone())
            }
            (_, Some(tag)) => Came::Felt(Effect::Tag, tag.clone()),
            _ if self.failing.contains(&answer.status) => Came::Failed,
            _ if answer.status < 400 => Came::Served,
            _ => Came::Felt(Effect::Refuse, format!("status_{}", answer.status)),
        }
    }
}

/// Where the admin listener says somebody stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Standing {
    pub(super) score: f64,
    /// What most of it is for.
    pub(super) cause: Option<String>,
    /// The rung that acts.
    pub(super) rung: Option<String>,
    /// The rung that says what it would do.
    pub(super) dry_run: Option<String>,
}

/// What an actor has done.
#[derive(Clone, Debug, Default)]
pub(super) struct Diary {
    /// When it began.
    pub(super) began: Option<Duration>,
    pub(super) attempts: u64,
    /// What it got through with, felt or not.
    pub(super) through: u64,
    /// When it last got through.
    pub(super) last: Option<Duration>,
    /// By effect: when it was first felt, and why.
    pub(super) felt: BTreeMap<Effect, (Duration, String)>,
    /// How often, by reason.
    pub(super) reasons: BTreeMap<String, u64>,
    /// The highest it was seen at, and when it was first on a rung of each kind: one that acts, one that does not.
    pub(super) standing: Standing,
    pub(super) on_rung: [Option<Duration>; 2],
    /// The code that its abuse was refused with in the metrics.
    pub(super) counted: Option<String>,
}

/// A diary that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Pen(Arc<Mutex<Diary>>);

impl Pen {
    pub(super) fn begin(&self, now: Duration) {
        self.0.lock().began.get_or_insert(now);
    }

    /// One attempt.
    pub(super) fn write(&self, now: Duration, came: Came) {
        self.0.lock().write(now, came, true);
    }

    /// One attempt that got nothing, whatever else was felt: the app said no.
    pub(super) fn turned_down(&self, now: Duration, came: Came) {
        self.0.lock().write(now, came, false);
    }

    /// What the admin listener says.
    pub(super) fn stands(&self, now: Duration, standing: Standing) {
        self.0.lock().stands(now, standing);
    }

    pub(super) fn counted(&self, code: &str) {
        self.0.lock().counted = Some(code.to_owned());
    }

    pub(super) fn read(&self) -> Diary {
        self.0.lock().clone()
    }
}

impl Diary {
    fn write(&mut self, now: Duration, came: Came, got: bool) {
        self.began.get_or_insert(now);
        self.attempts += 1;
        let (through, reason) = match came {
            Came::Served | Came::Failed => (true, None),
            Came::Lost(reason) => (false, Some(reason)),
            Came::Felt(effect, reason) => {
                self.felt.entry(effect).or_insert_with(|| (now, reason.clone()));
                // The score in a tag differs each time.
                (effect.serves(), Some(if effect == Effect::Tag { "tag".to_owned() } else { reason }))
            }
        };
        if through && got {
            self.through += 1;
            self.last = Some(now);
        }
        if let Some(reason) = reason.filter(|_| self.reasons.len() < MOST_REASONS) {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    fn stands(&mut self, now: Duration, standing: Standing) {
        for (first, rung) in self.on_rung.iter_mut().zip([&standing.rung, &standing.dry_run]) {
            if rung.is_some() {
                first.get_or_insert(now);
            }
        }
        let kept = &mut self.standing;
        kept.rung = standing.rung.or_else(|| kept.rung.take());
        kept.dry_run = standing.dry_run.or_else(|| kept.dry_run.take());
        if standing.score >= kept.score {
            (kept.score, kept.cause) = (standing.score, standing.cause.or_else(|| kept.cause.take()));
        }
    }

    /// When any of these effects was first felt, and the first of them.
    pub(super) fn first(&self, wanted: impl Fn(Effect) -> bool) -> Option<(Duration, Effect, &str)> {
        let felt = self.felt.iter().filter(|(effect, _)| wanted(**effect));
        felt.map(|(effect, (at, reason))| (*at, *effect, reason.as_str())).min_by_key(|(at, ..)| *at)
    }

    /// How long after its begin something was.
    pub(super) fn after(&self, at: Duration) -> Duration {
        at.saturating_sub(self.began.unwrap_or(at))
    }
}

/// There are fewer codes, alerts and failures.
const MOST_REASONS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as a client has it")]
    fn answer(
        status: u16,
        code: Option<&str>,
        tag: Option<&str>,
        upstream: &str,
        millis: u64,
    ) -> Result<Answer, Failure> {
        Ok(Answer {
            status,
            code: code.map(str::to_owned),
            tag: tag.map(str::to_owned),
            upstream: Some(upstream.into()),
            took: Duration::from_millis(millis),
        })
    }

    #[test]
    fn every_effect_of_the_ladder_is_told_by_its_signs() {
        let signs = Signs { slow: Some(Duration::from_secs(1)), quarantine: vec!["decoy".into()], failing: vec![401] };
        let felt = |effect, reason: &str| Came::Felt(effect, reason.to_owned());
        for (outcome, came) in [
            (answer(200, None, None, "api", 5), Came::Served),
            (answer(401, None, None, "api", 5), Came::Failed),
            (answer(200, None, Some("9.0"), "api", 5), felt(Effect::Tag, "9.0")),
            (answer(200, None, Some("9.0"), "api", 1_000), felt(Effect::Slow, "9.0")),
            (answer(200, None, None, "api", 1_000), Came::Served),
            (answer(200, None, Some("9.0"), "decoy", 5), felt(Effect::Quarantine, "upstream decoy")),
            (answer(429, Some("rate_limited"), None, "", 5), felt(Effect::Limit, "rate_limited")),
            (
                answer(401, Some("reputation_unauthorized"), None, "", 5),
                felt(Effect::Challenge, "reputation_unauthorized"),
            ),
            (answer(403, Some("reputation_rejected"), None, "", 5), felt(Effect::Reject, "reputation_rejected")),
            (answer(403, Some("identity_not_allowed"), None, "", 5), felt(Effect::Refuse, "identity_not_allowed")),
            (answer(500, None, None, "api", 5), felt(Effect::Refuse, "status_500")),
            (Err(Failure::Alert("access_denied".to_owned())), felt(Effect::Handshake, "alert_access_denied")),
            (Err(Failure::Closed), felt(Effect::Drop, "closed")),
            (Err(Failure::Connect("refused")), Came::Lost("connect_refused".to_owned())),
        ] {
            assert_eq!(signs.read(&outcome), came, "{outcome:?}");
        }
    }

    #[test]
    fn a_diary_knows_what_was_felt_first_and_how_long_it_went_well() {
        let (pen, at) = (Pen::default(), Duration::from_secs);
        pen.begin(at(10));
        pen.write(at(11), Came::Served);
        pen.write(at(12), Came::Felt(Effect::Tag, "5.0".to_owned()));
        pen.write(at(13), Came::Felt(Effect::Tag, "6.0".to_owned()));
        pen.write(at(14), Came::Felt(Effect::Reject, "reputation_rejected".to_owned()));
        pen.write(at(15), Came::Lost("timeout_request".to_owned()));
        let diary = pen.read();
        assert_eq!((diary.attempts, diary.through, diary.last), (5, 3, Some(at(13))));
        assert_eq!(diary.first(|_| true), Some((at(12), Effect::Tag, "5.0")));
        assert_eq!(diary.first(|effect| !effect.serves()), Some((at(14), Effect::Reject, "reputation_rejected")));
        assert_eq!(diary.after(at(14)), at(4));
        assert_eq!(diary.reasons.get("tag"), Some(&2));
        pen.turned_down(at(16), Came::Felt(Effect::Slow, "7.0".to_owned()));
        assert!(pen.read().through == 3 && pen.read().felt.contains_key(&Effect::Slow));
    }

    #[test]
    fn the_highest_score_and_the_first_rung_stay_known() {
        let (pen, at) = (Pen::default(), Duration::from_secs);
        let standing = |score, rung: Option<&str>| Standing {
            score,
            cause: Some("spread".to_owned()),
            rung: rung.map(str::to_owned),
            dry_run: None,
        };
        pen.stands(at(1), standing(3.0, None));
        pen.stands(at(2), standing(12.0, Some("reject")));
        pen.stands(at(3), standing(11.0, None));
        let diary = pen.read();
        assert_eq!(diary.on_rung, [Some(at(2)), None]);
        assert_eq!((diary.standing.score, diary.standing.rung.as_deref()), (12.0, Some("reject")));
    }
}
