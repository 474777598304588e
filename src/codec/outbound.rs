//! Bodies on their way out: frames to bytes, as long as was announced and no longer.

use std::fmt::Write as _;

use bytes::{BufMut as _, Bytes};
use http::HeaderMap;
use http_body::Frame;

use super::outbox::Outbox;
use super::{Wrong, fields};

/// How the body is framed, and how much of it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// No body and no field that speaks of one.
    Absent,
    /// No body; this length is that of the response to a GET (HEAD, 304).
    Described(u64),
    /// This many bytes to come.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Bytes until the connection closes (HTTP/1.0).
    UntilClose,
}

impl Outbound {
    /// Whether nothing more may follow the head.
    pub const fn is_bodiless(self) -> bool {
        matches!(self, Self::Absent | Self::Described(_) | Self::Length(0))
    }

    /// Whether the client has the whole body by its length.
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Appends a frame of the body.
    ///
    /// # Errors
    /// The body is longer than was announced. Nothing of the excess is appended.
    pub fn frame(&mut self, out: &mut Outbox, frame: Frame<Bytes>) -> Result<(), Wrong> {
        match frame.into_data() {
            Ok(data) => self.data(out, data),
            Err(frame) => {
                if let (Self::Chunked, Ok(trailers)) = (*self, frame.into_trailers()) {
                    end(out, &trailers);
                    *self = Self::Absent;
                }
                Ok(())
            }
        }
    }

    /// Appends the end of the body.
    ///
    /// # Errors
    /// The body is shorter than was announced.
    pub fn end(&mut self, out: &mut Outbox) -> Result<(), Wrong> {
        match self {
            Self::Chunked => end(out, &HeaderMap::new()),
            Self::Length(left) if *left > 0 => return Err("the message is shorter than its Content-Length"),
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, out: &mut Outbox, data: Bytes) -> Result<(), Wrong> {
        if data.is_empty() {
            // A chunk of no bytes would be the end.
            return Ok(());
        }
        match self {
            Self::Length(left) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left = left.checked_sub(length).ok_or("the message is longer than its Content-Length")?;
                out.push(data);
            }
            Self::Chunked => {
                let _ = write!(out.tail(), "{:x}\r\n", data.len());
                out.push(data);
                out.tail().put_slice(b"\r\n");
            }
            Self::UntilClose => out.push(data),
            Self::Absent | Self::Described(_) => return Err("the message goes on behind its end"),
        }
        Ok(())
    }
}

fn end(out: &mut Outbox, trailers: &HeaderMap) {
    out.tail().put_slice(b"0\r\n");
    for (name, value) in trailers.iter().filter(|(name, _)| fields::may_trail(name)) {
        fields::put(out.tail(), name, value);
    }
    out.tail().put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::HeaderValue;
    use http::header::{CONTENT_LENGTH, DATE};
    use proptest::prelude::*;

    use super::super::{Bounds, Chunked, Decoded};
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(BytesMut::new(), false)
    }

    #[test]
    fn a_body_that_is_not_as_long_as_announced_is_cut() {
        let mut out = outbox();
        let mut body = Outbound::Length(3);
        assert!(body.frame(&mut out, Frame::data("ab".into())).is_ok());
        assert!(body.end(&mut out).is_err());
        assert!(body.frame(&mut out, Frame::data("cd".into())).is_err());
        assert_eq!(&out.tail()[..], b"ab");
    }

    #[test]
    fn an_empty_frame_is_not_the_last_chunk() {
        let mut out = outbox();
        let mut body = Outbound::Chunked;
        body.frame(&mut out, Frame::data(Bytes::new())).unwrap();
        body.frame(&mut out, Frame::data("x".into())).unwrap();
        body.end(&mut out).unwrap();
        assert_eq!(&out.tail()[..], b"1\r\nx\r\n0\r\n\r\n");
    }

    #[test]
    fn trailers_end_a_chunked_body_and_vanish_elsewhere() {
        let trailers = || {
            Frame::trailers(
                [(DATE, HeaderValue::from_static("x")), (CONTENT_LENGTH, HeaderValue::from_static("1"))]
                    .into_iter()
                    .collect(),
            )
        };
        let mut out = outbox();
        let mut body = Outbound::Chunked;
        body.frame(&mut out, trailers()).unwrap();
        assert!(body.frame(&mut out, Frame::data("x".into())).is_err());
        body.end(&mut out).unwrap();
        assert_eq!(&out.tail()[..], b"0\r\ndate: x\r\n\r\n");
        let mut out = outbox();
        Outbound::Length(0).frame(&mut out, trailers()).unwrap();
        assert_eq!(out.len(), 0);
    }

    proptest! {
        #[test]
        fn what_is_encoded_in_chunks_decodes_to_the_same(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..9), cut in 1usize..17) {
            let (mut out, mut body) = (outbox(), Outbound::Chunked);
            for piece in &pieces {
                body.frame(&mut out, Frame::data(piece.clone().into())).unwrap();
            }
            body.end(&mut out).unwrap();
            let (mut decoder, mut buffer, mut read, mut ended) = (Chunked::new(Bounds { bytes: 128, count: 3 }), BytesMut::new(), Vec::new(), false);
            for part in out.tail().to_vec().chunks(cut) {
                buffer.extend_from_slice(part);
                loop {
                    match decoder.decode(&mut buffer).unwrap() {
                        Decoded::Data(data) => read.extend_from_slice(&data),
                        Decoded::End => { ended = true; break }
                        _ => break,
                    }
                }
            }
            prop_assert!(ended && buffer.is_empty());
            prop_assert_eq!(read, pieces.concat());
        }
    }
}
