//! A configuration and the files it names, to a snapshot; or every problem, and nothing has moved.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::tickets::{Tickets, seal};
use super::{Contents, HostParts, Listener, RouteParts, RungParts, Snapshot, Trust, token, trust};
use crate::clock::Clock;
use crate::config::{Config, Problem};
use crate::identity::{self, Formats};
use crate::limits::Limits;
use crate::net::ListenerSpec;
use crate::policy::map::{self, Entrance};
use crate::policy::spec::HostSpec;
use crate::policy::{Host, HostTable, Route};
use crate::reputation::{Action, Rung};
use crate::telemetry::Metrics;
use crate::tls::{self, HostConfig, HostTls, Resumption};
use crate::upstream::{BuildError, Upstream, Upstreams};

/// What a snapshot is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The file.
    pub config: Config,
    /// What was read.
    pub contents: Contents,
    /// What runs now, if anything: limits, health and pools are carried over from it.
    pub previous: Option<&'a Snapshot>,
    /// Seats that serve.
    pub seats: usize,
    /// The time.
    pub clock: &'a Clock,
    /// Where counters are made.
    pub metrics: &'a Metrics,
}

/// Builds the whole new world.
///
/// # Errors
/// Every problem that reading the named files brings to light.
pub fn build(inputs: Inputs<'_>) -> Result<Snapshot, Vec<Problem>> {
    let config = &inputs.config;
    let (mut problems, mut over) = (Vec::new(), Vec::new());
    let trust = trust::stores(config, inputs.clock, inputs.previous.map(|s| &s.trust), &mut problems, &mut over);
    let tickets = Tickets::build(config, inputs.clock, inputs.previous.and_then(|s| s.tickets.as_ref()), &mut over);
    let tickets = tickets.unwrap_or_else(|problem| {
        problems.push(*problem);
        None
    });
    let admin_token = token::read(config).unwrap_or_else(|problem| {
        problems.push(*problem);
        None
    });
    let tls = host_configs(config, &trust, tickets.as_ref(), inputs.clock, &mut problems);
    let upstreams =
        Upstreams::build(&config.upstreams, inputs.seats, inputs.clock, inputs.previous.map(|s| &*s.upstreams))
            .map_err(|errors| problems.extend(errors.iter().map(|error| upstream_problem(config, error))));
    let hosts = HostTable::new(config.hosts.clone())
        .map_err(|errors| problems.extend(errors.into_iter().map(|what| config.places.problem(what))));
    let (Ok(upstreams), Ok(hosts), true) = (upstreams, hosts, problems.is_empty()) else {
        return Err(problems);
    };
    let listeners = listeners(config, &hosts)?;
    let limits = Limits::build(&config.limits, inputs.clock, inputs.previous.map(|s| &*s.limits));
    let parts = Parts { hosts: &hosts, upstreams: &upstreams, limits: &limits, metrics: inputs.metrics };
    let host_parts = parts.of_hosts(config, &trust);
    let route_parts = parts.of_routes(config)?;
    let rungs = parts.of_rungs(config)?;
    for (host, config) in hosts.iter().zip(&tls) {
        inputs.metrics.certificate_expiry(host.name(), config.certificate_not_after);
        if config.certificate_not_after < now(inputs.clock) {
            over.push(expired(&inputs.config, host.name(), config.certificate_not_after));
        }
    }
    for gone in inputs.previous.iter().flat_map(|previous| previous.hosts.iter()) {
        if !hosts.iter().any(|host| host.name() == gone.name()) {
            inputs.metrics.certificate_gone(gone.name());
        }
    }
    Ok(Snapshot {
        generation: inputs.previous.map_or(1, |previous| previous.generation.saturating_add(1)),
        contents: inputs.contents,
        listeners,
        hosts: Arc::new(hosts),
        tls,
        trust,
        tickets,
        admin_token,
        host_parts,
        route_parts,
        connection: config.connection,
        http1: config.http1,
        http2: config.http2,
        forwarded: config.forwarded.clone(),
        upstreams: Arc::new(upstreams),
        limits: Arc::new(limits),
        rungs,
        config: Config { warnings: [inputs.config.warnings, over].concat(), ..inputs.config },
    })
}

/// No reason to stop: some clients may look away, and other hosts have nothing to do with it.
fn expired(config: &Config, host: &str, not_after: i64) -> Problem {
    let date = identity::date(not_after);
    config.places.problem(format!("the server certificate of {host} expired on {date}: clients will refuse it"))
}

fn now(clock: &Clock) -> i64 {
    i64::try_from(clock.unix().as_secs()).unwrap_or(i64::MAX)
}

/// The listeners, and the proof that nobody who comes in at one of them gets in with less than the
/// file says.
fn listeners(config: &Config, hosts: &HostTable) -> Result<Vec<Listener>, Vec<Problem>> {
    let listener = |spec: &ListenerSpec| Listener {
        spec: spec.clone(),
        default_host: spec.default_host.as_deref().and_then(|name| hosts.find(name)),
    };
    let listeners: Vec<_> = config.listeners.iter().map(listener).collect();
    let lost =
        listeners.iter().filter(|listener| listener.spec.default_host.is_some() && listener.default_host.is_none());
    let lost = lost.map(|listener| format!("listener {}: no client can be at its default_host", listener.spec.address));
    let weaker = map::weaknesses(hosts, &entrances(&listeners));
    let problems: Vec<_> =
        lost.chain(weaker.iter().map(ToString::to_string)).map(|what| config.places.problem(what)).collect();
    if problems.is_empty() { Ok(listeners) } else { Err(problems) }
}

/// What the map of ways in needs to know of listeners.
pub(super) fn entrances(listeners: &[Listener]) -> Vec<Entrance> {
    let entrance = |listener: &Listener| Entrance {
        listener: listener.spec.address.to_string().into(),
        default_host: listener.default_host,
    };
    listeners.iter().map(entrance).collect()
}

/// What the parts of hosts and routes are made of.
struct Parts<'a> {
    hosts: &'a HostTable,
    upstreams: &'a Upstreams,
    limits: &'a Limits,
    metrics: &'a Metrics,
}

impl Parts<'_> {
    fn of_hosts(&self, config: &Config, trust: &HashMap<Box<str>, Trust>) -> Vec<HostParts> {
        let of_host = |(host, spec): (&Host, &HostSpec)| HostParts {
            trust: spec.trust.as_deref().and_then(|name| trust.get(name)).map(|trust| Arc::clone(&trust.store)),
            learned: spec.trust.as_deref().and_then(|name| trust.get(name)).and_then(|trust| trust.learned.clone()),
            formats: self.formats(spec, config),
            key: key(&[host.name()]),
            metrics: self.metrics.route(host.name(), "none"),
        };
        self.hosts.iter().zip(&config.hosts).map(of_host).collect()
    }

    /// What a host's upstreams want to be told, together: rendered once per connection.
    fn formats(&self, spec: &HostSpec, config: &Config) -> Formats {
        let quarantines = config.reputation.rules.ladder.rungs().filter_map(|rung| match &rung.action {
            Action::Quarantine(name) => Some(name),
            _ => None,
        });
        let names = spec.routes.iter().map(|route| &route.upstream).chain(quarantines);
        let upstreams = names.filter_map(|name| self.upstream(name));
        upstreams.map(|upstream| upstream.spec().forward).fold(Formats::default(), Formats::union)
    }

    fn of_routes(&self, config: &Config) -> Result<Vec<RouteParts>, Vec<Problem>> {
        let routes = self.hosts.iter().flat_map(|host| host.routes().iter().map(move |route| (host, route)));
        routes
            .map(|(host, route)| {
                self.of_route(host, route, config).ok_or_else(|| {
                    vec![config.places.problem(format!("route {}: an upstream or a limit is missing", route.name))]
                })
            })
            .collect()
    }

    fn of_route(&self, host: &Host, route: &Route, config: &Config) -> Option<RouteParts> {
        let limit = |name: &str| self.limits.by_name(name).and_then(|index| self.limits.get(index));
        Some(RouteParts {
            key: key(&[host.name(), &route.name]),
            upstream_name: Arc::from(&*route.upstream),
            upstream: Arc::clone(self.upstream(&route.upstream)?),
            limits: route.limits.iter().map(|name| limit(name).map(Arc::clone)).collect::<Option<_>>()?,
            body_bytes: route.body_bytes.unwrap_or(config.body_bytes),
            reputation: config.reputation.routes.get(&*route.name).cloned().unwrap_or_default(),
            metrics: self.metrics.route(host.name(), &route.name),
        })
    }

    fn of_rungs(&self, config: &Config) -> Result<Vec<RungParts>, Vec<Problem>> {
        let rungs = config.reputation.rules.ladder.rungs();
        let missing = || vec![config.places.problem("reputation.ladder: an upstream or a limit is missing")];
        rungs.map(|rung| self.of_rung(rung).ok_or_else(missing)).collect()
    }

    fn of_rung(&self, rung: &Rung) -> Option<RungParts> {
        let none = RungParts { limit: None, upstream: None };
        Some(match &rung.action {
            Action::Limit(name) => {
                let limit = self.limits.by_name(name).and_then(|index| self.limits.get(index))?;
                RungParts { limit: Some(Arc::clone(limit)), ..none }
            }
            Action::Quarantine(name) => {
                RungParts { upstream: Some((Arc::from(&**name), Arc::clone(self.upstream(name)?))), ..none }
            }
            _ => none,
        })
    }

    fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.by_name(name).and_then(|index| self.upstreams.get(index))
    }
}

fn host_configs(
    config: &Config,
    trust: &HashMap<Box<str>, Trust>,
    tickets: Option<&Tickets>,
    clock: &Clock,
    problems: &mut Vec<Problem>,
) -> Vec<HostConfig> {
    let provider = tls::provider();
    let mut configs = Vec::with_capacity(config.hosts.len());
    for spec in &config.hosts {
        let store = spec.trust.as_deref().and_then(|name| trust.get(name));
        if spec.trust.is_some() && store.is_none() {
            // Its own problem has been reported; the host must not be built without its trust.
            continue;
        }
        match tls::host(&provider, clock, &host_tls(config, spec, store, tickets)) {
            Ok(host) => configs.push(host),
            Err(errors) => problems.extend(errors.iter().map(|e| config.places.problem_with(&e.path, &e.what, e.hint))),
        }
    }
    configs
}

/// What the TLS side of a host is made of.
pub(super) fn host_tls<'a>(
    config: &Config,
    spec: &'a HostSpec,
    trust: Option<&'a Trust>,
    tickets: Option<&'a Tickets>,
) -> HostTls<'a> {
    HostTls {
        certificates: &spec.certificates,
        mode: spec.client_certificate,
        trust: trust.map(|trust| (&trust.store, &trust.chains)),
        resumption: tickets.map(|tickets| Resumption {
            keys: &tickets.keys,
            seal: seal(spec, trust.map(|trust| &*trust.store)),
            max_age: config.resumption.max_age,
        }),
    }
}

fn upstream_problem(config: &Config, error: &BuildError) -> Problem {
    let what = format!("upstream {}: {}", error.upstream, error.problem);
    match &error.file {
        Some(file) => config.places.problem_with(file, &what, ""),
        None => config.places.problem(what),
    }
}

/// A number for a sequence of names that no other sequence has.
fn key(names: &[&str]) -> u64 {
    let mut hash = Context::new(&SHA256);
    for name in names {
        hash.update(&name.len().to_be_bytes());
        hash.update(name.as_bytes());
    }
    let digest = hash.finish();
    // 64 bits: two of a thousand routes share them once in 10^13 configurations.
    digest.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
