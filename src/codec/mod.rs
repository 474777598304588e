//! HTTP/1.1 as bytes: what the side of the client and the side of the servers have in common.
//!
//! Blocks of lines ([`Scan`], [`fields`]), bodies on their way in ([`framing`], [`Inbound`]) and out ([`Outbound`]), the
//! bytes that wait for a stream ([`Outbox`]) and what comes from one ([`Intake`]). What is wrong is said as a
//! text: whose fault that is, is known to whoever reads.

mod alarm;
mod beside;
mod chunked;
pub mod fields;
pub mod framing;
mod inbound;
mod intake;
mod outbound;
mod outbox;
mod rewound;
mod scan;

pub use self::alarm::{Alarm, after, later};
pub use self::beside::{Beside, First};
pub use self::chunked::{Chunked, Decoded};
pub use self::inbound::Inbound;
pub use self::intake::{GLANCE, Intake};
pub use self::outbound::Outbound;
pub use self::outbox::Outbox;
pub use self::rewound::Rewound;
pub use self::scan::{Flaw, Scan};

/// The most that a block of fields may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In bytes.
    pub bytes: usize,
    /// In fields.
    pub count: usize,
}

/// What is wrong with bytes, for operators.
pub type Wrong = &'static str;
