//! Slots for handshakes: when all are taken, the one that has hung longest makes room.
//!
//! A handshake of an honest client is over after a few round trips; one that hangs waits for its timeout. If
//! newcomers were refused while slots are taken, whoever opens as many connections as there are slots in the time of
//! that timeout, without a byte on any of them, would keep everybody out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// So many slots.
#[derive(Debug)]
pub(super) struct Slots {
    /// How long whoever has one is left alone.
    undisturbed: Duration,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    bound: usize,
    next: u64,
    /// In the order in which they were taken.
    by_age: BTreeMap<u64, (Instant, oneshot::Sender<()>)>,
}

/// A slot that is taken as long as this lives, or until somebody else needs it more.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    revoked: oneshot::Receiver<()>,
}

impl Slots {
    /// For handshakes: each is left alone for as long as an honest one takes.
    pub(super) fn new(bound: u32) -> Arc<Self> {
        Self::undisturbed_for(UNDISTURBED, bound)
    }

    /// For those who should have said something already: the oldest always makes room. A client's first words follow
    /// its acknowledgement at once, so whoever is the oldest of thousands has nothing to say.
    pub(super) fn impatient(bound: u32) -> Arc<Self> {
        Self::undisturbed_for(Duration::ZERO, bound)
    }

    fn undisturbed_for(undisturbed: Duration, bound: u32) -> Arc<Self> {
        let bound = usize::try_from(bound).unwrap_or(usize::MAX);
        let taken = Mutex::new(Taken { bound, next: 0, by_age: BTreeMap::new() });
        Arc::new(Self { undisturbed, taken })
    }

    /// Whether there is a slot, or one that may be revoked.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let taken = self.taken.lock();
        let is_old = |(since, _): &(Instant, _)| now.saturating_duration_since(*since) >= self.undisturbed;
        taken.by_age.len() < taken.bound || taken.by_age.values().next().is_some_and(is_old)
    }

    /// A slot, if there is one, or one that is revoked for it.
    pub(super) fn take(self: &Arc<Self>, now: Instant) -> Option<Slot> {
        let mut taken = self.taken.lock();
        if taken.by_age.len() >= taken.bound {
            let oldest = taken.by_age.first_entry()?;
            if now.saturating_duration_since(oldest.get().0) < self.undisturbed {
                return None;
            }
            let (_, (_, revoke)) = oldest.remove_entry();
            // One that has just ended needs no telling.
            let _ = revoke.send(());
            if taken.by_age.len() >= taken.bound {
                return None;
            }
        }
        let number = taken.next;
        taken.next = number.wrapping_add(1);
        let (revoke, revoked) = oneshot::channel();
        taken.by_age.insert(number, (now, revoke));
        Some(Slot { slots: Arc::clone(self), number, revoked })
    }

    pub(super) fn set_bound(&self, bound: u32) {
        self.taken.lock().bound = usize::try_from(bound).unwrap_or(usize::MAX);
    }

    pub(super) fn used(&self) -> usize {
        self.taken.lock().by_age.len()
    }
}

impl Slot {
    /// Resolves when the slot is somebody else's.
    pub(super) async fn revoked(&mut self) {
        // The sender goes only by being used: it is removed by our own drop otherwise.
        let _ = (&mut self.revoked).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let removed = self.slots.taken.lock().by_age.remove(&self.number);
        drop(removed);
    }
}

/// How long a handshake is left alone: three round trips over a satellite, and the arithmetic of a small phone.
const UNDISTURBED: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn the_one_that_has_hung_longest_makes_room_but_not_at_once() {
        let clock = Clock::adjustable();
        let slots = Slots::new(2);
        let mut first = slots.take(clock.now()).unwrap();
        clock.advance(Duration::from_secs(1));
        let mut second = slots.take(clock.now()).unwrap();
        assert!(slots.take(clock.now()).is_none());
        clock.advance(Duration::from_secs(1));
        let third = slots.take(clock.now()).unwrap();
        assert!(first.revoked().now_or_never().is_some());
        assert!(second.revoked().now_or_never().is_none());
        assert!(slots.take(clock.now()).is_none());
        drop(first);
        assert_eq!(slots.used(), 2, "its slot is another's");
        drop((second, third));
        assert_eq!(slots.used(), 0);
    }

    #[test]
    fn of_those_who_should_have_spoken_the_oldest_always_makes_room() {
        let clock = Clock::adjustable();
        let slots = Slots::impatient(2);
        let mut held: Vec<_> = (0..5).map(|_| slots.take(clock.now()).unwrap()).collect();
        let revoked: Vec<_> = held.iter_mut().map(|slot| slot.revoked().now_or_never().is_some()).collect();
        assert_eq!(revoked, [true, true, true, false, false]);
        assert_eq!(slots.used(), 2);
    }

    #[test]
    fn no_slots_are_none_and_a_lower_bound_is_reached_in_time() {
        let clock = Clock::adjustable();
        assert!(Slots::new(0).take(clock.now()).is_none());
        let slots = Slots::new(3);
        let held = [(); 3].map(|()| slots.take(clock.now()).unwrap());
        slots.set_bound(1);
        clock.advance(UNDISTURBED);
        assert!(slots.take(clock.now()).is_none() && slots.take(clock.now()).is_none());
        assert!(slots.take(clock.now()).is_some());
        drop(held);
    }
}
