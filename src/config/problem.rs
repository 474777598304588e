//! What is wrong with a file, where, and what to write instead; every problem of a file at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// One thing that is wrong with a configuration file (or, among warnings, only odd).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// 1-based line; 0 when the problem is the file as a whole.
    pub line: usize,
    /// 1-based column in characters; 0 when the problem is the file as a whole.
    pub column: usize,
    /// The key, like `host[0].route[2].upstream`; empty for problems of syntax.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead, if that is known.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of the file as a whole: it cannot be read.
    pub(super) fn of_file(file: &str, what: String) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, path: String::new(), what, hint: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.what)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

/// A value that was read, or the certainty that a problem has been recorded.
pub(super) type Read<T> = Result<T, Recorded>;

/// Proof that a problem has been recorded: only [`Sink`] makes one, so that nothing is left out
/// without a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded(());

/// Where a value stands in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Bytes of the text.
    pub(super) span: Range<usize>,
    /// Its key, like `host[0].names`.
    pub(super) path: String,
}

impl Place {
    /// The place of `key` below this one, while nothing better than this span is known.
    pub(super) fn child(&self, key: &str) -> Self {
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let key = if bare { shown(key) } else { format!("\"{}\"", shown(key)) };
        let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
        Self { span: self.span.clone(), path }
    }
}

/// How certain a problem is while the file also has errors of syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The file is not TOML here.
    Syntax,
    /// Something that is there is wrong.
    Present,
    /// Something is not there: perhaps only because a line above could not be read.
    Absent,
    /// Nothing is wrong, but it cannot be meant.
    Warning,
}

struct Found {
    class: Class,
    place: Place,
    what: String,
    hint: Option<String>,
}

/// Collects the problems of one file.
pub(super) struct Sink<'a> {
    file: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    found: RefCell<Vec<Found>>,
    files: RefCell<Vec<(PathBuf, Place)>>,
    comparisons: Cell<usize>,
}

impl<'a> Sink<'a> {
    /// A sink for the problems of `text`, which is called `file`.
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Self {
            file,
            text,
            line_starts,
            found: RefCell::default(),
            files: RefCell::default(),
            comparisons: Cell::new(MAX_COMPARISONS),
        }
    }

    /// The file is not TOML at `span`.
    pub(super) fn syntax(&self, span: Option<Range<usize>>, what: &str) {
        let place = Place { span: span.unwrap_or_default(), path: String::new() };
        self.add(Class::Syntax, &place, what.to_owned(), None);
    }

    /// What stands at `place` is wrong.
    pub(super) fn wrong(&self, place: &Place, what: impl Into<String>, hint: Option<String>) -> Recorded {
        self.add(Class::Present, place, what.into(), hint);
        Recorded(())
    }

    /// Something that should be at `place` is not, or names something that is nowhere.
    pub(super) fn absent(&self, place: &Place, what: impl Into<String>, hint: Option<String>) -> Recorded {
        self.add(Class::Absent, place, what.into(), hint);
        Recorded(())
    }

    /// What stands at `place` can hardly be meant.
    pub(super) fn warn(&self, place: &Place, what: impl Into<String>) {
        self.add(Class::Warning, place, what.into(), None);
    }

    /// What stands at `place` names the file at `path`.
    pub(super) fn names_file(&self, path: PathBuf, place: &Place) {
        self.files.borrow_mut().push((path, place.clone()));
    }

    /// Every file that was named, with an empty problem at the place that names it.
    pub(super) fn named_files(&self) -> Vec<(PathBuf, Problem)> {
        let empty = |place| self.problem(Found { class: Class::Present, place, what: String::new(), hint: None });
        self.files.take().into_iter().map(|(path, place)| (path, empty(place))).collect()
    }

    /// The 1-based line of `place`.
    pub(super) fn line(&self, place: &Place) -> usize {
        self.line_starts.partition_point(|start| *start <= place.span.start)
    }

    /// The candidate that `wanted` is probably a misspelling of.
    pub(super) fn closest<'n>(&self, wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
        if wanted.len() > MAX_SUGGESTED {
            return None;
        }
        let left = self.comparisons.get();
        let mut used = 0;
        let best = names
            .take(left)
            .inspect(|_| used += 1)
            .map(|name| (strsim::osa_distance(&wanted.to_ascii_lowercase(), name), name))
            .min_by_key(|(distance, _)| *distance);
        self.comparisons.set(left - used);
        best.filter(|(distance, name)| *distance <= name.len().max(wanted.len()) / 3).map(|(_, name)| name)
    }

    /// The value and the warnings, if there is a value and no problem; otherwise the problems in
    /// the order of the file.
    pub(super) fn finish<T>(self, value: Read<T>) -> Result<(T, Vec<Problem>), Vec<Problem>> {
        let (warnings, mut found): (Vec<_>, Vec<_>) =
            self.found.take().into_iter().partition(|found| found.class == Class::Warning);
        self.drop_consequences(&mut found);
        match value {
            Ok(value) if found.is_empty() => Ok((value, self.problems(warnings))),
            _ if found.is_empty() => Err(vec![Problem::of_file(self.file, "not read to its end: a bug".to_owned())]),
            _ => Err(self.problems(found)),
        }
    }

    fn add(&self, class: Class, place: &Place, what: String, hint: Option<String>) {
        self.found.borrow_mut().push(Found { class, place: place.clone(), what, hint });
    }

    /// Beside an error of syntax, whatever may only follow from it would send the reader astray.
    fn drop_consequences(&self, found: &mut Vec<Found>) {
        let broken: BTreeSet<_> =
            found.iter().filter(|found| found.class == Class::Syntax).map(|found| self.line(&found.place)).collect();
        if broken.is_empty() {
            return;
        }
        found.retain(|found| match found.class {
            Class::Syntax => true,
            Class::Present => !found.place.span.is_empty() && !broken.contains(&self.line(&found.place)),
            Class::Absent | Class::Warning => false,
        });
    }

    fn problems(&self, mut found: Vec<Found>) -> Vec<Problem> {
        found.sort_by(|a, b| (a.place.span.start, &a.place.path).cmp(&(b.place.span.start, &b.place.path)));
        // What is read for two purposes is wrong for both.
        found.dedup_by(|b, a| (&a.place.span, &a.place.path, &a.what) == (&b.place.span, &b.place.path, &b.what));
        let more = found.len().saturating_sub(MAX_PROBLEMS);
        found.truncate(MAX_PROBLEMS);
        let mut problems: Vec<_> = found.into_iter().map(|found| self.problem(found)).collect();
        if more > 0
            && let Some(last) = problems.last_mut()
        {
            last.hint = Some(format!("{more} more problems are not shown"));
        }
        problems
    }

    fn problem(&self, Found { place, what, hint, .. }: Found) -> Problem {
        let line = self.line(&place);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..place.span.start).unwrap_or_default();
        // Bounded: a file that is one line of errors must not cost its square.
        let column = 1 + before.chars().take(MAX_COLUMN).count();
        Problem { file: self.file.to_owned(), line, column, path: place.path, what, hint }
    }
}

/// An operator's own words in a message: escaped, and no longer than a line.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Nobody reads further; what comes after is counted.
pub(super) const MAX_PROBLEMS: usize = 1000;
/// As many characters of a line as an editor's column is still of use.
const MAX_COLUMN: usize = 10_000;
/// Two lines of a terminal.
const MAX_SHOWN: usize = 160;
/// Longer than any key or name there may be.
const MAX_SUGGESTED: usize = 80;
/// Hundreds of misspellings in a file with hundreds of names; a tenth of a second.
const MAX_COMPARISONS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_its_place_its_key_and_its_hint() {
        let mut problem = Problem::of_file("a.toml", "cannot be read".to_owned());
        assert_eq!(problem.to_string(), "a.toml: cannot be read");
        problem = Problem { line: 3, column: 9, path: "host[0].trust".to_owned(), ..problem };
        problem.hint = Some("do".to_owned());
        assert_eq!(problem.to_string(), "a.toml:3:9: host[0].trust: cannot be read\n  hint: do");
    }

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let sink = Sink::new("f", "a\nöx = 1\n");
        sink.wrong(&Place { span: 4..5, path: "x".to_owned() }, "w", None);
        let problems = sink.finish(Ok(())).expect_err("a problem");
        assert_eq!((problems[0].line, problems[0].column), (2, 2));
    }

    #[test]
    fn beside_a_syntax_error_nothing_is_said_that_may_follow_from_it() {
        let sink = Sink::new("f", "a\nb\nc\n");
        let at = |start| Place { span: start..start + 1, path: "p".to_owned() };
        sink.syntax(Some(0..1), "syntax");
        sink.wrong(&at(0), "same line", None);
        sink.absent(&at(2), "missing", None);
        sink.wrong(&at(4), "certain", None);
        let whats: Vec<_> = sink.finish(Ok(())).expect_err("problems").into_iter().map(|p| p.what).collect();
        assert_eq!(whats, ["syntax", "certain"]);
    }

    #[test]
    fn a_value_that_is_missing_without_a_problem_is_still_an_error() {
        assert!(Sink::new("f", "").finish::<()>(Err(Recorded(()))).is_err());
    }

    #[test]
    fn suggestions_stop_before_they_cost_much() {
        let sink = Sink::new("f", "");
        assert_eq!(sink.closest("paymets", ["payments", "login"].into_iter()), Some("payments"));
        assert_eq!(sink.closest("zebra", ["payments", "login"].into_iter()), None);
        assert_eq!(sink.closest("Login", ["payments", "login"].into_iter()), Some("login"));
        assert!(sink.closest("x", (0..MAX_COMPARISONS).map(|_| "abcdef")).is_none());
        assert_eq!(sink.closest("login", ["login"].into_iter()), None, "the budget is spent");
    }

    #[test]
    fn the_operators_own_words_cannot_break_a_message() {
        assert_eq!(shown("a\n\u{1b}[31m\"b"), "a\\n\\u{1b}[31m\\\"b");
        assert_eq!(shown(&"x".repeat(1_000)).chars().count(), MAX_SHOWN + 1);
    }
}
