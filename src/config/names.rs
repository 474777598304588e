//! Names: of things in the file, of servers, and who has them already.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use super::problem::{Place, Read, shown};
use super::read::{Node, Section};

/// Named tables of one kind, and whether anything names them.
pub(super) struct Known {
    /// What they are, for messages.
    what: &'static str,
    names: BTreeMap<String, (Place, Cell<bool>)>,
}

impl Known {
    /// The names below `key`, whether or not what they name is right.
    pub(super) fn collect(root: &Section<'_>, key: &str, what: &'static str) -> Self {
        let entries = root.optional(key, |node, _| node.entries()).ok().flatten().unwrap_or_default();
        let names = entries.into_iter().map(|(name, node)| (name.to_owned(), (node.place, Cell::new(false)))).collect();
        Self { what, names }
    }

    /// The thing that `node` names.
    pub(super) fn resolve(&self, node: &Node<'_>) -> Read<Box<str>> {
        let text = node.text()?;
        if let Some((_, used)) = self.names.get(text) {
            used.set(true);
            return Ok(text.into());
        }
        let close = node.sink.closest(text, self.names.keys().map(String::as_str));
        let hint = close.map(|name| format!("did you mean \"{name}\"?"));
        Err(node.sink.absent(&node.place, format!("there is no {} \"{}\"", self.what, shown(text)), hint))
    }

    /// Warns of what nothing names.
    pub(super) fn warn_unused(&self, root: &Section<'_>) {
        for (place, _) in self.names.values().filter(|(_, used)| !used.get()) {
            root.sink.warn(place, format!("this {} is not used", self.what));
        }
    }
}

/// Things of which there may be one only, and where the first is.
pub(super) struct Once<K>(RefCell<HashMap<K, Place>>);

impl<K> Default for Once<K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Eq + Hash> Once<K> {
    /// Where `key` was claimed before; claims it otherwise.
    pub(super) fn claim(&self, key: K, place: &Place) -> Option<Place> {
        let mut seen = self.0.borrow_mut();
        let earlier = seen.get(&key).cloned();
        if earlier.is_none() {
            seen.insert(key, place.clone());
        }
        earlier
    }
}

/// The name of a trust store, limit, upstream or route: usable as a metric label and as a string
/// of a structured field (RFC 9651) without escapes.
pub(super) fn identifier(node: &Node<'_>, text: &str) -> Read<Box<str>> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=MAX_IDENTIFIER).contains(&text.len()) && text.bytes().all(good) {
        return Ok(text.into());
    }
    node.wrong(format!(
        "\"{}\" is not a name: 1 to {MAX_IDENTIFIER} of lower-case letters, digits, `.`, `_` and `-`",
        shown(text)
    ))
}

/// A name that a host serves: exact, wildcard or an IP address, in lower case.
pub(super) fn served_name(node: &Node<'_>) -> Read<Box<str>> {
    let text = node.text()?;
    match text.strip_prefix("*.") {
        Some(rest) if rest.parse::<IpAddr>().is_err() => Ok(format!("*.{}", host_name(node, rest)?).into()),
        _ => host_name(node, text),
    }
}

/// A DNS name or an IP address, in lower case, without brackets and trailing dot.
pub(super) fn host_name(node: &Node<'_>, text: &str) -> Read<Box<str>> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
        return Ok(address.to_string().into());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    match host_name_fault(&name) {
        None => Ok(name.into()),
        Some(fault) => node.wrong(format!("\"{}\" is not a host name: {fault}", shown(text))),
    }
}

/// What is wrong with `name` (RFC 1123 §2.1, and `_`, which names of services have).
fn host_name_fault(name: &str) -> Option<&'static str> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label_good = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(good) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.is_empty() {
        return Some("it is empty");
    }
    if !name.is_ascii() {
        return Some("write it in its IDNA form (xn--...)");
    }
    if name.contains(':') {
        return Some("it has a port or a scheme");
    }
    if name.contains('*') {
        return Some("`*` may only be the whole first label");
    }
    if name.len() > 253 || !name.split('.').all(label_good) {
        return Some("labels are 1 to 63 letters, digits, `-` and `_`, 253 in all");
    }
    // RFC 3696 §2: a last label of digits only would be read as an IPv4 address by somebody.
    let last = name.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|byte| byte.is_ascii_digit()).then_some("it ends like an IP address, but is none")
}

/// Long enough for `team.service.purpose`; labels of metrics stay short.
const MAX_IDENTIFIER: usize = 64;
