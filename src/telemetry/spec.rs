//! What an operator wants of the log.

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What an operator wants of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// How lines look.
    pub format: LogFormat,
    /// `tracing` filter directives, e.g. `info` or `portcullis=debug`.
    pub level: Box<str>,
    /// Whether every request gets a line. Refusals always do.
    pub access: bool,
}
