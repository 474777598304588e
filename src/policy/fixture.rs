//! Identities and rules for the tests of this room.

use crate::identity::{AlternativeNames, Digest, DistinguishedName, Identity, PublicKey, Serial};
use crate::message::target::PathRules;

use super::spec::{Allow, ClientCertificateMode, HostSpec, Matcher, PathPattern, RouteSpec};

/// A list of texts as the specs have them.
pub(super) fn texts(values: &[&str]) -> Vec<Box<str>> {
    values.iter().copied().map(Box::from).collect()
}

/// An identity with this commonName and nothing else of note.
pub(super) fn identity(common_name: &str) -> Identity {
    Identity {
        subject: name(common_name, "Acme"),
        issuer: name("Test CA", "Trust Ltd"),
        serial: Serial(Box::new([0x0a, 0xff])),
        names: AlternativeNames::default(),
        fingerprint: Digest([1; 32]),
        spki: Digest([2; 32]),
        not_before: 0,
        not_after: 4_000_000_000,
        key: PublicKey::Ec(256),
    }
}

fn name(common_name: &str, organization: &str) -> DistinguishedName {
    DistinguishedName {
        text: format!("CN={common_name},O={organization}").into(),
        common_names: texts(&[common_name]),
        organizations: texts(&[organization]),
        organizational_units: Vec::new(),
    }
}

/// An identity with these dNSNames.
pub(super) fn dns_identity(names: &[&str]) -> Identity {
    let mut identity = identity("node");
    identity.names.dns = texts(names);
    identity
}

/// A matcher on commonNames.
pub(super) fn cn(patterns: &[&str]) -> Matcher {
    Matcher { subject_cn: texts(patterns), ..Matcher::default() }
}

/// A matcher on dNSNames.
pub(super) fn dns(patterns: &[&str]) -> Matcher {
    Matcher { dns: texts(patterns), ..Matcher::default() }
}

/// A route for all methods.
pub(super) fn route(name: &str, path: PathPattern, allow: Allow) -> RouteSpec {
    RouteSpec {
        name: name.into(),
        path,
        methods: Vec::new(),
        allow,
        deny: Vec::new(),
        limits: Vec::new(),
        upstream: "backend".into(),
        upgrades: Vec::new(),
        body_bytes: None,
    }
}

/// A host with these names, mode and routes.
pub(super) fn host(names: &[&str], mode: ClientCertificateMode, routes: Vec<RouteSpec>) -> HostSpec {
    HostSpec {
        names: texts(names),
        certificates: Vec::new(),
        client_certificate: mode,
        trust: Some("clients".into()),
        paths: PathRules::default(),
        routes,
    }
}

/// [`PathPattern::Exact`].
pub(super) fn exact(path: &str) -> PathPattern {
    PathPattern::Exact(path.into())
}

/// [`PathPattern::Glob`].
pub(super) fn glob(path: &str) -> PathPattern {
    PathPattern::Glob(path.into())
}

/// [`PathPattern::Prefix`].
pub(super) fn prefix(path: &str) -> PathPattern {
    PathPattern::Prefix(path.into())
}
