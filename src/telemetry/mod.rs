//! Records: one log line and one set of counters per connection and per request.

mod spec;

pub use self::spec::{LogFormat, LogSpec};
