//! `[limit.NAME]`.

use super::problem::Read;
use super::read::Section;
use super::reference::LIMIT;
use super::trust::named;
use crate::limits::{Key, LimitSpec};

/// Every limit.
pub(super) fn limits(root: &Section<'_>) -> Read<Vec<LimitSpec>> {
    named(root, "limit", |name, node| node.section(&LIMIT, |section| limit(name, section)))
}

fn limit(name: Read<Box<str>>, section: &Section<'_>) -> Read<LimitSpec> {
    let key = section.words("key", KEYS).and_then(|key| one_of_each(section, key));
    let rate = section.rate("rate");
    let burst = section.optional_count::<u32>("burst");
    let prefix_v4 = section.count("prefix_v4");
    let prefix_v6 = section.count("prefix_v6");
    let max_keys = section.count("max_keys");
    let rate = rate?;
    Ok(LimitSpec {
        name: name?,
        key: key?,
        rate,
        // The bounds of `burst` begin at 1.
        burst: burst?.and_then(std::num::NonZeroU32::new).unwrap_or(rate.count),
        prefix_v4: prefix_v4?,
        prefix_v6: prefix_v6?,
        max_keys: max_keys?,
    })
}

/// `all` beside another component would be no component, and so would a second of the same.
fn one_of_each(section: &Section<'_>, key: Vec<Key>) -> Read<Vec<Key>> {
    let twins = key.iter().enumerate().any(|(at, component)| key.iter().skip(at + 1).any(|other| other == component));
    if twins || (key.len() > 1 && key.contains(&Key::All)) {
        return section.value("key", |node, _| {
            node.wrong_hint(
                "\"all\" is not alone, or something stands there twice",
                "one or more of the others, each once, or \"all\" alone",
            )
        });
    }
    Ok(key)
}

const KEYS: &[(&str, Key)] = &[
    ("identity", Key::Identity),
    ("address", Key::Address),
    ("prefix", Key::Prefix),
    ("fingerprint", Key::Fingerprint),
    ("host", Key::Host),
    ("route", Key::Route),
    ("all", Key::All),
];
