//! `[trust.NAME]`.

use std::path::PathBuf;
use std::time::Duration;

use super::context::Context;
use super::deny::time;
use super::matcher::ja4_pattern;
use super::names::identifier;
use super::problem::Read;
use super::read::{Node, Section};
use super::reference::{ANCHOR, STACK, TRUST};
use super::units::parse_duration;
use crate::tls::{AnchorSpec, CrlDepth, CrlExpired, CrlMissing, IdentityClass, StackMode, StackSpec, TrustSpec};

/// Every trust store.
pub(super) fn trust_stores(root: &Section<'_>, context: &Context<'_>) -> Read<Vec<TrustSpec>> {
    named(root, "trust", |name, node| node.section(&TRUST, |section| trust_store(name, section, context)))
}

/// Reads every table below `key` with its name.
pub(super) fn named<T>(
    root: &Section<'_>,
    key: &str,
    read: impl Fn(Read<Box<str>>, &Node<'_>) -> Read<T>,
) -> Read<Vec<T>> {
    let all = root.optional(key, |node, _| {
        let entries = node.entries()?;
        let all: Vec<_> = entries.iter().map(|(name, node)| read(identifier(node, name), node)).collect();
        all.into_iter().collect()
    })?;
    Ok(all.unwrap_or_default())
}

fn trust_store(name: Read<Box<str>>, section: &Section<'_>, context: &Context<'_>) -> Read<TrustSpec> {
    let anchors = section.list("anchors", |node| anchor(node, context));
    let min_rsa_bits = section.count("min_rsa_bits");
    let max_chain_length = section.count("max_chain_length");
    let max_chain_bytes = section.count("max_chain_bytes");
    let max_names = section.count("max_names");
    let crl = section.list("crl", |node| context.file(node));
    let crl_issuers = section.list("crl_issuers", |node| context.file(node));
    let crl_depth = section.word("crl_depth", &[("chain", CrlDepth::Chain), ("leaf", CrlDepth::Leaf)]);
    let crl_expired = section.value("crl_expired", |node, _| expired(node));
    let crl_missing = section.word("crl_missing", &[("allow", CrlMissing::Allow), ("reject", CrlMissing::Reject)]);
    let crl_state = section.optional("crl_state", |node, _| state_file(node, context));
    let deny = section.optional("deny", |node, _| context.file(node));
    let deny_state = section.optional("deny_state", |node, _| state_file(node, context));
    let identity = section.word("identity", &[("device", IdentityClass::Device), ("shared", IdentityClass::Shared)]);
    let stack = section.below("stack", &STACK, |section| stack(section, context));
    Ok(TrustSpec {
        name: name?,
        anchors: anchors?,
        min_rsa_bits: min_rsa_bits?,
        max_chain_length: max_chain_length?,
        max_chain_bytes: max_chain_bytes?,
        max_names: max_names?,
        crl: crl?,
        crl_issuers: crl_issuers?,
        crl_depth: crl_depth?,
        crl_expired: crl_expired?,
        crl_missing: crl_missing?,
        crl_state: crl_state?,
        deny: deny?,
        deny_state: deny_state?,
        identity: identity?,
        stack: stack?,
    })
}

fn stack(section: &Section<'_>, context: &Context<'_>) -> Read<StackSpec> {
    let mode = section.word("mode", STACK_MODES);
    let allow = section.list("allow", ja4_pattern);
    let learned = section.optional("learned", |node, _| {
        let path = context.written(node)?;
        match context.state_files.claim(path.clone(), &node.place) {
            Some(earlier) => node.wrong(format!("also {}: each has its own", earlier.path)),
            None => Ok(path),
        }
    });
    let (mode, allow, learned) = (mode?, allow?, learned?);
    if matches!(mode, StackMode::Enforce | StackMode::Shadow) && allow.is_empty() {
        let hint = "begin with mode = \"learn\" and take what it writes, or write mode = \"off\"";
        return section.missing("allow", "missing or empty: no client would be one of yours", hint);
    }
    if mode == StackMode::Learn && learned.is_none() {
        return section.missing("learned", "missing, but required to learn", "learned = \"mobile.learned.toml\"");
    }
    Ok(StackSpec { mode, allow, learned })
}

/// A file that the gate writes: nothing else is kept there.
fn state_file(node: &Node<'_>, context: &Context<'_>) -> Read<PathBuf> {
    let path = context.file(node)?;
    match context.state_files.claim(path.clone(), &node.place) {
        Some(earlier) => node.wrong(format!("also {}: each file has one list", earlier.path)),
        None => Ok(path),
    }
}

/// `"ca.pem"`, or `{ file = "ca.pem", not_after = TIME }`.
fn anchor(node: &Node<'_>, context: &Context<'_>) -> Read<AnchorSpec> {
    if node.value.as_table().is_none() {
        return Ok(AnchorSpec { file: context.file(node)?, not_after: None });
    }
    node.section(&ANCHOR, |section| {
        let file = section.value("file", |node, _| context.file(node));
        let not_after = section.optional("not_after", |node, _| time(node));
        Ok(AnchorSpec { file: file?, not_after: not_after? })
    })
}

/// `"reject"`, `"warn"`, or how long a list is as good as new.
fn expired(node: &Node<'_>) -> Read<CrlExpired> {
    match (node.text()?, parse_duration(node.text()?)) {
        ("reject", _) => Ok(CrlExpired::Reject),
        ("warn", _) => Ok(CrlExpired::Warn),
        (_, Ok(grace)) if grace <= LONGEST_GRACE => Ok(CrlExpired::Grace(grace)),
        (_, Ok(_)) => node.wrong("longer than 30 days: a list that old says nothing"),
        (_, Err(_)) => node.wrong("neither \"reject\" nor \"warn\" nor a duration like \"24h\""),
    }
}

const STACK_MODES: &[(&str, StackMode)] = &[
    ("off", StackMode::Off),
    ("learn", StackMode::Learn),
    ("shadow", StackMode::Shadow),
    ("enforce", StackMode::Enforce),
];
/// CAs issue lists at least every 31 days (CA/Browser Forum BR §4.9.7 permits no longer for subscribers' certificates).
const LONGEST_GRACE: Duration = Duration::from_hours(30 * 24);
