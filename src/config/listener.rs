//! `[[listener]]`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::context::Context;
use super::names::{Once, served_name};
use super::problem::{Read, shown};
use super::read::{Node, Section};
use super::reference::{LISTENER, PROXY_PROTOCOL};
use crate::net::ListenerSpec;
use crate::policy::spec::ClientCertificateMode;

/// Every listener. Hosts must have been read before.
pub(super) fn listeners(root: &Section<'_>, context: &Context<'_>) -> Read<Vec<ListenerSpec>> {
    let addresses = Once::default();
    root.list("listener", |node| node.section(&LISTENER, |section| listener(section, context, &addresses)))
}

fn listener(section: &Section<'_>, context: &Context<'_>, addresses: &Once<SocketAddr>) -> Read<ListenerSpec> {
    let address = section.value("address", |node, _| unclaimed(node, addresses));
    let proxy_protocol = section
        .optional("proxy_protocol", |node, _| node.section(&PROXY_PROTOCOL, |section| section.list("from", network)));
    let default_host = section.optional("default_host", |node, _| default_host(node, context));
    let backlog = section.count("backlog");
    Ok(ListenerSpec {
        address: address?,
        proxy_protocol_from: proxy_protocol?.unwrap_or_default(),
        default_host: default_host?,
        backlog: backlog?,
    })
}

/// A network, or one address.
pub(super) fn network(node: &Node<'_>) -> Read<IpNet> {
    let text = node.text()?;
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    match network {
        None => node.wrong(format!("\"{}\" is not a network like \"10.0.0.0/8\" or an address", shown(text))),
        // Host bits that are set are a typing error on one side of the slash or the other.
        Some(network) if network.addr() != network.network() => node.wrong_hint(
            format!("\"{}\" has bits set beyond its prefix", shown(text)),
            format!("\"{}\"", network.trunc()),
        ),
        Some(network) => Ok(network),
    }
}

/// Two listeners on one address would share its connections by chance: the kernel lets them.
fn unclaimed(node: &Node<'_>, addresses: &Once<SocketAddr>) -> Read<SocketAddr> {
    let address: SocketAddr = node.parsed("an address and port like \"0.0.0.0:8443\"")?;
    match addresses.claim(address, &node.place) {
        Some(first) if address.port() != 0 => {
            node.wrong(format!("{address} is also {} (line {})", first.path, node.sink.line(&first)))
        }
        _ => Ok(address),
    }
}

/// A client that hides which host it wants must not get one that asks less of it than any other.
fn default_host(node: &Node<'_>, context: &Context<'_>) -> Read<Box<str>> {
    let name = served_name(node)?;
    let modes = context.modes.borrow();
    match modes.get(&name) {
        Some(Some(ClientCertificateMode::Require) | None) => Ok(name),
        Some(Some(_)) => node.wrong_hint(
            format!(
                "\"{name}\" does not require a client certificate, and a client without a server name must not get less"
            ),
            "name a host with client_certificate = \"require\", or none",
        ),
        None => {
            let close = node.sink.closest(&name, modes.keys().map(|name| &**name));
            let hint = close.map(|name| format!("did you mean \"{name}\"?"));
            Err(node.sink.absent(&node.place, format!("no host has the name \"{name}\""), hint))
        }
    }
}
