//! `[trust.NAME]`.

use super::context::Context;
use super::names::identifier;
use super::problem::Read;
use super::read::{Node, Section};
use super::reference::TRUST;
use crate::tls::TrustSpec;

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
    let anchors = section.list("anchors", |node| context.file(node));
    let min_rsa_bits = section.count("min_rsa_bits");
    let max_chain_length = section.count("max_chain_length");
    let max_chain_bytes = section.count("max_chain_bytes");
    let max_names = section.count("max_names");
    Ok(TrustSpec {
        name: name?,
        anchors: anchors?,
        min_rsa_bits: min_rsa_bits?,
        max_chain_length: max_chain_length?,
        max_chain_bytes: max_chain_bytes?,
        max_names: max_names?,
    })
}
