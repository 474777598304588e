//! What an operator wants of a trust store.

use std::path::PathBuf;
use std::time::Duration;

use crate::fingerprint::Ja4Pattern;

/// Anchors and what chains to them must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustSpec {
    /// Its name in the configuration, logs and metrics.
    pub name: Box<str>,
    /// Its anchors. Never empty, and never the system's roots.
    pub anchors: Vec<AnchorSpec>,
    /// Smallest RSA key in a chain.
    pub min_rsa_bits: u32,
    /// Most certificates a client may send.
    pub max_chain_length: usize,
    /// Most bytes of certificates a client may send.
    pub max_chain_bytes: usize,
    /// Most subject alternative names of a leaf.
    pub max_names: usize,
    /// Revocation lists: PEM or DER files, or folders of them.
    pub crl: Vec<PathBuf>,
    /// PEM certificates of intermediate CAs whose revocation lists are among them; the anchors'
    /// need none.
    pub crl_issuers: Vec<PathBuf>,
    /// Which certificates of a chain are looked up.
    pub crl_depth: CrlDepth,
    /// What a list past its nextUpdate is worth.
    pub crl_expired: CrlExpired,
    /// What becomes of certificates whose issuer has no list.
    pub crl_missing: CrlMissing,
    /// Where the gate keeps which list of each issuer was the newest.
    pub crl_state: Option<PathBuf>,
    /// The deny list's file.
    pub deny: Option<PathBuf>,
    /// The file of the deny list that the gate keeps itself.
    pub deny_state: Option<PathBuf>,
    /// Which software may show its certificates.
    pub stack: StackSpec,
    /// How many clients one certificate is meant for.
    pub identity: IdentityClass,
}

impl TrustSpec {
    /// These anchors, with the bounds that the configuration has by default and without lists.
    #[must_use]
    pub fn new(name: &str, anchors: Vec<PathBuf>) -> Self {
        Self {
            name: name.into(),
            anchors: anchors.into_iter().map(|file| AnchorSpec { file, not_after: None }).collect(),
            min_rsa_bits: 2048,
            max_chain_length: 4,
            max_chain_bytes: 32 * 1024,
            max_names: 64,
            crl: Vec::new(),
            crl_issuers: Vec::new(),
            crl_depth: CrlDepth::default(),
            crl_expired: CrlExpired::default(),
            crl_missing: CrlMissing::default(),
            crl_state: None,
            deny: None,
            deny_state: None,
            stack: StackSpec::default(),
            identity: IdentityClass::default(),
        }
    }
}

/// Which client software may show the certificates of a trust store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackSpec {
    /// What becomes of others.
    pub mode: StackMode,
    /// Which may; never empty where that matters.
    pub allow: Vec<Ja4Pattern>,
    /// Where what was learned is written; present where that is.
    pub learned: Option<PathBuf>,
}

/// What becomes of client software that may not show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StackMode {
    /// It is refused, and its live connections are cut.
    Enforce,
    /// It is welcome, and learned.
    Learn,
    /// It is welcome.
    #[default]
    Off,
    /// It is welcome, but counted and logged.
    Shadow,
}

/// A file of anchors, and how long they are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorSpec {
    /// PEM certificates.
    pub file: PathBuf,
    /// When they end as anchors (inclusive), Unix seconds; `None`: with their own notAfter.
    pub not_after: Option<i64>,
}

/// How many clients one certificate is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityClass {
    /// One.
    #[default]
    Device,
    /// Any number, such as all that have one build of an app.
    Shared,
}

/// Which certificates of a chain are looked up in revocation lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrlDepth {
    /// All below the anchor.
    #[default]
    Chain,
    /// The client's own.
    Leaf,
}

/// What a revocation list past its nextUpdate is worth. What it revokes stays revoked in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrlExpired {
    /// As good as new for so long, then nothing.
    Grace(Duration),
    /// Nothing: the status of its issuer's certificates is unknown, and unknown is refused.
    #[default]
    Reject,
    /// As good as new, whatever its age; metrics and logs tell.
    Warn,
}

impl CrlExpired {
    /// Until when (inclusive, Unix seconds) a list that is due at `next_update` counts; `None`: for ever.
    #[must_use]
    pub fn ends(self, next_update: i64) -> Option<i64> {
        match self {
            Self::Grace(grace) => Some(next_update.saturating_add(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX))),
            Self::Reject => Some(next_update),
            Self::Warn => None,
        }
    }
}

/// What becomes of certificates whose issuer has no revocation list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrlMissing {
    /// Accepted: a list of one CA does not lock out the clients of another.
    #[default]
    Allow,
    /// Refused.
    Reject,
}
