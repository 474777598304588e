//! Every section and key that a file may have: what the reader checks against, and what
//! `docs/config.md` and `config/example.toml` are printed from.

mod bounds;
mod example;
mod markdown;
mod named;
mod reputation;
mod serving;

use std::fmt;
use std::time::Duration;

pub use self::example::example_toml;
pub use self::markdown::reference_markdown;
pub(super) use self::{bounds::*, named::*, reputation::*, serving::*};
use super::units::{show_duration, show_size};

/// A section and its keys.
pub(super) struct Table {
    /// Its key, without the names and numbers: `host.route`.
    pub(super) name: &'static str,
    /// How its header is written.
    pub(super) form: Form,
    /// What it is for; one sentence or two.
    pub(super) doc: &'static str,
    /// What may stand in it.
    pub(super) keys: &'static [Key],
}

/// How the header of a section is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// `{ .. }`, as a value.
    Inline,
    /// `[[name]]`, as often as there are such things.
    Many,
    /// `[name.NAME]`; with the name for the example.
    Named(&'static str),
    /// The file itself.
    Root,
    /// `[name]`, once.
    Single,
}

/// One key of a section.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
    /// What it means, in one sentence or two.
    pub(super) doc: &'static str,
}

/// What a key's value may be.
pub(super) enum Kind {
    /// A number.
    Count { least: u64, most: u64 },
    /// A duration.
    Duration { least: Duration, most: Duration, zero: Zero },
    /// `true` or `false`.
    Flag,
    /// Tables with names.
    Named(&'static Table),
    /// So many per second, minute or hour.
    Rate { most: u32 },
    /// Bytes.
    Size { least: u64, most: u64 },
    /// A table, or several.
    Tables(&'static Table),
    /// Something that only its own reader understands.
    Value(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any of these words.
    Words(&'static [&'static str]),
}

/// Whether a duration may be zero although it has a least value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// It may not.
    Refused,
    /// `"0s"` switches something off.
    SwitchesOff,
}

/// What happens without a key. All texts are TOML values.
pub(super) enum Presence {
    /// Required in some cases, which its doc names; with an example.
    Conditional(&'static str),
    /// It has this value.
    Default(&'static str),
    /// It has this value; but the example has another, or it would show nothing.
    DefaultBut { default: &'static str, example: &'static str },
    /// Its doc says; with an example.
    Optional(&'static str),
    /// A problem; with an example.
    Required(&'static str),
}

impl Table {
    /// The row of `name`.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Key {
    const fn new(name: &'static str, kind: Kind, presence: Presence, doc: &'static str) -> Self {
        Self { name, kind, presence, doc }
    }

    /// The value it has where it is not written, if it has one.
    pub(super) const fn default(&self) -> Option<&'static str> {
        match self.presence {
            Presence::Default(default) | Presence::DefaultBut { default, .. } => Some(default),
            Presence::Conditional(_) | Presence::Optional(_) | Presence::Required(_) => None,
        }
    }

    /// A value that may stand there.
    pub(super) const fn example(&self) -> &'static str {
        match self.presence {
            Presence::Conditional(text)
            | Presence::Default(text)
            | Presence::DefaultBut { example: text, .. }
            | Presence::Optional(text)
            | Presence::Required(text) => text,
        }
    }

    /// A line that a file may have for it.
    pub(super) fn assignment(&self) -> String {
        match self.table() {
            Some(table) if matches!(table.form, Form::Many) => format!("[[{}]]", table.name),
            _ => format!("{} = {}", self.name, self.example()),
        }
    }

    /// The section that this key holds, if it holds one.
    const fn table(&self) -> Option<&'static Table> {
        match self.kind {
            Kind::Named(table) | Kind::Tables(table) => Some(table),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { least, most } => write!(f, "number, {least} to {most}"),
            Self::Duration { least, most, zero } => {
                f.write_str(if *zero == Zero::SwitchesOff { "duration, 0s or " } else { "duration, " })?;
                write!(f, "{} to {}", show_duration(*least), show_duration(*most))
            }
            Self::Flag => f.write_str("true or false"),
            Self::Named(table) => write!(f, "tables `[{}.NAME]`", table.name),
            Self::Rate { most } => write!(f, "rate, up to {most} per s, m or h"),
            Self::Size { least, most } => write!(f, "size, {} to {}", show_size(*least), show_size(*most)),
            Self::Tables(table) if matches!(table.form, Form::Many) => write!(f, "tables `[[{}]]`", table.name),
            Self::Tables(table) if matches!(table.form, Form::Inline) => {
                // Anchors of headings lose their dots.
                write!(f, "table [`{}`](#{})", table.name, table.name.replace('.', ""))
            }
            Self::Tables(table) => write!(f, "table `[{}]`", table.name),
            Self::Value(what) => f.write_str(what),
            Self::Word(words) => write!(f, "one of {}", quoted(words)),
            Self::Words(words) => write!(f, "any of {}", quoted(words)),
        }
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
}

/// Every section, in the order of the file, each once.
fn sections() -> Vec<&'static Table> {
    let mut all = vec![&ROOT];
    let mut next = 0;
    while let Some(table) = all.get(next).copied() {
        let new: Vec<_> = table.keys.iter().filter_map(Key::table).collect();
        // Below its parent, before its parent's siblings.
        let mut at = next + 1;
        for table in new {
            if !all.iter().any(|known| known.name == table.name) {
                all.insert(at, table);
                at += 1;
            }
        }
        next += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_stands_twice_in_a_section_and_every_key_has_a_sentence() {
        for table in sections() {
            let mut seen = HashSet::new();
            for key in table.keys {
                assert!(seen.insert(key.name), "{}.{}", table.name, key.name);
                assert!(key.doc.ends_with('.') && key.doc.len() > 10, "{}.{}: {}", table.name, key.name, key.doc);
            }
        }
    }

    #[test]
    fn every_default_and_every_example_is_toml() {
        for key in sections().iter().flat_map(|table| table.keys) {
            if key.table().is_none() {
                assert!(toml::de::DeValue::parse(key.example()).is_ok(), "{} = {}", key.name, key.example());
            }
        }
    }
}
