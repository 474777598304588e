//! Quotas with keys, and permits for what may happen at once.

mod gcra;
pub mod headers;
mod limit;
mod live;
mod permits;
mod set;
mod slots;
mod spec;
mod store;
mod turns;

pub use self::gcra::Outcome;
pub use self::limit::{KeyFacts, Limit};
pub use self::permits::{ConnectionPermit, HandshakePermit, PermitBounds, Permits, RequestPermit, SilentPermit};
pub use self::set::{Limits, Standing, check_all};
pub use self::spec::{Key, LimitSpec, Rate};
pub use self::turns::{TurnBounds, Turns};
