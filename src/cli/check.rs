//! `portcullis check`.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::app;
use crate::config::Problem;

pub(super) fn check(file: &Path) -> ExitCode {
    let name = file.display().to_string();
    match app::check(file) {
        Ok(config) => {
            let mut out = io::stdout();
            // Whoever closed the output reads the exit code.
            for warning in &config.warnings {
                let _ = writeln!(out, "warning: {warning}");
            }
            let (hosts, routes) =
                (config.hosts.len(), config.hosts.iter().map(|host| host.routes.len()).sum::<usize>());
            let (hosts, routes) = (counted(hosts, "host"), counted(routes, "route"));
            let stores = counted(config.trust.len(), "trust store");
            let _ = writeln!(out, "{name}: ok ({hosts}, {routes}, {stores})");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            print_problems(&problems);
            ExitCode::FAILURE
        }
    }
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
