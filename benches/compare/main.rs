//! The same mTLS work done by the gate, nginx and HAProxy, in turn, and what each of them spends on it.
//!
//! `cargo bench --bench compare -- [--only h1,h2] [--rounds 5] [--seconds 2] [--out FOLDER]`; peers that are
//! not installed are left out. Every proxy is pinned to core 0 with one worker; the load and the origin
//! share core 1. The figure that means something is CPU time of the proxy per unit of work (user and
//! system, as the kernel accounts it), and only its ratios within one run.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::pedantic,
    reason = "a measuring program: it prints, and it may stop when something is not as it should be"
)]

mod drive;
mod material;
mod origin;
mod process;
mod proxies;
mod results;
mod rows;
mod run;
mod svg;
mod table;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("origin") => origin::main(),
        Some("drive") => drive::main(&arguments[1]),
        _ => run::main(&arguments),
    }
}
