//! The counters under the permits: one for everybody, and one for each address that is connected.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many of something there are, and how many there may be.
///
/// The numbers guard no other memory. Their order matters only between who gives back and who begins to wait.
#[derive(Debug)]
pub(super) struct Gauge {
    used: AtomicU32,
    bound: AtomicU32,
    waiting: AtomicU32,
    freed: Notify,
}

/// One of those that a [`Gauge`] counts.
#[derive(Debug)]
pub(super) struct Held(Arc<Gauge>);

impl Gauge {
    pub(super) fn new(bound: u32) -> Arc<Self> {
        let (used, waiting) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { used, bound: AtomicU32::new(bound), waiting, freed: Notify::new() })
    }

    /// One more, if there is room and nobody waits for it.
    pub(super) fn hold(self: &Arc<Self>) -> Option<Held> {
        if self.waiting.load(Ordering::SeqCst) > 0 { None } else { self.take() }
    }

    /// One more as soon as there is room, in order; none if as many wait already as there may be.
    pub(super) async fn wait(self: &Arc<Self>) -> Option<Held> {
        let _waiting = Waiting::behind(self)?;
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(held) = self.take() {
                return Some(held);
            }
            freed.await;
        }
    }

    pub(super) fn set_bound(&self, bound: u32) {
        self.bound.store(bound, Ordering::SeqCst);
        self.freed.notify_waiters();
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Self>) -> Option<Held> {
        let bound = self.bound.load(Ordering::SeqCst);
        let more = |used| (used < bound).then(|| used + 1);
        self.used.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more).ok()?;
        Some(Held(Arc::clone(self)))
    }

    pub(super) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.0.freed.notify_one();
        }
    }
}

/// Somebody who waits for a [`Gauge`].
struct Waiting<'g>(&'g Gauge);

impl<'g> Waiting<'g> {
    fn behind(gauge: &'g Gauge) -> Option<Self> {
        let bound = gauge.bound.load(Ordering::Relaxed);
        let more = |waiting| (waiting < bound).then(|| waiting + 1);
        gauge.waiting.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more).ok()?;
        Some(Self(gauge))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How many connections each address has. Only addresses with a connection are here, so the bound on connections
/// bounds the memory too.
#[derive(Debug)]
pub(super) struct Addresses {
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
    bound: AtomicU32,
}

/// One connection of an address.
#[derive(Debug)]
pub(super) struct AddressPermit {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    pub(super) fn new(bound: u32) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { hasher: RandomState::new(), shards, bound: AtomicU32::new(bound) })
    }

    /// One more for this address, if it may have one.
    pub(super) fn hold(self: &Arc<Self>, address: IpAddr) -> Option<AddressPermit> {
        let bound = self.bound.load(Ordering::Relaxed);
        let mut shard = self.shard(address).lock();
        let used = shard.get(&address).copied().unwrap_or(0);
        if used >= bound {
            return None;
        }
        shard.insert(address, used + 1);
        Some(AddressPermit { addresses: Arc::clone(self), address })
    }

    pub(super) fn set_bound(&self, bound: u32) {
        self.bound.store(bound, Ordering::Relaxed);
    }

    /// How many addresses are remembered.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    #[expect(
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "the index is a remainder of the length"
    )]
    fn shard(&self, address: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        &self.shards[self.hasher.hash_one(address) as usize % SHARDS]
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut shard = self.addresses.shard(self.address).lock();
        match shard.get_mut(&self.address) {
            Some(used) if *used > 1 => *used -= 1,
            _ => drop(shard.remove(&self.address)),
        }
    }
}

/// Locks: with a core count well below it, two threads rarely want the same one.
const SHARDS: usize = 64;
