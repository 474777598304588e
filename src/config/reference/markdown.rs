//! `docs/config.md`, printed from the reference.

use std::fmt::Write;

use super::{Form, Key, Presence, Table, sections};

/// The reference of the configuration file.
#[must_use]
pub fn reference_markdown() -> String {
    let mut out = String::from(HEAD);
    for table in sections() {
        section(&mut out, table);
    }
    out
}

fn section(out: &mut String, table: &Table) {
    let _ = match table.form {
        Form::Root => write!(out, "\n## Sections\n"),
        Form::Single => write!(out, "\n## `[{}]`\n", table.name),
        Form::Many => write!(out, "\n## `[[{}]]`\n", table.name),
        Form::Named(_) => write!(out, "\n## `[{}.NAME]`\n", table.name),
        Form::Inline => write!(out, "\n## {}\n", table.name),
    };
    if !table.doc.is_empty() {
        let _ = write!(out, "\n{}\n", table.doc);
    }
    out.push_str("\n| Key | Value | Default | Meaning |\n| --- | --- | --- | --- |\n");
    table.keys.iter().for_each(|key| row(out, key));
}

fn row(out: &mut String, key: &Key) {
    let default = match key.presence {
        Presence::Required(_) => "required".to_owned(),
        Presence::Conditional(_) => "see meaning".to_owned(),
        Presence::Optional(_) => String::new(),
        Presence::Default(default) | Presence::DefaultBut { default, .. } => format!("`{default}`"),
    };
    let example = match (&key.presence, key.table()) {
        (Presence::Default(_), _) | (_, Some(_)) => String::new(),
        _ => format!(" Example: `{}`.", key.example()),
    };
    let (kind, doc) = (key.kind.to_string(), key.doc);
    let _ = writeln!(out, "| `{}` | {} | {default} | {}{example} |", key.name, cell(&kind), cell(doc));
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const HEAD: &str = "\
# The configuration file

<!-- Printed from src/config/reference by `UPDATE=1 cargo test --test docs`; do not edit. -->

One TOML file. `portcullis check --config FILE` reports every problem in it at once, with its place and, where there is one, what to
write instead. A file with a problem is not used, neither at the start nor on a reload.

- **Unknown keys are problems**, and so are names of things that the file does not have.
- **Silence denies**: a route without `allow` is a problem, a path without a route is refused.
- **Files** are named by path; a relative path begins in the directory of the configuration file, whatever the
  working directory is.
- **Lists**: one value alone stands for a list of one.
- **Durations** are a number and `ms`, `s`, `m`, `h` or `d`: `\"10s\"`.
- **Sizes** are a number of bytes, or a number and `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `KB`, `MB`, `GB`, `TB`
  (powers of 1000): `\"64KiB\"`.
- **Rates** are a number and `/s`, `/m` or `/h`: `\"10/s\"`.
- **Networks** are `\"10.0.0.0/8\"` or one address.
- **Names** of trust stores, limits, upstreams and routes have 1 to 64 lower-case letters, digits, `.`, `_` and `-`.

[config/example.toml](../config/example.toml) has every key; [config/minimal.toml](../config/minimal.toml) is the least that
serves.
";
