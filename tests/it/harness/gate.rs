//! A gate in this process.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis::app::{self, Running};
use portcullis::clock::Clock;

use super::World;

/// A running gate; drained and joined when it goes.
pub struct Gate {
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub clock: Clock,
    pub config: PathBuf,
    pub running: Running,
}

impl Gate {
    /// Starts a gate with `config`, which is written into the world's folder.
    pub fn start(world: &World, config: &str) -> Self {
        Self::try_start(world, config).unwrap_or_else(|problems| panic!("{problems}\n{config}"))
    }

    /// The same, or every problem as text.
    pub fn try_start(world: &World, config: &str) -> Result<Self, String> {
        log();
        let file = world.write("gate.toml", config);
        let clock = Clock::adjustable();
        let running = app::start(file.clone(), clock.clone()).map_err(|error| match error {
            app::StartError::Config(problems) => {
                problems.iter().map(|problem| format!("{problem}\n")).collect::<String>()
            }
            error => error.to_string(),
        })?;
        Ok(Self { address: running.addresses[0], admin: running.admin, clock, config: file, running })
    }

    /// Writes another configuration and loads it.
    pub fn reload(&self, config: &str) -> Result<(), Vec<String>> {
        fs::write(&self.config, config).unwrap();
        self.running.reload()
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        super::client::plain_get(self.admin.expect("an admin listener"), "/metrics").await.text()
    }

    /// The value of a metric line that starts with `name`; 0 if there is none.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until the metric has at least this value, at most 10 s.
    pub async fn wait_for_metric(&self, name: &str, least: f64) {
        for _ in 0..1000 {
            if self.metric(name).await >= least {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} never came to {least}: {}", self.metrics().await);
    }

    /// The first log line of this gate that contains `what`, waited for.
    pub fn log_line(&self, what: &str) -> String {
        let address = self.address.to_string();
        self.find_log(|line| line.contains(what) && line.contains(&address))
    }

    /// The line of the request with this answer.
    pub async fn request_line(&self, answer: &super::Answer) -> String {
        let id = answer.header("x-request-id").to_owned();
        self.logged(move |line| line.contains(&id) && line.contains("portcullis::request")).await
    }

    /// As [`Gate::find_log`], for tests whose backend must go on meanwhile.
    pub async fn logged(&self, wanted: impl Fn(&str) -> bool) -> String {
        for _ in 0..1000 {
            if let Some(line) = LINES.0.lock().iter().find(|line| wanted(line)) {
                return line.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no such line in the log");
    }

    /// The first log line of the process for which `wanted` holds, waited for at most 10 s.
    pub fn find_log(&self, wanted: impl Fn(&str) -> bool) -> String {
        for _ in 0..1000 {
            if let Some(line) = LINES.0.lock().iter().find(|line| wanted(line)) {
                return line.clone();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no such line in the log");
    }

    /// Every log line of the process so far for which `wanted` holds.
    pub fn lines(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        LINES.0.lock().iter().filter(|line| wanted(line)).cloned().collect()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.running.drain();
        // Joined aside: a failing test must not wait for connections that it still holds itself.
    }
}

/// Every log line of the process, JSON.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

static LINES: LazyLock<Lines> = LazyLock::new(Lines::default);

fn log() {
    static STARTED: LazyLock<()> = LazyLock::new(|| {
        let builder = tracing_subscriber::fmt().json().flatten_event(true).with_writer(|| LINES.clone());
        builder.with_max_level(tracing::Level::INFO).init();
    });
    LazyLock::force(&STARTED);
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
