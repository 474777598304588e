//! TLS with the client: material from disk, a configuration per host, the verifier, the handshake.

mod accept;
mod hello;
mod linger;
mod material;
mod presented;
mod quirks;
mod server;
mod spec;
mod stream;
mod verifier;

pub use self::accept::{Attempt, Doors, Handshaken, Protocol, Refused, handshake};
pub use self::linger::linger;
pub use self::material::{Anchors, MaterialError, anchors};
pub use self::presented::Presented;
pub use self::server::{HostConfig, HostTls, host, provider};
pub use self::spec::TrustSpec;
pub use self::stream::TlsStream;
