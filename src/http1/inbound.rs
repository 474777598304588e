//! What is still to come of a request's body.

use bytes::BytesMut;

use super::chunked::{self, Chunked, Decoded};
use super::framing::Framing;
use super::settings::Settings;
use crate::reject::{Reason, Reject};

/// The body of the request that is being answered, as the connection sees it.
#[derive(Debug)]
pub(super) enum Inbound {
    /// Complete: the next byte begins the next request.
    Done,
    /// So many bytes to come.
    Length(u64),
    /// Chunks to come.
    Chunked(Chunked),
    /// Malformed or cut short: no byte of the connection means anything any more.
    Failed,
}

impl Inbound {
    /// All of a body is still to come.
    pub(super) const fn new(framing: Framing, bounds: &Settings) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::new(bounds)),
        }
    }

    /// Takes the next piece out of `buffer`.
    ///
    /// # Errors
    /// The body is malformed; it has failed from then on.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, Reject> {
        match self {
            Self::Done => Ok(Decoded::End),
            Self::Failed => Err(Reject::new(Reason::BodyMalformed, "the body has failed before")),
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

    /// Whether the body is complete.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether nothing more is to be read: complete or failed.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }

    /// How many bytes of body are to come, if that is known.
    pub(super) const fn left(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::Failed => None,
        }
    }
}
