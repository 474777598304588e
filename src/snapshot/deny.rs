//! Denying and letting in again through the admin listener: written to the state file, and put in
//! force on top of the configuration that runs, whatever the files of the next one are like.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::denied::{Kept, in_force};
use super::{Reloader, Trust, state_file};
use crate::config::{self, Config, DenyRequest, DenyState, MAX_KEPT, Problem};
use crate::revocation::{DenySpec, Source};
use crate::tls::TrustStore;

/// An entry that was changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Its id.
    pub id: Box<str>,
    /// The trust store.
    pub trust: Box<str>,
    /// What it says, or said.
    pub spec: DenySpec,
    /// What happened to it.
    pub what: Change,
}

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It was there, with another reason, author or end.
    Replaced,
    /// It was there, the same.
    Kept,
    /// It is gone.
    Removed,
}

/// Why an entry was not changed, or is not in force.
#[derive(Debug, thiserror::Error)]
pub enum DenyError {
    /// There is no such trust store.
    #[error("there is no trust store {0:?}")]
    NoTrust(Box<str>),
    /// The trust store keeps no entries.
    #[error("trust store {0:?} keeps no entries: set deny_state in [trust.{0}] of the configuration")]
    NoState(Box<str>),
    /// There is no such entry.
    #[error("there is no entry {0:?}")]
    NoEntry(Box<str>),
    /// The entry is not the gate's.
    #[error("entry {0:?} is in the operator's deny list: remove it there")]
    OperatorsOwn(Box<str>),
    /// More than one trust store has the entry.
    #[error("entry {0:?} is in several trust stores: name one with ?trust=NAME")]
    Ambiguous(Box<str>),
    /// There are as many entries as there may be.
    #[error("the list is full: {MAX_KEPT} entries, or {MAX_LIST_BYTES} bytes")]
    Full,
    /// The file is not what the gate wrote.
    #[error("the state file cannot be used: {}", .0.join("; "))]
    Broken(Vec<String>),
    /// The file cannot be written.
    #[error("the state file cannot be written: {0}")]
    Write(io::Error),
    /// The list with it cannot be used. Nothing has changed.
    #[error("not denied: {}", .0.join("; "))]
    Unusable(Vec<String>),
    /// It is in force while the gate runs, but the state file cannot be used.
    #[error("in force, but NOT stored, and a restart would forget it: {0}")]
    NotStored(Box<DenyError>),
}

impl Reloader {
    /// The entries in force, each with its trust store's name.
    pub fn denied(&self) -> Vec<(Box<str>, DenySpec)> {
        let (snapshot, unix) = (self.published().current(), self.unix());
        let all = snapshot
            .trust
            .iter()
            .flat_map(|(name, trust)| trust.store.deny().specs().map(move |spec| (name.clone(), spec.clone())));
        let mut all: Vec<_> = all.filter(|(_, spec)| lasts(spec, unix)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Denies; when this returns, new handshakes are refused and live connections have been told.
    ///
    /// # Errors
    /// [`DenyError`].
    pub fn deny(&self, request: DenyRequest) -> Result<Changed, DenyError> {
        let DenyRequest { trust, spec } = request;
        let id = config::deny_id(&spec.matcher);
        let what = self.change(&trust, |state| {
            let what = match state.get(&id) {
                Some(known) if same(known, &spec) => Change::Kept,
                Some(_) => Change::Replaced,
                None => Change::Added,
            };
            state.insert(id.clone(), spec.clone());
            if state.len() > MAX_KEPT { Err(DenyError::Full) } else { Ok(what) }
        })?;
        Ok(Changed { id, trust, spec, what })
    }

    /// Denies several certificates of a trust store, with one reload.
    pub(super) fn deny_each(&self, trust: &str, specs: Vec<DenySpec>) -> Result<(), DenyError> {
        let change = |state: &mut DenyState| {
            state.extend(specs.into_iter().map(|spec| (config::deny_id(&spec.matcher), spec)));
            if state.len() > MAX_KEPT { Err(DenyError::Full) } else { Ok(Change::Added) }
        };
        self.change(trust, change).map(drop)
    }

    /// Takes an entry back; `trust` where several trust stores have it.
    ///
    /// # Errors
    /// [`DenyError`].
    pub fn undeny(&self, id: &str, trust: Option<&str>) -> Result<Changed, DenyError> {
        let trust = self.owner(id, trust)?;
        let mut removed = None;
        let what = self.change(&trust, |state| {
            removed = state.remove(id);
            removed.as_ref().map(|_| Change::Removed).ok_or_else(|| DenyError::NoEntry(id.into()))
        })?;
        Ok(Changed { id: id.into(), trust, spec: removed.unwrap_or_default(), what })
    }

    fn owner(&self, id: &str, trust: Option<&str>) -> Result<Box<str>, DenyError> {
        let has = |(name, spec): &(Box<str>, DenySpec)| {
            trust.is_none_or(|trust| **name == *trust) && *config::deny_id(&spec.matcher) == *id
        };
        let owners: Vec<_> = self.denied().into_iter().filter(has).collect();
        let mut ours = owners.iter().filter(|(_, spec)| spec.source == Source::Admin).map(|(name, _)| name);
        match (ours.next(), ours.next()) {
            (Some(name), None) => Ok(name.clone()),
            (Some(_), Some(_)) => Err(DenyError::Ambiguous(id.into())),
            (None, _) if owners.is_empty() => Err(DenyError::NoEntry(id.into())),
            (None, _) => Err(DenyError::OperatorsOwn(id.into())),
        }
    }

    /// Reads, changes and writes the state of a trust store, and puts it in force. One at a time.
    fn change(
        &self,
        trust: &str,
        change: impl FnOnce(&mut DenyState) -> Result<Change, DenyError>,
    ) -> Result<Change, DenyError> {
        let mut ledger = self.ledger.lock();
        let snapshot = self.published().current();
        let Trust { store, .. } = snapshot.trust.get(trust).ok_or_else(|| DenyError::NoTrust(trust.into()))?;
        let path = store.spec().deny_state.as_deref().ok_or_else(|| DenyError::NoState(trust.into()))?;
        let (mut state, broken) = match state(&snapshot.config, path, Some(store)) {
            Ok(state) => (state, None),
            // Without the file it is still known what is in force.
            Err(problems) => (in_force(store), Some(problems.iter().map(ToString::to_string).collect::<Vec<_>>())),
        };
        state.extend(ledger.unwritten(path));
        let unix = self.unix();
        state.retain(|_, spec| lasts(spec, unix));
        let what = change(&mut state)?;
        let text = config::deny_state_toml(&state);
        if text.len() > MAX_LIST_BYTES {
            return Err(DenyError::Full);
        }
        let mut next =
            snapshot.denying(&Kept::from([(path.to_owned(), state.clone())])).map_err(DenyError::Unusable)?;
        let stored = match broken {
            // It is not written over: it may be all that somebody can mend the list with.
            Some(problems) => Err(DenyError::Broken(problems)),
            None => state_file::replace(path, text.as_bytes()).map_err(DenyError::Write),
        };
        match stored {
            Ok(()) => {
                // What a look at the files finds now is in force; anything else that it finds is not ours.
                next.contents = snapshot.contents.with(path, text.as_bytes());
                ledger.written(path, state);
            }
            // Letting somebody in again can wait for the file; keeping somebody out cannot.
            Err(error) if what == Change::Removed => return Err(error),
            Err(_) => ledger.only_in_force(path, state),
        }
        self.swap(next, "admin");
        stored.map(|()| what).map_err(|error| DenyError::NotStored(Box::new(error)))
    }

    fn unix(&self) -> i64 {
        i64::try_from(self.clock.unix().as_secs()).unwrap_or(i64::MAX)
    }
}

/// The state in the file at `path`. There is none before the first entry; but once there were
/// entries in force (`before`), a file that is gone does not let anybody in again.
pub(super) fn state(config: &Config, path: &Path, before: Option<&TrustStore>) -> Result<DenyState, Vec<Problem>> {
    let wrong = |what: &str| vec![config.places.problem_with(path, what, "put a copy of the whole file back")];
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let kept = before.is_some_and(|store| store.deny().specs().any(|spec| spec.source == Source::Admin));
            return if kept { Err(wrong("gone, with entries that are in force")) } else { Ok(DenyState::new()) };
        }
        Err(error) => return Err(wrong(&error.to_string())),
    };
    config::parse_deny_state(&path.display().to_string(), &text)
}

/// A deny list, of a size that one may have.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {MAX_LIST_BYTES} bytes"));
    let mut text = String::new();
    let most = u64::try_from(MAX_LIST_BYTES).unwrap_or(u64::MAX);
    let file = fs::File::open(path)?;
    // What says so itself is not read at all.
    if file.metadata()?.len() > most {
        return Err(too_large());
    }
    file.take(most.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() > MAX_LIST_BYTES { Err(too_large()) } else { Ok(text) }
}

fn lasts(spec: &DenySpec, unix: i64) -> bool {
    spec.expires.is_none_or(|expires| unix < expires)
}

fn same(a: &DenySpec, b: &DenySpec) -> bool {
    (&a.reason, &a.author, a.expires) == (&b.reason, &b.author, b.expires)
}

/// 100,000 entries of 640 bytes.
const MAX_LIST_BYTES: usize = 64 << 20;
