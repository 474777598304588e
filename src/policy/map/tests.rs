use http::Method;
use proptest::prelude::*;

use super::*;
use crate::policy::fixture::{host, prefix, route as route_spec, texts};
use crate::policy::spec::{Allow, HostSpec};

const MODES: [ClientCertificateMode; 3] =
    [ClientCertificateMode::None, ClientCertificateMode::Optional, ClientCertificateMode::Require];

fn open_and_protected() -> HostTable {
    let routes = || vec![route_spec("all", prefix("/"), Allow::Anyone)];
    HostTable::new(vec![
        HostSpec { trust: None, ..host(&["open.example"], ClientCertificateMode::None, routes()) },
        host(&["safe.example", "*.safe.example", "192.0.2.1"], ClientCertificateMode::Require, routes()),
    ])
    .unwrap()
}

fn entrance(hosts: &HostTable, default: Option<&str>) -> [Entrance; 1] {
    [Entrance { listener: "0.0.0.0:443".into(), default_host: default.and_then(|name| hosts.find(name)) }]
}

#[test]
fn every_class_of_names_has_its_way() {
    let hosts = open_and_protected();
    let ways = ways(&hosts, &entrance(&hosts, Some("safe.example")));
    let shown: Vec<_> = ways
        .iter()
        .map(|way| {
            let host = match way.host {
                Ok(id) => hosts.get(id).map_or("", Host::name),
                Err(reason) => reason.code(),
            };
            format!("{:?} {} {host}", way.server_name, way.spelling)
        })
        .collect();
    assert_eq!(
        shown,
        [
            r#""open.example" exact open.example"#,
            r#""OpEn.eXaMpLe" odd case open.example"#,
            r#""open.example." trailing dot open.example"#,
            r#""safe.example" exact safe.example"#,
            r#""SaFe.eXaMpLe" odd case safe.example"#,
            r#""safe.example." trailing dot safe.example"#,
            r#""any.safe.example" one label safe.example"#,
            r#""AnY.SaFe.eXaMpLe" odd case safe.example"#,
            r#""any.safe.example." trailing dot safe.example"#,
            r#""any.any.safe.example" two labels server_name_unknown"#,
            r#""192.0.2.1" IP address safe.example"#,
            r#""any.invalid.any" unknown server_name_unknown"#,
            r#""" no name safe.example"#,
        ]
    );
}

#[test]
fn authentication_is_what_the_decision_asks_for() {
    let routes = || {
        vec![
            route_spec("anyone", prefix("/"), Allow::Anyone),
            route_spec("verified", prefix("/v"), Allow::AnyVerified),
            route_spec("nobody", prefix("/n"), Allow::Nobody),
        ]
    };
    for (mode, expected) in MODES.into_iter().zip([
        [Authentication::None, Authentication::Closed, Authentication::Closed],
        [Authentication::Optional, Authentication::RequiredByRoute, Authentication::Closed],
        [Authentication::RequiredByHost, Authentication::RequiredByHost, Authentication::Closed],
    ]) {
        let hosts = HostTable::new(vec![host(&["a.example"], mode, routes())]).unwrap();
        let host = hosts.iter().next().unwrap();
        let found: Vec<_> = host.routes().iter().map(|route| authentication(host, route)).collect();
        assert_eq!(found, expected, "{mode:?}");
    }
}

/// The classic: what is not found gets the first host.
fn first_host(hosts: &HostTable, default: Option<HostId>, name: Option<&str>) -> Result<HostId, Reject> {
    entry(hosts, default, name).or_else(|reject| hosts.numbered().next().map(|(id, _)| id).ok_or(reject))
}

/// Compares names as they come.
fn case_sensitive(hosts: &HostTable, _: Option<HostId>, name: Option<&str>) -> Result<HostId, Reject> {
    let first = hosts.numbered().next().map(|(id, _)| id);
    name.and_then(|name| hosts.find(name)).or(first).ok_or_else(|| Reason::ServerNameUnknown.into())
}

/// Believes the authority whatever the handshake was for.
fn by_authority<'t>(hosts: &'t HostTable, facts: &Facts<'_>) -> Result<(&'t Host, &'t Route), Reject> {
    let connection_host = hosts.find(facts.authority_host).ok_or(Reason::Misdirected)?;
    route(hosts, &Facts { connection_host, ..*facts })
}

/// Believes the handshake whatever the authority is.
fn by_connection<'t>(hosts: &'t HostTable, facts: &Facts<'_>) -> Result<(&'t Host, &'t Route), Reject> {
    let host = hosts.get(facts.connection_host).ok_or(Reason::Misdirected)?;
    Ok((host, host.routes().find(facts.path, facts.method)?))
}

fn lax<'r>(
    route: &'r Route,
    _: ClientCertificateMode,
    who: Option<&Identity>,
    stack: Stack<'_>,
) -> Result<Permit<'r>, Reject> {
    authorize(route, ClientCertificateMode::Optional, who, stack)
}

#[test]
fn each_broken_decision_is_found_out() {
    let hosts = open_and_protected();
    let entrances = entrance(&hosts, None);
    let found = |decisions: Decisions| {
        weakness::all(&decisions, &hosts, &entrances).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(found(LIVE), "");
    for (broken, said) in [
        (
            Decisions { entry: first_host, ..LIVE },
            "a weaker way in at listener 0.0.0.0:443: \"any.invalid.any\" (unknown) leads to host \"open.example\", \
             which requires no client certificate",
        ),
        (Decisions { entry: first_host, ..LIVE }, "no server name (no name) leads to host \"open.example\""),
        (
            Decisions { entry: case_sensitive, ..LIVE },
            "\"AnY.SaFe.eXaMpLe\" (odd case) is host \"safe.example\", but leads to host \"open.example\"",
        ),
        (
            Decisions { route: by_authority, ..LIVE },
            "host \"safe.example\", route \"all\" takes requests on connections for host \"open.example\"",
        ),
        (
            Decisions { route: by_connection, ..LIVE },
            "host \"safe.example\", route \"all\" takes requests on connections for host \"open.example\"",
        ),
        (
            Decisions { authorize: lax, ..LIVE },
            "host \"safe.example\", route \"all\" permits a client without a certificate",
        ),
    ] {
        let found = found(broken);
        assert!(found.contains(said), "{said}\n{found}");
    }
}

#[test]
fn a_default_host_that_requires_nothing_is_found_out() {
    let hosts = open_and_protected();
    let found = weaknesses(&hosts, &entrance(&hosts, Some("open.example")));
    assert_eq!(found.len(), 2, "no name, and an address: {found:?}");
    assert!(weaknesses(&hosts, &entrance(&hosts, Some("safe.example"))).is_empty());
}

fn any_name() -> impl Strategy<Value = String> {
    "(\\*\\.)?(a|b|any)\\.(example|a\\.example)|192\\.0\\.2\\.[0-3]"
}

fn any_host() -> impl Strategy<Value = (Vec<String>, ClientCertificateMode, u8, u8)> {
    (prop::collection::vec(any_name(), 1..4), prop::sample::select(MODES.to_vec()), 0..3_u8, 0..4_u8)
}

fn any_hosts() -> impl Strategy<Value = HostTable> {
    prop::collection::vec(any_host(), 1..=5).prop_filter_map("names stand once", |hosts| {
        let specs = hosts.into_iter().map(|(names, mode, trust, allow)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let allow = match allow {
                0 => Allow::Anyone,
                1 => Allow::AnyVerified,
                2 => Allow::Nobody,
                _ => Allow::Matching(vec![crate::policy::fixture::cn(&["x"])]),
            };
            let mut one = route_spec("one", prefix("/"), Allow::Anyone);
            one.upgrades = texts(&["websocket"]);
            let mut two = route_spec("two", prefix("/two"), allow);
            two.methods = vec![Method::POST];
            let trust = (mode != ClientCertificateMode::None).then(|| format!("trust-{trust}").into());
            HostSpec { trust, ..host(&names, mode, vec![one, two]) }
        });
        HostTable::new(specs.collect()).ok()
    })
}

/// The first host that may be a default host.
fn default_host(hosts: &HostTable) -> Option<HostId> {
    hosts.numbered().find(|(_, host)| host.client_certificate() == ClientCertificateMode::Require).map(|(id, _)| id)
}

proptest! {
    #[test]
    fn no_configuration_has_a_weaker_way_in(hosts in any_hosts(), default in any::<bool>()) {
        let default_host = if default { default_host(&hosts) } else { None };
        let entrances = [Entrance { listener: "x".into(), default_host }];
        prop_assert_eq!(weaknesses(&hosts, &entrances), Vec::new());
    }

    #[test]
    fn falling_back_to_a_first_host_that_requires_nothing_is_always_found(hosts in any_hosts()) {
        let entrances = [Entrance { listener: "x".into(), default_host: None }];
        let found = weakness::all(&Decisions { entry: first_host, ..LIVE }, &hosts, &entrances);
        let first = hosts.iter().next().map(Host::client_certificate);
        prop_assert_eq!(found.is_empty(), first == Some(ClientCertificateMode::Require));
    }

    #[test]
    fn believing_the_authority_is_found_wherever_it_gives_anybody_more(hosts in any_hosts()) {
        let entrances = [Entrance { listener: "x".into(), default_host: None }];
        let found = weakness::all(&Decisions { route: by_authority, ..LIVE }, &hosts, &entrances);
        // No handshake is for an address.
        let named: Vec<_> = hosts.iter().filter(|h| h.names().iter().any(|n| !n.starts_with("192"))).collect();
        let differs = |from: &Host, to: &Host| {
            let (from_mode, to_mode) = (from.client_certificate(), to.client_certificate());
            to_mode != ClientCertificateMode::None
                && (from.trust() != to.trust()
                    || (from_mode, to_mode) == (ClientCertificateMode::Optional, ClientCertificateMode::Require))
        };
        let expected = named.iter().any(|from| hosts.iter().any(|to| differs(from, to)));
        prop_assert_eq!(!found.is_empty(), expected);
    }
}
