//! The score card: what was promised, what came of it, and what it has cost the honest.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::diary::{Diary, Effect};
use super::forecast::Promise;

/// What came of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was promised has come.
    Caught,
    /// What was promised is a rung that only says what it would do, and it has said so.
    Seen,
    /// What was promised has not come.
    Missed,
    /// Nothing was promised.
    Unwatched,
}

/// What came of an actor, when, and how that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    /// How long after its begin.
    pub(super) after: Option<Duration>,
    pub(super) how: Option<String>,
    pub(super) reason: Option<String>,
}

/// An actor and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) actor: &'static str,
    pub(super) does: String,
    pub(super) promise: Promise,
    pub(super) diary: Diary,
    pub(super) judgement: Judgement,
}

/// Something that was done to somebody honest.
#[derive(Clone, Debug)]
pub(super) struct FalsePositive {
    pub(super) who: String,
    pub(super) what: String,
    pub(super) reason: String,
    pub(super) times: u64,
    pub(super) at: Option<Duration>,
}

/// What came of a rehearsal.
#[derive(Clone, Debug)]
pub struct Card {
    pub(super) config: String,
    pub(super) host: String,
    pub(super) took: Duration,
    /// Somebody had enough of it.
    pub(super) ended_early: bool,
    pub(super) replaced: Vec<String>,
    pub(super) left_out: Vec<String>,
    pub(super) rows: Vec<Row>,
    pub(super) identities: usize,
    pub(super) requests: u64,
    pub(super) served: u64,
    /// Before the attack, and during it; microseconds.
    pub(super) latency: [Histogram<u64>; 2],
    pub(super) false_positives: Vec<FalsePositive>,
}

/// What is to be made of what an actor has written down.
pub(super) fn judge(promise: &Promise, is_stranger: bool, diary: &Diary) -> Judgement {
    let judged = |verdict, found: Option<(Duration, String, Option<String>)>| {
        let (at, how, reason) = found.map_or((None, None, None), |(at, how, reason)| (Some(at), Some(how), reason));
        Judgement { verdict, after: at.map(|at| diary.after(at)), how, reason }
    };
    let first = |wanted: &dyn Fn(Effect) -> bool| {
        let found = diary.first(wanted);
        found.map(|(at, effect, reason)| (at, effect.word().to_owned(), Some(reason.to_owned())))
    };
    let for_reputation = |effect: Effect| match effect {
        Effect::Refuse => false,
        // Whose handshakes fail in any case is known only where there is no handshake at all.
        Effect::Drop => true,
        _ => !is_stranger,
    };
    match promise {
        Promise::Rung { felt: true, .. } => match first(&for_reputation) {
            Some(found) => judged(Verdict::Caught, Some(found)),
            None => judged(Verdict::Missed, None),
        },
        Promise::Rung { felt: false, .. } => {
            let [acts, says] = diary.on_rung;
            let observed = acts.map(|at| (at, "observe".to_owned(), diary.standing.cause.clone()));
            let would = says.map(|at| {
                let action = diary.standing.dry_run.as_deref().unwrap_or("act");
                (at, format!("would have: {action}"), diary.standing.cause.clone())
            });
            let found = observed.into_iter().chain(would).min_by_key(|(at, ..)| *at);
            judged(if found.is_some() { Verdict::Seen } else { Verdict::Missed }, found)
        }
        Promise::Refusal if diary.attempts > 0 && diary.through == 0 => judged(Verdict::Caught, first(&|_| true)),
        Promise::Refusal => judged(Verdict::Missed, first(&|_| true)),
        Promise::Nothing(_) => judged(Verdict::Unwatched, first(&|_| true)),
    }
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Seen => "seen",
            Self::Missed => "missed",
            Self::Unwatched => "not promised",
        }
    }
}

impl Card {
    /// Whether everybody was caught whom the configuration promises to catch, and nobody else was.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.ended_early
            && self.false_positives.is_empty()
            && self.rows.iter().all(|row| row.judgement.verdict != Verdict::Missed)
    }

    /// As JSON; docs/rehearse.md has its keys.
    #[must_use]
    pub fn json(&self) -> Value {
        let [before, during] = self.latency.each_ref().map(times);
        json!({
            "config": self.config,
            "host": self.host,
            "seconds": seconds(self.took),
            "good": self.is_good(),
            "ended_early": self.ended_early,
            "actors": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "honest": {
                "identities": self.identities,
                "requests": self.requests,
                "served": self.served,
                "before": before,
                "during": during,
                "false_positives": self.false_positives.iter().map(FalsePositive::json).collect::<Vec<_>>(),
            },
            "replaced": self.replaced,
            "left_out": self.left_out,
        })
    }
}

impl Row {
    fn json(&self) -> Value {
        let (diary, judgement) = (&self.diary, &self.judgement);
        let promised = match &self.promise {
            Promise::Rung { action, felt, score, expected } => json!({
                "action": action,
                "felt": felt,
                "score": tenth(f64::from(*score)),
                "expected_score": tenth(f64::from(*expected)),
            }),
            Promise::Refusal => json!({ "action": "refuse" }),
            Promise::Nothing(_) => Value::Null,
        };
        let why = if let Promise::Nothing(why) = &self.promise { Some(why) } else { None };
        let felt = diary.felt.iter().map(|(effect, (at, reason))| {
            json!({ "effect": effect.word(), "after": seconds(diary.after(*at)), "reason": reason })
        });
        json!({
            "actor": self.actor,
            "does": self.does,
            "promised": promised,
            "why_not": why,
            "verdict": judgement.verdict.word(),
            "caught_after": judgement.after.map(seconds),
            "caught_by": judgement.how,
            "reason": judgement.reason,
            "attempts": diary.attempts,
            "got_through": diary.through,
            "got_through_for": diary.last.map(|at| seconds(diary.after(at))),
            "felt": felt.collect::<Vec<_>>(),
            "refused": diary.reasons,
            "score": tenth(diary.standing.score),
            "cause": diary.standing.cause,
            "rung": diary.standing.rung,
            "dry_run": diary.standing.dry_run,
            "counted_as": diary.counted,
        })
    }
}

impl FalsePositive {
    fn json(&self) -> Value {
        json!({
            "identity": self.who,
            "what": self.what,
            "reason": self.reason,
            "times": self.times,
            "after": self.at.map(seconds),
        })
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, as host {}, for {:.1} s\n", self.config, self.host, self.took.as_secs_f64())?;
        for line in &self.replaced {
            writeln!(f, "  replaced  {line}")?;
        }
        for line in &self.left_out {
            writeln!(f, "  left out  {line}")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{row}")?;
        }
        let [before, during] = self.latency.each_ref().map(|latency| (at(latency, 0.5), at(latency, 0.99)));
        writeln!(
            f,
            "\nhonest: {} identities, {} requests, {} served; p50 {:.1} ms and p99 {:.1} ms before the attack, {:.1} ms and {:.1} ms during it",
            self.identities, self.requests, self.served, before.0, before.1, during.0, during.1
        )?;
        for one in &self.false_positives {
            let after = one.at.map_or_else(String::new, |at| format!(" after {:.1} s", at.as_secs_f64()));
            writeln!(f, "  FALSE POSITIVE  {}: {} ({}), {} times{after}", one.who, one.what, one.reason, one.times)?;
        }
        if self.false_positives.is_empty() {
            writeln!(f, "  no false positive")?;
        }
        let verdict = match (self.ended_early, self.is_good()) {
            (true, _) => "ended early: nothing can be said",
            (false, true) => "as promised",
            (false, false) => "NOT as promised",
        };
        writeln!(f, "\n{verdict}")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (diary, judgement) = (&self.diary, &self.judgement);
        write!(f, "{:12}  {}: ", judgement.verdict.word(), self.actor)?;
        writeln!(f, "{}", self.does)?;
        let blank = "";
        let mut felt: Vec<_> = diary.felt.iter().map(|(effect, (at, reason))| (at, effect.word(), reason)).collect();
        felt.sort();
        for (at, effect, reason) in &felt {
            writeln!(f, "{blank:14}{effect} after {:.1} s ({reason})", diary.after(**at).as_secs_f64())?;
        }
        match (&judgement.how, judgement.after) {
            (Some(how), Some(after)) if judgement.verdict == Verdict::Seen => {
                writeln!(f, "{blank:14}{how} after {:.1} s, nothing was to be felt", after.as_secs_f64())?;
            }
            _ if judgement.verdict == Verdict::Missed => {
                let promised = match &self.promise {
                    Promise::Rung { action, score, .. } => format!("{action} at a score of {score}"),
                    Promise::Refusal | Promise::Nothing(_) => "a refusal".to_owned(),
                };
                writeln!(f, "{blank:14}promised was {promised}")?;
            }
            _ => {}
        }
        if let Promise::Nothing(why) = &self.promise {
            writeln!(f, "{blank:14}{why}")?;
        }
        let last = diary.last.map_or_else(String::new, |last| {
            format!(", the last of them after {:.1} s", diary.after(last).as_secs_f64())
        });
        writeln!(f, "{blank:14}{} of {} attempts got through{last}", diary.through, diary.attempts)?;
        match &diary.standing.cause {
            Some(cause) => writeln!(f, "{blank:14}its score got to {:.1}, mostly {cause}", diary.standing.score),
            None => Ok(()),
        }
    }
}

fn times(latency: &Histogram<u64>) -> Value {
    json!({ "requests": latency.len(), "p50_ms": tenth(at(latency, 0.5)), "p99_ms": tenth(at(latency, 0.99)) })
}

fn at(latency: &Histogram<u64>, quantile: f64) -> f64 {
    Duration::from_micros(latency.value_at_quantile(quantile)).as_secs_f64() * 1000.0
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::diary::{Came, Pen, Standing};
    use super::*;

    const fn at_secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn diary(entries: &[(u64, Came)]) -> Diary {
        let pen = Pen::default();
        pen.begin(at_secs(1));
        for (at, came) in entries {
            pen.write(at_secs(*at), came.clone());
        }
        pen.read()
    }

    fn felt(effect: Effect) -> Came {
        Came::Felt(effect, effect.word().to_owned())
    }

    fn rung(felt: bool) -> Promise {
        Promise::Rung { action: "reject", felt, score: 10.0, expected: 20.0 }
    }

    #[test]
    fn every_promise_is_held_against_what_was_felt() {
        let nothing = || Promise::Nothing("why".to_owned());
        let through = [(2, Came::Served)];
        let rejected = [(2, Came::Served), (5, felt(Effect::Reject))];
        let refused = [(3, felt(Effect::Refuse))];
        let handshakes = [(3, felt(Effect::Handshake))];
        let closed = [(3, felt(Effect::Handshake)), (6, felt(Effect::Drop))];
        for (promise, is_stranger, entries, verdict, after) in [
            (rung(true), false, &rejected[..], Verdict::Caught, Some(4)),
            (rung(true), false, &through[..], Verdict::Missed, None),
            // The app's own no is not the gate's.
            (rung(true), false, &refused[..], Verdict::Missed, None),
            (rung(true), false, &handshakes[..], Verdict::Caught, Some(2)),
            (rung(true), true, &handshakes[..], Verdict::Missed, None),
            (rung(true), true, &closed[..], Verdict::Caught, Some(5)),
            (Promise::Refusal, true, &handshakes[..], Verdict::Caught, Some(2)),
            (Promise::Refusal, false, &rejected[..], Verdict::Missed, Some(4)),
            (Promise::Refusal, false, &[][..], Verdict::Missed, None),
            (nothing(), false, &through[..], Verdict::Unwatched, None),
            (nothing(), false, &rejected[..], Verdict::Unwatched, Some(4)),
        ] {
            let judgement = judge(&promise, is_stranger, &diary(entries));
            assert_eq!(
                (judgement.verdict, judgement.after),
                (verdict, after.map(at_secs)),
                "{promise:?} {is_stranger} {entries:?}"
            );
        }
    }

    #[test]
    fn a_rung_that_only_says_what_it_would_do_is_told_as_such() {
        let pen = Pen::default();
        pen.begin(at_secs(1));
        assert_eq!(judge(&rung(false), false, &pen.read()).verdict, Verdict::Missed);
        let dry_run = Some("drop".to_owned());
        pen.stands(at_secs(4), Standing { score: 30.0, cause: Some("spread".to_owned()), rung: None, dry_run });
        let judgement = judge(&rung(false), false, &pen.read());
        assert_eq!((judgement.verdict, judgement.after), (Verdict::Seen, Some(at_secs(3))));
        assert_eq!(judgement.how.as_deref(), Some("would have: drop"));
        assert_eq!(judgement.reason.as_deref(), Some("spread"));
    }

    fn card(verdict: Verdict, false_positives: Vec<FalsePositive>) -> Card {
        let mut latency = [(); 2].map(|()| Histogram::new(3).unwrap());
        latency[0].record(1_500).unwrap();
        let judgement = Judgement { verdict, after: None, how: None, reason: None };
        Card {
            config: "gate.toml".to_owned(),
            host: "api.test".to_owned(),
            took: at_secs(9),
            ended_early: false,
            replaced: vec!["everything".to_owned()],
            left_out: Vec::new(),
            rows: vec![Row {
                actor: "stuffer",
                does: "x".to_owned(),
                promise: rung(true),
                diary: diary(&[]),
                judgement,
            }],
            identities: 3,
            requests: 5,
            served: 4,
            latency,
            false_positives,
        }
    }

    #[test]
    fn a_miss_or_a_false_positive_spoils_the_card_and_is_named() {
        let wronged = FalsePositive {
            who: "rehearsal-0007".to_owned(),
            what: "reject".to_owned(),
            reason: "reputation_rejected".to_owned(),
            times: 2,
            at: Some(at_secs(3)),
        };
        for (verdict, good) in
            [(Verdict::Caught, true), (Verdict::Seen, true), (Verdict::Unwatched, true), (Verdict::Missed, false)]
        {
            assert_eq!(card(verdict, Vec::new()).is_good(), good);
            assert!(!card(verdict, vec![wronged.clone()]).is_good());
            assert!(!Card { ended_early: true, ..card(verdict, Vec::new()) }.is_good());
        }
        let text = card(Verdict::Missed, vec![wronged]).to_string();
        for part in [
            "replaced  everything",
            "missed        stuffer: x",
            "promised was reject at a score of 10\n",
            "FALSE POSITIVE  rehearsal-0007: reject (reputation_rejected), 2 times after 3.0 s",
            "p50 1.5 ms",
            "NOT as promised",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let json = card(Verdict::Caught, Vec::new()).json();
        assert_eq!((&json["good"], &json["actors"][0]["verdict"]), (&json!(true), &json!("caught")));
        assert_eq!(json["honest"]["before"]["p50_ms"], json!(1.5));
    }
}
