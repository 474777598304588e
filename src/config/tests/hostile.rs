//! Whatever a file holds, reading it ends with a configuration or with problems that have a place.

use proptest::prelude::*;

use super::super::example_toml;
use super::super::problem::MAX_PROBLEMS;
use super::{BASE, parse};

fn read_to_an_end(text: &str) {
    if let Err(problems) = parse("c.toml", text) {
        assert!(!problems.is_empty());
        for problem in &problems {
            assert!(problem.line >= 1 && problem.column >= 1, "{problem}");
            assert!(problem.line <= text.lines().count() + 1, "{problem}");
            assert!(!problem.what.is_empty() && problem.what.len() < 2000, "{problem}");
        }
    }
}

#[test]
fn the_example_without_any_one_line_is_read_to_an_end() {
    let text = example_toml();
    for number in 0..text.lines().count() {
        let rest: Vec<_> = text.lines().enumerate().filter(|(at, _)| *at != number).map(|(_, line)| line).collect();
        read_to_an_end(&rest.join("\n"));
    }
}

#[test]
fn a_file_cut_anywhere_is_read_to_an_end() {
    for at in 0..BASE.len() {
        let (head, tail) = BASE.split_at(at);
        read_to_an_end(head);
        read_to_an_end(tail);
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_stack_overflow() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("[[host]]\nnames = {}{}", "[".repeat(79), "]".repeat(79)),
    ] {
        assert!(parse("c.toml", &text).is_err());
    }
}

#[test]
fn a_file_of_nothing_but_errors_is_cut_short() {
    let unknown: Vec<_> = (0..5000).map(|at| format!("k{at} = 1")).collect();
    for text in ["=\n".repeat(5000), "x".repeat(5000), "[= ".repeat(5000)] {
        assert!(parse("c.toml", &text).expect_err("errors").len() <= MAX_PROBLEMS);
    }
    let problems = parse("c.toml", &unknown.join("\n")).expect_err("errors");
    let hint = problems.last().and_then(|last| last.hint.as_deref());
    assert_eq!((problems.len(), hint), (MAX_PROBLEMS, Some("4002 more problems are not shown")));
}

#[test]
fn long_keys_and_values_do_not_make_long_messages() {
    read_to_an_end(&format!("{BASE}\n{} = 1", "k".repeat(100_000)));
    read_to_an_end(&BASE.replace("any-verified", &"v".repeat(100_000)));
    read_to_an_end(&BASE.replace("[trust.mobile]", &format!("[trust.\"{}\"]", "t".repeat(100_000))));
}

/// Pieces of files, right and wrong.
fn piece() -> impl Strategy<Value = String> {
    let pieces: Vec<String> = example_toml()
        .lines()
        .flat_map(|line| [line.to_owned(), line.trim_start_matches("# ").to_owned()])
        .chain(
            [
                "[",
                "]",
                "\"",
                "'''",
                "{",
                "}",
                "=",
                "1",
                "-1",
                "\"*\"",
                "[[host]]",
                "\u{0}",
                "é",
                "0s",
                "a.b.c = {}",
                "nan",
            ]
            .map(str::to_owned),
        )
        .collect();
    prop::sample::select(pieces)
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        read_to_an_end(&text);
    }

    #[test]
    fn no_mixture_of_right_and_wrong_lines_makes_the_reader_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        read_to_an_end(&pieces.join("\n"));
    }

    #[test]
    fn no_mutation_of_a_right_file_makes_the_reader_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0_usize..4), 1..8),
    ) {
        let mut chars: Vec<char> = BASE.chars().collect();
        for (index, new, drop) in edits {
            let at = index.index(chars.len());
            let end = (at + drop).min(chars.len());
            chars.splice(at..end, [new]);
        }
        read_to_an_end(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn a_value_of_any_type_in_any_place_is_read_to_an_end(line in any::<prop::sample::Index>(), value in 0_usize..9) {
        let text = example_toml();
        let values = ["1", "-1", "\"\"", "\"x\"", "true", "[]", "{}", "[[1], {}]", "1979-05-27T07:32:00Z"];
        let mut lines: Vec<String> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let at = line.index(lines.len());
        if let Some((key, _)) = lines[at].clone().split_once(" = ") {
            lines[at] = format!("{key} = {}", values[value]);
        }
        read_to_an_end(&lines.join("\n"));
    }
}
