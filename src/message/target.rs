//! What a request is for: one host name, one path, decided here and nowhere else.

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
