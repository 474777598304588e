//! Bodies as they pass through: frames, never gathered.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::reject::Reject;

/// A body that can fail only with a [`Reject`].
pub type DynBody = Pin<Box<dyn Body<Data = Bytes, Error = Reject> + Send>>;

/// A request body on its way to an upstream. Requests without one allocate nothing.
#[derive(Default)]
pub enum RequestBody {
    /// No body.
    #[default]
    Empty,
    /// Frames as they arrive.
    Stream(DynBody),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Reject;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reject>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(body) => body.size_hint(),
        }
    }
}
