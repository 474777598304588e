//! One exchange on a connection: the request goes out, as fast as it comes and the server takes it, while the answer is
//! awaited and passes through.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body::{Body as _, Frame};

use super::head::{Head, Reader};
use super::{Http1, request};
use crate::codec::{Decoded, Inbound, Outbound, Wrong};
use crate::reject::{Reason, Reject};
use crate::upstream::stamp::Stamp;
use crate::upstream::upload::Upload;

/// What is called with every 1xx response but 101.
pub type Early<'a> = &'a (dyn Fn(StatusCode, HeaderMap) + Send + Sync);

/// A request on its way out.
pub(in super::super) struct Sending {
    upload: Upload,
    outbound: Outbound,
    stage: Stage,
    /// What the connection had taken of earlier requests.
    taken_before: u64,
}

enum Stage {
    /// There may be more frames.
    Open,
    /// The last frame is in the outbox, or further.
    Ended,
    /// The server takes no more. It may have answered nevertheless, and often has: that it takes no more is its answer.
    Refused(io::Error),
}

/// What went wrong in an exchange.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Fault {
    /// The connection ended in place of an answer, or in the middle of it.
    #[error("the connection ended {}", if *.heard { "in the middle of the answer" } else { "before an answer" })]
    Ended {
        /// Whether a byte of the answer came.
        heard: bool,
        /// Whether a byte of the request went.
        sent: bool,
        #[source]
        error: Option<io::Error>,
    },
    /// What came is no answer.
    #[error("{0}")]
    Invalid(Wrong),
    /// The request's own body broke.
    #[error(transparent)]
    Request(Reject),
}

impl Http1 {
    /// Begins with `request` to `authority`, of which the body is taken; nothing is written yet.
    pub(in super::super) fn begin(
        &mut self,
        request: &mut Request<Upload>,
        authority: &str,
        stamp: &dyn Stamp,
    ) -> Sending {
        self.reader = Reader::default();
        self.heard = false;
        let outbound = request::head(self.out.tail(), request, authority, stamp);
        let upload = mem::replace(request.body_mut(), Upload::Empty);
        let stage = if outbound.is_bodiless() { Stage::Ended } else { Stage::Open };
        Sending { upload, outbound, stage, taken_before: self.out.taken() }
    }

    /// The head of the final answer; 1xx responses before it are told to `early`. Sends meanwhile.
    pub(in super::super) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        sending: &mut Sending,
        early: Early<'_>,
    ) -> Poll<Result<Head, Fault>> {
        // Whether it waits is all the same: the answer may come before the request has gone.
        if let Poll::Ready(Err(reject)) = self.poll_send(cx, sending) {
            return Poll::Ready(Err(Fault::Request(reject)));
        }
        loop {
            match self.reader.read(&mut self.intake.buffer) {
                Ok(Some(head)) if head.is_interim() => {
                    self.reader = Reader::default();
                    early(head.status, head.headers);
                    continue;
                }
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(wrong) => return Poll::Ready(Err(Fault::Invalid(wrong))),
            }
            match ready!(self.intake.poll_glance(cx, &mut *self.io)) {
                Ok(0) => return Poll::Ready(Err(self.ended(Some(sending), None))),
                Ok(_) => self.heard = true,
                Err(error) => return Poll::Ready(Err(self.ended(Some(sending), Some(error)))),
            }
        }
    }

    /// The body of the answer is `inbound`, and behind it the server keeps the connection open if it `persists`.
    pub(in super::super) fn expect(&mut self, inbound: Inbound, persists: bool) {
        self.persists = persists && !matches!(inbound, Inbound::UntilClose);
        self.inbound = inbound;
    }

    /// The next frame of the answer's body. Sends meanwhile what is left of the request.
    pub(in super::super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        sending: &mut Option<Sending>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(request) = sending {
            match self.poll_send(cx, request) {
                Poll::Ready(Err(reject)) => return Poll::Ready(Some(Err(Fault::Request(reject)))),
                Poll::Ready(Ok(())) if self.has_sent(request) => *sending = None,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            match self.inbound.decode(&mut self.intake.buffer) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(wrong) => return Poll::Ready(Some(Err(Fault::Invalid(wrong)))),
            }
            match ready!(self.intake.poll_fill(cx, &mut *self.io, self.inbound.left())) {
                Ok(0) => match self.inbound.stream_ended() {
                    Ok(()) => return Poll::Ready(None),
                    Err(_) => return Poll::Ready(Some(Err(self.ended(sending.as_mut(), None)))),
                },
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(self.ended(sending.as_mut(), Some(error))))),
            }
        }
    }

    /// Whether the whole request has left.
    pub(in super::super) fn has_sent(&self, request: &Sending) -> bool {
        matches!(request.stage, Stage::Ended) && self.out.is_flushed()
    }

    /// Whether the answer has come to its end.
    pub(in super::super) const fn is_answered(&self) -> bool {
        self.inbound.is_done()
    }

    /// Bytes of the answer's body to come, if that is known.
    pub(in super::super) const fn left(&self) -> Option<u64> {
        self.inbound.left()
    }

    /// Sends as much as there is and the server takes. Ready when there is nothing more to do: all has been handed to the
    /// stream, or the server takes no more. Frames are gathered for large writes, and written when no more are there.
    fn poll_send(&mut self, cx: &mut Context<'_>, sending: &mut Sending) -> Poll<Result<(), Reject>> {
        loop {
            if matches!(sending.stage, Stage::Refused(_)) {
                return Poll::Ready(Ok(()));
            }
            let more = self.gather(cx, sending)?;
            let written = match more {
                More::AtOnce => self.out.poll_write(&mut *self.io, cx, 0),
                More::Later | More::Never => self.out.poll_flush(&mut *self.io, cx),
            };
            match (ready!(written), more) {
                (Err(error), _) => sending.stage = Stage::Refused(error),
                (Ok(()), More::AtOnce) => {}
                (Ok(()), More::Later) => return Poll::Pending,
                (Ok(()), More::Never) => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Moves frames of the request to the outbox, until it is full or they have to be waited for.
    fn gather(&mut self, cx: &mut Context<'_>, sending: &mut Sending) -> Result<More, Reject> {
        while matches!(sending.stage, Stage::Open) {
            if self.out.len() >= HIGH {
                return Ok(More::AtOnce);
            }
            let Poll::Ready(frame) = Pin::new(&mut sending.upload).poll_frame(cx) else { return Ok(More::Later) };
            let last = frame.is_none() || sending.upload.is_end_stream();
            if let Some(frame) = frame.transpose()? {
                sending.outbound.frame(&mut self.out, frame).map_err(malformed)?;
            }
            if last {
                sending.outbound.end(&mut self.out).map_err(malformed)?;
                sending.stage = Stage::Ended;
            }
        }
        Ok(More::Never)
    }

    fn ended(&self, sending: Option<&mut Sending>, error: Option<io::Error>) -> Fault {
        let sent = sending.as_ref().is_none_or(|sending| self.out.taken() != sending.taken_before);
        // Why it took no more tells more than that it is gone.
        let refused = sending.and_then(|sending| match mem::replace(&mut sending.stage, Stage::Ended) {
            Stage::Refused(error) => Some(error),
            Stage::Open | Stage::Ended => None,
        });
        Fault::Ended { heard: self.heard, sent, error: refused.or(error) }
    }
}

/// Whether the request has more frames.
#[derive(Clone, Copy)]
enum More {
    AtOnce,
    Later,
    Never,
}

fn malformed(wrong: Wrong) -> Reject {
    Reject::new(Reason::BodyMalformed, wrong)
}

/// Bytes that are gathered before they are written, if they are there at once; and the most of one request that is taken from
/// its client ahead of the server. As much as over HTTP/2 (see `connect`).
const HIGH: usize = 256 * 1024;
