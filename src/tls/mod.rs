//! TLS with the client: material from disk, a configuration per host, the verifier, the handshake.

mod accept;
mod chains;
mod crl;
mod drive;
mod hello;
mod linger;
mod material;
mod outgoing;
mod presented;
mod quirks;
mod record;
mod rekey;
mod server;
mod spec;
mod stack;
mod stream;
mod tickets;
mod trust;
mod verifier;

pub use self::accept::{
    Attempt, Doors, FirstLook, Greeted, Handshaken, Protocol, Refused, Verified, conclude, greet, handshake,
};
pub use self::chains::Chains;
pub use self::crl::{LoadedCrls, revocation_lists};
pub use self::linger::linger;
pub use self::material::{Anchor, Anchors, MaterialError, anchors};
pub use self::presented::Presented;
pub use self::server::{HostConfig, HostTls, Resumption, host, provider};
pub use self::spec::{AnchorSpec, CrlDepth, CrlExpired, CrlMissing, IdentityClass, StackMode, StackSpec, TrustSpec};
pub use self::stream::TlsStream;
pub use self::tickets::{KEY_BYTES, ResumptionSpec, TicketKeys};
pub use self::trust::{Ends, Proof, TrustStore};

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "`tokio::test` builds the test's own runtime")]
mod tests;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "`tokio::test` builds the test's own runtime")]
mod record_tests;
