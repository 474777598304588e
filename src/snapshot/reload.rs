//! From files to a running configuration: at the start, and every time they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::build::{Inputs, build};
use super::denied::Ledger;
use super::files::named;
use super::{Contents, Published, Snapshot, crl_state, diff, files};
use crate::clock::Clock;
use crate::config::{self, Config, Problem};
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
    pub(super) clock: Clock,
    telemetry: Arc<Telemetry>,
    permits: Arc<Permits>,
    published: Arc<Published>,
    /// What the gate denies itself, while it may be newer than what a reload has read. Held while a
    /// snapshot is put in force, so that none gets lost between two.
    pub(super) ledger: Mutex<Ledger>,
    /// One reload at a time.
    turn: Mutex<()>,
    /// What the last file that could be read names.
    named: Mutex<Vec<PathBuf>>,
    report: Mutex<Report>,
}

/// How the running configuration came to be, and what became of the last attempt to change it.
#[derive(Clone, Debug)]
pub struct Report {
    /// When the running configuration was loaded, since the Unix epoch.
    pub loaded: Duration,
    /// What asked for it.
    pub trigger: &'static str,
    /// What it changed, in words; nothing at the start.
    pub changes: Vec<String>,
    /// The last attempt.
    pub last: Attempt,
}

/// One attempt to load a configuration.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it ended, since the Unix epoch.
    pub at: Duration,
    /// What asked for it.
    pub trigger: &'static str,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs.
    Loaded,
    /// Every problem; what ran before runs on.
    Refused(Vec<String>),
    /// It was running already.
    Unchanged,
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
        let trigger = "start";
        let first_config = first.config.clone();
        telemetry.reload(&Reload::Loaded { generation: first.generation, trigger, changes: &[] });
        let loaded = clock.unix();
        let last = Attempt { at: loaded, trigger, outcome: Outcome::Loaded };
        let report = Mutex::new(Report { loaded, trigger, changes: Vec::new(), last });
        let published = Arc::new(Published::new(first, clock.now()));
        warn(&first_config);
        crl_state::write(&published.current());
        let named = Mutex::new(named(&first_config));
        let (turn, ledger) = (Mutex::new(()), Mutex::default());
        Self { file, seats, clock, telemetry, permits, published, ledger, turn, named, report }
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
        let mut all = files(&self.file, &self.published.current().config);
        all.extend(self.named.lock().iter().cloned());
        all
    }

    /// How the current snapshot came to be, and the last attempt to replace it.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.lock().clone()
    }

    /// Reads everything again. On any problem the running configuration stays as it is, whole.
    ///
    /// # Errors
    /// Every problem, as reported.
    pub fn reload(&self, trigger: Trigger) -> Result<(), Vec<String>> {
        let _turn = self.turn.lock();
        let trigger = trigger.name();
        let known = self.ledger.lock().changes;
        let next = self.next().and_then(|next| next.map(|next| self.settle(next, known, trigger)).transpose());
        let (outcome, result) = match next {
            Ok(None) => {
                self.ledger.lock().settled(known);
                self.telemetry.reload(&Reload::Unchanged { trigger });
                (Outcome::Unchanged, Ok(()))
            }
            Ok(Some(())) => (Outcome::Loaded, Ok(())),
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                self.telemetry.reload(&Reload::Refused { problems: &problems, trigger });
                (Outcome::Refused(problems.clone()), Err(problems))
            }
        };
        self.report.lock().last = Attempt { at: self.clock.unix(), trigger, outcome };
        result
    }

    /// Puts a snapshot that was built from files in force. What was denied since `known` changes is
    /// not in the files that it was built from.
    fn settle(&self, next: Snapshot, known: u64, trigger: &'static str) -> Result<(), Vec<Problem>> {
        let mut ledger = self.ledger.lock();
        let kept = ledger.missing(&next, known);
        let next = if kept.is_empty() { Ok(next) } else { next.denying(&kept) };
        let next = next.map_err(|what| vec![self.published.current().config.places.problem(what.join("; "))])?;
        self.swap(next, trigger);
        Ok(())
    }

    /// To be called with the ledger held.
    pub(super) fn swap(&self, mut next: Snapshot, trigger: &'static str) {
        next.generation = self.published.current().generation.saturating_add(1);
        let generation = next.generation;
        warn(&next.config);
        let changes = diff::changes(&self.published.current(), &next);
        self.permits.set_bounds(next.config.permit_bounds());
        self.published.publish(next, self.clock.now());
        crl_state::write(&self.published.current());
        self.telemetry.reload(&Reload::Loaded { generation, trigger, changes: &changes });
        let mut report = self.report.lock();
        (report.loaded, report.trigger, report.changes) = (self.clock.unix(), trigger, changes);
    }

    fn next(&self) -> Result<Option<Snapshot>, Vec<Problem>> {
        let current = self.published.current();
        let loaded = config::load(&self.file)?;
        let contents = Contents::read(&loaded);
        let config = loaded.config;
        *self.named.lock() = named(&config);
        if contents == current.contents {
            return Ok(None);
        }
        let restart = needs_restart(&current.config, &config);
        if !restart.is_empty() {
            return Err(restart);
        }
        let (seats, clock, metrics) = (self.seats, &self.clock, &self.telemetry.metrics);
        build(Inputs { config, contents, previous: Some(&current), seats, clock, metrics }).map(Some)
    }
}

fn warn(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!(target: "portcullis::reload", "{warning}");
    }
}

/// What has changed that a running process cannot change: named and refused, never half applied.
fn needs_restart(old: &Config, new: &Config) -> Vec<Problem> {
    let sockets = |config: &Config| config.listeners.iter().map(|l| (l.address, l.backlog)).collect::<Vec<_>>();
    let sizes = |config: &Config| (config.reputation.identities, config.reputation.state.clone());
    let changes = [
        ("listener", sockets(old) != sockets(new)),
        ("admin", old.admin != new.admin),
        ("log", old.log != new.log),
        ("runtime", old.runtime != new.runtime),
        ("reputation", sizes(old) != sizes(new)),
    ];
    let named = changes.into_iter().filter(|(_, changed)| *changed);
    named
        .map(|(section, _)| {
            new.places.problem(format!("[{section}] changed, which takes a restart: nothing was changed"))
        })
        .collect()
}
