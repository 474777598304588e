//! The chunked transfer coding (RFC 9112 §7.1), read strictly.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::fields;
use super::scan::{Flaw, Scan};
use super::{Bounds, Wrong};

/// What a decoder found in the bytes at hand.
#[derive(Debug, PartialEq)]
pub enum Decoded {
    /// A piece of the body, never empty.
    Data(Bytes),
    /// The trailer fields that may be passed on; the end follows.
    Trailers(HeaderMap),
    /// Nothing before more bytes arrive.
    More,
    /// The body is complete; what remains in the buffer belongs to the next message.
    End,
}

/// Where in a chunked body the reader is.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    trailers: Bounds,
}

#[derive(Debug)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers(Scan),
    Done,
}

impl Chunked {
    /// At the first chunk; trailers are bounded like heads.
    pub const fn new(trailers: Bounds) -> Self {
        Self { state: State::Size, trailers }
    }

    /// Takes the next piece out of `buffer`.
    ///
    /// # Errors
    /// The body is malformed: what follows can be told from nothing any more.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Wrong> {
        loop {
            match &mut self.state {
                State::Size => match size(buffer)? {
                    None => return Ok(Decoded::More),
                    Some(0) => self.state = State::Trailers(Scan::default()),
                    Some(size) => self.state = State::Data(size),
                },
                State::Data(left) => {
                    let data = take(buffer, left);
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(if data.is_empty() { Decoded::More } else { Decoded::Data(data) });
                }
                State::DataEnd => {
                    if !line_end(buffer)? {
                        return Ok(Decoded::More);
                    }
                    self.state = State::Size;
                }
                State::Trailers(scan) => {
                    let Some(trailers) = trailers(scan, buffer, self.trailers)? else {
                        return Ok(Decoded::More);
                    };
                    self.state = State::Done;
                    return Ok(if trailers.is_empty() { Decoded::End } else { Decoded::Trailers(trailers) });
                }
                State::Done => return Ok(Decoded::End),
            }
        }
    }
}

/// At most `left` bytes from the front of the buffer, without a copy.
pub(super) fn take(buffer: &mut BytesMut, left: &mut u64) -> Bytes {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    buffer.split_to(count).freeze()
}

/// A chunk's size line, taken out of the buffer once it is complete.
///
/// Extensions must be ignored (RFC 9112 §7.1.1), so they are: if they are short and have neither white space nor
/// quotes nor line ends that somebody else may read as the end of something.
fn size(buffer: &mut BytesMut) -> Result<Option<u64>, Wrong> {
    let window = buffer.get(..SIZE_LINE).unwrap_or(buffer);
    let Some(at) = memchr::memchr(b'\n', window) else {
        return if window.len() < SIZE_LINE { Ok(None) } else { Err("a chunk extension is too long") };
    };
    let line = window.get(..at).and_then(|line| line.strip_suffix(b"\r")).ok_or("a chunk size ends with LF only")?;
    let (digits, extension) = line.split_at(line.iter().position(|byte| *byte == b';').unwrap_or(line.len()));
    if !extension.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) {
        return Err("a chunk extension has a character that is not accepted");
    }
    let size = hexadecimal(digits).ok_or("a chunk size is not 1 to 16 hexadecimal digits")?;
    buffer.advance(at + 1);
    Ok(Some(size))
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let plain = (1..=SIZE_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    u64::from_str_radix(text, 16).ok()
}

/// Whether the CRLF behind a chunk's data is there.
fn line_end(buffer: &mut BytesMut) -> Result<bool, Wrong> {
    match (buffer.first(), buffer.get(1)) {
        (Some(b'\r'), Some(b'\n')) => {
            buffer.advance(2);
            Ok(true)
        }
        (None, _) | (Some(b'\r'), None) => Ok(false),
        _ => Err("a chunk is longer than its size"),
    }
}

fn trailers(scan: &mut Scan, buffer: &mut BytesMut, bounds: Bounds) -> Result<Option<HeaderMap>, Wrong> {
    let Bounds { bytes, count } = bounds;
    let window = buffer.get(..bytes).unwrap_or(buffer);
    let end = scan.advance(window).map_err(Flaw::detail)?;
    if scan.lines() > count || (end.is_none() && window.len() >= bytes) {
        return Err("more trailers than a head may have fields");
    }
    let Some(end) = end else { return Ok(None) };
    let block = buffer.split_to(end).freeze();
    if scan.lines() == 0 {
        return Ok(Some(HeaderMap::new()));
    }
    let all = fields::parse(&block, scan.lines())?;
    let kept =
        all.iter().filter(|(name, _)| fields::may_trail(name)).map(|(name, value)| (name.clone(), value.clone()));
    Ok(Some(kept.collect()))
}

/// Hexadecimal digits of the largest u64.
const SIZE_DIGITS: usize = 16;

/// Longest chunk extension that is ignored: a signature of 64 hexadecimal digits and its name, three times over.
const EXTENSION: usize = 256;

/// The longest size line with its CRLF.
const SIZE_LINE: usize = SIZE_DIGITS + EXTENSION + 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 128, count: 3 };

    /// Body, trailers and what is left, if the body is complete.
    type Whole = Option<(Vec<u8>, HeaderMap, Vec<u8>)>;

    fn decode(pieces: &[&[u8]]) -> Result<Whole, Wrong> {
        let (mut decoder, mut buffer, mut body, mut trailers) =
            (Chunked::new(BOUNDS), BytesMut::new(), Vec::new(), HeaderMap::new());
        let mut ended = false;
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while !ended {
                match decoder.decode(&mut buffer)? {
                    Decoded::Data(data) => {
                        assert!(!data.is_empty());
                        body.extend_from_slice(&data);
                    }
                    Decoded::Trailers(map) => trailers = map,
                    Decoded::More => break,
                    Decoded::End => ended = true,
                }
            }
        }
        Ok(ended.then(|| (body, trailers, buffer.to_vec())))
    }

    #[test]
    fn plain_bodies_are_read() {
        let table: [(&[u8], &[u8], &[u8]); 7] = [
            (b"0\r\n\r\n", b"", b""),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
            (b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", b"GET"),
            (b"3\r\nabc\r\n2\r\nde\r\n000\r\n\r\n", b"abcde", b""),
            (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
            (b"0000000000000001\r\nx\r\n0\r\n\r\n", b"x", b""),
            (b"1;name=value;other\r\nx\r\n0;last\r\n\r\n", b"x", b""),
        ];
        for (wire, body, left) in table {
            let (read, trailers, rest) = decode(&[wire]).unwrap().expect("a whole body");
            assert_eq!((read.as_slice(), rest.as_slice()), (body, left), "{wire:?}");
            assert!(trailers.is_empty());
        }
    }

    #[test]
    fn whatever_another_parser_could_read_differently_is_refused() {
        let long = [b"1;".as_slice(), &[b'x'; SIZE_LINE]].concat();
        let table: [&[u8]; 27] = [
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"5\r\nhello\r!0\r\n\r\n",
            b"5\r\nhello\r\n0\n\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"\r\n5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5 ;x\r\nhello\r\n",
            b"5; x\r\nhello\r\n",
            b"5;x=\"y\"\r\nhello\r\n",
            b"5;x\rhello\r\n",
            b"5;x\r\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5h\r\nhello\r\n",
            b"5_0\r\nhello\r\n",
            b";x\r\nhello\r\n",
            b"G\r\n",
            b"10000000000000005\r\nhello\r\n",
            b"\0\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\r\n c\r\n\r\n",
            &long,
        ];
        for wire in table {
            assert!(decode(&[wire]).is_err(), "{:?}", String::from_utf8_lossy(wire));
        }
    }

    #[test]
    fn trailers_are_read_bounded_and_cleared_of_what_is_no_trailer() {
        let (_, trailers, left) =
            decode(&[b"0\r\nDigest: abc\r\nHost: evil\r\nContent-Length: 5\r\n\r\nX"]).unwrap().expect("whole");
        assert_eq!(
            (trailers.len(), &trailers["digest"], left.as_slice()),
            (1, &"abc".parse().unwrap(), b"X".as_slice())
        );
        assert!(decode(&[b"0\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n"]).is_err());
        assert!(decode(&[b"0\r\nA: ", &[b'a'; 200]]).is_err());
    }

    #[test]
    fn the_largest_size_is_only_counted() {
        let mut decoder = Chunked::new(BOUNDS);
        let mut buffer = BytesMut::from(&b"ffffffffffffffff\r\nabc"[..]);
        assert_eq!(decoder.decode(&mut buffer).unwrap(), Decoded::Data(Bytes::from_static(b"abc")));
        assert_eq!(decoder.decode(&mut buffer).unwrap(), Decoded::More);
        assert!(buffer.capacity() < 1024);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&[&bytes]);
        }

        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(wire in "([0-3];?x?\r?\n?[a-c]{0,3}\r\n){0,5}(0\r\n(A: b\r\n)?\r\n)?") {
            let single: Vec<&[u8]> = wire.as_bytes().chunks(1).collect();
            // Which of two faults is seen first is all the same.
            prop_assert_eq!(decode(&single).map_err(drop), decode(&[wire.as_bytes()]).map_err(drop));
        }
    }
}
