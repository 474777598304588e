//! Where in the configuration file a problem is told that only shows later: in a file that it
//! names, or in how its parts fit together.

use std::path::{Path, PathBuf};

use super::{Config, Problem};
use crate::limits::PermitBounds;

/// The file and the places in it that name other files.
#[derive(Clone, Debug, Default)]
pub struct Places {
    file: String,
    files: Vec<(PathBuf, Problem)>,
}

impl Places {
    pub(super) fn new(file: &str, files: Vec<(PathBuf, Problem)>) -> Self {
        Self { file: file.to_owned(), files }
    }

    /// A problem of the file as a whole.
    #[must_use]
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        Problem::of_file(&self.file, what.into())
    }

    /// A problem with what the file at `path` holds, at the place that names it.
    #[must_use]
    pub fn problem_with(&self, path: &Path, what: &str, hint: &str) -> Problem {
        let place = self.files.iter().find(|(file, _)| file == path).map(|(_, place)| place.clone());
        let what = format!("{}: {what}", path.display());
        let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
        Problem { what, hint, ..place.unwrap_or_else(|| self.problem(String::new())) }
    }
}

impl Config {
    /// Every file that the configuration names and that counts while it runs: when one changes,
    /// everything is read again.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        // Written when a configuration is in force, and read at the next start.
        let notes = |path: &Path| self.trust.iter().any(|trust| trust.crl_state.as_deref() == Some(path));
        self.places.files.iter().map(|(path, _)| &**path).filter(move |path| !notes(path))
    }

    /// The bounds on what may happen at once.
    #[must_use]
    pub fn permit_bounds(&self) -> PermitBounds {
        PermitBounds {
            per_address: self.connection.per_address,
            max_connections: self.connection.max,
            silent: self.connection.silent,
            handshakes_per_address: self.connection.handshakes_per_address,
            handshakes: self.connection.handshakes,
            requests_in_flight: self.requests_in_flight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn a_problem_in_a_named_file_is_told_where_it_is_named() {
        let text = include_str!("../../config/minimal.toml");
        let config = parse("etc/gate.toml", text).expect("ships");
        let (path, _) = config.places.files.first().expect("a file is named").clone();
        let problem = config.places.problem_with(&path, "empty", "fill it");
        assert!(problem.line > 1 && problem.column > 1, "{problem:?}");
        assert!(problem.to_string().contains(&format!("{}: empty\n  hint: fill it", path.display())));
        let stranger = config.places.problem_with(Path::new("/other"), "empty", "");
        assert_eq!(stranger.to_string(), "etc/gate.toml: /other: empty");
    }
}
