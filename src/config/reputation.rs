//! `[reputation]`, and what routes say about it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use toml::de::DeValue;

use super::context::Context;
use super::problem::Read;
use super::read::{Node, Section};
use super::reference::{OUTCOME, OUTCOME_HEADER, PACING, REPUTATION, RUNG, SPREAD};
use crate::reputation::{Action, Kind, Ladder, MOST, MOST_RUNGS, OutcomeClass, PacingRules, Rules, Rung, SpreadRules};
use crate::tls::TrustSpec;

/// What an operator wants of reputations.
#[derive(Clone, Debug, PartialEq)]
pub struct ReputationSpec {
    /// How many identities are remembered.
    pub identities: usize,
    /// The file of those who are kept out.
    pub state: Option<PathBuf>,
    /// Requests that may wait at once.
    pub sleepers: u32,
    /// What counts, and what it leads to.
    pub rules: Rules,
    /// What routes want, by their names.
    pub routes: BTreeMap<Box<str>, RouteReputation>,
}

/// What a route wants of reputations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteReputation {
    /// Which answers are failures.
    pub outcome: Vec<OutcomeClass>,
    /// Whether the pace of its requests is looked at.
    pub pacing: bool,
    /// Whether everybody may use it, wherever he stands.
    pub exempt: bool,
}

/// What routes want, while the file is read.
pub(super) type Routes = RefCell<BTreeMap<Box<str>, RouteReputation>>;

/// The section; `routes` have been read.
pub(super) fn reputation(root: &Section<'_>, context: &Context<'_>, trust: &[TrustSpec]) -> Read<ReputationSpec> {
    root.below("reputation", &REPUTATION, |section| {
        let identities = section.count("identities");
        let state = section.optional("state", |node, _| context.own_file(node));
        let half_life = section.duration("half_life");
        let tolerated = section.value("tolerated_failures", |node, _| number(node, 0.0, 0.9));
        let sleepers = section.count("sleepers");
        let spread = section.below("spread", &SPREAD, spread);
        let pacing = section.below("pacing", &PACING, pacing);
        let ladder = ladder(section, context, trust);
        let rules =
            Rules { half_life: half_life?, tolerated: tolerated?, spread: spread?, pacing: pacing?, ladder: ladder? };
        Ok(ReputationSpec {
            identities: identities?,
            state: state?,
            sleepers: sleepers?,
            rules,
            routes: context.reputations.take(),
        })
    })
}

/// What a route says.
pub(super) fn of_route(section: &Section<'_>) -> Read<RouteReputation> {
    let outcome = section.list("outcome", |node| node.section(&OUTCOME, outcome));
    let pacing = section.flag("pacing");
    let exempt = section.flag("exempt");
    Ok(RouteReputation { outcome: outcome?, pacing: pacing?, exempt: exempt? })
}

fn spread(section: &Section<'_>) -> Read<SpreadRules> {
    let window = section.duration("window");
    let networks = section.count("networks");
    let prints = section.count("fingerprints");
    let connections = section.count("connections");
    let multiple = section.count::<u16>("multiple");
    let learn = section.duration("learn");
    Ok(SpreadRules {
        window: window?,
        networks: networks?,
        prints: prints?,
        connections: connections?,
        multiple: f32::from(multiple?),
        learn: learn?,
    })
}

fn pacing(section: &Section<'_>) -> Read<PacingRules> {
    let requests = section.count("requests");
    let least = section.duration("least");
    let regularity = section.value("regularity", |node, _| number(node, 0.0, 5.0));
    let repetition = section.value("repetition", |node, _| number(node, 0.1, 2.0));
    let weight = section.value("weight", |node, _| number(node, 0.0, MOST));
    Ok(PacingRules {
        requests: requests?,
        least: least?,
        regularity: regularity?,
        repetition: repetition?,
        weight: weight?,
    })
}

fn outcome(section: &Section<'_>) -> Read<OutcomeClass> {
    let statuses = section.list("statuses", status);
    let header = section.optional("header", |node, _| node.section(&OUTCOME_HEADER, header));
    let slower_than = section.optional("slower_than", super::typed::duration);
    let weight = section.value("weight", |node, _| number(node, -MOST, MOST));
    let class = OutcomeClass { statuses: statuses?, header: header?, slower_than: slower_than?, weight: weight? };
    if class.statuses.is_empty() && class.header.is_none() && class.slower_than.is_none() {
        let what = "has no condition: every answer would be of this kind";
        return Err(section.sink.wrong(&section.place, what, Some("statuses = [401, 403, 429]".to_owned())));
    }
    Ok(class)
}

fn status(node: &Node<'_>) -> Read<u16> {
    let DeValue::Integer(code) = node.value else { return node.wrong_type("a status like 401") };
    match u16::from_str_radix(code.as_str(), code.radix()) {
        Ok(status @ 100..600) => Ok(status),
        _ => node.wrong("not a status: 100 to 599"),
    }
}

fn header(section: &Section<'_>) -> Read<(HeaderName, Box<str>)> {
    let name = section.value("name", |node, _| node.parsed::<HeaderName>("a field name"));
    let value = section.value("value", |node, _| node.text().map(Box::from));
    Ok((name?, value?))
}

/// The rungs; without any, one that only looks.
fn ladder(section: &Section<'_>, context: &Context<'_>, trust: &[TrustSpec]) -> Read<Ladder> {
    let rungs = section.optional("ladder", |node, _| {
        if node.items().len() > MOST_RUNGS {
            return node.wrong(format!("more than {MOST_RUNGS} rungs"));
        }
        node.each(|node| node.section(&RUNG, |section| rung(section, context, trust)))
    })?;
    Ok(Ladder::new(rungs.unwrap_or_else(|| vec![observing()])))
}

/// Ten is what ten failures, ten networks too many or two forged certificates make.
fn observing() -> Rung {
    Rung {
        score: 10.0,
        action: Action::Observe,
        hold: Duration::from_hours(1),
        by: UNSHARED.to_vec(),
        dry_run: false,
        reason: "".into(),
    }
}

fn rung(section: &Section<'_>, context: &Context<'_>, trust: &[TrustSpec]) -> Read<Rung> {
    let score = section.count::<u16>("score");
    let word = section.word("action", ACTIONS);
    let hold = section.duration("for");
    let delay = section.duration("delay");
    let status = section.count::<u16>("status");
    let limit = section.optional("limit", |node, _| context.limits.resolve(node));
    let upstream = section.optional("upstream", |node, _| context.upstreams.resolve(node));
    let by = section.optional("by", |node, _| node.each(|node| node.word(KINDS)));
    let reason = section.value("reason", |node, _| reason(node));
    let dry_run = section.flag("dry_run");
    let (word, dry_run) = (word?, dry_run?);
    let action = action(section, word, (limit?, upstream?), (delay?, status?))?;
    let by = by?.unwrap_or_else(|| if word == Word::Deny { vec![Kind::Identity] } else { UNSHARED.to_vec() });
    if word == Word::Deny && !dry_run {
        can_deny(section, &by, trust)?;
    }
    Ok(Rung { score: f32::from(score?), action, hold: hold?, by, dry_run, reason: reason? })
}

fn action(
    section: &Section<'_>,
    word: Word,
    (limit, upstream): (Option<Box<str>>, Option<Box<str>>),
    (delay, status): (Duration, u16),
) -> Read<Action> {
    for (name, given, wanted) in
        [("limit", limit.is_some(), Word::Limit), ("upstream", upstream.is_some(), Word::Quarantine)]
    {
        if given && word != wanted {
            section.sink.warn(&section.place.child(name), format!("`{name}` says nothing about this action"));
        }
    }
    Ok(match word {
        Word::Observe => Action::Observe,
        Word::Tag => Action::Tag,
        Word::Slow => Action::Slow(delay),
        Word::Limit => Action::Limit(match limit {
            Some(limit) => limit,
            None => {
                return section.missing("limit", "missing: which limit counts", "limit = \"NAME\" and a [limit.NAME]");
            }
        }),
        Word::Challenge if status == 402 => {
            return Err(section.sink.wrong(&section.place.child("status"), "401 or 403", None));
        }
        Word::Challenge => Action::Challenge(status),
        Word::Quarantine => Action::Quarantine(match upstream {
            Some(upstream) => upstream,
            None => {
                return section.missing("upstream", "missing: where to", "upstream = \"NAME\" and an [upstream.NAME]");
            }
        }),
        Word::Reject => Action::Reject,
        Word::Drop => Action::Drop,
        Word::Deny => Action::Deny,
    })
}

/// A deny list has certificates, and must be writable wherever somebody could be denied.
fn can_deny(section: &Section<'_>, by: &[Kind], trust: &[TrustSpec]) -> Read<()> {
    if by.iter().any(|kind| *kind != Kind::Identity) {
        let what = "only identities can be denied: a deny list has certificates";
        return Err(section.sink.wrong(&section.place.child("by"), what, Some("by = [\"identity\"]".to_owned())));
    }
    match trust.iter().find(|store| store.deny_state.is_none()) {
        Some(store) => {
            let what = format!("[trust.{}] has no file for what the gate denies", store.name);
            let hint = "deny_state = \"denied.state.toml\" in it".to_owned();
            Err(section.sink.wrong(&section.place, what, Some(hint)))
        }
        None => Ok(()),
    }
}

fn reason(node: &Node<'_>) -> Read<Box<str>> {
    let text = node.text()?;
    if text.chars().count() > MAX_REASON || text.chars().any(char::is_control) {
        return node.wrong(format!("more than {MAX_REASON} characters, or one that is a control character"));
    }
    Ok(text.into())
}

fn number(node: &Node<'_>, least: f32, most: f32) -> Read<f32> {
    let text = match node.value {
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        DeValue::Float(float) => float.as_str(),
        _ => return node.wrong_type("a number"),
    };
    match text.parse::<f32>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => node.wrong(format!("not a number from {least} to {most}")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Observe,
    Tag,
    Slow,
    Limit,
    Challenge,
    Quarantine,
    Reject,
    Drop,
    Deny,
}

const ACTIONS: &[(&str, Word)] = &[
    ("observe", Word::Observe),
    ("tag", Word::Tag),
    ("slow", Word::Slow),
    ("limit", Word::Limit),
    ("challenge", Word::Challenge),
    ("quarantine", Word::Quarantine),
    ("reject", Word::Reject),
    ("drop", Word::Drop),
    ("deny", Word::Deny),
];
const KINDS: &[(&str, Kind)] = &[
    ("address", Kind::Address),
    ("fingerprint", Kind::Print),
    ("identity", Kind::Identity),
    ("network", Kind::Network),
];
/// A fingerprint is many clients'; who imitates it could do them harm.
const UNSHARED: [Kind; 3] = [Kind::Address, Kind::Identity, Kind::Network];
/// As long as a deny entry's.
const MAX_REASON: usize = 400;

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const REST: &str = r#"
[[listener]]
address = "127.0.0.1:0"
[[host]]
names = ["a.example"]
certificate = { chain = "a.pem", key = "a.key" }
trust = "t"
[[host.route]]
path = "/"
allow = "any-verified"
upstream = "u"
ROUTE
[trust.t]
anchors = ["ca.pem"]
[limit.strict]
key = "identity"
rate = "1/m"
[upstream.u]
servers = ["http://127.0.0.1:1"]
"#;

    fn spec(section: &str, route: &str) -> ReputationSpec {
        parse("f.toml", &format!("{}{section}", REST.replace("ROUTE", route))).expect("no problem").reputation
    }

    fn problems(section: &str, route: &str) -> String {
        let problems = parse("f.toml", &format!("{}{section}", REST.replace("ROUTE", route))).expect_err("a problem");
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn without_a_word_it_looks_and_refuses_nobody() {
        let spec = spec("", "");
        let rungs: Vec<_> = spec.rules.ladder.rungs().map(|rung| (rung.score.to_string(), &rung.action)).collect();
        assert_eq!(rungs, [("10".to_owned(), &Action::Observe)]);
        assert_eq!((spec.identities, spec.sleepers, spec.state), (1_000_000, 1_000, None));
        assert_eq!(spec.routes.values().next(), Some(&RouteReputation::default()));
    }

    #[test]
    fn a_ladder_reads_as_it_is_written() {
        let spec = spec(
            r#"
[reputation]
half_life = "2h"
tolerated_failures = 0.1
[[reputation.ladder]]
score = 50
action = "reject"
for = "1h"
reason = "too much"
[[reputation.ladder]]
score = 10
action = "slow"
delay = "2s"
by = ["identity", "fingerprint"]
dry_run = true
[[reputation.ladder]]
score = 20
action = "limit"
limit = "strict"
[[reputation.ladder]]
score = 30
action = "quarantine"
upstream = "u"
[[reputation.ladder]]
score = 25
action = "challenge"
status = 401
"#,
            "pacing = true\noutcome = [{ statuses = [401, 403] }, { header = { name = \"X-Login\", value = \"no\" }, weight = 2.5 }]",
        );
        let actions: Vec<_> = spec.rules.ladder.rungs().map(|rung| rung.action.clone()).collect();
        let slow = Action::Slow(Duration::from_secs(2));
        let others =
            [Action::Limit("strict".into()), Action::Challenge(401), Action::Quarantine("u".into()), Action::Reject];
        assert_eq!(actions, [vec![slow], others.to_vec()].concat());
        let rung = spec.rules.ladder.get(0).unwrap();
        assert_eq!((&*rung.by, rung.dry_run), (&[Kind::Identity, Kind::Print][..], true));
        let route = spec.routes.values().next().unwrap();
        assert!(
            route.pacing && route.outcome[0].statuses == [401, 403] && (route.outcome[1].weight - 2.5).abs() < 0.001
        );
    }

    #[test]
    fn what_cannot_be_meant_is_told_all_at_once() {
        let text = problems(
            r#"
[reputation]
tolerated_failures = 1.5
lader = 1
[[reputation.ladder]]
score = 10
action = "deny"
[[reputation.ladder]]
score = 10
action = "deni"
[[reputation.ladder]]
score = 10
action = "limit"
[[reputation.ladder]]
score = 10
action = "quarantine"
upstream = "v"
[[reputation.ladder]]
score = 0
action = "challenge"
[reputation.pacing]
regularity = "even"
"#,
            "outcome = { weight = 1 }",
        );
        for part in [
            "tolerated_failures: not a number from 0 to 0.9",
            "unknown key `lader`\n  hint: did you mean `ladder`?",
            "[trust.t] has no file for what the gate denies\n  hint: deny_state",
            "did you mean \"deny\"?",
            "ladder[2].limit: missing: which limit counts",
            "there is no upstream \"v\"",
            "ladder[4].score: less than 1",
            "regularity: expected a number, found a string",
            "has no condition",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_key_of_another_action_is_odd_and_told() {
        let text = format!("{REST}[[reputation.ladder]]\nscore = 10\naction = \"reject\"\nlimit = \"strict\"\n");
        let warnings = parse("f.toml", &text.replace("ROUTE", "")).expect("no problem").warnings;
        assert!(warnings.iter().any(|warning| warning.what.contains("says nothing about this action")), "{warnings:?}");
    }

    #[test]
    fn a_rung_that_only_looks_needs_no_deny_list_and_a_network_cannot_be_denied() {
        let dry = "[[reputation.ladder]]\nscore = 5\naction = \"deny\"\ndry_run = true";
        assert_eq!(spec(dry, "").rules.ladder.get(0).unwrap().by, [Kind::Identity]);
        let network = "[[reputation.ladder]]\nscore = 5\naction = \"deny\"\nby = \"network\"";
        assert!(problems(network, "").contains("only identities can be denied"));
    }
}
