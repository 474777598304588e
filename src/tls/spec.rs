//! What an operator wants of a trust store.

use std::path::PathBuf;

/// Anchors and what chains to them must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustSpec {
    /// Its name in the configuration, logs and metrics.
    pub name: Box<str>,
    /// PEM files of anchors. Never empty, and never the system's roots.
    pub anchors: Vec<PathBuf>,
    /// Smallest RSA key in a chain.
    pub min_rsa_bits: u32,
    /// Most certificates a client may send.
    pub max_chain_length: usize,
    /// Most bytes of certificates a client may send.
    pub max_chain_bytes: usize,
    /// Most subject alternative names of a leaf.
    pub max_names: usize,
}
