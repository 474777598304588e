//! Quotas with keys, and permits for what may happen at once.

mod spec;

pub use self::spec::{Key, LimitSpec, Rate};
