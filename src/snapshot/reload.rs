//! From files to a running configuration: at the start, and every time they change.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::build::{Inputs, build};
use super::{Published, Snapshot};
use crate::clock::Clock;
use crate::config::{self, Config, Loaded, Problem};
use crate::identity::Digest;
use crate::limits::Permits;
use crate::telemetry::{Reload, Telemetry};

/// What asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A file changed.
    FileChange,
    /// SIGHUP.
    Signal,
}

impl Trigger {
    const fn name(self) -> &'static str {
        match self {
            Self::FileChange => "file change",
            Self::Signal => "signal",
        }
    }
}

/// Reads, checks and builds configurations, and publishes those that are whole.
#[derive(Debug)]
pub struct Reloader {
    file: PathBuf,
    seats: usize,
    clock: Clock,
    telemetry: Arc<Telemetry>,
    permits: Arc<Permits>,
    published: Arc<Published>,
    /// One reload at a time.
    turn: Mutex<()>,
    /// What the last file that could be read names.
    named: Mutex<Vec<PathBuf>>,
}

/// What a reloader works with.
#[derive(Debug)]
pub struct Parts {
    /// The configuration file.
    pub file: PathBuf,
    /// Seats that serve.
    pub seats: usize,
    /// The time.
    pub clock: Clock,
    /// Where reloads are recorded.
    pub telemetry: Arc<Telemetry>,
    /// Whose bounds follow the configuration.
    pub permits: Arc<Permits>,
}

impl Reloader {
    /// Publishes the first snapshot.
    #[must_use]
    pub fn new(parts: Parts, first: Snapshot) -> Self {
        let Parts { file, seats, clock, telemetry, permits } = parts;
        telemetry.reload(&Reload::Loaded { generation: first.generation, trigger: "start" });
        warn(&first.config);
        let named = files(&first.config);
        Self {
            file,
            seats,
            clock,
            telemetry,
            permits,
            published: Arc::new(Published::new(first)),
            turn: Mutex::new(()),
            named: Mutex::new(named),
        }
    }

    /// Where the current snapshot is.
    #[must_use]
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Every file on which the next reload depends: the configuration, what the running one names,
    /// and what a refused one names, so that the file it lacked is noticed when it comes.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut all = vec![self.file.clone()];
        all.extend(files(&self.published.current().config));
        all.extend(self.named.lock().iter().cloned());
        all
    }

    /// Reads everything again. On any problem the running configuration stays as it is, whole.
    ///
    /// # Errors
    /// Every problem, as reported.
    pub fn reload(&self, trigger: Trigger) -> Result<(), Vec<String>> {
        let _turn = self.turn.lock();
        let trigger = trigger.name();
        match self.next() {
            Ok(None) => {
                self.telemetry.reload(&Reload::Unchanged { trigger });
                Ok(())
            }
            Ok(Some(next)) => {
                let generation = next.generation;
                warn(&next.config);
                self.permits.set_bounds(next.config.permit_bounds());
                self.published.publish(next);
                self.telemetry.reload(&Reload::Loaded { generation, trigger });
                Ok(())
            }
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                self.telemetry.reload(&Reload::Refused { problems: &problems, trigger });
                Err(problems)
            }
        }
    }

    fn next(&self) -> Result<Option<Snapshot>, Vec<Problem>> {
        let current = self.published.current();
        let loaded = config::load(&self.file)?;
        let digest = digest(&loaded);
        let config = loaded.config;
        *self.named.lock() = files(&config);
        if digest == current.digest {
            return Ok(None);
        }
        let restart = needs_restart(&current.config, &config);
        if !restart.is_empty() {
            return Err(restart);
        }
        let (seats, clock, metrics) = (self.seats, &self.clock, &self.telemetry.metrics);
        build(Inputs { config, digest, previous: Some(&current), seats, clock, metrics }).map(Some)
    }
}

fn warn(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!(target: "portcullis::reload", "{warning}");
    }
}

fn files(config: &Config) -> Vec<PathBuf> {
    config.files().map(PathBuf::from).collect()
}

/// The digest of a configuration file, as it was read, and of every file it names. A file that
/// cannot be read counts as such; that it is missing is reported where it is used.
#[must_use]
pub fn digest(loaded: &Loaded) -> Digest {
    let mut hash = Context::new(&SHA256);
    hash.update(&loaded.digest.0);
    for path in loaded.config.files() {
        match read(path) {
            Ok(bytes) => {
                hash.update(&bytes.len().to_be_bytes());
                hash.update(&bytes);
            }
            Err(_) => hash.update(b"unreadable"),
        }
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(hash.finish().as_ref()) {
        *to = *from;
    }
    Digest(out)
}

/// The start of a file, which may hold a private key. No file may be as long as that, so what is
/// beyond need not be seen; and an endless one has an end.
fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    /// More than the longest file that is accepted anywhere (4 MiB).
    const MOST: u64 = 8 << 20;
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What has changed that a running process cannot change: named and refused, never half applied.
fn needs_restart(old: &Config, new: &Config) -> Vec<Problem> {
    let sockets = |config: &Config| config.listeners.iter().map(|l| (l.address, l.backlog)).collect::<Vec<_>>();
    let changes = [
        ("listener", sockets(old) != sockets(new)),
        ("admin", old.admin != new.admin),
        ("log", old.log != new.log),
        ("runtime", old.runtime != new.runtime),
    ];
    let named = changes.into_iter().filter(|(_, changed)| *changed);
    named
        .map(|(section, _)| {
            new.places.problem(format!("[{section}] changed, which takes a restart: nothing was changed"))
        })
        .collect()
}
