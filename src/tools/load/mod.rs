//! `portcullis load`: a load generator that brings client certificates.
//!
//! [`start`] runs a [`Plan`] on threads of its own and returns at once; [`Running::join`] has the [`Outcome`]. Each
//! thread drives its share of the *lanes*: a lane has one connection at a time and makes another when that ends. What a
//! lane does is called a *unit*: a request, or a connection with one request. Nothing is shared between threads but the
//! number of the next unit.

mod connect;
mod cpu;
mod engine;
mod failure;
mod http1;
mod http2;
mod identities;
mod idle;
mod lane;
mod outcome;
mod pace;
mod page;
mod plan;
mod stream;
mod table;
mod tally;
mod target;
mod timer;
mod websocket;

pub(in crate::tools) use self::connect::{connect, presenting};
pub use self::engine::{Live, Running, StartError, start};
pub use self::failure::{Failure, Phase};
pub use self::identities::{Identities, IdentityError, Mint, read_password};
pub use self::outcome::{Outcome, Quantiles, Second};
pub use self::pace::Pace;
pub use self::plan::{Expected, Plan, Protocol, Work};
pub use self::target::{Target, TargetError};
