//! Decisions: which host, which route, who may. Pure functions of rules and facts; deny by default.

pub mod spec;
