//! Tooling around the gate: a development PKI, a backend that answers with what it got, a demonstration, a load generator, a
//! rehearsal.

pub mod demo;
pub mod echo;
pub mod load;
pub mod pki;
pub mod rehearsal;
