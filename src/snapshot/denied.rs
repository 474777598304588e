//! The running configuration with another deny list, and nothing else: no file is read, so that no
//! problem of any file keeps access from being taken away.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::build::host_tls;
use super::{Snapshot, Trust};
use crate::config::{DenyState, deny_id};
use crate::policy::spec::HostSpec;
use crate::revocation::{DenyList, Source};
use crate::tls::{self, HostConfig, TrustStore};

/// What the gate itself keeps of denied certificates, by the file that it keeps them in.
pub(super) type Kept = HashMap<PathBuf, DenyState>;

/// Deny lists that were changed while the gate runs, as far as a reload may not have read them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Counts the changes.
    pub(super) changes: u64,
    /// Lists as they were written since the last reload began.
    written: Kept,
    /// Lists that are in force and in no file, for want of a file that can be used.
    unwritten: Kept,
}

impl Ledger {
    /// The list is in force and in its file.
    pub(super) fn written(&mut self, path: &Path, state: DenyState) {
        self.changes = self.changes.saturating_add(1);
        self.unwritten.remove(path);
        self.written.insert(path.to_owned(), state);
    }

    /// The list is in force only.
    pub(super) fn only_in_force(&mut self, path: &Path, state: DenyState) {
        self.changes = self.changes.saturating_add(1);
        self.unwritten.insert(path.to_owned(), state);
    }

    /// Entries that are in force and in no file.
    pub(super) fn unwritten(&self, path: &Path) -> DenyState {
        self.unwritten.get(path).cloned().unwrap_or_default()
    }

    /// A reload that began after `known` changes has found the files as they are in force.
    pub(super) fn settled(&mut self, known: u64) {
        if self.changes == known {
            self.written.clear();
        }
    }

    /// What `next` must deny although the files did not say so when a reload read them, after `known`
    /// changes.
    pub(super) fn missing(&mut self, next: &Snapshot, known: u64) -> Kept {
        self.settled(known);
        let stores = next.trust.values().map(|trust| &*trust.store);
        let missing = |store: &TrustStore| {
            let path = store.spec().deny_state.as_ref()?;
            let mut state = match (self.written.get(path), self.unwritten.get(path)) {
                (None, None) => return None,
                (Some(written), _) => written.clone(),
                (None, Some(_)) => in_force(store),
            };
            state.extend(self.unwritten(path));
            Some((path.clone(), state))
        };
        stores.filter_map(missing).collect()
    }
}

/// The entries of the gate's own in a trust store.
pub(super) fn in_force(store: &TrustStore) -> DenyState {
    let own = store.deny().specs().filter(|spec| spec.source == Source::Admin);
    own.map(|spec| (deny_id(&spec.matcher), spec.clone())).collect()
}

impl Snapshot {
    /// This snapshot with `kept` in place of the gate's own entries, in the trust stores whose file
    /// `kept` has.
    ///
    /// # Errors
    /// What is wrong with an entry, or with the list as a whole.
    pub(super) fn denying(&self, kept: &Kept) -> Result<Self, Vec<String>> {
        let mut trust = self.trust.clone();
        for of_store in trust.values_mut() {
            let state = of_store.store.spec().deny_state.as_ref().and_then(|path| kept.get(path));
            if let Some(state) = state {
                of_store.store = Arc::new(of_store.store.denying(list(of_store, state)?));
            }
        }
        let (mut hosts, mut parts) = (Vec::with_capacity(self.tls.len()), self.host_parts.clone());
        for ((spec, host), parts) in self.config.hosts.iter().zip(&self.tls).zip(&mut parts) {
            let trust = spec.trust.as_deref().and_then(|name| trust.get(name));
            parts.trust = trust.map(|trust| Arc::clone(&trust.store));
            hosts.push(self.host_under(spec, host, trust)?);
        }
        Ok(Self {
            generation: self.generation.saturating_add(1),
            contents: self.contents.of_no_files(),
            hosts: Arc::clone(&self.hosts),
            tls: hosts,
            host_parts: parts,
            route_parts: self.route_parts.clone(),
            trust,
            tickets: self.tickets.clone(),
            admin_token: self.admin_token,
            listeners: self.listeners.clone(),
            connection: self.connection,
            http1: self.http1,
            http2: self.http2,
            forwarded: self.forwarded.clone(),
            upstreams: Arc::clone(&self.upstreams),
            limits: Arc::clone(&self.limits),
            rungs: self.rungs.clone(),
            config: self.config.clone(),
        })
    }

    fn host_under(&self, spec: &HostSpec, host: &HostConfig, trust: Option<&Trust>) -> Result<HostConfig, Vec<String>> {
        let parts = host_tls(&self.config, spec, trust, self.tickets.as_ref());
        host.under(&tls::provider(), &parts).map_err(|error| vec![error.to_string()])
    }
}

/// The operator's entries, as they are in force, and these.
fn list(trust: &Trust, state: &DenyState) -> Result<DenyList, Vec<String>> {
    let operators = trust.store.deny().specs().filter(|spec| spec.source == Source::File);
    let all = operators.chain(state.values()).cloned().collect();
    DenyList::new(all).map_err(|errors| errors.into_iter().map(|(_, what)| what).collect())
}
