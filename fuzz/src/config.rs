//! A configuration file of anybody's making.

use portcullis::config::parse;
use portcullis::policy::HostTable;

/// Any text is a configuration whose rules compile, or has problems that say where and what, on one line each.
///
/// # Panics
/// When that is not so.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match parse("gate.toml", text) {
        Ok(config) => {
            assert!(!config.listeners.is_empty() && !config.hosts.is_empty());
            if let Err(problems) = HostTable::new(config.hosts) {
                panic!("what was read does not compile: {problems:?}");
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in &problems {
                assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
                assert!(problem.line <= text.lines().count() + 1, "{problem:?}");
                assert!(!problem.what.is_empty() && problem.what.len() < 2000, "{problem:?}");
                let shown = [Some(&problem.what), Some(&problem.path), problem.hint.as_ref()];
                // A terminal shows them.
                assert!(!shown.into_iter().flatten().any(|text| text.contains(char::is_control)), "{problem:?}");
            }
        }
    }
}
