//! `[forwarded]`, `[admin]`, `[log]`, `[runtime]`, `[resumption]`, `[shutdown]`, `[reload]`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::context::Context;
use super::listener::network;
use super::problem::Read;
use super::read::{Node, Section};
use super::reference::{ADMIN, FORWARDED, LOG, RELOAD, RESUMPTION, RUNTIME, SHUTDOWN};
use super::{AdminAddress, AdminSpec, ForwardedSpec, RuntimeSpec};
use crate::net::ListenerSpec;
use crate::runtime::Flavor;
use crate::telemetry::{LogFormat, LogSpec};
use crate::tls::ResumptionSpec;

/// Who may say where a request came from.
pub(super) fn forwarded(root: &Section<'_>) -> Read<ForwardedSpec> {
    root.below("forwarded", &FORWARDED, |section| {
        let trusted = section.list("trusted", network);
        let rfc7239 = section.flag("rfc7239");
        Ok(ForwardedSpec { trusted: trusted?, rfc7239: rfc7239? })
    })
}

/// The admin listener, on no address of `listeners`.
pub(super) fn admin(root: &Section<'_>, listeners: &[ListenerSpec], context: &Context<'_>) -> Read<Option<AdminSpec>> {
    root.optional("admin", |node, _| {
        node.section(&ADMIN, |section| {
            let public = section.flag("public");
            let token_file = section.optional("token_file", |node, _| context.file(node));
            let address = section.value("address", |node, _| {
                let proven = token_file.as_ref().map_or(true, Option::is_some);
                admin_address(node, public.as_ref().map_or(true, |public| *public), proven, listeners)
            });
            let (public, token_file, address) = (public?, token_file?, address?);
            Ok(AdminSpec { address, public, token_file })
        })
    })
}

fn admin_address(node: &Node<'_>, public: bool, proven: bool, listeners: &[ListenerSpec]) -> Read<AdminAddress> {
    if let Some(path) = node.text()?.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        if !path.is_absolute() || path.file_name().is_none() || node.text()?.contains('\0') {
            return node.wrong("not the whole path of a socket, like \"unix:/run/portcullis/admin.sock\"");
        }
        return Ok(AdminAddress::Unix(path));
    }
    let address: SocketAddr = node.parsed("an address and port like \"127.0.0.1:9901\", or \"unix:/PATH\"")?;
    if !public && !address.ip().is_loopback() {
        return node.wrong_hint(
            format!("others can reach {address}, and what is served there tells about your clients"),
            "public = true if that is meant, with a token_file; an address like \"127.0.0.1:9901\" if not",
        );
    }
    if !proven && !address.ip().is_loopback() {
        return node.wrong_hint(
            format!("others can reach {address}, and nothing asks them who they are"),
            "token_file = \"FILE\", with a line of `openssl rand -hex 32` in it",
        );
    }
    if address.port() != 0 && listeners.iter().any(|listener| listener.address == address) {
        return node.wrong(format!("{address} is also a listener's"));
    }
    Ok(AdminAddress::Tcp(address))
}

/// The log.
pub(super) fn log(root: &Section<'_>) -> Read<LogSpec> {
    root.below("log", &LOG, |section| {
        let format = section.word("format", FORMATS);
        let level = section.value("level", |node, _| level(node));
        let access = section.flag("access");
        Ok(LogSpec { format: format?, level: level?, access: access? })
    })
}

fn level(node: &Node<'_>) -> Read<Box<str>> {
    let text = node.text()?;
    if text.is_empty() {
        return node.wrong("empty: nothing would be logged");
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => {
            node.wrong_hint(format!("not filter directives: {error}"), "\"info\", or \"info,portcullis::tls=debug\"")
        }
    }
}

/// Threads.
pub(super) fn runtime(root: &Section<'_>) -> Read<RuntimeSpec> {
    root.below("runtime", &RUNTIME, |section| {
        let flavor = section.word("flavor", FLAVORS);
        let threads = section.optional_count("threads");
        // The bounds of `threads` begin at 1.
        Ok(RuntimeSpec { flavor: flavor?, threads: threads?.and_then(NonZeroUsize::new) })
    })
}

/// How long a drain may take.
pub(super) fn drain_timeout(root: &Section<'_>) -> Read<Duration> {
    root.below("shutdown", &SHUTDOWN, |section| section.duration("drain_timeout"))
}

/// Resumed sessions.
pub(super) fn resumption(root: &Section<'_>, context: &Context<'_>) -> Read<ResumptionSpec> {
    root.below("resumption", &RESUMPTION, |section| {
        let enabled = section.flag("enabled");
        let max_age = section.duration("max_age");
        let rotate = section.duration("rotate");
        let key_file = section.optional("key_file", |node, _| context.file(node));
        Ok(ResumptionSpec { enabled: enabled?, max_age: max_age?, rotate: rotate?, key_file: key_file? })
    })
}

/// How often files are looked at.
pub(super) fn reload_interval(root: &Section<'_>) -> Read<Duration> {
    root.below("reload", &RELOAD, |section| section.duration("interval"))
}

const FORMATS: &[(&str, LogFormat)] =
    &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
const FLAVORS: &[(&str, Flavor)] =
    &[("thread-per-core", Flavor::ThreadPerCore), ("work-stealing", Flavor::WorkStealing)];
