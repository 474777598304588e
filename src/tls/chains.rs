//! Chains that have been verified lately: a fleet presents the same certificate thousands of times.
//!
//! Only the verdict on signatures, purpose and constraints is kept, which depends on the anchors
//! alone. Validity, bounds, revocation and the deny list are judged anew each time, and the proof
//! that the client holds the key (CertificateVerify) is checked by TLS in every handshake.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::trust::Proof;
use crate::identity::{Digest, Identity};
use crate::memory::Recent;

/// Chains that are remembered: two kilobytes each at most, so a few megabytes.
const MAX_CHAINS: usize = 4096;

/// A chain that holds.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) identity: Arc<Identity>,
    pub(super) proof: Arc<Proof>,
}

/// The chains of one trust store that were verified lately.
#[derive(Debug)]
pub struct Chains(Recent<Digest, Known>);

impl Default for Chains {
    fn default() -> Self {
        Self(Recent::new(MAX_CHAINS))
    }
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
        self.0.find(name)
    }

    pub(super) fn keep(&self, name: Digest, known: Known) {
        self.0.keep(name, known);
    }
}
