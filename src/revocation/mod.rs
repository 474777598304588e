//! What was taken away: revocation lists and the operator's deny list, as facts to look up.
//!
//! Pure: bytes in, look-ups out. A list's signature is verified once, where it is loaded (`tls`);
//! a handshake or a request only looks serial numbers up.

mod crl;
mod deny;
mod index;
mod mark;
mod serials;

pub use self::crl::{Crl, CrlError, Unverified};
pub use self::deny::{DenyList, DenySpec, Source};
pub use self::mark::Mark;
pub use self::serials::SerialSet;
