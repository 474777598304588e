//! What a new configuration changes, by name, for the log and the status.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::Snapshot;
use crate::config::{Config, ReputationSpec, RouteReputation};
use crate::policy::spec::{HostSpec, RouteSpec};
use crate::tls::TrustStore;

/// What is different in `new`: in the file, and in the trust that its files hold. Never empty, for
/// something has changed, or nobody would ask.
pub(super) fn changes(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let mut changes = configured(&old.config, &new.config);
    let mut kept: Vec<_> =
        new.trust.iter().filter_map(|(name, trust)| Some((name, &old.trust.get(name)?.store, &trust.store))).collect();
    kept.sort_by_key(|(name, ..)| *name);
    for (name, old, new) in kept {
        changes.extend(material(old, new).into_iter().map(|what| format!("trust {name}: {what}")));
    }
    if changes.is_empty() {
        changes.push("the contents of a file that is named, or a comment".to_owned());
    }
    changes
}

/// What is different in the file.
pub(super) fn configured(old: &Config, new: &Config) -> Vec<String> {
    let mut all = Vec::new();
    let host = |host: &HostSpec| host.names.first().map(ToString::to_string).unwrap_or_default();
    // Routes are told apart by themselves.
    let without_routes = |config: &Config| -> Vec<HostSpec> {
        config.hosts.iter().map(|host| HostSpec { routes: Vec::new(), ..host.clone() }).collect()
    };
    named("host", &without_routes(old), &without_routes(new), host, &mut all);
    // Likewise what they want of reputations.
    let whole = |spec: &ReputationSpec| ReputationSpec { routes: BTreeMap::new(), ..spec.clone() };
    let routes = |config: &Config| -> Vec<(String, (RouteSpec, Option<RouteReputation>))> {
        let of = |host_spec: &HostSpec| {
            let name = host(host_spec);
            host_spec
                .routes
                .iter()
                .map(move |route| {
                    let reputation = config.reputation.routes.get(&route.name).cloned();
                    (format!("{} of {name}", route.name), (route.clone(), reputation))
                })
                .collect::<Vec<_>>()
        };
        config.hosts.iter().flat_map(of).collect()
    };
    named("route", &routes(old), &routes(new), |(name, _)| name.clone(), &mut all);
    named("trust", &old.trust, &new.trust, |trust| trust.name.to_string(), &mut all);
    named("limit", &old.limits, &new.limits, |limit| limit.name.to_string(), &mut all);
    named("upstream", &old.upstreams, &new.upstreams, |upstream| upstream.name.to_string(), &mut all);
    let sections = [
        ("listener", differ(&old.listeners, &new.listeners)),
        ("connection", differ(&old.connection, &new.connection)),
        (
            "http",
            differ(
                &(old.http1, old.body_bytes, old.requests_in_flight),
                &(new.http1, new.body_bytes, new.requests_in_flight),
            ),
        ),
        ("http2", differ(&old.http2, &new.http2)),
        ("forwarded", differ(&old.forwarded, &new.forwarded)),
        ("resumption", differ(&old.resumption, &new.resumption)),
        ("shutdown", old.drain_timeout != new.drain_timeout),
        ("reputation", whole(&old.reputation) != whole(&new.reputation)),
        ("reload", old.reload_interval != new.reload_interval),
    ];
    all.extend(sections.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| format!("{name} changed")));
    all
}

/// What is different in two lists of things with names; their order is no difference.
fn named<'l, T: PartialEq>(what: &str, old: &'l [T], new: &'l [T], name: impl Fn(&T) -> String, all: &mut Vec<String>) {
    // Several may have one name: they are compared together.
    let by_name = |list: &'l [T]| {
        let mut map: BTreeMap<String, Vec<&'l T>> = BTreeMap::new();
        for item in list {
            map.entry(name(item)).or_default().push(item);
        }
        map
    };
    let (before, after) = (by_name(old), by_name(new));
    for (name, item) in &before {
        match after.get(name) {
            None => all.push(format!("{what} {name} removed")),
            Some(now) if now != item => all.push(format!("{what} {name} changed")),
            Some(_) => {}
        }
    }
    let added = after.keys().filter(|name| !before.contains_key(*name));
    all.extend(added.map(|name| format!("{what} {name} added")));
}

/// What is different in the files of a trust store that stays.
fn material(old: &TrustStore, new: &TrustStore) -> Vec<String> {
    let mut all = Vec::new();
    let anchor = |store: &TrustStore| -> Vec<(String, _)> {
        store.anchors().told.iter().map(|anchor| (anchor.subject.to_string(), anchor.clone())).collect()
    };
    named("anchor", &anchor(old), &anchor(new), |(name, _)| name.clone(), &mut all);
    let crls = |store: &TrustStore| {
        let mut crls: Vec<_> = store.crls().map(|crl| (crl.issuer_text.to_string(), crl.digest)).collect();
        crls.sort();
        crls
    };
    named("CRL of", &crls(old), &crls(new), |(issuer, _)| issuer.clone(), &mut all);
    if !old.deny().specs().eq(new.deny().specs()) {
        all.push(format!("deny list changed ({} entries, {} before)", new.deny().len(), old.deny().len()));
    }
    all
}

/// Settings without a comparison of their own print whole.
fn differ<T: Debug>(old: &T, new: &T) -> bool {
    format!("{old:?}") != format!("{new:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{example_toml, parse};

    fn after(from: &str, to: &str) -> Vec<String> {
        let text = example_toml();
        assert!(text.contains(from), "{from}");
        let changed = parse("c.toml", &text.replace(from, to)).unwrap_or_else(|problems| panic!("{problems:?}"));
        configured(&parse("c.toml", &text).unwrap(), &changed)
    }

    #[test]
    fn a_change_is_told_by_the_name_of_what_has_changed() {
        for (from, to, told) in [
            ("# An address", "# another comment", &[][..]),
            (
                "client_certificate = \"require\"",
                "client_certificate = \"optional\"",
                &["host api.example.com changed"],
            ),
            (
                "names = [\"api.example.com\"]",
                "names = [\"new.example.com\"]",
                &[
                    "host api.example.com removed",
                    "host new.example.com added",
                    "route api.example.com/v1/* of api.example.com removed",
                    "route new.example.com/v1/* of new.example.com added",
                ],
            ),
            (
                "allow = \"any-verified\"",
                "allow = { subject_cn = \"x\" }",
                &["route api.example.com/v1/* of api.example.com changed"],
            ),
            ("min_rsa_bits = 2048", "min_rsa_bits = 3072", &["trust mobile changed"]),
            ("rate = \"600/m\"", "rate = \"601/m\"", &["limit per-device changed"]),
            ("eject_after = 5", "eject_after = 6", &["upstream api changed"]),
            ("max_age = \"24h\"", "max_age = \"23h\"", &["connection changed", "resumption changed"]),
            ("rotate = \"8h\"", "rotate = \"7h\"", &["resumption changed"]),
            ("header_count = 100", "header_count = 99", &["http changed"]),
            ("body_bytes = \"10MiB\"", "body_bytes = \"9MiB\"", &["http changed"]),
            ("streams = 100", "streams = 99", &["http2 changed"]),
            ("rfc7239 = false", "rfc7239 = true", &["forwarded changed"]),
            ("drain_timeout = \"30s\"", "drain_timeout = \"29s\"", &["shutdown changed"]),
            ("interval = \"1s\"", "interval = \"2s\"", &["reload changed"]),
            ("backlog = 1024", "backlog = 1023", &["listener changed"]),
        ] {
            assert_eq!(after(from, to), told, "{to}");
        }
    }
}
