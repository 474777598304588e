//! What is still to come of a body.

use bytes::BytesMut;

use super::chunked::{self, Chunked, Decoded};
use super::framing::Framing;
use super::{Bounds, Wrong};

/// A body on its way in, as its connection sees it.
#[derive(Debug)]
pub enum Inbound {
    /// Complete: the next byte begins the next message.
    Done,
    /// So many bytes to come.
    Length(u64),
    /// Chunks to come.
    Chunked(Chunked),
    /// Everything until the stream ends (responses only). Its end has to be told by [`Self::stream_ended`].
    UntilClose,
    /// Malformed or cut short: no byte of the connection means anything any more.
    Failed,
}

impl Inbound {
    /// All of a body is still to come; its trailers are bounded like a head.
    pub const fn new(framing: Framing, trailers: Bounds) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::new(trailers)),
        }
    }

    /// Takes the next piece out of `buffer`.
    ///
    /// # Errors
    /// The body is malformed; it has failed from then on.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Wrong> {
        match self {
            Self::Done => Ok(Decoded::End),
            Self::Failed => Err("the body has failed before"),
            Self::UntilClose if buffer.is_empty() => Ok(Decoded::More),
            Self::UntilClose => Ok(Decoded::Data(buffer.split().freeze())),
            Self::Length(left) => {
                let data = chunked::take(buffer, left);
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(if data.is_empty() { Decoded::More } else { Decoded::Data(data) })
            }
            Self::Chunked(decoder) => {
                let piece = decoder.decode(buffer);
                match &piece {
                    Ok(Decoded::Data(_) | Decoded::More) => {}
                    Ok(Decoded::Trailers(_) | Decoded::End) => *self = Self::Done,
                    Err(_) => *self = Self::Failed,
                }
                piece
            }
        }
    }

    /// Nothing more will come.
    ///
    /// # Errors
    /// The body is cut short.
    pub fn stream_ended(&mut self) -> Result<(), Wrong> {
        match self {
            Self::Done | Self::UntilClose => {
                *self = Self::Done;
                Ok(())
            }
            _ => {
                *self = Self::Failed;
                Err("closed in the middle of the body")
            }
        }
    }

    /// Whether the body is complete.
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether nothing more is to be read: complete or failed.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }

    /// How many bytes of body are to come, if that is known.
    pub const fn left(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose | Self::Failed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 128, count: 3 };

    #[test]
    fn only_a_body_without_length_may_end_with_its_stream() {
        let mut buffer = BytesMut::from(&b"abc"[..]);
        let mut open = Inbound::UntilClose;
        assert_eq!(open.decode(&mut buffer), Ok(Decoded::Data("abc".into())));
        assert_eq!(open.decode(&mut buffer), Ok(Decoded::More));
        assert_eq!((open.stream_ended(), open.decode(&mut buffer)), (Ok(()), Ok(Decoded::End)));
        for framing in [Framing::Length(1), Framing::Chunked] {
            let mut cut = Inbound::new(framing, BOUNDS);
            assert!(cut.stream_ended().is_err() && cut.is_over() && cut.decode(&mut buffer).is_err(), "{framing:?}");
        }
    }
}
