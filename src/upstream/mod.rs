//! The backend's side: groups of servers, their health, their pooled connections.

mod spec;

pub use self::spec::{Balance, ClientCertificate, ServerSpec, Timeouts, TlsSpec, UpstreamSpec, Via};
