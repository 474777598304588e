//! A copy of a configuration for a stage: the operator's own rules, and nothing in it that leads to an installation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// What stands on the stage in place of an installation's files and servers.
#[derive(Clone, Debug, Default)]
pub struct Props {
    /// Where the gate keeps what it writes.
    pub folder: PathBuf,
    /// The one server certificate, and its key.
    pub server: (PathBuf, PathBuf),
    /// By the name of the trust store: its anchor, and its revocation list.
    pub trust: BTreeMap<Box<str>, (PathBuf, PathBuf)>,
    /// By the name of the upstream: who answers.
    pub upstreams: BTreeMap<Box<str>, SocketAddr>,
    /// The JA4s of the software that is honest there.
    pub stack: Vec<String>,
}

/// A configuration for a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The file.
    pub text: String,
    /// What is not as it was, in words.
    pub replaced: Vec<String>,
    /// Whether it has a ladder of its own.
    pub has_ladder: bool,
}

/// Puts `props` in the place of everything in `text`, which has no problem, that names a file, an address to listen on
/// or a server. Rules, bounds and limits stay as they are.
///
/// # Errors
/// When `text` is no TOML, or a path of the props is not UTF-8.
pub fn staged(text: &str, props: &Props) -> Result<Staged, String> {
    let mut root: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let mut replaced = Vec::new();
    listeners(&mut root, &mut replaced);
    let (chain, key) = (path(&props.server.0)?, path(&props.server.1)?);
    for host in each(&mut root, "host") {
        let pair = Table::from_iter([("chain".to_owned(), chain.clone()), ("key".to_owned(), key.clone())]);
        host.insert("certificate".to_owned(), pair.into());
    }
    replaced.push("host.certificate: minted, for the same names".to_owned());
    trust(&mut root, props, &mut replaced)?;
    upstreams(&mut root, props, &mut replaced)?;
    let reputation = section(&mut root, "reputation");
    let has_ladder = reputation.as_ref().is_some_and(|reputation| reputation.contains_key("ladder"));
    if let Some(reputation) = reputation.filter(|reputation| reputation.contains_key("state")) {
        reputation.insert("state".to_owned(), path(&props.folder.join("reputation.state.json"))?);
        replaced.push("reputation.state: empty, and thrown away".to_owned());
    }
    if section(&mut root, "resumption").is_some_and(|section| section.remove("key_file").is_some()) {
        replaced.push("resumption.key_file: keys of its own".to_owned());
    }
    let admin = Table::from_iter([("address".to_owned(), Value::from(ANY_PORT))]);
    root.insert("admin".to_owned(), admin.into());
    below(&mut root, "reload", |section| _ = section.insert("interval".to_owned(), "0s".into()));
    below(&mut root, "shutdown", |section| _ = section.insert("drain_timeout".to_owned(), "1s".into()));
    let text = toml::to_string(&root).map_err(|error| error.to_string())?;
    Ok(Staged { text, replaced, has_ladder })
}

fn listeners(root: &mut Table, replaced: &mut Vec<String>) {
    for listener in each(root, "listener") {
        let was = listener.insert("address".to_owned(), ANY_PORT.into());
        let was = was.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        replaced.push(format!("listener.address {was}: a free port of 127.0.0.1"));
        if listener.remove("proxy_protocol").is_some() {
            replaced.push(format!("listener {was}, proxy_protocol: none, clients come directly"));
        }
    }
}

fn trust(root: &mut Table, props: &Props, replaced: &mut Vec<String>) -> Result<(), String> {
    for (name, store) in named(root, "trust")? {
        let (anchor, crl) = props.trust.get(name).ok_or_else(|| unknown("trust", name))?;
        store.insert("anchors".to_owned(), path(anchor)?);
        replaced.push(format!("trust.{name}.anchors: a CA that was made for this and is thrown away"));
        let strict = store.get("crl_missing").and_then(Value::as_str) == Some("reject");
        store.remove("crl_issuers");
        if store.contains_key("crl") || strict {
            store.insert("crl".to_owned(), path(crl)?);
            replaced.push(format!("trust.{name}.crl: an empty list of that CA"));
        }
        if store.remove("deny").is_some() {
            replaced.push(format!("trust.{name}.deny: none, its entries are about other certificates"));
        }
        for key in ["crl_state", "deny_state"] {
            if store.contains_key(key) {
                // Beside the anchor, whose name is the store's alone.
                store.insert(key.to_owned(), path(&anchor.with_extension(format!("{key}.toml")))?);
                replaced.push(format!("trust.{name}.{key}: empty, and thrown away"));
            }
        }
        if let Some(stack) = section(store, "stack") {
            let allowed: Vec<_> = props.stack.iter().map(|print| Value::from(print.as_str())).collect();
            stack.insert("allow".to_owned(), allowed.into());
            if stack.contains_key("learned") {
                stack.insert("learned".to_owned(), path(&anchor.with_extension("learned.toml"))?);
            }
            replaced.push(format!("trust.{name}.stack: allows the software of the honest clients here"));
        }
    }
    Ok(())
}

fn upstreams(root: &mut Table, props: &Props, replaced: &mut Vec<String>) -> Result<(), String> {
    for (name, upstream) in named(root, "upstream")? {
        let server = props.upstreams.get(name).ok_or_else(|| unknown("upstream", name))?;
        let servers = match upstream.get("servers") {
            Some(Value::Array(servers)) => servers.first(),
            other => other,
        };
        let prior = servers.and_then(Value::as_str).is_some_and(|server| server.starts_with("h2c://"));
        let scheme = if prior { "h2c" } else { "http" };
        upstream.insert("servers".to_owned(), format!("{scheme}://{server}").into());
        upstream.remove("tls");
        replaced.push(format!("upstream.{name}.servers: a synthetic backend"));
    }
    Ok(())
}

/// Every table below `key` with its name: what has no prop must not be left as it is, for it leads to the installation.
fn named<'a>(root: &'a mut Table, key: &str) -> Result<Vec<(&'a str, &'a mut Table)>, String> {
    let all = section(root, key).into_iter().flatten();
    let table = |(name, value): (&'a String, &'a mut Value)| match value.as_table_mut() {
        Some(table) => Ok((name.as_str(), table)),
        None => Err(unknown(key, name)),
    };
    all.map(table).collect()
}

fn unknown(key: &str, name: &str) -> String {
    format!("{key}.{name} has nothing that stands in for it")
}

/// The tables of a list of tables, or the one there is.
fn each<'a>(root: &'a mut Table, name: &str) -> Vec<&'a mut Table> {
    match root.get_mut(name) {
        Some(Value::Array(all)) => all.iter_mut().filter_map(Value::as_table_mut).collect(),
        Some(Value::Table(one)) => vec![one],
        _ => Vec::new(),
    }
}

/// Changes the section of this name, which is made if there is none.
fn below(root: &mut Table, name: &str, change: impl FnOnce(&mut Table)) {
    let entry = root.entry(name.to_owned()).or_insert_with(|| Table::new().into());
    if let Value::Table(table) = entry {
        change(table);
    }
}

/// The section of this name, if there is one.
fn section<'a>(root: &'a mut Table, name: &str) -> Option<&'a mut Table> {
    root.get_mut(name).and_then(Value::as_table_mut)
}

fn path(path: &Path) -> Result<Value, String> {
    path.to_str().map(Value::from).ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

const ANY_PORT: &str = "127.0.0.1:0";

#[cfg(test)]
mod tests {
    use super::super::{example_toml, parse};
    use super::*;

    fn props() -> Props {
        let at = |name: &str| Path::new("/stage").join(name);
        Props {
            folder: "/stage".into(),
            server: (at("server.pem"), at("server.key")),
            trust: BTreeMap::from([("mobile".into(), (at("trust-0.pem"), at("trust-0.crl")))]),
            upstreams: BTreeMap::from([("api".into(), "127.0.0.1:7".parse().unwrap())]),
            stack: vec!["t13d1516h2_8daaf6152771_e5627efa2ab1".to_owned()],
        }
    }

    /// The example with everything in it that a stage replaces.
    fn whole() -> String {
        let on = |text: String, line: &str| text.replace(&format!("# {line}"), line);
        let text = [
            "crl_state = \"mobile.crl-state.toml\"",
            "deny = \"denied.toml\"",
            "deny_state = \"denied.state.toml\"",
            "stack = { mode = \"shadow\", allow = [\"t13d1515h2_*\"] }",
            "token_file = \"admin.token\"",
            "key_file = \"tickets.keys\"",
            "state = \"reputation.state.json\"",
        ];
        text.into_iter().fold(example_toml(), on)
    }

    #[test]
    fn nothing_on_the_stage_leads_to_the_installation() {
        let staged = staged(&whole(), &props()).unwrap();
        let config = parse("/stage/gate.toml", &staged.text).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert!(config.listeners.iter().all(|listener| listener.address == "127.0.0.1:0".parse().unwrap()));
        let named: Vec<_> = config.files().collect();
        assert!(named.len() > 4 && named.iter().all(|path| path.starts_with("/stage")), "{named:?}");
        for own in [&config.reputation.state, &config.trust[0].crl_state, &config.trust[0].deny_state] {
            assert!(own.as_ref().is_some_and(|path| path.starts_with("/stage")), "{own:?}");
        }
        assert_eq!((&config.trust[0].deny, &config.resumption.key_file), (&None, &None));
        assert!(config.admin.as_ref().is_some_and(|admin| !admin.is_exposed() && admin.token_file.is_none()));
        let servers: Vec<_> = config.upstreams[0].servers.iter().map(|server| (&*server.host, server.port)).collect();
        assert_eq!(servers, [("127.0.0.1", 7)]);
        assert_eq!(config.trust[0].stack.allow[0].as_str(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        for what in ["listener.address 0.0.0.0:8443", "trust.mobile.crl_state", "trust.mobile.deny:", "key_file"] {
            assert!(staged.replaced.iter().any(|line| line.contains(what)), "{what} in {:?}", staged.replaced);
        }
        assert!(staged.has_ladder);
    }

    #[test]
    fn a_store_or_an_upstream_without_a_prop_is_not_left_as_it_is() {
        for more in ["[trust.late]\nanchors = \"ca.pem\"\n", "[upstream.late]\nservers = \"http://10.0.0.1\"\n"] {
            let told = staged(&format!("{}\n{more}", whole()), &props()).unwrap_err();
            assert!(told.contains(".late has nothing that stands in for it"), "{told}");
        }
    }

    #[test]
    fn what_is_rehearsed_stays_as_it_is_written() {
        let before = parse("gate.toml", &whole()).unwrap();
        let after = parse("gate.toml", &staged(&whole(), &props()).unwrap().text).unwrap();
        assert_eq!(before.reputation.rules, after.reputation.rules);
        assert_eq!(before.reputation.routes, after.reputation.routes);
        assert_eq!((before.connection, before.limits), (after.connection, after.limits));
        assert_eq!((before.http1, before.http2), (after.http1, after.http2));
        assert_eq!(before.hosts[0].routes, after.hosts[0].routes);
    }

    #[test]
    fn a_strict_store_gets_a_list_and_a_single_table_is_a_list_of_one() {
        let text = "host = { names = [\"a\"] }\n[trust.mobile]\nanchors = \"x.pem\"\ncrl_missing = \"reject\"\n[upstream.api]\nservers = \"h2c://b:1\"\n";
        let staged = staged(text, &props()).unwrap();
        for line in ["crl = \"/stage/trust-0.crl\"", "chain = \"/stage/server.pem\"", "servers = \"h2c://127.0.0.1:7\""]
        {
            assert!(staged.text.contains(line), "{line} in {}", staged.text);
        }
        assert!(!staged.has_ladder);
    }
}
