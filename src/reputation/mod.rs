//! The behaviour of a certificate: what verified clients do, and what becomes of that.
//!
//! Scores are kept for identities, addresses, networks and fingerprints, and only for what is a fact: an identity is
//! scored by who has proven to hold its key, a network by verified clients in it, an address by strangers. A [`Book`]
//! is the state; it outlives configurations. [`Rules`] are a configuration's; every function is told them, and the time.

mod abuse;
mod book;
mod client;
mod distinct;
mod entry;
mod forgery;
mod ladder;
mod moment;
mod outcome;
mod pacing;
mod rules;
mod score;
mod sketch;
mod spread;
mod subject;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vouch;

pub use self::abuse::abuse;
pub use self::book::{Arrived, Arriving, Ban, Book, Failed};
pub use self::client::{Client, Standing};
pub use self::entry::{Step, View};
pub use self::forgery::{Forgery, Known, classify};
pub use self::ladder::{Action, Ladder, MOST_RUNGS, Rung};
pub use self::moment::Moment;
pub use self::outcome::{Outcome, OutcomeClass, outcome};
pub use self::pacing::{LEAST_REQUESTS, PacingRules};
pub use self::rules::Rules;
pub use self::score::{Cause, MOST};
pub use self::spread::{Class, SpreadRules};
pub use self::subject::{Kind, Subject};
