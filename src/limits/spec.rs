//! What an operator wants of a limit.

use std::num::NonZeroU32;
use std::time::Duration;

/// One component of what requests are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The peer's address.
    Address,
    /// Everything together: one counter.
    All,
    /// The client's software: JA4 in its stable form, and over HTTP/2 that fingerprint too. Those without one are counted together.
    Fingerprint,
    /// The host entry.
    Host,
    /// The verified certificate (its SHA-256 fingerprint); a connection without one is counted by its address prefix.
    Identity,
    /// The peer's network, as wide as `prefix_v4` / `prefix_v6` say.
    Prefix,
    /// The route.
    Route,
}

/// So many per so long, as GCRA spaces them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// Per how long.
    pub per: Duration,
}

/// A named limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimitSpec {
    /// Its name in the configuration, the `RateLimit` fields, logs and metrics.
    pub name: Box<str>,
    /// What is counted together: requests that agree in every component. Never empty.
    pub key: Vec<Key>,
    /// The sustained rate.
    pub rate: Rate,
    /// How many may come at once.
    pub burst: NonZeroU32,
    /// Prefix length of an IPv4 network for [`Key::Prefix`], 0 to 32.
    pub prefix_v4: u8,
    /// Prefix length of an IPv6 network for [`Key::Prefix`], 0 to 128.
    pub prefix_v6: u8,
    /// How many distinct keys are remembered; fixes the memory (16 bytes each).
    pub max_keys: usize,
}
