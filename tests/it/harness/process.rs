//! A gate in a process of its own: argv, signals, log lines, exit code.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde_json::Value;

/// Longest wait for anything; far beyond what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program; killed when it goes.
pub struct Process {
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// Both outputs, in the order of their lines.
    pub text: String,
}

impl Process {
    /// The program with these arguments, not yet started.
    pub fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments);
        command
    }

    /// Runs the program to its end.
    pub fn ended<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Ended {
        Self::spawn(Self::command(arguments)).wait()
    }

    /// `portcullis run`, serving.
    pub fn run(config: &Path) -> Self {
        let process = Self::spawn(Self::command(["run", "--config", config.to_str().unwrap()]));
        process.address();
        process
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let output = Arc::new(Output::default());
        let out: Box<dyn Read + Send> = Box::new(child.stdout.take().unwrap());
        let err: Box<dyn Read + Send> = Box::new(child.stderr.take().unwrap());
        let readers = [out, err].map(|pipe| {
            let output = Arc::clone(&output);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines() {
                    output.lines.lock().push(line.unwrap());
                    output.grown.notify_all();
                }
            })
        });
        Self { child, output, readers: readers.into() }
    }

    /// Everything it has said so far.
    pub fn lines(&self) -> Vec<String> {
        self.output.lines.lock().clone()
    }

    /// The first line for which `wanted` holds, waited for.
    pub fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.lines_until(1, wanted).remove(0)
    }

    /// The first `count` lines for which `wanted` holds, waited for.
    pub fn lines_until(&self, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.output.lines.lock();
        loop {
            let found: Vec<_> = lines.iter().filter(|line| wanted(line)).take(count).cloned().collect();
            if found.len() == count {
                return found;
            }
            let late = self.output.grown.wait_until(&mut lines, until).timed_out();
            assert!(!late, "no such line (or too few) in:\n{}", lines.join("\n"));
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        address(&self.line(|line| line.contains("\"listening\"")))
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> SocketAddr {
        address(&self.line(|line| line.contains("\"admin: ")))
    }

    /// GET from its admin listener.
    pub async fn ask(&self, path: &str) -> super::Answer {
        super::client::plain_get(self.admin(), path).await
    }

    /// The value of a metric line that starts with `name`; 0 if there is none.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.ask("/metrics").await.text();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Sends it a signal, like `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.expect("kill(1)").success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let until = Instant::now() + PATIENCE;
        while self.alive() {
            assert!(Instant::now() < until, "it does not end:\n{}", self.lines().join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
        let code = self.child.wait().unwrap().code();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Ended { code, text: self.lines().join("\n") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(line: &str) -> SocketAddr {
    let line: Value = serde_json::from_str(line).expect("a JSON line");
    line["address"].as_str().expect("an address").parse().unwrap()
}
