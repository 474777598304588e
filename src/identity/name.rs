//! Distinguished names: strict reading, RFC 4514 rendering.

use std::fmt::Write;

use x509_parser::asn1_rs::Tag;

use super::DistinguishedName;
use super::der::{self, Element, NotDer};
use crate::reject::{Reason, Reject};

/// Reads a DER `Name`; `whose` names it for the operator.
///
/// # Errors
/// [`Reason::CertNameInvalid`] if it is not a name, any value in it is empty, of a wrong type, or
/// holds a control character, or its text is longer than 4 KiB.
pub(crate) fn distinguished_name(name: &[u8], whose: &str) -> Result<DistinguishedName, Reject> {
    read(name).map_err(|Invalid(why)| Reject::new(Reason::CertNameInvalid, format!("{whose}: {why}")))
}

fn read(name: &[u8]) -> Result<DistinguishedName, Invalid> {
    let mut out = DistinguishedName::default();
    let mut parts = Vec::new();
    let mut length = 0;
    for part in der::sole(name)?.open(Tag::Sequence)? {
        let text = relative_name(&part?, &mut out)?;
        length += text.len() + 1;
        if length > MAX_TEXT {
            return Err(Invalid("longer than 4 KiB"));
        }
        parts.push(text);
    }
    // RFC 4514 §2.1: starting with the last element of the sequence.
    parts.reverse();
    out.text = parts.join(",").into();
    Ok(out)
}

/// One RDN: a SET of attributes, joined with `+` (RFC 4514 §2.2).
fn relative_name(set: &Element<'_>, out: &mut DistinguishedName) -> Result<String, Invalid> {
    let mut text = String::new();
    for attribute in set.open(Tag::Set)? {
        if !text.is_empty() {
            text.push('+');
        }
        let mut fields = attribute?.open(Tag::Sequence)?;
        let (kind, value) = (fields.next().ok_or(NotDer)??, fields.next().ok_or(NotDer)??);
        if fields.next().is_some() || kind.universal() != Some(Tag::Oid) || kind.constructed() {
            return Err(NotDer.into());
        }
        render_attribute(&kind, &value, out, &mut text)?;
    }
    if text.is_empty() { Err(Invalid("an empty relative name")) } else { Ok(text) }
}

fn render_attribute(
    kind: &Element<'_>,
    value: &Element<'_>,
    out: &mut DistinguishedName,
    text: &mut String,
) -> Result<(), Invalid> {
    // Decoded for its checks even when the text shows only hexadecimal digits.
    let decoded = directory_string(value)?;
    let Some((_, short)) = KNOWN.iter().find(|(oid, _)| *oid == kind.contents) else {
        dotted(kind.contents, text)?;
        text.push_str("=#");
        value.raw.iter().for_each(|octet| push_hex(text, *octet));
        return Ok(());
    };
    let decoded = decoded.ok_or(Invalid("a value that is not a string"))?;
    text.push_str(short);
    text.push('=');
    escape(&decoded, text);
    match *short {
        COMMON_NAME => out.common_names.push(decoded.into()),
        ORGANIZATION => out.organizations.push(decoded.into()),
        ORGANIZATIONAL_UNIT => out.organizational_units.push(decoded.into()),
        _ => {}
    }
    Ok(())
}

/// The text of a string type; `None` for a type that is no string.
fn directory_string(value: &Element<'_>) -> Result<Option<String>, Invalid> {
    let bytes = value.contents;
    let text = match value.universal() {
        Some(Tag::Utf8String) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        // T.61 is read as ASCII and nothing more: nobody agrees on the rest of it.
        Some(Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString | Tag::T61String) => {
            bytes.is_ascii().then(|| bytes.iter().copied().map(char::from).collect())
        }
        Some(Tag::BmpString) => wide::<2>(bytes),
        Some(Tag::UniversalString) => wide::<4>(bytes),
        Some(Tag::GeneralString | Tag::GraphicString | Tag::VideotexString | Tag::ObjectDescriptor) => {
            return Err(Invalid("a string type that has no place in a name"));
        }
        _ => return Ok(None),
    };
    let text = text.filter(|_| !value.constructed()).ok_or(Invalid("a string that cannot be decoded"))?;
    if text.is_empty() {
        // X.520: every DirectoryString is SIZE (1..MAX).
        return Err(Invalid("an empty value"));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid("a control character"));
    }
    Ok(Some(text))
}

/// Big-endian code points of `N` octets each. Surrogates are none: BMPString is not UTF-16.
fn wide<const N: usize>(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<N>();
    let point = |unit: &[u8; N]| unit.iter().fold(0, |point: u32, octet| point << 8 | u32::from(*octet));
    rest.is_empty().then(|| units.iter().map(|unit| char::from_u32(point(unit))).collect())?
}

/// RFC 4514 §2.4; what is not printable ASCII becomes the `\XX` of its UTF-8 octets.
fn escape(value: &str, text: &mut String) {
    for (at, character) in value.char_indices() {
        let edge = at == 0 || at + 1 == value.len();
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            ' ' if edge => text.push_str("\\ "),
            '#' if at == 0 => text.push_str("\\#"),
            ' '..='~' => text.push(character),
            _ => character.encode_utf8(&mut [0; 4]).bytes().for_each(|octet| {
                text.push('\\');
                push_hex(text, octet);
            }),
        }
    }
}

/// An object identifier in dots. asn1-rs renders arcs under 2.40 and above wrongly and panics on an
/// empty identifier, so this is ours (X.690 §8.19).
fn dotted(oid: &[u8], text: &mut String) -> Result<(), Invalid> {
    const WRONG: Invalid = Invalid("an attribute type that is not an object identifier");
    let (mut arc, mut fresh, mut first) = (0_u64, true, true);
    for octet in oid {
        // A leading 0x80 pads the arc: the same identifier in other bytes.
        if fresh && *octet == 0x80 || arc > u64::MAX >> 7 {
            return Err(WRONG);
        }
        arc = arc << 7 | u64::from(octet & 0x7f);
        fresh = octet & 0x80 == 0;
        if fresh {
            match (std::mem::take(&mut first), arc) {
                (true, 0..40) => write!(text, "0.{arc}"),
                (true, 40..80) => write!(text, "1.{}", arc - 40),
                (true, _) => write!(text, "2.{}", arc - 80),
                (false, _) => write!(text, ".{arc}"),
            }
            .map_err(|_| WRONG)?;
            arc = 0;
        }
    }
    if first || !fresh { Err(WRONG) } else { Ok(()) }
}

fn push_hex(text: &mut String, octet: u8) {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
    text.extend([digit(octet >> 4), digit(octet & 0xf)]);
}

/// What is wrong with a name, for the operator; never holds the name itself.
struct Invalid(&'static str);

impl From<NotDer> for Invalid {
    fn from(_: NotDer) -> Self {
        Self("not a DER name")
    }
}

/// A name longer than this does not fit the header fields that backends accept.
const MAX_TEXT: usize = 4096;

const COMMON_NAME: &str = "CN";
const ORGANIZATION: &str = "O";
const ORGANIZATIONAL_UNIT: &str = "OU";

/// The attribute types of RFC 4514 §3, by the contents of their DER identifiers.
const KNOWN: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], COMMON_NAME),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], ORGANIZATION),
    (&[0x55, 4, 11], ORGANIZATIONAL_UNIT),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
];

#[cfg(test)]
mod tests;
