//! Globs over names and paths: `*` is any run without separators, `**` any run, the rest itself.
//!
//! A pattern runs as a set of states, so a match costs at most pattern × text steps whatever a
//! stranger sends; nothing backtracks.

use std::iter;

/// A compiled pattern. Case-sensitive; there is no `?` and there are no classes; `\*` is a star and
/// `\\` a backslash.
#[derive(Clone, Debug)]
pub struct Glob {
    /// What stands before the first wildcard.
    prefix: Box<str>,
    /// The first wildcard and everything after it; empty for a pattern that stands for itself only.
    rest: Box<[Token]>,
    separators: &'static [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `*`
    Run,
    /// `**`
    AnyRun,
}

impl Glob {
    /// Compiles `pattern`; `*` does not cross `separators` (ASCII bytes).
    ///
    /// # Errors
    ///
    /// The pattern is longer than 512 bytes, has more than 16 wildcards or three stars in a row, or
    /// has a `\` that escapes neither `*` nor `\`.
    pub fn new(pattern: &str, separators: &'static [u8]) -> Result<Self, String> {
        if pattern.len() > PATTERN_BYTES {
            return Err(format!("pattern longer than {PATTERN_BYTES} bytes"));
        }
        let tokens = tokenize(pattern)?;
        if tokens.iter().filter(|token| token.is_wildcard()).count() > WILDCARDS {
            return Err(format!("pattern with more than {WILDCARDS} wildcards: {pattern:?}"));
        }
        let cut = tokens.iter().position(|token| token.is_wildcard()).unwrap_or(tokens.len());
        let (prefix, rest) = tokens.split_at(cut);
        let prefix: String = prefix.iter().filter_map(|token| token.literal()).collect();
        Ok(Self { prefix: prefix.into(), rest: rest.into(), separators })
    }

    /// Whether the whole of `text` has this form.
    pub fn matches(&self, text: &str) -> bool {
        let Some(tail) = text.strip_prefix(&*self.prefix) else { return false };
        match &*self.rest {
            [] => tail.is_empty(),
            [Token::Run] => !tail.chars().any(|c| self.separates(c)),
            [Token::AnyRun] => true,
            _ => self.rest_matches(tail),
        }
    }

    /// What every text that matches begins with.
    pub(super) fn literal_prefix(&self) -> &str {
        &self.prefix
    }

    /// What every text that matches ends with.
    pub(super) fn literal_suffix(&self) -> String {
        let last = self.rest.iter().rposition(|token| token.is_wildcard());
        let Some(last) = last else { return self.prefix.to_string() };
        self.rest.iter().skip(last + 1).filter_map(|token| token.literal()).collect()
    }

    /// Whether only one text matches: [`Self::literal_prefix`].
    pub(super) fn is_literal(&self) -> bool {
        self.rest.is_empty()
    }

    fn rest_matches(&self, text: &str) -> bool {
        let mut live = States::default();
        self.enter(0, &mut live);
        for c in text.chars() {
            let mut next = States::default();
            for state in live.iter() {
                match self.rest.get(state) {
                    Some(Token::Literal(literal)) if *literal == c => self.enter(state + 1, &mut next),
                    Some(Token::Run) if !self.separates(c) => self.enter(state, &mut next),
                    Some(Token::AnyRun) => self.enter(state, &mut next),
                    _ => {}
                }
            }
            if next.is_empty() {
                return false;
            }
            live = next;
        }
        live.contains(self.rest.len())
    }

    /// A wildcard may stand for nothing, so whoever reaches it has reached what follows. Two
    /// wildcards never follow each other ([`tokenize`]), so one step is enough.
    fn enter(&self, state: usize, states: &mut States) {
        states.insert(state);
        if self.rest.get(state).is_some_and(|token| token.is_wildcard()) {
            states.insert(state + 1);
        }
    }

    fn separates(&self, c: char) -> bool {
        u8::try_from(c).is_ok_and(|byte| self.separators.contains(&byte))
    }
}

impl Token {
    fn is_wildcard(self) -> bool {
        self.literal().is_none()
    }

    fn literal(self) -> Option<char> {
        match self {
            Self::Literal(c) => Some(c),
            Self::Run | Self::AnyRun => None,
        }
    }
}

fn tokenize(pattern: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, tokens.last()) {
            ('\\', _) => match chars.next() {
                Some(escaped @ ('*' | '\\')) => tokens.push(Token::Literal(escaped)),
                _ => return Err(format!("pattern with a `\\` that escapes neither `*` nor `\\`: {pattern:?}")),
            },
            ('*', Some(Token::AnyRun)) => return Err(format!("pattern with three stars in a row: {pattern:?}")),
            ('*', Some(Token::Run)) => {
                tokens.pop();
                tokens.push(Token::AnyRun);
            }
            ('*', _) => tokens.push(Token::Run),
            _ => tokens.push(Token::Literal(c)),
        }
    }
    Ok(tokens)
}

/// A set of positions in a pattern.
#[derive(Clone, Copy, Default)]
struct States([u64; WORDS]);

impl States {
    fn insert(&mut self, state: usize) {
        if let Some(word) = self.0.get_mut(state / BITS) {
            *word |= 1 << (state % BITS);
        }
    }

    fn contains(&self, state: usize) -> bool {
        self.0.get(state / BITS).is_some_and(|word| word & (1 << (state % BITS)) != 0)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, word)| bits(*word).map(move |bit| index * BITS + bit))
    }
}

fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    iter::from_fn(move || {
        let others = word & word.checked_sub(1)?;
        let lowest = usize::try_from(word.trailing_zeros()).ok()?;
        word = others;
        Some(lowest)
    })
}

/// Twice the longest DNS name (253 bytes, RFC 1035 §2.3.4) and longer than any path worth writing by
/// hand; bounds the states.
const PATTERN_BYTES: usize = 512;
/// More than one per label or segment of anything seen in practice; keeps a pattern readable.
const WILDCARDS: usize = 16;
const BITS: usize = 64;
/// Room for a state per byte of the longest pattern and one for its end.
const WORDS: usize = PATTERN_BYTES / BITS + 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern, b"/").unwrap().matches(text)
    }

    #[test]
    fn stars_stand_for_runs_and_everything_else_for_itself() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("/a", "/a", true),
            ("/a", "/A", false),
            ("/a", "/ab", false),
            ("/a*", "/a", true),
            ("/a*", "/abc", true),
            ("/a*", "/a/b", false),
            ("/a**", "/a/b", true),
            ("*", "", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("/*/x", "/a/x", true),
            ("/*/x", "/a/b/x", false),
            ("/**/x", "/a/b/x", true),
            ("/**/x", "/x", false),
            ("/a?c", "/abc", false),
            ("/a?c", "/a?c", true),
            ("/[ab]", "/a", false),
            (r"/\*", "/*", true),
            (r"/\*", "/a", false),
            (r"/\\*", r"/\abc", true),
            (r"/*\*", "/a*", true),
            ("*ü*", "größeü", true),
            ("**a*b", "aXb/aYb", true),
            ("**a*b", "aXb/aY", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_does_not_cross_any_of_several_separators() {
        let glob = Glob::new("*@example.*", b"@.").unwrap();
        assert!(glob.matches("ann@example.org"));
        assert!(!glob.matches("ann.lee@example.org"));
        assert!(!glob.matches("ann@example.co.uk"));
    }

    #[test]
    fn patterns_that_nobody_means_are_errors() {
        for pattern in ["***", "a***b", r"\", r"a\b", &"a".repeat(513), &"*a".repeat(17)] {
            assert!(Glob::new(pattern, b"/").is_err(), "{pattern}");
        }
        assert!(Glob::new(&"*a".repeat(16), b"/").is_ok());
        assert!(matches(&"a".repeat(512), &"a".repeat(512)));
    }

    #[test]
    fn a_pattern_made_for_backtracking_ends() {
        let pattern = format!("{}{}", "**a*a".repeat(8), "a".repeat(450));
        assert!(!matches(&pattern, &format!("{}b", "a".repeat(16_384))));
    }

    /// The definition, exponential as it stands.
    fn reference(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', '*', rest @ ..] => (0..=text.len()).any(|n| reference(rest, &text[n..])),
            ['*', rest @ ..] => (0..=text.len())
                .take_while(|n| text[..*n].iter().all(|c| *c != '/'))
                .any(|n| reference(rest, &text[n..])),
            ['\\', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && reference(rest, &text[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_glob_agrees_with_the_definition(
            pattern in r"([ab/ü]|\*|\*\*|\\\*|\\\\){0,8}",
            text in r"[ab/ü*\\]{0,10}",
        ) {
            if let Ok(glob) = Glob::new(&pattern, b"/") {
                let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
                prop_assert_eq!(glob.matches(&text), reference(&p, &t), "{} {}", pattern, text);
            }
        }

        #[test]
        fn no_pattern_and_no_text_panics(pattern in ".{0,600}", text in ".{0,200}") {
            if let Ok(glob) = Glob::new(&pattern, b"/.") {
                glob.matches(&text);
            }
        }
    }
}
