//! One server name for each class of names that the table treats alike.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use crate::policy::{Host, HostId, HostTable};

/// What the server names of a class have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// An IP address.
    Address,
    /// What follows the star of a wildcard, which the wildcard does not stand for.
    Apex,
    /// As the file has it.
    Exact,
    /// No name.
    Missing,
    /// Some letters in upper case.
    OddCase,
    /// One label in the place of a wildcard's star.
    OneLabel,
    /// With the root's dot.
    TrailingDot,
    /// Two labels in the place of a wildcard's star.
    TwoLabels,
    /// No host has it.
    Unknown,
}

impl fmt::Display for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "IP address",
            Self::Apex => "wildcard's own name",
            Self::Exact => "exact",
            Self::Missing => "no name",
            Self::OddCase => "odd case",
            Self::OneLabel => "one label",
            Self::TrailingDot => "trailing dot",
            Self::TwoLabels => "two labels",
            Self::Unknown => "unknown",
        })
    }
}

/// A member of a class, and whose name it is according to the file: not to the compiled table,
/// which is what is checked.
pub(super) struct Probe {
    pub(super) name: Box<str>,
    pub(super) spelling: Spelling,
    pub(super) owner: Option<HostId>,
}

/// A member of every class.
pub(super) fn probes(hosts: &HostTable) -> Vec<Probe> {
    let written: HashSet<&str> = hosts.iter().flat_map(Host::names).map(|name| &**name).collect();
    let fresh = fresh_label(&written);
    let mut probes = Vec::new();
    for (id, host) in hosts.numbered() {
        for name in host.names() {
            if name.parse::<IpAddr>().is_ok() {
                probes.push(Probe { name: name.clone(), spelling: Spelling::Address, owner: Some(id) });
            } else if let Some(rest) = name.strip_prefix("*.") {
                let one = format!("{fresh}.{rest}");
                probes.extend(spellings(&one, Spelling::OneLabel, id));
                let two = format!("{fresh}.{one}").into();
                probes.push(Probe { name: two, spelling: Spelling::TwoLabels, owner: None });
                probes.extend(apex(rest, &written));
            } else {
                probes.extend(spellings(name, Spelling::Exact, id));
            }
        }
    }
    probes.push(Probe { name: format!("{fresh}.invalid.{fresh}").into(), spelling: Spelling::Unknown, owner: None });
    probes.push(Probe { name: "".into(), spelling: Spelling::Missing, owner: None });
    probes
}

fn spellings(name: &str, spelling: Spelling, owner: HostId) -> [Probe; 3] {
    let dotted = format!("{name}.");
    let spelt = |name: &str, spelling| Probe { name: name.into(), spelling, owner: Some(owner) };
    [spelt(name, spelling), spelt(&odd_case(name), Spelling::OddCase), spelt(&dotted, Spelling::TrailingDot)]
}

fn odd_case(name: &str) -> String {
    let letters = name.chars().enumerate();
    letters.map(|(at, letter)| if at % 2 == 0 { letter.to_ascii_uppercase() } else { letter }).collect()
}

/// What follows a wildcard's star, unless it is itself a name or under another wildcard.
fn apex(rest: &str, written: &HashSet<&str>) -> Option<Probe> {
    let above = rest.split_once('.').map(|(_, above)| format!("*.{above}"));
    let taken = written.contains(rest) || above.is_some_and(|wildcard| written.contains(&*wildcard));
    (!taken).then(|| Probe { name: rest.into(), spelling: Spelling::Apex, owner: None })
}

/// A label that is in no name.
fn fresh_label(written: &HashSet<&str>) -> String {
    let mut label = "any".to_owned();
    while written.iter().any(|name| name.split('.').any(|part| part == label)) {
        label.push('y');
    }
    label
}
