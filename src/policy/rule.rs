//! Who may use a route, compiled.

use crate::fingerprint::Stack;
use crate::identity::Identity;

use super::matcher::Matcher;
use super::spec::{self, Allow};

/// A route's allow and deny rules.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) allow: Who,
    deny: Box<[Matcher]>,
}

/// Whom a route is for.
#[derive(Debug)]
pub(super) enum Who {
    Anyone,
    AnyVerified,
    /// Never empty: that is [`Self::Nobody`].
    Matching(Box<[Matcher]>),
    Nobody,
}

impl Rule {
    pub(super) fn new(allow: &Allow, deny: &[spec::Matcher]) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let allow = match allow {
            Allow::Anyone => Who::Anyone,
            Allow::AnyVerified => Who::AnyVerified,
            Allow::Matching(matchers) if matchers.is_empty() => Who::Nobody,
            Allow::Matching(matchers) => Who::Matching(compile("allow", matchers, &mut problems)),
            Allow::Nobody => Who::Nobody,
        };
        let deny = compile("deny", deny, &mut problems);
        if problems.is_empty() { Ok(Self { allow, deny }) } else { Err(problems) }
    }

    /// Whether it allows nobody, whoever they are.
    pub(super) fn is_for_nobody(&self) -> bool {
        matches!(self.allow, Who::Nobody)
    }

    /// The index of the first deny rule that matches.
    pub(super) fn denies(&self, identity: Option<&Identity>, stack: Stack<'_>) -> Option<usize> {
        self.deny.iter().position(|matcher| matcher.matches(identity, stack))
    }
}

fn compile(field: &str, specs: &[spec::Matcher], problems: &mut Vec<String>) -> Box<[Matcher]> {
    let mut matchers = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        match Matcher::new(spec) {
            Ok(matcher) => matchers.push(matcher),
            Err(wrong) => problems.extend(wrong.iter().map(|problem| format!("{field}[{index}]: {problem}"))),
        }
    }
    matchers.into()
}
