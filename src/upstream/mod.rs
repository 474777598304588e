//! The backend's side: groups of servers, their health, their pooled connections.
//!
//! A request enters through [`Upstream::send`] and nowhere else: `group` picks a server (`balance`,
//! `health`), `pool` finds or `connect` makes a connection, `form` gives the request the shape that
//! the connection speaks, `send` waits for the answer and `response` carries its body. `http1` speaks HTTP/1.1 itself; hyper
//! speaks HTTP/2.

mod balance;
mod connect;
mod fault;
mod form;
mod group;
mod health;
mod http1;
mod http2;
mod material;
mod pool;
mod response;
mod send;
mod server;
mod spec;
mod stamp;
mod tls;
mod upload;
mod upstreams;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "each #[tokio::test] builds its own runtime")]
mod tests;

pub use self::group::{ServerStatus, Upstream};
pub use self::http1::{Early, Heard, Io, Tunnel, ask};
pub use self::material::BuildError;
pub use self::response::UpstreamBody;
pub use self::spec::{Balance, ClientCertificate, ServerSpec, Timeouts, TlsSpec, UpstreamSpec, Via};
pub use self::stamp::Stamp;
pub use self::upstreams::Upstreams;
