//! The reputations of the process, and what of them is on disk: who is kept out, and who is to be denied.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{DenyError, Reloader, state_file};
use crate::clock::Clock;
use crate::config::{Config, DenyRequest, Problem};
use crate::limits::Limit;
use crate::reputation::{Ban, Book, Moment};
use crate::upstream::Upstream;

/// What a rung of the ladder needs beside its rule.
#[derive(Clone, Debug)]
pub struct RungParts {
    /// The limit of `limit`.
    pub limit: Option<Arc<Limit>>,
    /// The upstream of `quarantine`, and its name.
    pub upstream: Option<(Arc<str>, Arc<Upstream>)>,
}

/// The reputations of the process: one, whatever configurations come and go.
#[derive(Debug)]
pub struct Reputation {
    /// Everybody.
    pub book: Book,
    clock: Clock,
    state: Option<PathBuf>,
    sleeping: AtomicU32,
    /// Certificates to be written into deny lists.
    denials: Mutex<Vec<DenyRequest>>,
    news: Notify,
    /// What the file has.
    kept: Mutex<String>,
}

/// A request that waits, as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Sleeper(Arc<Reputation>);

impl Reputation {
    /// The reputations as the file of this configuration says: who was kept out still is.
    ///
    /// # Errors
    /// When there is a file and it is not what the gate wrote.
    pub fn open(config: &Config, clock: &Clock) -> Result<Self, Box<Problem>> {
        let spec = &config.reputation;
        let book = Book::new(spec.identities, clock.now());
        let reputation = Self {
            book,
            clock: clock.clone(),
            state: spec.state.clone(),
            sleeping: AtomicU32::new(0),
            denials: Mutex::default(),
            news: Notify::new(),
            kept: Mutex::default(),
        };
        if let Some(path) = &spec.state {
            reputation.read(path, config).map_err(|what| {
                let hint = "put a copy of the whole file back, or remove it: then nobody is kept out";
                let problem = config.places.problem(format!("{}: {what}", path.display()));
                Box::new(Problem { hint: Some(hint.to_owned()), ..problem })
            })?;
        }
        Ok(reputation)
    }

    /// The room's time.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.book.moment(self.clock.now())
    }

    /// Room for one more request that waits.
    #[must_use]
    pub fn sleeper(self: &Arc<Self>, most: u32) -> Option<Sleeper> {
        let more = |sleeping: u32| (sleeping < most).then(|| sleeping + 1);
        self.sleeping.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Sleeper(Arc::clone(self)))
    }

    /// Requests that wait now.
    #[must_use]
    pub fn sleeping(&self) -> u32 {
        self.sleeping.load(Ordering::Relaxed)
    }

    /// Has a certificate written into its trust store's deny list, soon. Until then its rung keeps it out.
    pub fn deny(&self, request: DenyRequest) {
        let mut denials = self.denials.lock();
        if denials.len() < MOST_DENIALS {
            denials.push(request);
        }
        drop(denials);
        self.news.notify_one();
    }

    /// Somebody is kept out, or is not any more.
    pub fn bans_changed(&self) {
        self.news.notify_one();
    }

    /// Resolves when there is something to write, or when a while has passed: a rung that goes on tells nobody.
    pub async fn due(&self) {
        let _ = timeout(EVERY, self.news.notified()).await;
        // What comes at the same time is written together.
        tokio::time::sleep(TOGETHER).await;
    }

    /// Writes what there is to write. Blocks.
    pub fn keep(&self, reloader: &Reloader) {
        let denials = std::mem::take(&mut *self.denials.lock());
        for error in reloader.deny_all(denials) {
            tracing::error!(target: "portcullis::reputation", %error, "not denied; its rung keeps it out");
        }
        let Some(path) = &self.state else { return };
        let text = self.written(&reloader.published().current().config);
        let mut kept = self.kept.lock();
        if *kept == text {
            return;
        }
        match state_file::replace(path, text.as_bytes()) {
            Ok(()) => *kept = text,
            Err(error) => {
                tracing::error!(target: "portcullis::reputation", path = %path.display(), %error, "cannot be written: a restart would let in again who is kept out");
            }
        }
    }

    fn written(&self, config: &Config) -> String {
        let now = self.now();
        let mut bans = self.book.bans(now, &config.reputation.rules);
        bans.sort_by_key(|ban| ban.subject);
        let unix = self.clock.unix().as_secs();
        let until = |ban: &Ban| unix.saturating_add(ban.until.saturating_sub(now.secs()).into());
        let entries: Vec<_> = bans
            .iter()
            // To the minute: a clock that ticks between two looks is no news.
            .map(|ban| json!({ "id": ban.subject.to_string(), "action": ban.action, "until": until(ban).next_multiple_of(60) }))
            .collect();
        format!("{}\n", json!({ "entries": entries.len(), "bans": entries }))
    }

    fn read(&self, path: &Path, config: &Config) -> Result<(), String> {
        let mut text = String::new();
        match File::open(path) {
            Ok(file) => file.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| error.to_string())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let file: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let entries = file.get("bans").and_then(Value::as_array).ok_or("it has no bans")?;
        if file.get("entries").and_then(Value::as_u64) != u64::try_from(entries.len()).ok() {
            return Err("it does not have as many entries as it says: cut off or changed".to_owned());
        }
        let (now, unix) = (self.now(), self.clock.unix().as_secs());
        let mut restored = 0_usize;
        for entry in entries {
            let (ban, until) = ban(entry, now, unix).ok_or_else(|| format!("not an entry: {entry}"))?;
            if until > unix && self.book.restore(&ban, now, &config.reputation.rules) {
                restored += 1;
            }
        }
        tracing::info!(target: "portcullis::reputation", restored, "kept out as before the restart");
        *self.kept.lock() = text;
        Ok(())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.sleeping.fetch_sub(1, Ordering::Relaxed);
    }
}

fn ban(entry: &Value, now: Moment, unix: u64) -> Option<(Ban, u64)> {
    let until = entry.get("until")?.as_u64()?;
    let left = u32::try_from(until.saturating_sub(unix)).unwrap_or(u32::MAX);
    let ban = Ban {
        subject: entry.get("id")?.as_str()?.parse().ok()?,
        action: entry.get("action")?.as_str()?.into(),
        until: now.secs().saturating_add(left),
    };
    Some((ban, until))
}

impl Reloader {
    /// Denies many certificates at once: one change of each list and one reload.
    fn deny_all(&self, requests: Vec<DenyRequest>) -> Vec<DenyError> {
        let mut by_trust = BTreeMap::<Box<str>, Vec<_>>::new();
        for request in requests {
            by_trust.entry(request.trust).or_default().push(request.spec);
        }
        by_trust.into_iter().filter_map(|(trust, specs)| self.deny_each(&trust, specs).err()).collect()
    }
}

/// More would be written by the next second.
const MOST_DENIALS: usize = 10_000;
/// A million of them.
const MOST_BYTES: u64 = 128 << 20;
/// How often the ends of bans are brought up to date.
const EVERY: Duration = Duration::from_mins(1);
/// A second's bans and denials are one write and one reload.
const TOGETHER: Duration = Duration::from_millis(500);
