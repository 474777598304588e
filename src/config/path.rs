//! Paths and patterns of routes: only what a canonical path can ever match.

use super::problem::{Read, shown};
use super::read::Node;
use super::reference::PATH;
use crate::message::target::PathRules;
use crate::policy::spec::PathPattern;

/// `"/x"`, `{ exact = "/x" }` or `{ glob = "/a/*/b" }`.
pub(super) fn pattern(node: &Node<'_>, rules: PathRules) -> Read<PathPattern> {
    if let Some(text) = node.value.as_str() {
        return prefix(node, text, rules);
    }
    if node.value.as_table().is_none() {
        return node.wrong_type("a path, { exact = PATH } or { glob = PATTERN }");
    }
    node.section(&PATH, |section| {
        let exact = section.optional("exact", |node, _| literal(node, node.text()?, rules));
        let glob = section.optional("glob", |node, _| {
            let text = node.text()?;
            no_fault(node, text, path_fault(text, rules)).and_then(|()| glob(node, text))
        });
        match (exact?, glob?) {
            (Some(path), None) => Ok(PathPattern::Exact(path)),
            (None, Some(glob)) => Ok(PathPattern::Glob(glob)),
            _ => node.wrong("either `exact` or `glob` is required, not both"),
        }
    })
}

/// A pattern that is cheap to match: short, and with few stars.
pub(super) fn glob(node: &Node<'_>, text: &str) -> Read<Box<str>> {
    let stars = text.bytes().filter(|byte| *byte == b'*').count();
    if text.is_empty() {
        return node.wrong("empty");
    }
    if text.len() > MAX_PATTERN || stars > MAX_STARS {
        return node.wrong(format!("a pattern has at most {MAX_PATTERN} bytes and {MAX_STARS} stars"));
    }
    if text.contains("***") {
        return node.wrong("`***` means nothing: `*` stays within a part, `**` does not");
    }
    if text.chars().any(char::is_control) {
        return node.wrong("has a control character");
    }
    Ok(text.into())
}

fn prefix(node: &Node<'_>, text: &str, rules: PathRules) -> Read<PathPattern> {
    let path = literal(node, text, rules)?;
    match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() => node.wrong_hint(
            "a prefix does not end in `/`: it ends at a segment by itself",
            format!("\"{}\", or {{ exact = \"{}\" }}", shown(shorter), shown(text)),
        ),
        _ => Ok(PathPattern::Prefix(path)),
    }
}

fn literal(node: &Node<'_>, text: &str, rules: PathRules) -> Read<Box<str>> {
    if text.contains('*') {
        return node.wrong_hint("`*` is only for patterns", format!("{{ glob = \"{}\" }}", shown(text)));
    }
    no_fault(node, text, path_fault(text, rules)).map(|()| text.into())
}

fn no_fault(node: &Node<'_>, text: &str, fault: Option<&'static str>) -> Read<()> {
    fault.map_or(Ok(()), |fault| node.wrong(format!("\"{}\" is not a canonical path: {fault}", shown(text))))
}

/// Why no request that the gate accepts can ever have this path.
fn path_fault(text: &str, rules: PathRules) -> Option<&'static str> {
    let Some(rest) = text.strip_prefix('/') else {
        return Some("it does not begin with `/`");
    };
    if text.len() > MAX_PATTERN {
        return Some("it is longer than 512 bytes");
    }
    if rest.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Some("it has a dot segment");
    }
    if !rules.empty_segment && text.contains("//") {
        return Some("it has an empty segment (`//`)");
    }
    if !rules.semicolon && text.contains(';') {
        return Some("it has a `;`");
    }
    if text.contains(['?', '#']) {
        return Some("it has a query or a fragment");
    }
    if !text.bytes().all(is_path_byte) {
        return Some("it has characters that must be percent-encoded");
    }
    text.split('%').skip(1).find_map(|after| encoding_fault(after, rules))
}

/// RFC 3986 §3.3 `pchar`, `/` and `%`.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

/// What is wrong with the percent-encoding that `after` begins with (RFC 3986 §6.2.2).
fn encoding_fault(after: &str, rules: PathRules) -> Option<&'static str> {
    let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
        return Some("`%` is not followed by two hexadecimal digits");
    };
    if digits.is_some_and(|digits| digits.bytes().any(|digit| digit.is_ascii_lowercase())) {
        return Some("hexadecimal digits after `%` are in upper case");
    }
    match byte {
        b'/' if rules.encoded_slash => None,
        b'/' | b'\\' => Some("it has an encoded slash or backslash"),
        _ if byte.is_ascii_control() => Some("it has an encoded control character"),
        b'-' | b'.' | b'_' | b'~' => Some("it encodes a character that needs no encoding"),
        _ if byte.is_ascii_alphanumeric() => Some("it encodes a character that needs no encoding"),
        _ => None,
    }
}

/// Longer than any path or name a rule has been seen for; matching is pattern times name.
const MAX_PATTERN: usize = 512;
/// Each star is a choice.
const MAX_STARS: usize = 16;
