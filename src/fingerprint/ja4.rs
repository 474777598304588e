//! JA4, the fingerprint of TLS clients (FoxIO, BSD-3-Clause; the rest of JA4+ has another licence and is not here):
//! `t13d1516h2_8daaf6152771_e5627efa2ab1`.
//!
//! Sorted lists and counts, no randoms, no key shares and no GREASE. Two extensions come and go all the same, and with
//! them the fingerprint of one and the same client: `pre_shared_key`, where it resumes a session, and `padding`, where
//! its ClientHello has an awkward length. So there is a stable form beside it, which is the JA4 of the same ClientHello
//! without them; that is what stacks are told apart by.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};

use super::hello::{ALPN, Hello, SERVER_NAME};

/// Bytes of a JA4.
const LENGTH: usize = 36;
/// Bytes of its first part.
const HEAD: usize = 10;
/// Bytes of its second and of its third part.
pub(super) const HASH: usize = 12;
/// Extensions that one client sends in one handshake and not in the next: `padding` (RFC 7685), `pre_shared_key` and
/// `early_data` (RFC 8446 §4.2).
const OF_THE_SESSION: [u16; 3] = [0x0015, 0x0029, 0x002a];
/// The hash of nothing: the specification wants it seen as such.
const NOTHING: [u8; HASH] = *b"000000000000";

/// A JA4: printable ASCII, three parts with `_` between them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ja4([u8; LENGTH]);

/// What a ClientHello says of the software that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsPrint {
    /// Its JA4, as everybody computes it.
    pub ja4: Ja4,
    /// Its JA4 without what depends on the session: `pre_shared_key`, `early_data`, `padding`.
    pub stable: Ja4,
}

impl TlsPrint {
    /// Of the ClientHello that came over TCP in these TLS records; `None` if there is none in them.
    #[must_use]
    pub fn of(records: &[u8]) -> Option<Self> {
        let mut hello = Hello::of_records(records)?;
        hello.ciphers.sort_unstable();
        hello.extensions.sort_unstable();
        let ciphers = hashed(&hello.ciphers, &[]);
        let ja4 = Ja4::new(&hello, ciphers);
        let all = hello.extensions.len();
        hello.extensions.retain(|number| !OF_THE_SESSION.contains(number));
        let stable = if hello.extensions.len() == all { ja4 } else { Ja4::new(&hello, ciphers) };
        Some(Self { ja4, stable })
    }
}

impl Ja4 {
    /// Of a ClientHello in which everything is sorted that is to be.
    fn new(hello: &Hello, ciphers: [u8; HASH]) -> Self {
        let told: Vec<_> = told(&hello.extensions).collect();
        let extensions = hashed(&told, &hello.signatures);
        let mut bytes = [b'_'; LENGTH];
        let parts = head(hello).into_iter().chain([b'_']).chain(ciphers).chain([b'_']).chain(extensions);
        bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // ASCII, whoever made it.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its parts, which stand where they always stand.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        let part = |from: usize, length: usize| self.0.get(from..from + length).unwrap_or_default();
        [part(0, HEAD), part(HEAD + 1, HASH), part(HEAD + HASH + 2, HASH)]
    }
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Ja4 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not a JA4 like t13d1516h2_8daaf6152771_e5627efa2ab1";
        let bytes: [u8; LENGTH] = text.as_bytes().try_into().map_err(|_| WRONG)?;
        let mut parts = text.split('_');
        let well = parts.next().is_some_and(is_head)
            && parts.next().is_some_and(is_hash)
            && parts.next().is_some_and(is_hash)
            && parts.next().is_none();
        if well { Ok(Self(bytes)) } else { Err(WRONG) }
    }
}

/// Whether some ClientHello may have this first part, over whichever transport: `t`, `13`, `d`, `15`, `16`, `h2`.
pub(super) fn is_head(text: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| match at {
        0 => matches!(byte, b't' | b'q' | b'd'),
        1 => matches!(byte, b'0' | b'1' | b's' | b'd'),
        2 | 4..=7 => byte.is_ascii_digit(),
        3 => matches!(byte, b'd' | b'i'),
        _ => byte.is_ascii_alphanumeric(),
    };
    text.len() == HEAD && text.bytes().enumerate().all(shape)
}

/// Whether some ClientHello may have this second or third part.
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == HASH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// JA4_r of the same records: the lists themselves in place of their hashes.
#[must_use]
pub fn ja4_raw(records: &[u8]) -> Option<String> {
    let mut hello = Hello::of_records(records)?;
    let mut text = head(&hello).to_vec();
    hello.ciphers.sort_unstable();
    hello.extensions.sort_unstable();
    text.push(b'_');
    list(&mut text, &hello.ciphers);
    text.push(b'_');
    list(&mut text, &told(&hello.extensions).collect::<Vec<_>>());
    if !hello.signatures.is_empty() {
        text.push(b'_');
        list(&mut text, &hello.signatures);
    }
    String::from_utf8(text).ok()
}

/// The first part: transport, version, server name, counts, protocol.
fn head(hello: &Hello) -> [u8; HEAD] {
    let [v1, v0] = match hello.version {
        0x0304 => *b"13",
        0x0303 => *b"12",
        0x0302 => *b"11",
        0x0301 => *b"10",
        0x0300 => *b"s3",
        0x0002 => *b"s2",
        0xfeff => *b"d1",
        0xfefd => *b"d2",
        0xfefc => *b"d3",
        _ => *b"00",
    };
    let name = if hello.extensions.contains(&SERVER_NAME) { b'd' } else { b'i' };
    let [c1, c0] = count(hello.ciphers.len());
    let [e1, e0] = count(hello.extensions.len());
    let [a1, a0] = alpn(hello.alpn);
    [b't', v1, v0, name, c1, c0, e1, e0, a1, a0]
}

/// Two digits; more than 99 are 99.
fn count(count: usize) -> [u8; 2] {
    let count = u8::try_from(count).unwrap_or(u8::MAX).min(99);
    [b'0' + count / 10, b'0' + count % 10]
}

/// First and last character; of the bytes' hexadecimal digits where these are not letters or digits.
fn alpn(ends: Option<(u8, u8)>) -> [u8; 2] {
    match ends {
        None => *b"00",
        Some((first, last)) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => [first, last],
        Some((first, last)) => [digit(first >> 4), digit(last & 0x0f)],
    }
}

/// The extensions of the third part: without those that the first part tells of.
fn told(extensions: &[u16]) -> impl Iterator<Item = u16> {
    extensions.iter().copied().filter(|number| !matches!(*number, SERVER_NAME | ALPN))
}

/// The first digits of the SHA-256 of one list, or of two with `_` between them.
fn hashed(numbers: &[u16], more: &[u16]) -> [u8; HASH] {
    if numbers.is_empty() {
        return NOTHING;
    }
    let mut text = Vec::with_capacity(numbers.len().saturating_add(more.len()).saturating_mul(5));
    list(&mut text, numbers);
    if !more.is_empty() {
        text.push(b'_');
        list(&mut text, more);
    }
    let digest = digest(&SHA256, &text);
    let mut hash = NOTHING;
    let digits = digest.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]);
    hash.iter_mut().zip(digits).for_each(|(place, digit)| *place = digit);
    hash
}

/// Four hexadecimal digits each, with commas between them.
fn list(text: &mut Vec<u8>, numbers: &[u16]) {
    for (index, number) in numbers.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        let [high, low] = number.to_be_bytes();
        text.extend([high >> 4, high & 0x0f, low >> 4, low & 0x0f].map(digit));
    }
}

fn digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + (nibble - 10),
    }
}
