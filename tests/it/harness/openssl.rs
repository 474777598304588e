//! Other people's clients, run as programs: they say what our own client library refuses to say.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a program said.
#[derive(Debug)]
pub struct Tool {
    pub success: bool,
    /// Standard output and standard error.
    pub said: String,
}

/// Runs the `openssl` program in `dir`, with `input` as its standard input.
pub async fn openssl(dir: &Path, args: &[&str], input: &[u8]) -> Tool {
    run("openssl", dir, args, input).await
}

/// Runs the `curl` program in `dir`.
pub async fn curl(dir: &Path, args: &[&str]) -> Tool {
    run("curl", dir, args, b"").await
}

async fn run(program: &'static str, dir: &Path, args: &[&str], input: &[u8]) -> Tool {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_vec();
    let work = move || {
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("these tests need the program `{program}` (Debian: apt-get install {program}): {error}")
        });
        // A program that does not read to the end has its reasons.
        let _ = child.stdin.take().unwrap().write_all(&input);
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        Tool { success: output.status.success(), said: String::from_utf8_lossy(&said).into_owned() }
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}
