//! Two futures in one task, of which one has hardly ever anything to say.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

pin_project_lite::pin_project! {
    /// Runs `main`, and `aside` beside it, until one of them is over.
    ///
    /// Unlike in a `select!`, `aside` is polled only when it was woken itself: the timers and the news that a connection
    /// listens to for hours cost its requests nothing.
    #[derive(Debug)]
    pub struct Beside<M, A> {
        #[pin]
        main: M,
        #[pin]
        aside: A,
        bell: Arc<Bell>,
        // Whom the bell wakes.
        waker: Option<Waker>,
    }
}

/// Which of the two was over first.
#[derive(Debug)]
pub enum First<M, A> {
    /// The main one.
    Main(M),
    /// The other.
    Aside(A),
}

/// What `aside` is woken by.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<M, A> Beside<M, A> {
    /// Neither has begun.
    pub fn new(main: M, aside: A) -> Self {
        // As if it had rung: `aside` must be polled once to say what it waits for.
        let bell = Bell { rung: AtomicBool::new(true), task: Mutex::new(None) };
        Self { main, aside, bell: Arc::new(bell), waker: None }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = self.task.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<M: Future, A: Future> Future for Beside<M, A> {
    type Output = First<M::Output, A::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if !this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *this.waker = Some(cx.waker().clone());
            // Before the bell is looked at: who rings it later wakes the right task.
            this.bell.task.lock().clone_from(this.waker);
        }
        if this.bell.rung.load(Ordering::Relaxed) && this.bell.rung.swap(false, Ordering::AcqRel) {
            let waker = Waker::from(Arc::clone(this.bell));
            if let Poll::Ready(output) = this.aside.poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(First::Aside(output));
            }
        }
        this.main.poll(cx).map(First::Main)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "#[tokio::test] builds a runtime of its own")]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::sync::{Notify, oneshot, watch};

    use super::*;

    #[tokio::test]
    async fn the_one_aside_is_polled_only_when_it_was_woken() {
        let (polls, news) = (AtomicUsize::new(0), Notify::new());
        let mut waiting = pin!(news.notified());
        let aside = poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            waiting.as_mut().poll(cx)
        });
        let mut both = pin!(Beside::new(pending::<()>(), aside));
        for _ in 0..10 {
            assert!(both.as_mut().now_or_never().is_none());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        news.notify_one();
        assert!(matches!(both.await, First::Aside(())));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_main_one_ends_it_too_and_what_is_aside_comes_first() {
        assert!(matches!(Beside::new(ready(1), pending::<()>()).await, First::Main(1)));
        assert!(matches!(Beside::new(ready(1), ready(2)).await, First::Aside(2)));
    }

    #[tokio::test]
    async fn news_wake_the_task_that_polls_now_and_not_one_that_did_before() {
        let (tell, told) = oneshot::channel::<()>();
        let mut both = Box::pin(Beside::new(pending::<()>(), told));
        // Polled once with a waker that wakes nobody, then handed to a task.
        assert!(both.as_mut().now_or_never().is_none());
        let task = tokio::spawn(both);
        tokio::task::yield_now().await;
        tell.send(()).unwrap();
        assert!(matches!(task.await.unwrap(), First::Aside(Ok(()))));
    }

    #[tokio::test]
    async fn what_is_aside_goes_on_when_it_has_used_up_its_budget() {
        // tokio lets a task do so much in one turn, and wakes whoever wanted more by its waker: the bell.
        let aside = async {
            for _ in 0..10_000 {
                tokio::task::consume_budget().await;
            }
        };
        let both = tokio::time::timeout(Duration::from_secs(30), Beside::new(pending::<()>(), aside));
        assert!(matches!(both.await, Ok(First::Aside(()))));
    }

    #[tokio::test]
    async fn a_waker_that_outlives_both_wakes_nobody_and_breaks_nothing() {
        let (keep, kept) = (Mutex::new(None), Mutex::new(None));
        let aside = poll_fn(|cx| {
            keep.lock().replace(cx.waker().clone());
            Poll::<()>::Pending
        });
        let main = poll_fn(|cx| match kept.lock().replace(cx.waker().clone()) {
            None => Poll::Pending,
            Some(_) => Poll::Ready(()),
        });
        let mut both = Box::pin(Beside::new(main, aside));
        assert!(both.as_mut().now_or_never().is_none());
        assert!(matches!(both.await, First::Main(())));
        let waker = keep.lock().take().unwrap();
        waker.wake_by_ref();
        std::thread::spawn(|| waker.wake()).join().unwrap();
    }

    #[tokio::test]
    async fn no_news_is_lost_whenever_it_comes() {
        for _ in 0..2_000 {
            let (tell, mut told) = watch::channel(0);
            let aside = async move { told.wait_for(|last| *last == 3).await.map(|last| *last).unwrap() };
            let busy = async {
                loop {
                    tokio::task::yield_now().await;
                }
            };
            let teller = std::thread::spawn(move || {
                (1..=3).for_each(|number| {
                    tell.send_replace(number);
                });
            });
            let both = tokio::time::timeout(Duration::from_secs(30), Beside::new(busy, aside));
            assert!(matches!(both.await.unwrap(), First::Aside::<std::convert::Infallible, _>(3)));
            teller.join().unwrap();
        }
    }
}
