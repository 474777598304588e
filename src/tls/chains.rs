//! Chains that have been verified lately: a fleet presents the same certificate thousands of times.
//!
//! Only the verdict on signatures, purpose and constraints is kept, which depends on the anchors
//! alone. Validity, bounds, revocation and the deny list are judged anew each time, and the proof
//! that the client holds the key (CertificateVerify) is checked by TLS in every handshake.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;

use super::trust::Proof;
use crate::identity::{Digest, Identity};

/// Chains that are remembered: two kilobytes each at most, so a few megabytes.
const MAX_CHAINS: usize = 4096;

/// A chain that holds.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) identity: Arc<Identity>,
    pub(super) proof: Arc<Proof>,
}

/// Two generations: when the young one is full it becomes the old one, and what is used again
/// moves over. A chain in use is not forgotten, and nothing is counted.
#[derive(Debug, Default)]
pub struct Chains(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Known>,
    old: HashMap<Digest, Known>,
}

impl Chains {
    /// The name of a presented chain. Certificates are hashed one by one, so that no two chains
    /// have the same bytes in a row.
    pub(super) fn name(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Digest {
        if others.is_empty() {
            return Digest::of(leaf);
        }
        let digests: Vec<u8> = std::iter::once(leaf).chain(others).flat_map(|der| Digest::of(der).0).collect();
        Digest::of(&digests)
    }

    pub(super) fn find(&self, name: &Digest) -> Option<Known> {
        let mut generations = self.0.lock();
        if let Some(known) = generations.young.get(name) {
            return Some(known.clone());
        }
        let known = generations.old.remove(name)?;
        generations.keep(*name, known.clone());
        Some(known)
    }

    pub(super) fn keep(&self, name: Digest, known: Known) {
        self.0.lock().keep(name, known);
    }
}

impl Generations {
    fn keep(&mut self, name: Digest, known: Known) {
        if self.young.len() >= MAX_CHAINS / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, known);
    }
}
