//! Sockets: listening, and the PROXY protocol header that may come before everything else.

pub mod listen;
pub mod proxy_protocol;

use std::net::SocketAddr;

use ipnet::IpNet;

/// What an operator wants of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Where to listen; also its name in logs and metrics.
    pub address: SocketAddr,
    /// Who must send a PROXY protocol header (v1 or v2) first; empty: nobody does, and one that is sent is not TLS.
    pub proxy_protocol_from: Vec<IpNet>,
    /// The host that serves clients without a server name; `None` refuses them.
    pub default_host: Option<Box<str>>,
    /// The kernel's queue of accepted connections.
    pub backlog: u32,
}
