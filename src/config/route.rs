//! `[[host.route]]`.

use std::cell::RefCell;
use std::collections::HashMap;

use http::Method;

use super::context::Context;
use super::matcher::matcher;
use super::names::identifier;
use super::path::pattern;
use super::problem::{Place, Read, shown};
use super::read::{Node, Section};
use super::reference::ROUTE;
use super::reputation::of_route;
use crate::message::target::PathRules;
use crate::policy::spec::{Allow, ClientCertificateMode, PathPattern, RouteSpec};

/// What a route has to know of its host.
#[derive(Default)]
pub(super) struct HostFacts {
    /// Its first name; `None` where that has a problem.
    pub(super) name: Option<Box<str>>,
    /// Its mode; `None` where that has a problem.
    pub(super) mode: Option<ClientCertificateMode>,
    pub(super) paths: PathRules,
    /// What its routes before this one have.
    pub(super) taken: RefCell<HashMap<PathPattern, Taken>>,
}

/// The methods of a path that routes have already.
#[derive(Default)]
pub(super) struct Taken {
    every: Option<Place>,
    some: HashMap<Method, Place>,
}

/// One route.
pub(super) fn route(node: &Node<'_>, host: &HostFacts, context: &Context<'_>) -> Read<RouteSpec> {
    node.section(&ROUTE, |section| {
        let own_name = section.optional("name", |node, _| identifier(node, node.text()?));
        let path = section.value("path", |node, _| pattern(node, host.paths));
        let methods = section.list("methods", method);
        let allow = allow(section, host.mode);
        let deny = section.list("deny", |node| {
            needs_identity(node, host.mode)?;
            matcher(node)
        });
        let limits = section.list("limit", |node| context.limits.resolve(node));
        let upstream = section.value("upstream", |node, _| context.upstreams.resolve(node));
        let upgrades = section.words("upgrade", UPGRADES);
        let body_bytes = section.optional_count("body_bytes");
        let reputation = of_route(section);

        let (path, methods) = (path?, methods?);
        let free = unclaimed(section, &path, &methods, host);
        let derived = || derived_name(host.name.as_deref().unwrap_or_default(), &path, &methods);
        let name = own_name.and_then(|name| unique_name(section, name.unwrap_or_else(derived), context));
        free?;
        let name = name?;
        context.reputations.borrow_mut().insert(name.clone(), reputation?);
        Ok(RouteSpec {
            name,
            path,
            methods,
            allow: allow?,
            deny: deny?,
            limits: limits?,
            upstream: upstream?,
            upgrades: upgrades?.into_iter().map(Into::into).collect(),
            body_bytes: body_bytes?,
        })
    })
}

fn method(node: &Node<'_>) -> Read<Method> {
    let text = node.text()?;
    let Ok(method) = Method::from_bytes(text.as_bytes()) else {
        return node.wrong(format!("\"{}\" is not a method", shown(text)));
    };
    // Methods are case-sensitive (RFC 9110 §9.1): `get` is a rule for nothing.
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return node
            .wrong_hint(format!("\"{}\" is not in upper case", shown(text)), format!("\"{}\"", text.to_uppercase()));
    }
    if method == Method::CONNECT {
        return node.wrong("CONNECT is always refused: the gate is not a forward proxy");
    }
    Ok(method)
}

fn allow(section: &Section<'_>, mode: Option<ClientCertificateMode>) -> Read<Allow> {
    let allow = section.optional("allow", |node, _| match node.value.as_str() {
        Some("anyone") if mode == Some(ClientCertificateMode::Require) => node.wrong_hint(
            "\"anyone\" contradicts the host, whose clients all have a certificate",
            "write allow = \"any-verified\", or client_certificate = \"optional\" for the host",
        ),
        Some("anyone") => Ok(Allow::Anyone),
        Some("any-verified") => needs_identity(node, mode).map(|()| Allow::AnyVerified),
        Some(other) => node.wrong_hint(format!("\"{}\" does not say who may", shown(other)), WHO),
        None if node.value.as_array().is_some_and(|list| list.is_empty()) => {
            node.wrong_hint("empty: the route would let nobody in", WHO)
        }
        None => needs_identity(node, mode).and(node.each(matcher)).map(Allow::Matching),
    })?;
    allow.map_or_else(|| section.missing("allow", "missing: the route would let nobody in", WHO), Ok)
}

/// A rule about identities on a host that never learns any is a rule for nothing.
fn needs_identity(node: &Node<'_>, mode: Option<ClientCertificateMode>) -> Read<()> {
    if mode != Some(ClientCertificateMode::None) {
        return Ok(());
    }
    node.wrong_hint(
        "nobody ever has an identity on a host with client_certificate = \"none\"",
        "write client_certificate = \"optional\" or \"require\", or allow = \"anyone\" without deny",
    )
}

/// Of two routes with the same path and method one would never be used, and nobody could say which.
fn unclaimed(section: &Section<'_>, path: &PathPattern, methods: &[Method], host: &HostFacts) -> Read<()> {
    let mut all = host.taken.borrow_mut();
    let taken = all.entry(path.clone()).or_default();
    let clash = if methods.is_empty() {
        taken.every.as_ref().or_else(|| taken.some.values().min_by_key(|place| place.span.start))
    } else {
        taken.every.as_ref().or_else(|| methods.iter().find_map(|method| taken.some.get(method)))
    };
    if let Some(first) = clash {
        let what = format!("has the same path and methods as {} (line {})", first.path, section.sink.line(first));
        return Err(section.sink.wrong(&section.place, what, None));
    }
    if methods.is_empty() {
        taken.every = Some(section.place.clone());
    }
    taken.some.extend(methods.iter().map(|method| (method.clone(), section.place.clone())));
    Ok(())
}

/// `POST api.example.com/v1/login`; a prefix ends in `/*`.
fn derived_name(host: &str, path: &PathPattern, methods: &[Method]) -> Box<str> {
    let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
    let space = if methods.is_empty() { "" } else { " " };
    let path = match path {
        PathPattern::Exact(path) | PathPattern::Glob(path) => path.to_string(),
        PathPattern::Prefix(path) => format!("{}/*", path.trim_end_matches('/')),
    };
    format!("{}{space}{host}{path}", methods.join(",")).into()
}

fn unique_name(section: &Section<'_>, name: Box<str>, context: &Context<'_>) -> Read<Box<str>> {
    let Some(first) = context.route_names.claim(name.clone(), &section.place) else {
        return Ok(name);
    };
    let what = format!("\"{}\" is also the name of {} (line {})", shown(&name), first.path, section.sink.line(&first));
    let hint = "give one of them another `name`".to_owned();
    Err(section.sink.wrong(&section.place.child("name"), what, Some(hint)))
}

const UPGRADES: &[(&str, &str)] = &[("websocket", "websocket")];
const WHO: &str = "write allow = \"any-verified\", \"anyone\", or matchers like [{ issuer_cn = \"Mobile CA\" }]";
