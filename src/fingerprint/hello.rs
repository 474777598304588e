//! The parts of a ClientHello (RFC 8446 §4.1.2) that fingerprints are made of.
//!
//! The TLS library parses the same bytes, but keeps neither the extensions that it does not know nor their number.
//! Half of a parser is enough here, and it may say no to anything: what it cannot read has no fingerprint.

use std::borrow::Cow;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;

pub(super) const SERVER_NAME: u16 = 0x0000;
pub(super) const ALPN: u16 = 0x0010;
const SIGNATURE_ALGORITHMS: u16 = 0x000d;
const SUPPORTED_VERSIONS: u16 = 0x002b;

/// What a ClientHello offers, without GREASE, in its own order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// The highest of `supported_versions`, or else the legacy version.
    pub(super) version: u16,
    pub(super) ciphers: Vec<u16>,
    /// Extensions by their numbers.
    pub(super) extensions: Vec<u16>,
    pub(super) signatures: Vec<u16>,
    /// The first and the last byte of the first protocol, if there is one and it is not empty.
    pub(super) alpn: Option<(u8, u8)>,
}

impl Hello {
    /// Reads the TLS records that a ClientHello came in; what follows it is not looked at.
    pub(super) fn of_records(records: &[u8]) -> Option<Self> {
        let message = reassembled(records)?;
        let mut message = Bytes(&message);
        if message.u8()? != CLIENT_HELLO {
            return None;
        }
        let length = message.u24()?;
        Self::of_body(Bytes(message.take(length)?))
    }

    fn of_body(mut body: Bytes<'_>) -> Option<Self> {
        let mut hello = Self { version: body.u16()?, ..Self::default() };
        // The random.
        body.take(32)?;
        // The legacy session id.
        body.block8()?;
        hello.ciphers = numbers(body.block16()?)?;
        // The compression methods.
        body.block8()?;
        if body.0.is_empty() {
            // No extensions at all: SSL 3.0 and its time.
            return Some(hello);
        }
        let mut extensions = Bytes(body.block16()?);
        while !extensions.0.is_empty() {
            let number = extensions.u16()?;
            let content = Bytes(extensions.block16()?);
            if !is_grease(number) {
                hello.extensions.push(number);
                hello.extension(number, content)?;
            }
        }
        Some(hello)
    }

    fn extension(&mut self, number: u16, mut content: Bytes<'_>) -> Option<()> {
        match number {
            ALPN => {
                let first = Bytes(content.block16()?).block8().unwrap_or_default();
                self.alpn = first.first().copied().zip(first.last().copied());
            }
            SIGNATURE_ALGORITHMS => self.signatures = numbers(content.block16()?)?,
            SUPPORTED_VERSIONS => {
                let highest = numbers(content.block8()?)?.into_iter().max();
                self.version = highest.unwrap_or(self.version);
            }
            _ => {}
        }
        Some(())
    }
}

/// RFC 8701: values that clients throw in at random, so that servers learn to look away.
pub(super) fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// The handshake message that records carry, however they cut it (RFC 8446 §5.1).
fn reassembled(records: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut records = Bytes(records);
    let mut message: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    loop {
        if records.u8()? != HANDSHAKE_RECORD {
            return None;
        }
        // The record's version, which says nothing.
        records.take(2)?;
        let fragment = records.block16()?;
        if message.is_empty() {
            // As a rule there is no other.
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
        let mut head = Bytes(&message);
        if let Some((_, length)) = head.u8().zip(head.u24())
            && head.0.len() >= length
        {
            return Some(message);
        }
    }
}

/// Two bytes each, without GREASE.
fn numbers(list: &[u8]) -> Option<Vec<u16>> {
    let (pairs, rest) = list.as_chunks::<2>();
    let numbers = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).filter(|number| !is_grease(*number));
    rest.is_empty().then(|| numbers.collect())
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn u24(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes([0, self.u8()?, self.u8()?, self.u8()?])).ok()
    }

    /// A block behind its length of one byte.
    fn block8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// A block behind its length of two bytes.
    fn block16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}
