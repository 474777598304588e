//! `config/example.toml`: every key with its default, printed from the reference.

use std::fmt::Write;

use super::{Form, Key, Kind, MATCHER, Presence, ROOT, Table};

/// A file with every key there is; what may be left out and has no default is a comment.
#[must_use]
pub fn example_toml() -> String {
    let mut out = String::from(HEAD);
    for key in ROOT.keys {
        key.table().iter().for_each(|table| section(&mut out, table));
    }
    out
}

fn section(out: &mut String, table: &Table) {
    comment(out, table.doc, "\n# ");
    match table.form {
        Form::Many => line(out, format_args!("[[{}]]", table.name)),
        Form::Named(name) => line(out, format_args!("[{}.{name}]", table.name)),
        Form::Single => line(out, format_args!("[{}]", table.name)),
        Form::Inline | Form::Root => {}
    }
    let (sections, keys): (Vec<_>, Vec<_>) = table.keys.iter().partition(|key| is_section(key));
    for key in keys {
        value(out, key);
    }
    for nested in sections.iter().filter_map(|key| key.table()) {
        section(out, nested);
    }
}

fn value(out: &mut String, key: &Key) {
    comment(out, key.doc, "# ");
    if key.name == "deny" && matches!(key.kind, Kind::Tables(_)) {
        comment(out, "A matcher has one or more of:", "# ");
        MATCHER.keys.iter().for_each(|key| line(out, format_args!("#   {} = {}", key.name, key.example())));
    }
    let absent = if matches!(key.presence, Presence::Optional(_)) { "# " } else { "" };
    line(out, format_args!("{absent}{} = {}", key.name, key.example()));
}

fn is_section(key: &Key) -> bool {
    matches!(key.kind, Kind::Named(_)) || key.table().is_some_and(|table| !matches!(table.form, Form::Inline))
}

/// `text` in lines of a terminal's width, the first after `first`.
fn comment(out: &mut String, text: &str, first: &str) {
    let mut row = first.to_owned();
    for word in text.split_whitespace() {
        if row.trim_start().len() + word.len() > WIDTH {
            line(out, format_args!("{}", row.trim_end()));
            "# ".clone_into(&mut row);
        }
        row.push_str(word);
        row.push(' ');
    }
    line(out, format_args!("{}", row.trim_end()));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

const WIDTH: usize = 96;
const HEAD: &str = "\
# Every section and key of a configuration, with its default or an example.
# Printed from the reference (`UPDATE=1 cargo test --test docs`); docs/config.md says the same.
# Relative paths begin in the directory of this file. One value may stand for a list of one.
";
