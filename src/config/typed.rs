//! Values of the types that sections share, read as their rows in the reference say.

use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::problem::{Read, shown};
use super::read::{Node, Section};
use super::reference::{Key, Kind, Zero};
use super::units::{parse_duration, parse_rate, parse_size, show_duration, show_size};
use crate::limits::Rate;

impl Section<'_> {
    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Read<bool> {
        self.value(name, |node, _| node.value.as_bool().map_or_else(|| node.wrong_type("true or false"), Ok))
    }

    /// A number or a size within its bounds.
    pub(super) fn count<T: TryFrom<u64>>(&self, name: &str) -> Read<T> {
        self.value(name, count)
    }

    /// The same, where it may be missing.
    pub(super) fn optional_count<T: TryFrom<u64>>(&self, name: &str) -> Read<Option<T>> {
        self.optional(name, count)
    }

    /// A duration within its bounds.
    pub(super) fn duration(&self, name: &str) -> Read<Duration> {
        self.value(name, duration)
    }

    /// A rate within its bounds.
    pub(super) fn rate(&self, name: &str) -> Read<Rate> {
        self.value(name, rate)
    }

    /// What a word of the reference stands for.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Read<T> {
        debug_assert!(self.has_words(name, words), "the words of {name} are not those of the reference");
        self.value(name, |node, _| node.word(words))
    }

    /// What words of the reference stand for.
    pub(super) fn words<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Read<Vec<T>> {
        debug_assert!(self.has_words(name, words), "the words of {name} are not those of the reference");
        self.list(name, |node| node.word(words))
    }

    /// A list, which may only be empty if that is its default.
    pub(super) fn list<T>(&self, name: &str, mut read: impl FnMut(&Node<'_>) -> Read<T>) -> Read<Vec<T>> {
        self.value(name, |node, key| {
            let list = node.each(|item| read(item))?;
            if list.is_empty() && key.default().is_none() {
                return node.wrong_hint("empty, but at least one is required", key.assignment());
            }
            Ok(list)
        })
    }

    fn has_words<T>(&self, name: &str, words: &[(&str, T)]) -> bool {
        match self.table.key(name).map(|key| &key.kind) {
            Some(Kind::Word(known) | Kind::Words(known)) => known.iter().eq(words.iter().map(|(word, _)| word)),
            _ => false,
        }
    }
}

impl Node<'_> {
    /// What a text stands for.
    pub(super) fn parsed<T: FromStr>(&self, expected: &str) -> Read<T> {
        let text = self.text()?;
        text.parse().or_else(|_| self.wrong(format!("\"{}\" is not {expected}", shown(text))))
    }

    /// What a word stands for.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Read<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let names = || words.iter().map(|(word, _)| *word);
        let what = format!("\"{}\" is not one of {}", shown(text), names().collect::<Vec<_>>().join(", "));
        match self.sink.closest(text, names()) {
            Some(close) => self.wrong_hint(what, format!("did you mean \"{close}\"?")),
            None => self.wrong(what),
        }
    }
}

fn count<T: TryFrom<u64>>(node: &Node<'_>, key: &Key) -> Read<T> {
    let (count, least, most, show): (_, _, _, fn(u64) -> String) = match key.kind {
        Kind::Count { least, most } => (integer(node, "a number")?, least, most, |count| count.to_string()),
        Kind::Size { least, most } => (size(node)?, least, most, show_size),
        _ => return not_in_reference(node, key),
    };
    within(node, &count, &least, &most, |bound| show(*bound))?;
    T::try_from(count).or_else(|_| node.wrong("too large for this machine"))
}

fn size(node: &Node<'_>) -> Read<u64> {
    match node.value.as_str() {
        Some(text) => unit(node, text, parse_size(text)),
        None => integer(node, "a size like \"64KiB\""),
    }
}

fn integer(node: &Node<'_>, expected: &str) -> Read<u64> {
    let DeValue::Integer(integer) = node.value else {
        return node.wrong_type(expected);
    };
    let number = u64::from_str_radix(integer.as_str(), integer.radix());
    number.or_else(|_| node.wrong("negative or far too large"))
}

/// A duration within the bounds of its key.
pub(super) fn duration(node: &Node<'_>, key: &Key) -> Read<Duration> {
    let Kind::Duration { least, most, zero } = key.kind else {
        return not_in_reference(node, key);
    };
    let text = node.value.as_str().map_or_else(|| node.wrong_type("a duration like \"10s\""), Ok)?;
    let duration = unit(node, text, parse_duration(text))?;
    if duration.is_zero() && zero == Zero::SwitchesOff {
        return Ok(duration);
    }
    within(node, &duration, &least, &most, |bound| show_duration(*bound))?;
    Ok(duration)
}

fn rate(node: &Node<'_>, key: &Key) -> Read<Rate> {
    let Kind::Rate { most } = key.kind else {
        return not_in_reference(node, key);
    };
    let text = node.value.as_str().map_or_else(|| node.wrong_type("a rate like \"10/s\""), Ok)?;
    let rate = unit(node, text, parse_rate(text))?;
    within(node, &rate.count.get(), &1, &most, u32::to_string)?;
    Ok(rate)
}

fn unit<T>(node: &Node<'_>, text: &str, parsed: Result<T, &'static str>) -> Read<T> {
    parsed.or_else(|what| node.wrong(format!("\"{}\" is {what}", shown(text))))
}

fn within<T: PartialOrd>(node: &Node<'_>, value: &T, least: &T, most: &T, show: impl Fn(&T) -> String) -> Read<()> {
    if value < least {
        return node.wrong(format!("less than {}, the least it may be", show(least)));
    }
    if value > most {
        return node.wrong(format!("more than {}, the most it may be", show(most)));
    }
    Ok(())
}

fn not_in_reference<T>(node: &Node<'_>, key: &Key) -> Read<T> {
    debug_assert!(false, "{} is read as something else than the reference says", key.name);
    node.wrong(format!("`{}` is not readable: a bug", key.name))
}
