//! The deny list that the gate keeps itself: what was denied through the admin listener.
//!
//! The same entries as in the operator's file, each with its id. The file counts its entries, and
//! an id is made from the match, so that no part of a file that was cut off passes for the whole.

use std::collections::BTreeMap;

use toml::de::DeTable;
use toml::{Table, Value};

use super::deny::entry;
use super::problem::{Place, Problem, Read, Sink};
use super::read::Section;
use super::reference::{DENY_STATE, KEPT};
use crate::identity::Digest;
use crate::policy::spec::Matcher;
use crate::revocation::{DenySpec, Source};

/// Entries by their [id](deny_id).
pub type DenyState = BTreeMap<Box<str>, DenySpec>;

/// Most entries that the gate keeps for one trust store. Who denies more revokes, in a list.
pub const MAX_KEPT: usize = 100_000;

/// Reads what [`deny_state_toml`] wrote; `file` is its name in messages.
///
/// # Errors
/// Every problem there is: above all, that it is not the whole of what was written.
pub fn parse_deny_state(file: &str, text: &str) -> Result<DenyState, Vec<Problem>> {
    let sink = Sink::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        sink.syntax(error.span(), error.message());
    }
    let state = Section::read(&DENY_STATE, Some(document.get_ref()), Place::default(), &sink, |root| {
        let count = root.count::<usize>("entries");
        let kept = root.optional("deny", |node, _| node.each(|node| node.section(&KEPT, kept)))?;
        let state: DenyState = kept.unwrap_or_default().into_iter().collect();
        if count? != state.len() {
            let what = format!("it does not have as many entries as it says, but {}: cut off or changed", state.len());
            return Err(sink.wrong(&Place::default(), what, Some(HINT.to_owned())));
        }
        Ok(state)
    });
    sink.finish(state).map(|(state, _)| state)
}

/// The text of the file.
#[must_use]
pub fn deny_state_toml(state: &DenyState) -> String {
    let entries = state.iter().map(|(id, spec)| {
        let mut entry = deny_table(spec);
        entry.insert("id".to_owned(), text(id));
        Value::Table(entry)
    });
    let mut file = Table::new();
    file.insert("entries".to_owned(), Value::Integer(i64::try_from(state.len()).unwrap_or(i64::MAX)));
    if !state.is_empty() {
        file.insert("deny".to_owned(), Value::Array(entries.collect()));
    }
    format!("{HEAD}{file}")
}

/// What an entry is called: the same match has the same id, however it was written.
#[must_use]
pub fn deny_id(matcher: &Matcher) -> Box<str> {
    let digest = Digest::of(canonical(matcher).to_string().as_bytes()).to_string();
    digest.get(..ID_DIGITS).unwrap_or_default().into()
}

/// The conditions in one order and in one spelling.
pub(super) fn canonical(matcher: &Matcher) -> Table {
    // No `..`: a condition that is forgotten here would be lost on the way to the file.
    let Matcher {
        subject_cn,
        subject_o,
        subject_ou,
        subject,
        issuer_cn,
        issuer_o,
        issuer_ou,
        issuer,
        serial,
        dns,
        uri,
        email,
        ip,
        fingerprint,
        spki,
        ja4,
        h2,
    } = matcher;
    let texts = [
        ("subject_cn", subject_cn),
        ("subject_o", subject_o),
        ("subject_ou", subject_ou),
        ("subject", subject),
        ("issuer_cn", issuer_cn),
        ("issuer_o", issuer_o),
        ("issuer_ou", issuer_ou),
        ("issuer", issuer),
        ("dns", dns),
        ("uri", uri),
        ("email", email),
    ];
    let texts = texts.into_iter().map(|(name, list)| (name, shown(list)));
    let others = [
        ("serial", shown(serial)),
        ("ip", shown(ip)),
        ("fingerprint", shown(fingerprint)),
        ("spki", shown(spki)),
        ("ja4", shown(ja4)),
        ("h2", shown(h2)),
    ];
    let present = texts.chain(others).filter(|(_, list)| !list.is_empty());
    present.map(|(name, list)| (name.to_owned(), Value::Array(list))).collect()
}

fn shown<T: ToString>(list: &[T]) -> Vec<Value> {
    let mut list: Vec<String> = list.iter().map(ToString::to_string).collect();
    list.sort_unstable();
    list.dedup();
    list.into_iter().map(Value::String).collect()
}

/// An entry without its id.
fn deny_table(spec: &DenySpec) -> Table {
    let mut entry = Table::new();
    entry.insert("match".to_owned(), Value::Table(canonical(&spec.matcher)));
    entry.insert("reason".to_owned(), text(&spec.reason));
    entry.insert("author".to_owned(), text(&spec.author));
    // Times that were read can be written.
    if let Some(expires) = spec.expires.and_then(|unix| time(unix)?.parse().ok()) {
        entry.insert("expires".to_owned(), Value::Datetime(expires));
    }
    entry
}

/// RFC 3339, or nothing for a time beyond the year 9999.
pub(super) fn time(unix: i64) -> Option<String> {
    jiff::Timestamp::from_second(unix).ok().map(|time| time.to_string())
}

fn kept(section: &Section<'_>) -> Read<(Box<str>, DenySpec)> {
    let spec = entry(section);
    let id = section.value("id", |node, _| Ok((Box::<str>::from(node.text()?), node.place.clone())));
    let (spec, (id, place)) = (DenySpec { source: Source::Admin, ..spec? }, id?);
    if id != deny_id(&spec.matcher) {
        let what = "not the id of its match: cut off or changed";
        return Err(section.sink.wrong(&place, what, Some(HINT.to_owned())));
    }
    Ok((id, spec))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// 64 bits: two of 100,000 entries have the same once in a billion lists, and then one is refused.
const ID_DIGITS: usize = 16;
const HINT: &str = "put a copy of the whole file back; the gate alone writes it";
const HEAD: &str = "# Written by the gate: see POST /deny and DELETE /deny/ID on its admin listener.\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::parse_deny_request;

    fn state(requests: &[&str]) -> DenyState {
        let unix = 1_700_000_000;
        let specs = requests.iter().map(|json| parse_deny_request(json.as_bytes(), unix).unwrap().spec);
        specs.map(|spec| (deny_id(&spec.matcher), spec)).collect()
    }

    fn example() -> DenyState {
        state(&[
            r#"{"trust":"t","match":{"serial":"0A:0b","issuer":"CN=CA"},"reason":"stolen \"phone\"","author":"ops","expires":"2999-01-31T12:00:00Z"}"#,
            r#"{"trust":"t","match":{"uri":["spiffe://x/**","spiffe://a/b"],"dns":"A.Example."},"reason":"ü","author":""}"#,
            r#"{"trust":"t","match":{"ip":"10.0.0.0/8"},"reason":"[[deny]]","author":"x"}"#,
        ])
    }

    fn shown(state: &DenyState) -> String {
        format!("{state:?}")
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for state in [DenyState::new(), example()] {
            let text = deny_state_toml(&state);
            let read = parse_deny_state("s", &text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
            assert_eq!(deny_state_toml(&read), text);
            assert_eq!(read.len(), state.len());
        }
    }

    #[test]
    fn no_part_of_a_file_passes_for_less_than_the_whole() {
        let text = deny_state_toml(&example());
        let whole = shown(&parse_deny_state("s", &text).unwrap());
        for (end, _) in text.char_indices() {
            let part = text.get(..end).expect("between characters");
            if let Ok(state) = parse_deny_state("s", part) {
                assert_eq!(shown(&state), whole, "cut at {end}");
            }
        }
        assert!(parse_deny_state("s", "").unwrap_err()[0].to_string().contains("entries: missing"));
    }

    #[test]
    fn an_id_is_of_the_match_however_it_is_written() {
        let id = |json: &str| deny_id(&parse_deny_request(json.as_bytes(), 0).unwrap().spec.matcher);
        let one = id(r#"{"trust":"t","match":{"serial":["0A:0B","01"],"dns":"A.example."},"reason":"x"}"#);
        let same = id(r#"{"trust":"u","match":{"dns":["a.example"],"serial":["1","a0b","1"]},"reason":"y"}"#);
        assert_eq!(one, same);
        assert_eq!(one.len(), 16);
        assert_ne!(one, id(r#"{"trust":"t","match":{"serial":["a0b"],"dns":"a.example"},"reason":"x"}"#));
    }

    #[test]
    fn an_id_that_was_changed_refuses_the_file() {
        let text = deny_state_toml(&example());
        let id = example().into_keys().next().unwrap();
        let problems = parse_deny_state("state.toml", &text.replace(&*id, "0000000000000000")).unwrap_err();
        assert!(problems[0].to_string().starts_with("state.toml:"), "{problems:?}");
        assert!(problems[0].what.contains("not the id of its match"), "{problems:?}");
    }

    proptest! {
        #[test]
        fn any_reason_and_pattern_survive_the_file(reason in "\\PC{1,40}", cn in "[^*\\\\\\pC]{1,20}") {
            let json = serde_json::json!({"trust": "t", "match": {"subject_cn": cn}, "reason": reason});
            let state = state(&[&json.to_string()]);
            let read = parse_deny_state("s", &deny_state_toml(&state)).unwrap();
            prop_assert_eq!(&read.values().next().unwrap().reason, &state.values().next().unwrap().reason);
            prop_assert_eq!(read.keys().next(), state.keys().next());
        }

        #[test]
        fn no_text_makes_a_state_panic(text in "(entries = [0-9]\n)?(\\[\\[deny\\]\\]|id = |match = |\\PC|\n){0,40}") {
            let _ = parse_deny_state("s", &text);
        }
    }
}
