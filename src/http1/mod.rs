//! HTTP/1.1 with the client, read strictly: what two programs could read in two ways is answered with 400, recorded
//! with its reason, and nothing behind it on the connection is looked at.
//!
//! `head`, `terms` and `encode` are pure, on top of what `codec` knows of both sides; `wire` is the stream that the
//! connection's loop shares with a request body; `connection`, `response` and `ending` are the loop.

mod body;
mod connection;
mod date;
mod encode;
mod ending;
mod handler;
mod head;
mod reading;
mod response;
mod settings;
mod stop;
mod terms;
#[cfg(test)]
mod tests;
mod wire;

pub use self::connection::serve;
pub use self::handler::{Answer, EarlyResponses, Ended, Handler, Seen};
pub use self::settings::Settings;
