//! TLS: material from disk, server configurations, the verifier, the handshake.

mod spec;

pub use self::spec::TrustSpec;
