//! The functions that every request or every handshake calls: how long they take, and how many instructions.
//!
//! `cargo bench --bench hot` takes the time of each case. `cargo bench --profile counted --bench hot -- count`
//! counts instructions under valgrind and compares them with those of `count --update`: seconds depend
//! on the machine and its mood, instructions only on the code, the compiler and its settings.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    unreachable_pub,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod cases;
mod count;

use criterion::Criterion;

/// As in the gate, so that allocations cost what they cost there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("count") => count::main(&arguments),
        Some("count-one") => count::one(arguments.get(2).expect("the name of a case")),
        _ => time(),
    }
}

fn time() {
    let mut criterion = Criterion::default().configure_from_args();
    for case in cases::all() {
        // Set up only if it is asked for: a million keys take their time.
        let mut work = None;
        criterion.bench_function(&case.name, |bencher| {
            let work = work.get_or_insert_with(|| (case.prepare)());
            bencher.iter(work);
        });
    }
    criterion.final_summary();
}
