//! A strict walk over DER: every element whole, every length minimal, every container read to its
//! end. x509-parser alone drops what follows the last element it understands, and a name whose
//! tail was dropped is another name.

use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};

/// The bytes are not DER, or hold more or less than they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotDer;

/// One element: tag, length and contents.
#[derive(Clone, Debug)]
pub(crate) struct Element<'a> {
    /// The element with its tag and length.
    pub(crate) raw: &'a [u8],
    /// Its contents.
    pub(crate) contents: &'a [u8],
    any: Any<'a>,
}

/// The elements of some bytes, one after the other; ends after the first error.
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
}

/// The elements that `bytes` consist of.
pub(crate) fn elements(bytes: &[u8]) -> Elements<'_> {
    Elements { rest: bytes }
}

/// The one element that `bytes` are.
///
/// # Errors
/// [`NotDer`] if there is none, or anything follows it.
pub(crate) fn sole(bytes: &[u8]) -> Result<Element<'_>, NotDer> {
    let mut all = elements(bytes);
    let element = all.next().ok_or(NotDer)??;
    if all.rest.is_empty() { Ok(element) } else { Err(NotDer) }
}

impl<'a> Element<'a> {
    /// The elements inside this SEQUENCE or SET (`tag`).
    ///
    /// # Errors
    /// [`NotDer`] if this is something else.
    pub(crate) fn open(&self, tag: Tag) -> Result<Elements<'a>, NotDer> {
        if self.universal() == Some(tag) && self.constructed() { Ok(elements(self.contents)) } else { Err(NotDer) }
    }

    /// The tag of a universal type.
    pub(crate) fn universal(&self) -> Option<Tag> {
        (self.any.class() == Class::Universal).then(|| self.any.tag())
    }

    /// The number of a context-specific tag, `[n]`.
    pub(crate) fn context(&self) -> Option<u32> {
        (self.any.class() == Class::ContextSpecific).then(|| self.any.tag().0)
    }

    /// Whether the contents are elements themselves.
    pub(crate) fn constructed(&self) -> bool {
        self.any.header.constructed()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, NotDer>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            return None;
        }
        Some(split(bytes).map(|(element, rest)| {
            self.rest = rest;
            element
        }))
    }
}

fn split(bytes: &[u8]) -> Result<(Element<'_>, &[u8]), NotDer> {
    let (rest, any) = Any::from_der(bytes).map_err(|_| NotDer)?;
    let raw = bytes.strip_suffix(rest).ok_or(NotDer)?;
    // One octet of tag: no type in a certificate has a number above 30 (X.690 §8.1.2.2).
    if raw.len() != 1 + length_octets(any.data.len()) + any.data.len() {
        return Err(NotDer);
    }
    Ok((Element { raw, contents: any.data, any }, rest))
}

/// How many octets DER spends on this length (X.690 §10.1: the fewest).
fn length_octets(length: usize) -> usize {
    match length {
        0..=0x7f => 1,
        0x80..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xff_ffff => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_where_the_bytes_end() {
        let found: Vec<_> = elements(&[2, 1, 5, 4, 0]).map(|e| e.unwrap().raw.to_vec()).collect();
        assert_eq!(found, [vec![2, 1, 5], vec![4, 0]]);
    }

    #[test]
    fn what_is_not_der_is_refused() {
        for (bytes, why) in [
            (&[][..], "nothing"),
            (&[0x30], "no length"),
            (&[0x30, 2, 5], "cut off"),
            (&[0x30, 0x80, 0, 0], "indefinite length"),
            (&[4, 0x81, 1, 7], "a length that is not minimal"),
            (&[4, 0x84, 0xff, 0xff, 0xff, 0xff], "more than there is"),
            (&[4, 0xff], "reserved length"),
            (&[0x1f, 0x1f, 0], "a long tag"),
            (&[5, 0, 5, 0], "two elements"),
        ] {
            assert!(sole(bytes).is_err(), "{why}");
        }
    }

    #[test]
    fn an_error_ends_the_walk() {
        let mut walk = elements(&[5, 0, 4, 9, 1]);
        assert!(walk.next().unwrap().is_ok());
        assert!(walk.next().unwrap().is_err());
        assert!(walk.next().is_none());
    }

    #[test]
    fn only_the_asked_container_opens() {
        assert!(sole(&[0x30, 0]).unwrap().open(Tag::Sequence).is_ok());
        assert!(sole(&[0x30, 0]).unwrap().open(Tag::Set).is_err());
        assert!(sole(&[0x10, 0]).unwrap().open(Tag::Sequence).is_err(), "a primitive SEQUENCE");
        assert!(sole(&[0xb0, 0]).unwrap().open(Tag::Sequence).is_err(), "a context-specific [16]");
    }
}
