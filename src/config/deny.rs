//! The deny list: a file of its own, read when its trust store is built.

use toml::de::DeTable;

use super::matcher::matcher;
use super::problem::{Place, Problem, Read, Sink};
use super::read::{Node, Section};
use super::reference::{DENIED, DENY_FILE};
use crate::revocation::{DenyList, DenySpec, Source};

/// Reads a deny list; `file` is its name in messages.
///
/// # Errors
/// Every problem there is; never none. A list with one bad entry is no list: the entry could be
/// the one that matters.
pub fn parse_deny(file: &str, text: &str) -> Result<DenyList, Vec<Problem>> {
    let specs = deny_specs(file, text)?;
    // They have been compiled once, to see that they can be.
    DenyList::new(specs).map_err(|_| vec![Problem::of_file(file, "an entry cannot be used".to_owned())])
}

/// The entries themselves.
pub(super) fn deny_specs(file: &str, text: &str) -> Result<Vec<DenySpec>, Vec<Problem>> {
    let sink = Sink::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        sink.syntax(error.span(), error.message());
    }
    let list = Section::read(&DENY_FILE, Some(document.get_ref()), Place::default(), &sink, |root| {
        let entries = root.optional("deny", |node, _| node.each(|node| node.section(&DENIED, entry)))?;
        let entries = entries.unwrap_or_default();
        DenyList::new(entries.clone()).map(|_| entries).map_err(|errors| {
            let what = errors.into_iter().map(|(index, what)| format!("deny[{index}]: {what}")).collect::<Vec<_>>();
            sink.wrong(&Place::default(), what.join("; "), None)
        })
    });
    sink.finish(list).map(|(list, _)| list)
}

pub(super) fn entry(section: &Section<'_>) -> Read<DenySpec> {
    let matcher = section.value("match", |node, _| {
        let matcher = matcher(node)?;
        if !matcher.h2.is_empty() {
            return node.wrong_hint("h2 is only known once requests come", "write it into the `deny` of a route");
        }
        Ok(matcher)
    });
    let reason = section.value("reason", |node, _| Ok(Box::from(node.text()?)));
    let author = section.value("author", |node, _| Ok(Box::from(node.text()?)));
    let expires = section.optional("expires", |node, _| time(node));
    Ok(DenySpec { matcher: matcher?, reason: reason?, author: author?, expires: expires?, source: Source::File })
}

/// An instant, as Unix seconds.
pub(super) fn time(node: &Node<'_>) -> Read<i64> {
    let Some(time) = node.value.as_datetime() else {
        return node.wrong_type("a time like 2027-01-31T12:00:00Z, without quotes");
    };
    match time.to_string().parse::<jiff::Timestamp>() {
        Ok(time) => Ok(time.as_second()),
        Err(_) => node.wrong_hint("a time without its offset from UTC", "write 2027-01-31T12:00:00Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_a_matcher_a_reason_an_author_and_an_end() {
        let text = r#"
[[deny]]
match = { serial = "0a:0b", issuer = "CN=CA" }
reason = "stolen"
author = "ops"
expires = 2027-01-31T12:00:00Z

[[deny]]
match = { uri = "spiffe://x/**" }
reason = "retired app"
"#;
        assert_eq!(parse_deny("deny.toml", text).unwrap().len(), 2);
        assert!(parse_deny("deny.toml", "").unwrap().is_empty());
    }

    #[test]
    fn one_bad_entry_refuses_the_list_and_says_where() {
        for (text, said) in [
            ("[[deny]]\nmatch = {}\nreason = \"x\"", "d.toml:2:9: deny[0].match: "),
            ("[[deny]]\nmatch = { seriall = \"1\" }\nreason = \"x\"", "did you mean `serial`?"),
            ("[[deny]]\nmatch = { serial = \"1\" }", "deny[0].reason: missing"),
            ("[[deny]]\nmatch = { serial = \"01\" }\nreason = \"x\"\nexpires = 2027-01-01", "without its offset"),
            ("[[denyy]]\nreason = \"x\"", "did you mean `deny`?"),
            ("[[deny]", "d.toml:1:"),
        ] {
            let problems = parse_deny("d.toml", text).unwrap_err();
            let shown = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(shown.contains(said), "{text}\n{shown}");
        }
    }
}
