//! The path that is matched is the path that is forwarded.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;

use super::PathRules;
use crate::reject::{Reason, Reject};

/// The canonical form of the path of `uri`: match this, and send this.
///
/// A path that can be read in two ways is refused; a path that is merely spelled oddly (`%41` for
/// `A`, lower-case hexadecimal) is rewritten (RFC 3986 §6.2.2). Idempotent; one pass; a path that
/// is canonical already is lent back without an allocation. A fragment needs no rule: `http::Uri`
/// cuts it off, so neither we nor the upstream ever see it.
///
/// # Errors
///
/// [`Reason::PathInvalid`] for
/// - a path that does not begin with `/` (`OPTIONS *`, CONNECT);
/// - dot segments, however encoded, also before path parameters (`/..;x/`) or an encoded slash;
/// - `//`, `%2f` and `;` or `%3b`, unless `rules` tolerate them; `\` and `%5c` always;
/// - raw bytes that RFC 3986 §3.3 has no place for in a path;
/// - bad percent-encoding, encoded control characters, bytes that are not UTF-8;
/// - `%25` before two hexadecimal digits: what a backend that decodes twice takes for an escape;
/// - a control character, white space or a non-ASCII byte in the query, which is not judged further.
pub fn canonical_path<'a>(uri: &'a Uri, rules: &PathRules) -> Result<Cow<'a, str>, Reject> {
    if uri.query().is_some_and(|query| !query.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(invalid("the query has a raw control character, space or non-ASCII byte"));
    }
    let path = uri.path();
    if !path.starts_with('/') {
        return Err(invalid("the path does not begin with a slash"));
    }
    Scan { path, rest: path.as_bytes(), rules, out: None, segment: Segment::Root, decoded: Twice::No }.run()
}

/// Path and query for the upstream: `canonical` with the query of `uri`. Costs a reference count
/// where the client's own text can be used.
///
/// # Errors
///
/// [`Reason::PathInvalid`] if `canonical` is no path, which [`canonical_path`] never makes.
pub fn forward_target(uri: &Uri, canonical: &str) -> Result<PathAndQuery, Reject> {
    if canonical == "/" && uri.query().is_none() {
        // Of `http://host#x`, and of `#x` as HTTP/2's `:path`, nothing is left: an empty text that reads as
        // `/` until it is written, as a request line without a target.
        return Ok(PathAndQuery::from_static("/"));
    }
    if let Some(original) = uri.path_and_query()
        // `http://host?x` has a path by courtesy only: its text begins with the question mark.
        && original.as_str().starts_with('/')
        && original.path() == canonical
    {
        return Ok(original.clone());
    }
    let text = match uri.query() {
        Some(query) => format!("{canonical}?{query}"),
        None => canonical.to_owned(),
    };
    PathAndQuery::try_from(text).map_err(|_| invalid("the path cannot be forwarded"))
}

/// One walk over a path. `out` holds what was rewritten so far, once something was.
struct Scan<'a, 'r> {
    path: &'a str,
    rest: &'a [u8],
    rules: &'r PathRules,
    out: Option<String>,
    segment: Segment,
    decoded: Twice,
}

/// What the current segment is so far, as the most meddlesome backend reads it: one that decodes
/// first, cuts at `;` and then resolves dots.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    /// Before the first slash.
    Root,
    /// Nothing.
    Empty,
    /// Nothing, and then parameters.
    Nameless,
    Dot,
    DotDot,
    Named,
}

/// How far a second decoding of the output would have come in an escape.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twice {
    No,
    Percent,
    OneDigit,
}

impl<'a> Scan<'a, '_> {
    fn run(mut self) -> Result<Cow<'a, str>, Reject> {
        while let Some((&byte, rest)) = self.rest.split_first() {
            let class = class(byte);
            if class == Class::Percent {
                self.escape()?;
                continue;
            }
            self.read(byte, class)?;
            if let Some(out) = &mut self.out {
                out.push(char::from(byte));
            }
            self.rest = rest;
        }
        if matches!(self.segment, Segment::Dot | Segment::DotDot) {
            return Err(invalid("dot segment in the path"));
        }
        Ok(self.out.map_or(Cow::Borrowed(self.path), Cow::Owned))
    }

    /// Judges one character of the output, raw or decoded.
    fn read(&mut self, byte: u8, class: Class) -> Result<(), Reject> {
        self.decode_twice(byte)?;
        self.segment = match (class, self.segment) {
            (Class::Plain | Class::Dot, Segment::Nameless) => Segment::Nameless,
            (Class::Dot, Segment::Empty) => Segment::Dot,
            (Class::Dot, Segment::Dot) => Segment::DotDot,
            (Class::Plain | Class::Dot, _) => Segment::Named,
            (Class::Slash, before) => self.separate(before)?,
            (Class::Semicolon, before) => self.parameters(before)?,
            (Class::Percent | Class::Refused, _) => {
                return Err(invalid("the path has a raw character that is not allowed"));
            }
        };
        Ok(())
    }

    fn separate(&self, before: Segment) -> Result<Segment, Reject> {
        match before {
            Segment::Dot | Segment::DotDot => Err(invalid("dot segment in the path")),
            Segment::Empty | Segment::Nameless if !self.rules.empty_segment => {
                Err(invalid("empty segment in the path"))
            }
            _ => Ok(Segment::Empty),
        }
    }

    fn parameters(&self, before: Segment) -> Result<Segment, Reject> {
        match before {
            _ if !self.rules.semicolon => Err(invalid("semicolon in the path")),
            Segment::Dot | Segment::DotDot => Err(invalid("dot segment in the path")),
            Segment::Named => Ok(Segment::Named),
            Segment::Root | Segment::Empty | Segment::Nameless => Ok(Segment::Nameless),
        }
    }

    fn decode_twice(&mut self, byte: u8) -> Result<(), Reject> {
        self.decoded = match (self.decoded, byte.is_ascii_hexdigit()) {
            (Twice::No, _) | (_, false) => Twice::No,
            (Twice::Percent, true) => Twice::OneDigit,
            (Twice::OneDigit, true) => return Err(invalid("doubly encoded character in the path")),
        };
        Ok(())
    }

    /// Takes one escape, or as many as one character of UTF-8 has.
    fn escape(&mut self) -> Result<(), Reject> {
        let (byte, rest) = take_escape(self.rest)?;
        match byte {
            0x80.. => return self.multibyte(byte),
            0..b' ' | 0x7f => return Err(invalid("encoded control character in the path")),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                self.read(byte, class(byte))?;
                self.rewritten().push(char::from(byte));
                self.rest = rest;
                return Ok(());
            }
            b'\\' => return Err(invalid("encoded backslash in the path")),
            b'/' if !self.rules.encoded_slash => return Err(invalid("encoded slash in the path")),
            b'/' => self.read(byte, Class::Slash)?,
            b';' => self.read(byte, Class::Semicolon)?,
            b'%' => self.read_opaque(Twice::Percent),
            _ => self.read_opaque(Twice::No),
        }
        self.keep_escape(rest);
        Ok(())
    }

    /// The standard library's decoder refuses overlong forms, surrogates and truncation for us.
    fn multibyte(&mut self, lead: u8) -> Result<(), Reject> {
        let length = match lead {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Err(invalid("the path is not UTF-8 when decoded")),
        };
        let mut bytes = [0; 4];
        let mut rest = self.rest;
        for slot in bytes.iter_mut().take(length) {
            (*slot, rest) = take_escape(rest)?;
        }
        let text = bytes.get(..length).and_then(|bytes| str::from_utf8(bytes).ok());
        if text.is_none_or(|text| text.contains(char::is_control)) {
            return Err(invalid("the path is not UTF-8 or has a control character when decoded"));
        }
        self.read_opaque(Twice::No);
        self.keep_escape(rest);
        Ok(())
    }

    /// An escape that stays one names its segment, whatever it stands for.
    fn read_opaque(&mut self, decoded: Twice) {
        self.decoded = decoded;
        if self.segment != Segment::Nameless {
            self.segment = Segment::Named;
        }
    }

    /// Moves on to `rest`, and spells what lies before it in upper case.
    fn keep_escape(&mut self, rest: &'a [u8]) {
        let taken = self.rest.get(..self.rest.len().saturating_sub(rest.len())).unwrap_or_default();
        if self.out.is_some() || taken.iter().any(u8::is_ascii_lowercase) {
            self.rewritten().extend(taken.iter().map(|b| char::from(b.to_ascii_uppercase())));
        }
        self.rest = rest;
    }

    /// The output, begun with all of the path that was read so far.
    fn rewritten(&mut self) -> &mut String {
        let (path, left) = (self.path, self.rest.len());
        self.out.get_or_insert_with(|| {
            // What is rewritten never grows, so this is the only allocation.
            let mut out = String::with_capacity(path.len());
            out.push_str(path.get(..path.len().saturating_sub(left)).unwrap_or_default());
            out
        })
    }
}

/// The byte that the escape at the front stands for, and what follows it.
fn take_escape(bytes: &[u8]) -> Result<(u8, &[u8]), Reject> {
    if let [b'%', high, low, rest @ ..] = bytes
        && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        && let Ok(byte) = u8::try_from((high << 4) | low)
    {
        return Ok((byte, rest));
    }
    Err(invalid("bad percent-encoding in the path"))
}

fn invalid(detail: &'static str) -> Reject {
    Reject::new(Reason::PathInvalid, detail)
}

/// What a raw byte is in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `pchar` of RFC 3986 §3.3, but for those below.
    Plain,
    Dot,
    Slash,
    Semicolon,
    Percent,
    /// No part of a path: controls, space, non-ASCII, and ``"#<>?[\]^`{|}``.
    Refused,
}

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Refused)
}

static CLASSES: [Class; 256] = classes();

#[expect(clippy::indexing_slicing, clippy::as_conversions, reason = "evaluated by the compiler, over constants")]
const fn classes() -> [Class; 256] {
    let mut table = [Class::Refused; 256];
    let plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~!$&'()*+,=:@";
    let mut at = 0;
    while at < plain.len() {
        table[plain[at] as usize] = Class::Plain;
        at += 1;
    }
    table[b'.' as usize] = Class::Dot;
    table[b'/' as usize] = Class::Slash;
    table[b';' as usize] = Class::Semicolon;
    table[b'%' as usize] = Class::Percent;
    table
}

#[cfg(test)]
mod tests;
