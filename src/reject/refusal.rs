//! One refusal: a row of the table, and what this time is said beside it.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Reason;

/// A refusal: the reason that strangers may count, and the detail that only operators read.
#[derive(Debug)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// What an operator should know: never sent to the peer, never a secret.
    pub detail: Box<str>,
    /// When it makes sense to come back (`Retry-After`), if that is known.
    pub retry_after: Option<Duration>,
    /// Fields that the answer needs beside it (`Allow`, `RateLimit`).
    pub fields: Option<Box<HeaderMap>>,
}

impl Reject {
    /// A refusal for `reason`; `detail` is for the operator.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<Box<str>>) -> Self {
        Self { reason, detail: detail.into(), retry_after: None, fields: None }
    }

    /// The same refusal with a time after which to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same refusal with a field for its answer.
    #[must_use]
    pub fn field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.get_or_insert_default().insert(name, value);
        self
    }
}

impl From<Reason> for Reject {
    fn from(reason: Reason) -> Self {
        Self::new(reason, "")
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            write!(f, "{}", self.reason)
        } else {
            write!(f, "{}: {}", self.reason, self.detail)
        }
    }
}

impl std::error::Error for Reject {}
