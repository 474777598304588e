//! What every test needs: certificates, a gate, clients and backends, all on free ports.

mod backend;
mod client;
mod cut;
mod forge;
pub mod frames;
mod gate;
mod openssl;
mod process;
mod refusal;
mod server;
mod session;
mod talk;
mod world;

pub use backend::{Backend, Recorder};
pub use client::{Answer, Client, plain_get};
pub use cut::{cut, fragmented};
pub use forge::Forge;
pub use gate::Gate;
pub use openssl::{Tool, curl, openssl};
pub use process::{Ended, Process};
pub use refusal::Heard;
pub use server::{OK, Server, answer_all, closed_address, read_head};
pub use session::{Session, Speak};
pub use talk::{AnyBody, PROTOCOLS, Talk, data, empty, fed, full, read, with_trailers};
pub use world::{ROUTE, World, unix};
