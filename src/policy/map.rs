//! Every way in: which client authentication applies, for whoever comes by whatever name.
//!
//! An infinity of server names falls into few classes that the table treats alike: each name as the
//! file has it, its odd spellings, a label under a wildcard, two labels, no name, an unknown name. One
//! probe of each class is asked of the very functions that decide for live traffic, so that the map
//! is what happens, not what was meant; [`weaknesses`] compares it with what the file says.

mod probe;
#[cfg(test)]
mod tests;
mod weakness;

use std::fmt;

use super::authorize::{Permit, authorize};
use super::decide::{Facts, route};
use super::entry::entry;
use super::host::{Host, HostId, HostTable};
use super::route::Route;
use super::spec::ClientCertificateMode;
use crate::fingerprint::Stack;
use crate::identity::Identity;
use crate::reject::{Reason, Reject};

pub use self::probe::Spelling;
use self::probe::{Probe, probes};
pub use self::weakness::Weakness;

/// Where clients come in.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// The listener's address.
    pub listener: Box<str>,
    /// Who serves clients without a server name.
    pub default_host: Option<HostId>,
}

/// What becomes of one class of clients at one listener.
#[derive(Clone, Debug)]
pub struct Way {
    /// The listener's address.
    pub listener: Box<str>,
    /// The server name that stands for the class; empty where there is none.
    pub server_name: Box<str>,
    /// What the class has in common.
    pub spelling: Spelling,
    /// The host of the handshake, or why there is no handshake.
    pub host: Result<HostId, Reason>,
    /// The host whose name it is, as the file says.
    owner: Option<HostId>,
}

/// Which client authentication applies to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Nobody gets through, with whatever certificate.
    Closed,
    /// A certificate is not asked for.
    None,
    /// One that is sent must verify, but none need be.
    Optional,
    /// The host lets clients without one in, and the route does not.
    RequiredByRoute,
    /// No handshake without one.
    RequiredByHost,
}

impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::None => "none",
            Self::Optional => "optional",
            Self::RequiredByRoute => "required by route",
            Self::RequiredByHost => "required",
        })
    }
}

/// Every way in: listeners in their order, and for each every class of server names.
#[must_use]
pub fn ways(hosts: &HostTable, entrances: &[Entrance]) -> Vec<Way> {
    ways_by(&LIVE, hosts, entrances)
}

/// Which client authentication applies to `route` of `host`.
#[must_use]
pub fn authentication(host: &Host, route: &Route) -> Authentication {
    let mode = host.client_certificate();
    match authorize(route, mode, None, Stack::default()) {
        Ok(_) if mode == ClientCertificateMode::None => Authentication::None,
        Ok(_) => Authentication::Optional,
        Err(_) if mode == ClientCertificateMode::None || route.rule.is_for_nobody() => Authentication::Closed,
        Err(_) if mode == ClientCertificateMode::Require => Authentication::RequiredByHost,
        Err(_) => Authentication::RequiredByRoute,
    }
}

/// Everything that lets somebody in with less than the file says. With the decisions of this room
/// there is none in any configuration; whoever breaks one of them finds it here.
#[must_use]
pub fn weaknesses(hosts: &HostTable, entrances: &[Entrance]) -> Vec<Weakness> {
    weakness::all(&LIVE, hosts, entrances)
}

fn ways_by(decisions: &Decisions, hosts: &HostTable, entrances: &[Entrance]) -> Vec<Way> {
    let probes = probes(hosts);
    let each = entrances.iter().flat_map(|entrance| probes.iter().map(move |probe| (entrance, probe)));
    each.map(|(entrance, probe)| {
        let Probe { name, spelling, owner } = probe;
        // RFC 6066 §3 permits no address; the handshake takes one for no name at all.
        let named = !matches!(spelling, Spelling::Missing | Spelling::Address);
        let asked = Some(&**name).filter(|_| named);
        let host = (decisions.entry)(hosts, entrance.default_host, asked).map_err(|reject| reject.reason);
        let listener = entrance.listener.clone();
        Way { listener, server_name: name.clone(), spelling: *spelling, host, owner: owner.filter(|_| named) }
    })
    .collect()
}

type Entry = fn(&HostTable, Option<HostId>, Option<&str>) -> Result<HostId, Reject>;
type Router = for<'t> fn(&'t HostTable, &Facts<'_>) -> Result<(&'t Host, &'t Route), Reject>;
type Authorizer =
    for<'r> fn(&'r Route, ClientCertificateMode, Option<&Identity>, Stack<'_>) -> Result<Permit<'r>, Reject>;

/// What decides; only tests have others than [`LIVE`].
struct Decisions {
    entry: Entry,
    route: Router,
    authorize: Authorizer,
}

const LIVE: Decisions = Decisions { entry, route, authorize };
