//! `portcullis check --map`: every way in, for people and for programs.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::policy::map::{self, Authentication, Way};
use crate::policy::{Host, Route};
use crate::snapshot::Snapshot;

/// As a table; names that differ in spelling and lead to the same share a line, as do protocols.
pub(super) fn table(snapshot: &Snapshot) -> String {
    let (mut lines, mut places): (Vec<Line>, HashMap<_, _>) = (Vec::new(), HashMap::new());
    for line in rows(snapshot).iter().map(Row::line) {
        let at = *places.entry(line.key.clone()).or_insert(lines.len());
        match lines.get_mut(at) {
            Some(known) => {
                join(&mut known.spellings, &line.spellings);
                join(&mut known.protocols, &line.protocols);
            }
            None => lines.push(line),
        }
    }
    let cells = lines.into_iter().map(|Line { key, spellings, protocols }| {
        let [listener, name, host, route, asked, trust, from] = key;
        [listener, name, spellings, protocols, host, route, asked, trust, from]
    });
    aligned(&cells.collect::<Vec<_>>())
}

/// Adds a word to a list that does not have it.
fn join(list: &mut String, word: &str) {
    if !list.split(", ").any(|known| known == word) {
        list.push_str(", ");
        list.push_str(word);
    }
}

/// As JSON: one object a listener, class of server names, route and protocol.
pub(super) fn json(snapshot: &Snapshot) -> Value {
    rows(snapshot).iter().map(Row::json).collect()
}

/// Where one class of clients gets, with one protocol.
struct Row<'s> {
    way: Way,
    /// Where the handshake leads; `None`: it is refused.
    to: Option<(&'s Host, &'s Route, Authentication)>,
    protocol: &'static str,
}

fn rows(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for way in map::ways(&snapshot.hosts, &snapshot.entrances()) {
        let Some(host) = way.host.ok().and_then(|id| snapshot.hosts.get(id)) else {
            rows.extend(PROTOCOLS.map(|protocol| Row { way: way.clone(), to: None, protocol }));
            continue;
        };
        for route in host.routes().iter() {
            let to = Some((host, route, map::authentication(host, route)));
            rows.extend(PROTOCOLS.map(|protocol| Row { way: way.clone(), to, protocol }));
        }
    }
    rows
}

impl Row<'_> {
    fn line(&self) -> Line {
        let Way { listener, server_name, spelling, .. } = &self.way;
        let name = match &**server_name {
            "" => "-".to_owned(),
            name => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
        };
        let (host, route, asked, trust) = match self.to {
            Some((host, route, asked)) => (
                host.name().to_owned(),
                route.name.to_string(),
                asked.to_string(),
                host.trust().unwrap_or("-").to_owned(),
            ),
            None => ("-".to_owned(), "-".to_owned(), "handshake refused".to_owned(), "-".to_owned()),
        };
        let key = [listener.to_string(), name, host, route, asked, trust, self.from()];
        Line { key, spellings: spelling.to_string(), protocols: self.protocol.to_owned() }
    }

    fn json(&self) -> Value {
        let Way { listener, server_name, spelling, host, .. } = &self.way;
        let (to, asked) = (self.to.map(|(host, route, _)| (host, route)), self.to.map(|(.., asked)| asked.to_string()));
        json!({
            "listener": listener,
            "server_name": Some(server_name).filter(|name| !name.is_empty()),
            "class": spelling.to_string(),
            "protocol": self.protocol,
            "host": to.map(|(host, _)| host.name()),
            "route": to.map(|(_, route)| &*route.name),
            "client_certificate": asked,
            "trust": to.and_then(|(host, _)| host.trust()),
            "from": self.from(),
            "refused": host.err().map(crate::reject::Reason::code),
        })
    }

    /// What in the file says so.
    fn from(&self) -> String {
        match (self.to, self.way.host) {
            (Some((host, route, Authentication::Closed | Authentication::RequiredByRoute)), _) => {
                format!("host {}, route {}: allow", host.name(), route.name)
            }
            (Some((host, ..)), _) => format!("host {}: client_certificate", host.name()),
            (None, Err(reason)) => reason.code().to_owned(),
            (None, Ok(_)) => "no routes".to_owned(),
        }
    }
}

/// A line of the table: what it says, and what it holds for.
struct Line {
    key: [String; 7],
    spellings: String,
    protocols: String,
}

fn aligned(lines: &[[String; 9]]) -> String {
    let header = HEADER.map(str::to_owned);
    let all = || std::iter::once(&header).chain(lines);
    let mut widths = [0; 9];
    for line in all() {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in all() {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(row, "{cell:width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Both are offered at every host, and no decision tells them apart but that HTTP/2 has no upgrades.
const PROTOCOLS: [&str; 2] = ["h1", "h2"];
const HEADER: [&str; 9] =
    ["LISTENER", "SERVER NAME", "CLASS", "PROTOCOL", "HOST", "ROUTE", "CLIENT CERTIFICATE", "TRUST", "SAID BY"];
