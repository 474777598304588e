//! `portcullis check`.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::map;
use crate::app;
use crate::config::{Config, Problem};

/// What is printed when there is no problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// That there is none.
    Verdict,
    /// Every way in, as a table.
    Map,
    /// Every way in, as JSON.
    MapJson,
}

pub(super) fn check(file: &Path, show: Show) -> ExitCode {
    let snapshot = match app::check(file) {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            print_problems(&problems);
            return ExitCode::FAILURE;
        }
    };
    let text = match show {
        Show::Verdict => {
            let warnings = snapshot.config.warnings.iter().map(|warning| format!("warning: {warning}\n"));
            warnings.chain([verdict(file, &snapshot.config)]).collect()
        }
        Show::Map => map::table(&snapshot),
        Show::MapJson => format!("{:#}\n", map::json(&snapshot)),
    };
    // Whoever closed the output reads the exit code.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn verdict(file: &Path, config: &Config) -> String {
    let hosts = counted(config.hosts.len(), "host");
    let routes = counted(config.hosts.iter().map(|host| host.routes.len()).sum(), "route");
    let stores = counted(config.trust.len(), "trust store");
    format!("{}: ok ({hosts}, {routes}, {stores})\n", file.display())
}

pub(super) fn print_problems(problems: &[Problem]) {
    let mut out = io::stderr();
    for problem in problems {
        let _ = writeln!(out, "{problem}");
    }
    let _ = writeln!(out, "{}", counted(problems.len(), "problem"));
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
