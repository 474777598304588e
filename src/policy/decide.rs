//! The whole decision about one request. Live traffic and `explain` share it.

use http::Method;

use crate::fingerprint::Stack;
use crate::identity::Identity;
use crate::reject::{Reason, Reject};

use super::authorize::{Permit, authorize};
use super::host::{Host, HostId, HostTable};
use super::route::Route;

/// All that a decision may look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The host of the handshake, in the table that decides.
    pub connection_host: HostId,
    /// The host that the request is for, as [`HostTable::find`] wants it.
    pub authority_host: &'a str,
    /// Its path, canonical.
    pub path: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// What the trust store of the host of the handshake verified.
    pub identity: Option<&'a Identity>,
    /// What is known of its software.
    pub stack: Stack<'a>,
    /// The protocol it wants to upgrade to.
    pub upgrade: Option<&'a str>,
}

/// Decides whether a request goes on: [`route`], then [`authorize`].
///
/// # Errors
///
/// Those of both.
pub fn decide<'t>(table: &'t HostTable, facts: &Facts<'_>) -> Result<Permit<'t>, Reject> {
    let (host, route) = route(table, facts)?;
    authorize(route, host.client_certificate(), facts.identity, facts.stack)
}

/// Finds the host and the route of a request. Whoever gets one is not yet permitted anything.
///
/// # Errors
///
/// In this order: [`Reason::ConnectRefused`]; [`Reason::Misdirected`] if the request is for another
/// host than the handshake, whose certificate rules were other ones; [`Reason::RouteUnknown`];
/// [`Reason::MethodNotAllowed`]; [`Reason::UpgradeRefused`].
pub fn route<'t>(table: &'t HostTable, facts: &Facts<'_>) -> Result<(&'t Host, &'t Route), Reject> {
    if facts.method == Method::CONNECT {
        return Err(Reason::ConnectRefused.into());
    }
    let host = same_host(table, facts)?;
    let route = host.routes().find(facts.path, facts.method)?;
    if let Some(protocol) = facts.upgrade
        && !route.permits_upgrade(protocol)
    {
        return Err(Reject::new(Reason::UpgradeRefused, format!("route {:?} has no such upgrade", route.name)));
    }
    Ok((host, route))
}

fn same_host<'t>(table: &'t HostTable, facts: &Facts<'_>) -> Result<&'t Host, Reject> {
    let found = table.find(facts.authority_host).filter(|found| *found == facts.connection_host);
    found.and_then(|id| table.get(id)).ok_or_else(|| {
        let handshake = table.get(facts.connection_host).map_or("unknown", Host::name);
        let detail = format!("request for {:?} on a connection for host {handshake:?}", facts.authority_host);
        Reject::new(Reason::Misdirected, detail)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{
        cn, dns, dns_identity, exact, glob, host, identity, prefix, route as route_spec, texts,
    };
    use super::super::spec::{Allow, ClientCertificateMode, HostSpec, Matcher, RouteSpec};
    use super::*;
    use crate::fingerprint::{Ja4, TlsPrint};

    const MODES: [ClientCertificateMode; 3] =
        [ClientCertificateMode::None, ClientCertificateMode::Optional, ClientCertificateMode::Require];

    /// The same routes behind each mode, at `require.example`, `optional.example` and `none.example`.
    fn table() -> HostTable {
        let names: [&[&str]; 3] =
            [&["none.example"], &["optional.example", "198.51.100.1"], &["require.example", "*.require.example"]];
        let hosts = names.into_iter().zip(MODES).map(|(names, mode)| host(names, mode, routes()));
        HostTable::new(hosts.collect()).unwrap()
    }

    fn routes() -> Vec<RouteSpec> {
        let ops = || Allow::Matching(vec![cn(&["ops-*"]), dns(&["*.ops.example"])]);
        vec![
            RouteSpec {
                deny: vec![cn(&["mallory"]), dns(&["*.revoked.example"])],
                ..route_spec("root", prefix("/"), Allow::Anyone)
            },
            route_spec("verified", prefix("/verified"), Allow::AnyVerified),
            RouteSpec {
                methods: vec![Method::GET],
                deny: vec![dns(&["old.ops.example"])],
                ..route_spec("ops", prefix("/ops"), ops())
            },
            route_spec("nobody", prefix("/nobody"), Allow::Nobody),
            route_spec("empty", prefix("/empty"), Allow::Matching(Vec::new())),
            RouteSpec { upgrades: texts(&["websocket"]), ..route_spec("chat", exact("/chat"), Allow::AnyVerified) },
            route_spec("tenant", glob("/t/*/open"), Allow::Anyone),
            route_spec("tenants", prefix("/t"), ops()),
        ]
    }

    /// Who asks in the table below.
    fn who(name: &str) -> Option<Identity> {
        match name {
            "-" => None,
            "ops by second dns" => Some(dns_identity(&["a.example", "b.ops.example"])),
            "denied by second dns" => Some(dns_identity(&["b.ops.example", "old.ops.example"])),
            "revoked by second dns" => Some(dns_identity(&["b.ops.example", "x.revoked.example"])),
            "two labels" => Some(dns_identity(&["a.b.ops.example"])),
            "apex" => Some(dns_identity(&["ops.example"])),
            "email as dns" => {
                let mut identity = identity("x");
                identity.names.email = texts(&["b.ops.example"]);
                identity.names.uri = texts(&["b.ops.example"]);
                Some(identity)
            }
            name => Some(identity(name)),
        }
    }

    type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

    /// Host, method and upgrade, path, who, and the route or the code of the refusal.
    const ROWS: &[Row] = &[
        // Anyone, by mode.
        ("none", "GET", "/", "-", "root"),
        ("optional", "GET", "/", "-", "root"),
        ("require", "GET", "/", "-", "identity_required"),
        ("require", "GET", "/", "ann", "root"),
        ("optional", "GET", "/", "mallory", "identity_denied"),
        ("require", "GET", "/", "mallory", "identity_denied"),
        ("none", "GET", "/", "mallory", "identity_denied"),
        ("optional", "GET", "/", "revoked by second dns", "identity_denied"),
        // Any verified.
        ("none", "GET", "/verified", "-", "identity_required"),
        ("none", "GET", "/verified", "ann", "identity_required"),
        ("optional", "GET", "/verified", "-", "identity_required"),
        ("optional", "GET", "/verified", "ann", "verified"),
        ("require", "GET", "/verified", "-", "identity_required"),
        ("require", "GET", "/verified/x", "ann", "verified"),
        ("require", "GET", "/verified", "mallory", "verified"),
        // Matching.
        ("none", "GET", "/ops", "ops-1", "identity_required"),
        ("optional", "GET", "/ops", "-", "identity_required"),
        ("optional", "GET", "/ops", "ops-1", "ops"),
        ("require", "GET", "/ops", "ops-1", "ops"),
        ("require", "GET", "/ops", "Ops-1", "identity_not_allowed"),
        ("require", "GET", "/ops", "ann", "identity_not_allowed"),
        ("require", "GET", "/ops", "b.ops.example", "identity_not_allowed"),
        ("require", "GET", "/ops", "ops by second dns", "ops"),
        ("require", "GET", "/ops", "denied by second dns", "identity_denied"),
        ("require", "GET", "/ops", "two labels", "identity_not_allowed"),
        ("require", "GET", "/ops", "apex", "identity_not_allowed"),
        ("require", "GET", "/ops", "email as dns", "identity_not_allowed"),
        // Nobody.
        ("optional", "GET", "/nobody", "-", "identity_not_allowed"),
        ("none", "GET", "/nobody", "-", "identity_not_allowed"),
        ("require", "GET", "/nobody", "-", "identity_required"),
        ("require", "GET", "/nobody", "ops-1", "identity_not_allowed"),
        ("optional", "GET", "/empty", "-", "identity_not_allowed"),
        ("require", "GET", "/empty", "ops-1", "identity_not_allowed"),
        // Paths and methods.
        ("require", "DELETE", "/ops", "ops-1", "method_not_allowed"),
        ("optional", "DELETE", "/ops/x", "-", "method_not_allowed"),
        ("optional", "DELETE", "/opsx", "-", "root"),
        ("optional", "HEAD", "/ops", "ops-1", "method_not_allowed"),
        ("optional", "GET", "/OPS", "-", "root"),
        ("optional", "GET", "/t/a/open", "-", "tenant"),
        ("optional", "GET", "/t/a/b/open", "-", "identity_required"),
        ("optional", "GET", "/t/a/open/", "-", "identity_required"),
        ("optional", "OPTIONS", "*", "-", "route_unknown"),
        ("optional", "GET", "ops", "ops-1", "route_unknown"),
        ("require", "CONNECT", "/", "ann", "connect_refused"),
        ("optional", "CONNECT", "/nowhere", "-", "connect_refused"),
        // Upgrades.
        ("require", "GET websocket", "/chat", "ann", "chat"),
        ("require", "GET WebSocket", "/chat", "ann", "chat"),
        ("require", "GET h2c", "/chat", "ann", "upgrade_refused"),
        ("require", "GET websocket, h2c", "/chat", "ann", "upgrade_refused"),
        ("require", "GET websocket", "/", "ann", "upgrade_refused"),
        ("require", "GET websocket", "/chat", "-", "identity_required"),
        ("require", "GET ", "/chat", "ann", "upgrade_refused"),
    ];

    fn outcome(table: &HostTable, facts: &Facts<'_>) -> &'static str {
        match decide(table, facts) {
            Ok(permit) => routes_name(&permit.route().name),
            Err(reject) => reject.reason.code(),
        }
    }

    fn routes_name(name: &str) -> &'static str {
        ["root", "verified", "ops", "nobody", "empty", "chat", "tenant", "tenants"]
            .into_iter()
            .find(|known| *known == name)
            .unwrap()
    }

    #[test]
    fn every_row_of_the_table_is_decided_as_it_says() {
        let table = table();
        assert!(ROWS.len() >= 40);
        for (host, method, path, name, expected) in ROWS {
            let authority = format!("{host}.example");
            let (method, upgrade) = method.split_once(' ').map_or((*method, None), |(m, u)| (m, Some(u)));
            let (method, identity) = (Method::from_bytes(method.as_bytes()).unwrap(), who(name));
            let facts = Facts {
                connection_host: table.find(&authority).unwrap(),
                authority_host: &authority,
                path,
                method: &method,
                identity: identity.as_ref(),
                stack: Stack::default(),
                upgrade,
            };
            assert_eq!(outcome(&table, &facts), *expected, "{host} {method} {path} {name}");
        }
    }

    #[test]
    fn a_request_for_another_host_than_the_handshake_is_misdirected() {
        let table = table();
        let ann = identity("ann");
        for (handshake, authority, expected) in [
            ("require.example", "a.require.example", "root"),
            ("a.require.example", "b.require.example", "root"),
            ("optional.example", "198.51.100.1", "root"),
            ("optional.example", "require.example", "misdirected"),
            ("none.example", "require.example", "misdirected"),
            ("require.example", "a.b.require.example", "misdirected"),
            ("require.example", "198.51.100.1", "misdirected"),
            ("require.example", "unknown.example", "misdirected"),
            ("require.example", "REQUIRE.example", "misdirected"),
            ("require.example", "", "misdirected"),
        ] {
            let facts = Facts {
                connection_host: table.find(handshake).unwrap(),
                authority_host: authority,
                path: "/",
                method: &Method::GET,
                identity: Some(&ann),
                stack: Stack::default(),
                upgrade: None,
            };
            assert_eq!(outcome(&table, &facts), expected, "{handshake} {authority}");
        }
    }

    #[test]
    fn a_host_without_routes_permits_nothing() {
        let table = HostTable::new(vec![host(&["a.example"], ClientCertificateMode::None, Vec::new())]).unwrap();
        let reject = ask(&table, None).unwrap_err();
        assert_eq!(reject.reason, Reason::RouteUnknown);
    }

    #[test]
    fn a_route_that_says_nothing_permits_nobody() {
        for mode in MODES {
            let table = one_route(mode, Allow::default(), &[]);
            assert!(ask(&table, None).is_err() && ask(&table, Some(&identity("ann"))).is_err(), "{mode:?}");
        }
    }

    #[test]
    fn a_stack_that_is_denied_is_denied_with_and_without_a_certificate_and_one_that_is_allowed_needs_one() {
        let ja4: Ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1".parse().unwrap();
        let stack = Stack { tls: Some(TlsPrint { ja4, stable: ja4 }), http2: Some("2:0|00|0|m,a,s,p") };
        let matching =
            |ja4: &str, h2: &[&str]| Matcher { ja4: vec![ja4.parse().unwrap()], h2: texts(h2), ..Matcher::default() };
        let ann = identity("ann");
        let decided = |allow: Allow, deny: &[Matcher], identity, stack| {
            let table = one_route(ClientCertificateMode::Optional, allow, deny);
            let connection_host = table.find("a.example").unwrap();
            let facts = Facts {
                connection_host,
                authority_host: "a.example",
                path: "/",
                method: &Method::GET,
                identity,
                stack,
                upgrade: None,
            };
            decide(&table, &facts).map_or_else(|reject| reject.reason.code(), |_| "permitted")
        };
        let deny = [matching("t13d1516h2_*", &["2:0|00|0|m,a,s,p"])];
        assert_eq!(decided(Allow::Anyone, &deny, None, stack), "identity_denied");
        assert_eq!(decided(Allow::Anyone, &deny, Some(&ann), stack), "identity_denied");
        assert_eq!(decided(Allow::Anyone, &deny, Some(&ann), Stack { http2: None, ..stack }), "permitted");
        assert_eq!(decided(Allow::Anyone, &deny, Some(&ann), Stack::default()), "permitted");
        let allow = || Allow::Matching(vec![matching("*_8daaf6152771_*", &[])]);
        assert_eq!(decided(allow(), &[], None, stack), "identity_required");
        assert_eq!(decided(allow(), &[], Some(&ann), stack), "permitted");
        assert_eq!(decided(allow(), &[], Some(&ann), Stack::default()), "identity_not_allowed");
    }

    #[test]
    fn a_denial_names_the_route_and_the_rule() {
        let table = one_route(ClientCertificateMode::Require, Allow::Anyone, &[cn(&["eve"]), cn(&["mallory"])]);
        let reject = ask(&table, Some(&identity("mallory"))).unwrap_err();
        assert_eq!(reject.to_string(), r#"identity_denied: route "r": deny[1] matches"#);
    }

    fn one_route(mode: ClientCertificateMode, allow: Allow, deny: &[Matcher]) -> HostTable {
        let route = RouteSpec { deny: deny.to_vec(), ..route_spec("r", prefix("/"), allow) };
        let spec: HostSpec = host(&["a.example"], mode, vec![route]);
        HostTable::new(vec![spec]).unwrap()
    }

    fn ask<'t>(table: &'t HostTable, identity: Option<&Identity>) -> Result<Permit<'t>, Reject> {
        let connection_host = table.find("a.example").unwrap();
        let method = &Method::GET;
        decide(
            table,
            &Facts {
                connection_host,
                authority_host: "a.example",
                path: "/",
                method,
                identity,
                stack: Stack::default(),
                upgrade: None,
            },
        )
    }

    fn any_matcher() -> impl Strategy<Value = Matcher> {
        let pattern = || prop::collection::vec(r"[ab]{0,2}\*{0,2}[ab.]{0,2}[ab*]", 1..3);
        (pattern(), pattern(), 0..3).prop_map(|(left, right, shape)| {
            let boxed = |list: Vec<String>| list.into_iter().map(|text| text.replace("***", "*").into()).collect();
            match shape {
                0 => Matcher { subject_cn: boxed(left), ..Matcher::default() },
                1 => Matcher { uri: boxed(left), ..Matcher::default() },
                _ => Matcher { subject_cn: boxed(left), uri: boxed(right), ..Matcher::default() },
            }
        })
    }

    fn any_allow() -> impl Strategy<Value = Allow> {
        prop_oneof![
            Just(Allow::Anyone),
            Just(Allow::AnyVerified),
            Just(Allow::Nobody),
            prop::collection::vec(any_matcher(), 0..3).prop_map(Allow::Matching),
        ]
    }

    fn any_identity() -> impl Strategy<Value = Option<Identity>> {
        prop::option::of(("[ab.]{0,4}", prop::collection::vec("[ab.]{0,4}", 0..3)).prop_map(|(common_name, uris)| {
            let mut identity = identity(&common_name);
            identity.names.uri = uris.into_iter().map(Into::into).collect();
            identity
        }))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn one_more_deny_rule_never_permits_more(
            mode in prop::sample::select(MODES.to_vec()),
            allow in any_allow(),
            mut deny in prop::collection::vec(any_matcher(), 0..3),
            extra in any_matcher(),
            at in 0_usize..4,
            identity in any_identity(),
        ) {
            let before = one_route(mode, allow.clone(), &deny);
            deny.insert(at.min(deny.len()), extra);
            let after = one_route(mode, allow, &deny);
            let (before, after) = (ask(&before, identity.as_ref()).is_ok(), ask(&after, identity.as_ref()).is_ok());
            prop_assert!(before || !after);
        }

        #[test]
        fn without_an_identity_only_anyone_is_permitted_and_never_where_one_is_required(
            mode in prop::sample::select(MODES.to_vec()),
            allow in any_allow(),
        ) {
            let anyone = matches!(allow, Allow::Anyone) && mode != ClientCertificateMode::Require;
            prop_assert_eq!(ask(&one_route(mode, allow, &[]), None).is_ok(), anyone);
        }
    }
}
