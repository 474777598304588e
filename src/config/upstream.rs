//! `[upstream.NAME]`.

use super::context::Context;
use super::host::certificate;
use super::names::host_name;
use super::problem::{Read, shown};
use super::read::{Node, Section};
use super::reference::{UPSTREAM, UPSTREAM_TLS};
use super::trust::named;
use crate::identity::Formats;
use crate::upstream::{Balance, ClientCertificate, ServerSpec, Timeouts, TlsSpec, UpstreamSpec, Via};

/// Every upstream.
pub(super) fn upstreams(root: &Section<'_>, context: &Context<'_>) -> Read<Vec<UpstreamSpec>> {
    named(root, "upstream", |name, node| node.section(&UPSTREAM, |section| upstream(name, section, context)))
}

fn upstream(name: Read<Box<str>>, section: &Section<'_>, context: &Context<'_>) -> Read<UpstreamSpec> {
    let servers = section.list("servers", server);
    let balance = section.word("balance", BALANCES);
    let tls = tls(section, servers.as_deref().ok(), context);
    let timeouts = timeouts(section);
    let max_idle = section.count("max_idle");
    let eject_after = section.count("eject_after");
    let eject_for = section.duration("eject_for");
    let forward = section.words("forward", FORMATS);
    Ok(UpstreamSpec {
        name: name?,
        servers: servers?,
        balance: balance?,
        tls: tls?,
        timeouts: timeouts?,
        max_idle: max_idle?,
        eject_after: eject_after?,
        eject_for: eject_for?,
        forward: formats(&forward?),
    })
}

fn timeouts(section: &Section<'_>) -> Read<Timeouts> {
    let connect = section.duration("connect_timeout");
    let response = section.duration("response_timeout");
    let idle = section.duration("idle_timeout");
    let keep_alive = section.duration("keep_alive");
    Ok(Timeouts { connect: connect?, response: response?, idle: idle?, keep_alive: keep_alive? })
}

/// A URL of a scheme, a host and perhaps a port; everything else in it would be ignored.
fn server(node: &Node<'_>) -> Read<ServerSpec> {
    let text = node.text()?;
    let wrong =
        |what: &str| node.wrong_hint(format!("\"{}\" {what}", shown(text)), "\"http://HOST:PORT\", h2c:// or https://");
    let Ok(uri) = text.parse::<http::Uri>() else {
        return wrong("is not a URL");
    };
    let (via, default_port) = match uri.scheme_str() {
        Some("http") => (Via::Http1, 80),
        Some("h2c") => (Via::Http2, 80),
        Some("https") => (Via::Tls, 443),
        _ => return wrong("is not http://, h2c:// or https://"),
    };
    let Some(authority) = uri.authority() else {
        return wrong("has no host");
    };
    if authority.as_str().contains('@') {
        return wrong("has a user name or a password, which would not be used");
    }
    if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
        return wrong("has a path or a query, which would not be used");
    }
    let has_port = authority.as_str().len() > authority.host().len();
    let port = if has_port { authority.port_u16() } else { Some(default_port) };
    let Some(port) = port.filter(|port| *port != 0) else {
        return wrong("has no port from 1 to 65535");
    };
    Ok(ServerSpec { via, host: host_name(node, authority.host())?, port })
}

fn tls(section: &Section<'_>, servers: Option<&[ServerSpec]>, context: &Context<'_>) -> Read<TlsSpec> {
    let wanted = servers.map(|servers| servers.iter().any(|server| server.via == Via::Tls));
    let tls = section.optional("tls", |node, _| {
        let tls = node.section(&UPSTREAM_TLS, |section| tls_section(section, context));
        if wanted == Some(false) {
            return node.wrong_hint("no server is https://", "remove it, or write https:// for the servers");
        }
        tls
    })?;
    if tls.is_none() && wanted == Some(true) {
        return section.missing(
            "tls",
            "missing, but required for https:// servers: the system's roots are not used",
            "tls = { anchors = [\"certs/backend-ca.pem\"] }",
        );
    }
    Ok(tls.unwrap_or_default())
}

fn tls_section(section: &Section<'_>, context: &Context<'_>) -> Read<TlsSpec> {
    let anchors = section.list("anchors", |node| context.file(node));
    let server_name = section.optional("server_name", |node, _| host_name(node, node.text()?));
    let certificate = section.optional("certificate", |node, _| certificate(node, context));
    let certificate = certificate?.map(|pair| ClientCertificate { chain: pair.chain, key: pair.key });
    Ok(TlsSpec { anchors: anchors?, server_name: server_name?, certificate })
}

fn formats(wanted: &[Format]) -> Formats {
    Formats {
        client_cert: wanted.contains(&Format::ClientCert),
        client_cert_chain: wanted.contains(&Format::ClientCertChain),
        plain: wanted.contains(&Format::Plain),
        xfcc: wanted.contains(&Format::Xfcc),
        fingerprint: wanted.contains(&Format::Fingerprint),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    ClientCert,
    ClientCertChain,
    Fingerprint,
    Plain,
    Xfcc,
}

const BALANCES: &[(&str, Balance)] =
    &[("round-robin", Balance::RoundRobin), ("least-in-flight", Balance::LeastInFlight)];
const FORMATS: &[(&str, Format)] = &[
    ("client-cert", Format::ClientCert),
    ("client-cert-chain", Format::ClientCertChain),
    ("plain", Format::Plain),
    ("xfcc", Format::Xfcc),
    ("fingerprint", Format::Fingerprint),
];
