//! Every file of `fuzz/corpus` keeps the promise of its target: seeds, and what fuzzing ever found.
#![expect(clippy::disallowed_methods, reason = "the bodies run on runtimes of their own")]
#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails panics, and exports nothing"
)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn every_file_of_the_corpus_keeps_the_promise_of_its_target() {
    for (name, check) in TARGETS {
        let files = files(&corpus().join(name));
        assert!(!files.is_empty(), "{name} has no seeds");
        for file in files {
            let bytes = fs::read(&file).expect("a readable seed");
            if let Err(panic) = std::panic::catch_unwind(|| check(&bytes)) {
                eprintln!("in {}", file.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn every_target_has_a_corpus_a_program_and_nothing_else_has() {
    let names: Vec<_> = TARGETS.map(|(name, _)| name.to_owned()).into();
    let stems = |folder: &str| -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
        files(&path).iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect()
    };
    assert_eq!(stems("corpus"), names);
    assert_eq!(stems("fuzz_targets"), names);
}

#[test]
fn the_corpus_stays_small() {
    let files: Vec<_> = TARGETS.iter().flat_map(|(name, _)| files(&corpus().join(name))).collect();
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
    assert!(files.len() < 300 && bytes < 1024 * 1024, "{} files, {bytes} bytes", files.len());
}
