//! Ways in that ask less of a client than the file says.

use std::collections::BTreeMap;
use std::fmt;

use super::probe::{Spelling, probes};
use super::{Decisions, Entrance, Way, ways_by};
use crate::fingerprint::Stack;
use crate::policy::decide::Facts;
use crate::policy::spec::ClientCertificateMode;
use crate::policy::{Host, HostId, HostTable, Route};

/// A way in that is weaker than the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakness {
    /// The listener where a client comes in; empty: at any.
    pub listener: Box<str>,
    /// What the client says and gets that it must not.
    pub what: String,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.listener {
            "" => write!(f, "a weaker way in: {}", self.what),
            listener => write!(f, "a weaker way in at listener {listener}: {}", self.what),
        }
    }
}

/// Every weakness: of handshakes, and of requests on the connections that handshakes lead to.
pub(super) fn all(decisions: &Decisions, hosts: &HostTable, entrances: &[Entrance]) -> Vec<Weakness> {
    let ways = ways_by(decisions, hosts, entrances);
    let mut found: Vec<_> = ways.iter().filter_map(|way| of_handshake(hosts, way)).collect();
    let connections = connections(hosts, &ways);
    let check = Check { decisions, hosts };
    found.extend(check.anonymous());
    found.extend(check.strangers(&connections));
    found
}

/// A server name leads to its own host or nowhere; what is nobody's leads to where a certificate
/// is required, or nowhere.
fn of_handshake(hosts: &HostTable, way: &Way) -> Option<Weakness> {
    let led_to = hosts.get(way.host.ok()?);
    let owner = way.owner.and_then(|owner| hosts.get(owner));
    let asked =
        if way.spelling == Spelling::Missing { "no server name".into() } else { format!("{:?}", way.server_name) };
    let what = match (led_to, owner) {
        (None, _) => format!("{asked} leads to a host that is not there"),
        (Some(host), Some(owner)) if !std::ptr::eq(host, owner) => {
            format!("{asked} ({}) is host {:?}, but leads to host {:?}", way.spelling, owner.name(), host.name())
        }
        (Some(host), None) if host.client_certificate() != ClientCertificateMode::Require => {
            format!("{asked} ({}) leads to host {:?}, which requires no client certificate", way.spelling, host.name())
        }
        (Some(_), _) => return None,
    };
    Some(Weakness { listener: way.listener.clone(), what })
}

/// What a connection has been asked for, and two hosts that ask just that: the first and the last
/// that handshakes lead to. More would be alike, and the number of pairs its square.
fn connections(hosts: &HostTable, ways: &[Way]) -> Vec<HostId> {
    let mut alike: BTreeMap<(u8, Option<&str>), (HostId, HostId)> = BTreeMap::new();
    for id in ways.iter().filter_map(|way| way.host.ok()) {
        let Some(host) = hosts.get(id) else { continue };
        let asked = (strength(host.client_certificate()), host.trust());
        alike.entry(asked).and_modify(|(_, last)| *last = id).or_insert((id, id));
    }
    let mut all: Vec<_> = alike.into_values().flat_map(|(first, last)| [first, last]).collect();
    all.dedup();
    all
}

struct Check<'a> {
    decisions: &'a Decisions,
    hosts: &'a HostTable,
}

impl Check<'_> {
    /// A client without a certificate, on a connection for the host itself.
    fn anonymous(&self) -> Vec<Weakness> {
        let required = self.hosts.iter().filter(|host| host.client_certificate() == ClientCertificateMode::Require);
        let routes = required.flat_map(|host| host.routes().iter().map(move |route| (host, route)));
        let permitted = routes.filter(|(host, route)| {
            (self.decisions.authorize)(route, host.client_certificate(), None, Stack::default()).is_ok()
        });
        permitted.map(|(host, route)| weakness(host, route, "permits a client without a certificate")).collect()
    }

    /// Clients of one host, with requests for another that asks for more or trusts others.
    fn strangers(&self, connections: &[HostId]) -> Vec<Weakness> {
        let owned: Vec<_> = probes(self.hosts).into_iter().filter_map(|probe| Some((probe.owner?, probe))).collect();
        let mut found = Vec::new();
        for (owner, probe) in owned.iter().filter(|(_, probe)| !matches!(probe.spelling, Spelling::OddCase)) {
            let Some(host) = self.hosts.get(*owner) else { continue };
            let weaker = connections.iter().filter(|id| *id != owner);
            let weaker = weaker.filter(|id| self.hosts.get(**id).is_some_and(|from| is_weaker(from, host)));
            for from in weaker {
                let reached = host.routes().iter().filter(|route| self.reached(*from, &probe.name, route));
                let of = self.hosts.get(*from).map_or("", Host::name);
                let what = format!("takes requests on connections for host {of:?}, which asks for less or for others");
                found.extend(reached.map(|route| weakness(host, route, &what)));
            }
        }
        found
    }

    /// Whether a request for `authority` gets anywhere on a connection for `from`.
    fn reached(&self, from: HostId, authority: &str, route: &Route) -> bool {
        let (path, method) = route.sample();
        let authority = authority.strip_suffix('.').unwrap_or(authority);
        // HTTP/2 has no upgrades; HTTP/1.1 has.
        let upgrades = [None, route.upgrades.first().map(|protocol| &**protocol)];
        upgrades.into_iter().any(|upgrade| {
            let facts = Facts {
                connection_host: from,
                authority_host: authority,
                path: &path,
                method: &method,
                identity: None,
                stack: Stack::default(),
                upgrade,
            };
            (self.decisions.route)(self.hosts, &facts).is_ok()
        })
    }
}

fn weakness(host: &Host, route: &Route, what: &str) -> Weakness {
    Weakness { listener: "".into(), what: format!("host {:?}, route {:?} {what}", host.name(), route.name) }
}

/// Whether a client of `from` may have shown less than `host` asks for, or something else.
fn is_weaker(from: &Host, host: &Host) -> bool {
    let needed = strength(host.client_certificate());
    needed > 0 && (strength(from.client_certificate()) < needed || from.trust() != host.trust())
}

fn strength(mode: ClientCertificateMode) -> u8 {
    match mode {
        ClientCertificateMode::None => 0,
        ClientCertificateMode::Optional => 1,
        ClientCertificateMode::Require => 2,
    }
}
