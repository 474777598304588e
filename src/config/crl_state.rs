//! The newest revocation lists that a gate has seen, for its next start.
//!
//! The file counts its entries, so that no part of one that was cut off passes for the whole.

use std::fmt::Write;

use toml::de::DeTable;
use toml::{Table, Value};

use super::deny::time;
use super::deny_state::time as shown_time;
use super::problem::{Place, Problem, Read, Sink};
use super::read::{Node, Section};
use super::reference::{CRL_STATE, MARK};
use crate::revocation::Mark;

/// Reads what [`crl_state_toml`] wrote; `file` is its name in messages.
///
/// # Errors
/// Every problem there is: above all, that it is not the whole of what was written.
pub fn parse_crl_state(file: &str, text: &str) -> Result<Vec<Mark>, Vec<Problem>> {
    let sink = Sink::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        sink.syntax(error.span(), error.message());
    }
    let state = Section::read(&CRL_STATE, Some(document.get_ref()), Place::default(), &sink, |root| {
        let count = root.count::<usize>("entries");
        let marks = root.optional("crl", |node, _| node.each(|node| node.section(&MARK, mark)))?;
        let marks = marks.unwrap_or_default();
        if count? != marks.len() {
            let what = format!("it does not have as many entries as it says, but {}: cut off or changed", marks.len());
            return Err(sink.wrong(&Place::default(), what, None));
        }
        Ok(marks)
    });
    sink.finish(state).map(|(state, _)| state)
}

/// The text of the file; the order of `marks` makes no difference.
#[must_use]
pub fn crl_state_toml(marks: &[Mark]) -> String {
    let mut marks: Vec<_> = marks.iter().collect();
    marks.sort_by_key(|mark| mark.issuer);
    let mut file = Table::new();
    file.insert("entries".to_owned(), Value::Integer(i64::try_from(marks.len()).unwrap_or(i64::MAX)));
    if !marks.is_empty() {
        file.insert("crl".to_owned(), Value::Array(marks.into_iter().map(entry).collect()));
    }
    format!("{HEAD}{file}")
}

fn entry(mark: &Mark) -> Value {
    let mut entry = Table::new();
    entry.insert("issuer".to_owned(), Value::String(mark.issuer_text.to_string()));
    entry.insert("name".to_owned(), Value::String(mark.issuer.to_string()));
    if let Some(number) = &mark.number {
        let mut digits = String::new();
        for octet in number {
            // Text takes whatever is written to it.
            let _ = write!(digits, "{octet:02x}");
        }
        entry.insert("number".to_owned(), Value::String(digits));
    }
    // Times that were read can be written.
    if let Some(time) = shown_time(mark.this_update).and_then(|time| time.parse().ok()) {
        entry.insert("this_update".to_owned(), Value::Datetime(time));
    }
    Value::Table(entry)
}

fn mark(section: &Section<'_>) -> Read<Mark> {
    let issuer_text = section.value("issuer", |node, _| Ok(Box::from(node.text()?)));
    let issuer = section.value("name", |node, _| node.parsed("64 hexadecimal digits"));
    let number = section.optional("number", |node, _| octets(node));
    let this_update = section.value("this_update", |node, _| time(node));
    Ok(Mark { issuer: issuer?, issuer_text: issuer_text?, number: number?, this_update: this_update? })
}

/// Hexadecimal digits, two an octet.
fn octets(node: &Node<'_>) -> Read<Box<[u8]>> {
    let pairs = node.text()?.as_bytes().chunks(2);
    let octet = |pair: &[u8]| match pair {
        [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
        _ => None,
    };
    match pairs.map(octet).collect::<Option<Vec<_>>>() {
        Some(octets) if !octets.is_empty() => Ok(octets.into()),
        _ => node.wrong("not a number of two hexadecimal digits an octet"),
    }
}

fn digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

const HEAD: &str = "# Written by the gate: the newest CRL of each issuer that it has seen. Without an issuer's entry an older\n\
                    # CRL of it is believed at the next start.\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Digest;

    fn example() -> Vec<Mark> {
        let mark = |issuer: u8, number: Option<&[u8]>| Mark {
            issuer: Digest([issuer; 32]),
            issuer_text: "CN=\"CA\",O=[[crl]]".into(),
            number: number.map(Box::from),
            this_update: 1_700_000_000,
        };
        vec![mark(1, Some(&[0])), mark(2, Some(&[0x7f, 0, 0xff])), mark(3, None)]
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for marks in [Vec::new(), example()] {
            let text = crl_state_toml(&marks);
            assert_eq!(parse_crl_state("s", &text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}")), marks);
        }
    }

    #[test]
    fn no_part_of_a_file_passes_for_less_than_the_whole() {
        let text = crl_state_toml(&example());
        for (end, _) in text.char_indices() {
            if let Ok(marks) = parse_crl_state("s", text.get(..end).expect("between characters")) {
                assert_eq!(marks, example(), "cut at {end}");
            }
        }
    }

    #[test]
    fn what_the_gate_does_not_write_is_a_problem() {
        let text = crl_state_toml(&example());
        for (from, to) in
            [("\"00\"", "\"0\""), ("\"00\"", "\"\""), ("\"00\"", "\"0g\""), ("entries = 3", "entries = 2")]
        {
            assert!(text.contains(from), "{text}");
            assert!(!parse_crl_state("s", &text.replacen(from, to, 1)).unwrap_err().is_empty(), "{to}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(entries = [0-9]\n)?(\\[\\[crl\\]\\]|number = |name = |\\PC|\n){0,40}") {
            let _ = parse_crl_state("s", &text);
        }
    }
}
