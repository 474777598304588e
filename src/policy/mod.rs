//! Decisions: which host, which route, who may. Pure functions of rules and facts; deny by default.

mod authorize;
mod decide;
mod entry;
#[cfg(test)]
mod fixture;
mod glob;
mod handle;
mod host;
pub mod map;
mod matcher;
mod route;
mod rule;
pub mod spec;

pub use self::authorize::{Permit, authorize};
pub use self::decide::{Facts, decide, route};
pub use self::entry::entry;
pub use self::glob::Glob;
pub use self::handle::{Handle, NameKind, Stands};
pub use self::host::{Host, HostId, HostTable};
pub use self::matcher::Matcher;
pub use self::route::{Route, RouteId, RouteTable};
