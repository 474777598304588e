//! `[[host]]`.

use super::context::Context;
use super::names::served_name;
use super::problem::Read;
use super::read::{Node, Section};
use super::reference::{CERTIFICATE, HOST};
use super::route::{HostFacts, route};
use crate::message::target::PathRules;
use crate::policy::spec::{CertificateSpec, ClientCertificateMode, HostSpec};

/// Every host.
pub(super) fn hosts(root: &Section<'_>, context: &Context<'_>) -> Read<Vec<HostSpec>> {
    root.list("host", |node| node.section(&HOST, |section| host(section, context)))
}

/// A certificate and its key.
pub(super) fn certificate(node: &Node<'_>, context: &Context<'_>) -> Read<CertificateSpec> {
    node.section(&CERTIFICATE, |section| {
        let chain = section.value("chain", |node, _| context.file(node));
        let key = section.value("key", |node, _| context.file(node));
        Ok(CertificateSpec { chain: chain?, key: key? })
    })
}

fn host(section: &Section<'_>, context: &Context<'_>) -> Read<HostSpec> {
    let mode = section.word("client_certificate", MODES);
    let names = section.list("names", |node| unclaimed(node, mode.ok(), context));
    let certificates = section.list("certificate", |node| certificate(node, context));
    let trust = trust(section, mode.ok(), context);
    let paths = section.words("allow_in_path", TOLERATED);
    let facts = HostFacts {
        name: names.as_ref().ok().and_then(|names| names.first().cloned()),
        mode: mode.ok(),
        paths: path_rules(paths.as_deref().unwrap_or_default()),
        ..HostFacts::default()
    };
    let routes = section.list("route", |node| route(node, &facts, context));
    paths?;
    Ok(HostSpec {
        names: names?,
        certificates: certificates?,
        client_certificate: mode?,
        trust: trust?,
        paths: facts.paths,
        routes: routes?,
    })
}

/// A name that no host before has; two with one name would be told apart by their order.
fn unclaimed(node: &Node<'_>, mode: Option<ClientCertificateMode>, context: &Context<'_>) -> Read<Box<str>> {
    let name = served_name(node)?;
    if let Some(first) = context.served.claim(name.clone(), &node.place) {
        return node.wrong(format!("\"{name}\" is also {} (line {})", first.path, node.sink.line(&first)));
    }
    context.modes.borrow_mut().insert(name.clone(), mode);
    Ok(name)
}

fn trust(section: &Section<'_>, mode: Option<ClientCertificateMode>, context: &Context<'_>) -> Read<Option<Box<str>>> {
    let none = mode == Some(ClientCertificateMode::None);
    let trust = section.optional("trust", |node, _| {
        let name = context.trust.resolve(node);
        if none {
            return node.wrong_hint(
                "a trust store without a client certificate to check",
                "remove it, or write client_certificate = \"require\"",
            );
        }
        name
    })?;
    if trust.is_none() && !none && mode.is_some() {
        return section.missing(
            "trust",
            "missing, but required to check client certificates",
            "trust = \"NAME\" and a [trust.NAME], or client_certificate = \"none\"",
        );
    }
    Ok(trust)
}

fn path_rules(tolerated: &[Tolerated]) -> PathRules {
    PathRules {
        empty_segment: tolerated.contains(&Tolerated::EmptySegment),
        encoded_slash: tolerated.contains(&Tolerated::EncodedSlash),
        semicolon: tolerated.contains(&Tolerated::Semicolon),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tolerated {
    EmptySegment,
    EncodedSlash,
    Semicolon,
}

const MODES: &[(&str, ClientCertificateMode)] = &[
    ("require", ClientCertificateMode::Require),
    ("optional", ClientCertificateMode::Optional),
    ("none", ClientCertificateMode::None),
];
const TOLERATED: &[(&str, Tolerated)] = &[
    ("semicolon", Tolerated::Semicolon),
    ("encoded-slash", Tolerated::EncodedSlash),
    ("empty-segment", Tolerated::EmptySegment),
];
