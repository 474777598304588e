//! What a request is for: one host name, one path, decided here and nowhere else.
//!
//! Every bypass of a path or host rule known to us has one cause: two parties read the same bytes
//! differently. So a request is refused unless there is one reading of it, and the text that the
//! rules are matched against is the text that the upstream is sent.

mod authority;
mod path;

pub use authority::{Authority, normalize_host};
pub use path::{canonical_path, forward_target};

/// What is tolerated in a path although it is not canonical. All off by default: each of these is
/// read differently by some backend, which is how path rules are walked around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathRules {
    /// `//`: an empty segment.
    pub empty_segment: bool,
    /// `%2f`: a slash that is not a separator.
    pub encoded_slash: bool,
    /// `;`: path parameters, which some backends cut off before they match.
    pub semicolon: bool,
}
