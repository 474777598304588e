//! All groups, built from what the operator wants and carried over a reload.

use std::collections::HashMap;
use std::sync::Arc;

use super::group::Upstream;
use super::material::{BuildError, Files, Problem};
use super::server::Server;
use super::spec::{ServerSpec, UpstreamSpec, Via};
use super::tls::{Client, Connector};
use crate::clock::Clock;

/// The groups of one configuration.
#[derive(Debug, Default)]
pub struct Upstreams {
    groups: Vec<Arc<Upstream>>,
    names: HashMap<Box<str>, usize>,
}

impl Upstreams {
    /// Builds the groups that `specs` describe, for `seats` workers. A group of `carry` of which neither
    /// the description nor a byte of its TLS files has changed goes on as it is: health, requests in
    /// flight and open connections.
    ///
    /// # Errors
    /// All that is wrong, each with the upstream, the file and what to do.
    pub fn build(
        specs: &[UpstreamSpec],
        seats: usize,
        clock: &Clock,
        carry: Option<&Self>,
    ) -> Result<Self, Vec<BuildError>> {
        let mut built = Self::default();
        let mut errors = Vec::new();
        for spec in specs {
            if built.names.insert(spec.name.clone(), built.groups.len()).is_some() {
                errors.push(error(spec, None, "stands twice: give each upstream a name of its own"));
            }
            let old = carry.and_then(|carry| carry.get(carry.by_name(&spec.name)?));
            match group(spec, seats, clock, old) {
                Ok(group) => built.groups.push(group),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() { Ok(built) } else { Err(errors) }
    }

    /// The index of the group of this name.
    pub fn by_name(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// The group at this index.
    pub fn get(&self, index: usize) -> Option<&Arc<Upstream>> {
        self.groups.get(index)
    }

    /// All groups, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.groups.iter()
    }
}

fn group(
    spec: &UpstreamSpec,
    seats: usize,
    clock: &Clock,
    old: Option<&Arc<Upstream>>,
) -> Result<Arc<Upstream>, Vec<BuildError>> {
    if spec.servers.is_empty() {
        return Err(vec![error(spec, None, "has no servers: name at least one")]);
    }
    let blame = |problems: Vec<Problem>| -> Vec<BuildError> {
        problems.into_iter().map(|(file, problem)| error(spec, Some(file), &problem)).collect()
    };
    let uses_tls = spec.servers.iter().any(|server| server.via == Via::Tls);
    if uses_tls && spec.tls.anchors.is_empty() {
        let problem =
            "has https:// servers and no anchors: name the CA files to verify them by (the system's are not used)";
        return Err(vec![error(spec, None, problem)]);
    }
    let files = if uses_tls { Files::read(&spec.tls).map_err(blame)? } else { Files::default() };
    let digest = files.digest();
    if let Some(old) = old.filter(|old| old.spec == *spec && old.digest == digest && old.seats == seats) {
        return Ok(Arc::clone(old));
    }
    let client = if uses_tls { Some(Client::new(&files).map_err(blame)?) } else { None };
    let servers: Result<Box<[_]>, BuildError> = spec
        .servers
        .iter()
        .map(|server| {
            let tls = connector(spec, server, client.as_ref())?;
            Ok(Arc::new(Server::new(server.clone(), spec, tls, seats, clock)))
        })
        .collect();
    Ok(Arc::new(Upstream::new(spec.clone(), digest, seats, servers.map_err(|error| vec![error])?)))
}

fn connector(
    spec: &UpstreamSpec,
    server: &ServerSpec,
    client: Option<&Client>,
) -> Result<Option<Connector>, BuildError> {
    let Some(client) = client.filter(|_| server.via == Via::Tls) else { return Ok(None) };
    let name = spec.tls.server_name.as_deref().unwrap_or(&server.host);
    let unfit = || error(spec, None, &format!("{name:?} is no name that a certificate can be for: correct it"));
    client.for_server(name).map(Some).ok_or_else(unfit)
}

fn error(spec: &UpstreamSpec, file: Option<std::path::PathBuf>, problem: &str) -> BuildError {
    BuildError { upstream: spec.name.clone(), file, problem: problem.into() }
}
