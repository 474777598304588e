//! A thin layer over the parsed TOML that records problems and reads on.
//!
//! `Err` always means that the problem has been recorded; only the sink makes one.

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Read, Sink, shown};
use super::reference::{Key, Table};

/// A value and its place.
pub(super) struct Node<'a> {
    pub(super) value: &'a DeValue<'a>,
    pub(super) place: Place,
    pub(super) sink: &'a Sink<'a>,
}

impl<'a> Node<'a> {
    /// Records that this value is wrong.
    pub(super) fn wrong<T>(&self, what: impl Into<String>) -> Read<T> {
        Err(self.sink.wrong(&self.place, what, None))
    }

    /// Records that this value is wrong, and what to write instead.
    pub(super) fn wrong_hint<T>(&self, what: impl Into<String>, hint: impl Into<String>) -> Read<T> {
        Err(self.sink.wrong(&self.place, what, Some(hint.into())))
    }

    /// Records that the type of this value is wrong.
    pub(super) fn wrong_type<T>(&self, expected: &str) -> Read<T> {
        self.wrong(format!("expected {expected}, found {}", a(self.value.type_str())))
    }

    /// The text of a string.
    pub(super) fn text(&self) -> Read<&'a str> {
        self.value.as_str().map_or_else(|| self.wrong_type("a string"), Ok)
    }

    /// The elements of an array; any other value is a list of one.
    pub(super) fn items(&self) -> Vec<Node<'a>> {
        let Some(array) = self.value.as_array() else {
            return vec![Node { value: self.value, place: self.place.clone(), sink: self.sink }];
        };
        let element = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| Node {
            value: item.get_ref(),
            place: Place { span: item.span(), path: format!("{}[{index}]", self.place.path) },
            sink: self.sink,
        };
        array.iter().enumerate().map(element).collect()
    }

    /// Reads every element, also after one that is wrong.
    pub(super) fn each<T>(&self, mut read: impl FnMut(&Node<'a>) -> Read<T>) -> Read<Vec<T>> {
        let all: Vec<_> = self.items().iter().map(&mut read).collect();
        all.into_iter().collect()
    }

    /// Reads a table; what `read` leaves unread is a problem.
    pub(super) fn section<T>(&self, table: &'static Table, read: impl FnOnce(&Section<'a>) -> Read<T>) -> Read<T> {
        match self.value.as_table() {
            Some(entries) => Section::read(table, Some(entries), self.place.clone(), self.sink, read),
            None => self.wrong_type("a table"),
        }
    }

    /// The named tables of a table.
    pub(super) fn entries(&self) -> Read<Vec<(&'a str, Node<'a>)>> {
        let Some(table) = self.value.as_table() else {
            return self.wrong_type("a table of tables");
        };
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let key: &'a std::borrow::Cow<'a, str> = key.get_ref();
            let place = Place { span: value.span(), ..self.place.child(key) };
            (&**key, Node { value: value.get_ref(), place, sink: self.sink })
        };
        Ok(table.iter().map(entry).collect())
    }
}

/// A table that is being read.
pub(super) struct Section<'a> {
    pub(super) table: &'static Table,
    entries: Option<&'a DeTable<'a>>,
    pub(super) place: Place,
    pub(super) sink: &'a Sink<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// Reads `entries` (`None`: the section is not there, and has its defaults) with `read`, then
    /// records every key that the reference does not have.
    pub(super) fn read<T>(
        table: &'static Table,
        entries: Option<&'a DeTable<'a>>,
        place: Place,
        sink: &'a Sink<'a>,
        read: impl FnOnce(&Self) -> Read<T>,
    ) -> Read<T> {
        let section = Self { table, entries, place, sink, asked: RefCell::default() };
        let value = read(&section);
        let unread = table.keys.iter().find(|key| !section.asked.borrow().contains(&key.name));
        debug_assert!(unread.is_none(), "{}.{} is never read", table.name, unread.map_or("", |key| key.name));
        section.no_unknown_keys().and(value)
    }

    /// Reads a key that has a value: its own, its default, or else a problem.
    pub(super) fn value<T>(&self, name: &str, read: impl FnOnce(&Node<'_>, &'static Key) -> Read<T>) -> Read<T> {
        let key = self.key(name)?;
        if let Some(node) = self.find(key.name) {
            return read(&node, key);
        }
        let Some(text) = key.default() else {
            return self.missing(key.name, "missing, but required", key.assignment());
        };
        let Ok(default) = DeValue::parse(text) else {
            return self.missing(key.name, "its default is not TOML: a bug", text);
        };
        read(&Node { value: default.get_ref(), place: self.place.child(key.name), sink: self.sink }, key)
    }

    /// Reads a key that may be missing: `Ok(None)`.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Node<'a>, &'static Key) -> Read<T>,
    ) -> Read<Option<T>> {
        let key = self.key(name)?;
        self.find(key.name).map(|node| read(&node, key)).transpose()
    }

    /// Records that `name` is missing.
    pub(super) fn missing<T>(&self, name: &str, what: &str, hint: impl Into<String>) -> Read<T> {
        Err(self.sink.absent(&self.place.child(name), what, Some(hint.into())))
    }

    /// Reads the section `name` below this one; if it is not there, with its defaults.
    pub(super) fn below<T>(
        &self,
        name: &str,
        table: &'static Table,
        read: impl FnOnce(&Section<'a>) -> Read<T>,
    ) -> Read<T> {
        let key = self.key(name)?;
        match self.find(key.name) {
            Some(node) => node.section(table, read),
            None => Section::read(table, None, self.place.child(name), self.sink, read),
        }
    }

    /// The row of `name`, which counts as read now.
    fn key(&self, name: &str) -> Read<&'static Key> {
        let key = self.table.key(name);
        debug_assert!(key.is_some(), "{}.{name} is not in the reference", self.table.name);
        self.asked.borrow_mut().extend(key.map(|key| key.name));
        key.map_or_else(|| self.missing(name, "not in the reference: a bug", ""), Ok)
    }

    fn find(&self, name: &str) -> Option<Node<'a>> {
        let value = self.entries?.get(name)?;
        let place = Place { span: value.span(), ..self.place.child(name) };
        Some(Node { value: value.get_ref(), place, sink: self.sink })
    }

    fn no_unknown_keys(&self) -> Read<()> {
        let keys = self.entries.iter().flat_map(|entries| entries.keys());
        let unknown = keys.filter(|key| self.table.key(key.get_ref()).is_none());
        let mut all_known = Ok(());
        for key in unknown {
            let place = Place { span: key.span(), ..self.place.child(key.get_ref()) };
            let close = self.sink.closest(key.get_ref(), self.table.keys.iter().map(|key| key.name));
            let hint = close.map(|name| format!("did you mean `{name}`?"));
            all_known = Err(self.sink.wrong(&place, format!("unknown key `{}`", shown(key.get_ref())), hint));
        }
        all_known
    }
}

/// The noun with its article.
fn a(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}
