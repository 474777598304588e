//! Instructions of each case, by callgrind, beside those that are known.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, exit};

use serde_json::{Value, json};

use crate::cases::{self, Work};

/// How often a case is run while it is counted: what is only sometimes done (a table that grows, memory that is
/// fetched from the system) is spread over them.
const ROUNDS: u64 = 200;
/// How far a count may be from the baseline's, in both directions: a gain that is not written down hides the next
/// loss. Repetitions are the same to 0.3 %, but for hash tables, whose seeds change what meets in them: up to 3.5 %.
const TOLERANCE: f64 = 0.05;
/// What a call costs at least (the loop around it), so that cases of a few instructions do not fail by one.
const GRAIN: f64 = 8.0;

/// Counts all cases, or those whose name contains an argument; fails if one is not as the baseline says.
/// With `--update`, writes the baseline.
pub fn main(arguments: &[String]) {
    let update = arguments.iter().any(|argument| argument == "--update");
    let filter = arguments.iter().skip(2).find(|argument| !argument.starts_with("--"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/hot/instructions.json");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let baseline: Value = serde_json::from_str(&text).unwrap_or_default();
    let (mut counts, mut wrong) = (BTreeMap::new(), String::new());
    for case in cases::all().iter().filter(|case| case.counted && filter.is_none_or(|part| case.name.contains(part))) {
        let count = count(&case.name);
        let known = baseline.pointer("/instructions").and_then(|known| known.get(&case.name)).and_then(Value::as_f64);
        let change = known.map_or(String::new(), |known| format!("{:+.1} %", (count / known - 1.0) * 100.0));
        println!("{:44} {count:>10.0} {change}", case.name);
        match known {
            Some(known) if (count - known).abs() <= known * TOLERANCE + GRAIN => {}
            Some(known) => writeln!(wrong, "{}: {count:.0}, was {known:.0} ({change})", case.name).expect("a string"),
            None => writeln!(wrong, "{}: is not in the baseline", case.name).expect("a string"),
        }
        counts.insert(case.name.clone(), count.round());
    }
    if update && filter.is_none() {
        let baseline = json!({ "toolchain": toolchain(), "profile": "counted", "instructions": counts });
        std::fs::write(&path, format!("{baseline:#}\n")).expect("a writable baseline");
    } else if !wrong.is_empty() {
        let (known, ours) = (baseline.get("toolchain").cloned().unwrap_or_default(), toolchain());
        println!("\nNot as in {} (made by {known}; this is {ours:?}):\n{wrong}", path.display());
        println!("If that is meant: cargo bench --profile counted --bench hot -- count --update, and say why.");
        exit(1);
    }
}

/// Instructions of one call.
fn count(name: &str) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_by_callgrind*"])
        .arg(std::env::current_exe().expect("a path"))
        .args(["count-one", name])
        // AWS-LC picks its code by processor: here always the same, the plain one.
        .env("OPENSSL_ia32cap", "0:0")
        .output()
        .expect("valgrind, which counts instructions");
    let told = String::from_utf8_lossy(&output.stderr);
    let line = told.lines().find_map(|line| line.split_once("Collected : "));
    let Some((_, collected)) = line.filter(|_| output.status.success()) else { panic!("{name}:\n{told}") };
    collected.trim().parse::<f64>().expect("a number") / ROUNDS as f64
}

/// The child that is counted.
pub fn one(name: &str) {
    let case = cases::all().into_iter().find(|case| case.name == name).expect("a case of that name");
    let mut work = (case.prepare)();
    // What is made once is not counted.
    work();
    counted_by_callgrind(&mut work);
}

#[inline(never)]
fn counted_by_callgrind(work: &mut Work) {
    for _ in 0..ROUNDS {
        work();
    }
}

fn toolchain() -> String {
    let output = Command::new("rustc").arg("--version").output().expect("rustc");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
