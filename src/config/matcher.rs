//! Matchers: conditions on an identity and the software that shows it. A condition that could never hold, or that would hold for
//! everybody, is a problem.

use super::listener::network;
use super::path::glob;
use super::problem::{Read, shown};
use super::read::{Node, Section};
use super::reference::MATCHER;
use crate::fingerprint::Ja4Pattern;
use crate::identity::Serial;
use crate::policy::spec::Matcher;

/// One matcher.
pub(super) fn matcher(node: &Node<'_>) -> Read<Matcher> {
    if node.value.as_table().is_some_and(toml::map::Map::is_empty) {
        return node
            .wrong_hint("an empty matcher would match everybody", "write allow = \"any-verified\" if that is meant");
    }
    node.section(&MATCHER, |section| {
        let [subject_cn, subject_o, subject_ou] =
            ["subject_cn", "subject_o", "subject_ou"].map(|name| conditions(section, name, text_pattern));
        let [issuer_cn, issuer_o, issuer_ou] =
            ["issuer_cn", "issuer_o", "issuer_ou"].map(|name| conditions(section, name, text_pattern));
        let [subject, issuer] = ["subject", "issuer"].map(|name| conditions(section, name, distinguished_name));
        let serial = conditions(section, "serial", serial);
        let dns = conditions(section, "dns", dns_pattern);
        let uri = conditions(section, "uri", ascii_pattern);
        let email = conditions(section, "email", email_pattern);
        let ip = conditions(section, "ip", network);
        let [fingerprint, spki] =
            ["fingerprint", "spki"].map(|name| conditions(section, name, |node| node.parsed(DIGEST)));
        let ja4 = conditions(section, "ja4", ja4_pattern);
        let h2 = conditions(section, "h2", http2_print);
        Ok(Matcher {
            subject_cn: subject_cn?,
            subject_o: subject_o?,
            subject_ou: subject_ou?,
            subject: subject?,
            issuer_cn: issuer_cn?,
            issuer_o: issuer_o?,
            issuer_ou: issuer_ou?,
            issuer: issuer?,
            serial: serial?,
            dns: dns?,
            uri: uri?,
            email: email?,
            ip: ip?,
            fingerprint: fingerprint?,
            spki: spki?,
            ja4: ja4?,
            h2: h2?,
        })
    })
}

/// The values of one key; an empty list would silently be no condition at all.
fn conditions<T>(section: &Section<'_>, name: &str, read: impl Fn(&Node<'_>) -> Read<T>) -> Read<Vec<T>> {
    let list = section.optional(name, |node, _| {
        let list = node.each(|item| read(item))?;
        if list.is_empty() {
            return node.wrong_hint("an empty list is no condition", "remove the key, or write what it must be");
        }
        Ok(list)
    })?;
    Ok(list.unwrap_or_default())
}

/// A JA4, or one with `*` for whole parts.
pub(super) fn ja4_pattern(node: &Node<'_>) -> Read<Ja4Pattern> {
    let text = node.text()?;
    text.parse().or_else(|what| node.wrong(format!("\"{}\": {what}", shown(text))))
}

fn http2_print(node: &Node<'_>) -> Read<Box<str>> {
    let text = node.text()?;
    if text.split('|').count() != 4 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return node.wrong(format!("\"{}\" is no fingerprint like \"2:0;4:65535|00|0|m,a,s,p\"", shown(text)));
    }
    Ok(text.into())
}

fn text_pattern(node: &Node<'_>) -> Read<Box<str>> {
    glob(node, node.text()?)
}

fn ascii_pattern(node: &Node<'_>) -> Read<Box<str>> {
    let text = node.text()?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return node.wrong(format!("\"{}\" can never match: names of this type are printable ASCII", shown(text)));
    }
    glob(node, text)
}

fn dns_pattern(node: &Node<'_>) -> Read<Box<str>> {
    let pattern = ascii_pattern(node)?.to_ascii_lowercase();
    Ok(pattern.strip_suffix('.').unwrap_or(&pattern).into())
}

fn email_pattern(node: &Node<'_>) -> Read<Box<str>> {
    let pattern = ascii_pattern(node)?;
    match pattern.rsplit_once('@') {
        Some((local, domain)) => Ok(format!("{local}@{}", domain.to_ascii_lowercase()).into()),
        None => Ok(pattern),
    }
}

fn distinguished_name(node: &Node<'_>) -> Read<Box<str>> {
    let text = node.text()?;
    if text.is_empty() || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return node.wrong_hint(
            format!("\"{}\" can never match: names are compared in printable ASCII", shown(text)),
            "write other characters as `\\XX`, one for each byte of UTF-8",
        );
    }
    Ok(text.into())
}

fn serial(node: &Node<'_>) -> Read<Serial> {
    let text = node.text()?;
    let digits: String = text.chars().filter(|digit| *digit != ':').collect();
    let digits = digits.trim_start_matches('0');
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || digits.len() > 2 * MAX_SERIAL {
        return node.wrong(format!("\"{}\" is not a hexadecimal serial number of at most 20 bytes", shown(text)));
    }
    if digits.is_empty() {
        return node.wrong("a serial number is never zero");
    }
    let even = if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
    let bytes = even.as_bytes().chunks_exact(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    bytes.collect::<Option<Box<[u8]>>>().map(Serial).map_or_else(|| node.wrong("not a hexadecimal number"), Ok)
}

/// RFC 5280 §4.1.2.2.
const MAX_SERIAL: usize = 20;
const DIGEST: &str = "a SHA-256 digest: 64 hexadecimal digits, with or without colons";
