//! How long a stream waits for a client that opens no window.
//!
//! hyper asks for the next piece of a body and then waits for room, without a bound: a client that keeps its window
//! shut would hold the stream, its upstream connection and its permit for as long as the connection lives
//! (CVE-2019-9517). The task of the stream is hyper's; what it waits for is seen from inside, by the body that it
//! polls, and told to the timer around it through a slot of the polling thread, filled only while the task is polled.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use crate::codec::{Beside, First};
use crate::reject::{Reason, Reject};

/// A response body that is told when it is cut off.
pub trait Cut {
    /// The rest will not be sent.
    fn cut(self: Pin<&mut Self>, reject: Reject);
}

/// Runs the tasks of hyper's streams, and ends those whose client takes nothing for too long, and
/// all of them when the connection is cut off.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub(super) limit: Duration,
    pub(super) cut: watch::Receiver<bool>,
}

impl<F> Executor<F> for Patience
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut cut = self.cut.clone();
        // The sender outlives the connection; a cut without one is a cut.
        let cut = async move { drop(cut.wait_for(|cut| *cut).await) };
        let task = Some(Beside::new(task, cut));
        tokio::spawn(Patient { task, limit: self.limit, wait: Wait::Other, timer: None });
    }
}

pin_project_lite::pin_project! {
    /// A response body, if there is one, in pieces that the client must take one by one. `guard` lives as long as the stream.
    pub(super) struct Pieces<B: Cut, G> {
        #[pin]
        body: Option<B>,
        rest: Bytes,
        handed: u64,
        guard: G,
    }

    impl<B: Cut, G> PinnedDrop for Pieces<B, G> {
        fn drop(this: Pin<&mut Self>) {
            let reject = match WAIT.get() {
                Wait::Over(limit) => Some(Reject::new(Reason::WriteTimeout, format!("nothing taken for {limit:?}"))),
                Wait::Withdrawn => Some(Reject::new(Reason::TrustWithdrawn, "in the middle of the response")),
                Wait::Client(_) | Wait::Other => None,
            };
            if let Some((reject, body)) = reject.zip(this.project().body.as_pin_mut()) {
                body.cut(reject);
            }
        }
    }
}

impl<B: Cut, G> Pieces<B, G> {
    pub(super) fn new(body: Option<B>, guard: G) -> Self {
        Self { body, rest: Bytes::new(), handed: 0, guard }
    }
}

impl<B: Body<Data = Bytes> + Cut, G> Body for Pieces<B, G> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        WAIT.set(Wait::Other);
        if this.rest.is_empty() {
            let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
            match ready!(body.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        *this.handed = this.handed.wrapping_add(1);
        WAIT.set(Wait::Client(*this.handed));
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let (ahead, mut hint) = (
            u64::try_from(self.rest.len()).unwrap_or(u64::MAX),
            self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint),
        );
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(ahead));
        }
        hint.set_lower(hint.lower().saturating_add(ahead));
        hint
    }
}

/// What the task that is being polled waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The client, with its so manieth piece.
    Client(u64),
    /// Somebody else, who has a timer of their own.
    Other,
    /// Nothing any more: it waited this long.
    Over(Duration),
    /// Nothing any more: the connection is cut off.
    Withdrawn,
}

thread_local! {
    static WAIT: Cell<Wait> = const { Cell::new(Wait::Other) };
}

pin_project_lite::pin_project! {
    /// The task of a stream, with a timer that runs while it waits for its client, and what cuts it off.
    struct Patient<F, C> {
        #[pin]
        task: Option<Beside<F, C>>,
        limit: Duration,
        wait: Wait,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>, C: Future<Output = ()>> Future for Patient<F, C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.as_mut().project();
        let Some(task) = this.task.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        WAIT.set(*this.wait);
        let polled = task.poll(cx);
        let wait = WAIT.replace(Wait::Other);
        let moved = std::mem::replace(this.wait, wait) != wait;
        match polled {
            Poll::Ready(First::Main(())) => return Poll::Ready(()),
            Poll::Ready(First::Aside(())) => {
                self.end(Wait::Withdrawn);
                return Poll::Ready(());
            }
            Poll::Pending if wait == Wait::Other => return Poll::Pending,
            Poll::Pending => {}
        }
        let limit = *this.limit;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if moved {
            let now = Instant::now();
            timer.as_mut().reset(now.checked_add(limit).unwrap_or(now));
        }
        ready!(timer.as_mut().poll(cx));
        self.end(Wait::Over(limit));
        Poll::Ready(())
    }
}

impl<F, C> Patient<F, C> {
    /// Drops the task, which resets its stream, with `why` for the body that goes with it.
    fn end(self: Pin<&mut Self>, why: Wait) {
        WAIT.set(why);
        self.project().task.set(None);
        WAIT.set(Wait::Other);
    }
}

/// What a client must take at once: a frame of the default size (RFC 9113 §6.5.2), so that a slow client is cut only
/// below half a KiB a second.
const PIECE: usize = 16 * 1024;
