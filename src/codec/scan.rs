//! The end of a block of CRLF lines, found as bytes come in.

use memchr::memchr2;

/// How far a block of lines has been looked at. No byte is looked at twice, however slowly they come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    next: usize,
    line: usize,
    lines: usize,
}

/// A line end that is not CRLF: what one parser takes for an end and another for a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// CR without LF.
    BareCr,
    /// LF without CR.
    BareLf,
}

impl Flaw {
    /// The flaw in words.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::BareCr => "a CR without LF",
            Self::BareLf => "an LF without CR",
        }
    }
}

impl Scan {
    /// Looks at what is new in `block`, which must begin with what it began with before. The length of the block,
    /// once the empty line that ends it is there.
    ///
    /// # Errors
    /// A line end that is not CRLF, as soon as it is seen.
    pub fn advance(&mut self, block: &[u8]) -> Result<Option<usize>, Flaw> {
        while let Some(found) = block.get(self.next..).and_then(|rest| memchr2(b'\r', b'\n', rest)) {
            let at = self.next + found;
            match (block.get(at), block.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => {}
                (Some(b'\r'), None) => {
                    self.next = at;
                    return Ok(None);
                }
                (Some(b'\r'), Some(_)) => return Err(Flaw::BareCr),
                _ => return Err(Flaw::BareLf),
            }
            self.next = at + 2;
            if at == self.line {
                return Ok(Some(self.next));
            }
            self.line = self.next;
            self.lines += 1;
        }
        self.next = block.len();
        Ok(None)
    }

    /// How many lines are complete, without the empty one.
    pub const fn lines(&self) -> usize {
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found = Result<Option<usize>, Flaw>;

    #[test]
    fn the_end_is_the_first_empty_line() {
        let table: [(&[u8], Found, usize); 9] = [
            (b"", Ok(None), 0),
            (b"\r\n", Ok(Some(2)), 0),
            (b"a\r\n\r\nrest", Ok(Some(5)), 1),
            (b"a\r\nb\r\n\r\n", Ok(Some(8)), 2),
            (b"a\r\nb\r\n\r", Ok(None), 2),
            (b"a\nb", Err(Flaw::BareLf), 0),
            (b"\n", Err(Flaw::BareLf), 0),
            (b"a\rb", Err(Flaw::BareCr), 0),
            (b"a\r\r\n", Err(Flaw::BareCr), 0),
        ];
        for (block, end, lines) in table {
            let mut scan = Scan::default();
            assert_eq!(scan.advance(block), end, "{block:?}");
            assert_eq!(scan.lines(), lines, "{block:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(block in "[ab\r\n]{0,24}") {
            let block = block.as_bytes();
            let mut drip = Scan::default();
            let dripped = (1..=block.len()).map(|to| drip.advance(&block[..to])).find(|found| *found != Ok(None));
            prop_assert_eq!(dripped.unwrap_or(Ok(None)), Scan::default().advance(block));
        }
    }
}
