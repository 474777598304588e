//! The one table of hosts: the handshake and the router look names up in it, so they cannot disagree.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::message::target::PathRules;

use super::route::RouteTable;
use super::spec::{ClientCertificateMode, HostSpec};

/// The number of a host: dense from 0, in the order of the file.
///
/// Belongs to the table it came from. A connection that outlives its table must be found again by
/// name in the next one, and have its trust compared: the same number may be another host there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HostId(usize);

impl HostId {
    /// The number.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A set of server names with one mode, one trust store and one set of routes.
#[derive(Debug)]
pub struct Host {
    names: Vec<Box<str>>,
    client_certificate: ClientCertificateMode,
    trust: Option<Box<str>>,
    paths: PathRules,
    routes: RouteTable,
}

impl Host {
    /// Its first name, which stands for it in logs and metrics.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", |name| name)
    }

    /// All its names as the operator wrote them, wildcards included.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Whether its clients are asked for a certificate.
    pub fn client_certificate(&self) -> ClientCertificateMode {
        self.client_certificate
    }

    /// Name of the trust store that client certificates must lead to.
    pub fn trust(&self) -> Option<&str> {
        self.trust.as_deref()
    }

    /// What is tolerated in paths although it is not canonical.
    pub fn paths(&self) -> &PathRules {
        &self.paths
    }

    /// Its routes.
    pub fn routes(&self) -> &RouteTable {
        &self.routes
    }
}

/// Every host, by name.
#[derive(Debug)]
pub struct HostTable {
    hosts: Box<[Host]>,
    names: Names,
}

impl HostTable {
    /// Compiles `specs`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them: a host without names, a name that no request can have or
    /// that stands twice, a pattern or matcher that does not compile.
    pub fn new(specs: Vec<HostSpec>) -> Result<Self, Vec<String>> {
        let mut table = Names::default();
        let mut hosts = Vec::with_capacity(specs.len());
        let mut problems = Vec::new();
        let mut first_route = 0;
        for (index, spec) in specs.into_iter().enumerate() {
            let HostSpec { names, certificates: _, client_certificate, trust, paths, routes } = spec;
            let label = names.first().map_or_else(|| format!("number {index}"), |name| format!("{name:?}"));
            let mut wrong = table.add_all(&names, HostId(index));
            let route_count = routes.len();
            match RouteTable::new(routes, first_route) {
                Ok(routes) => hosts.push(Host { names, client_certificate, trust, paths, routes }),
                Err(list) => wrong.extend(list),
            }
            first_route += route_count;
            problems.extend(wrong.iter().map(|problem| format!("host {label}: {problem}")));
        }
        if problems.is_empty() { Ok(Self { hosts: hosts.into(), names: table }) } else { Err(problems) }
    }

    /// The host with `name`, which is in lower case and without a dot at its end: an exact name
    /// first, then a wildcard, which stands for exactly one label that is not empty. An IP address
    /// (IPv6 without brackets) only matches itself.
    pub fn find(&self, name: &str) -> Option<HostId> {
        self.names.find(name)
    }

    /// The host with this id.
    pub fn get(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(id.0)
    }

    /// Every host and its id, in the order of the file.
    pub fn numbered(&self) -> impl Iterator<Item = (HostId, &Host)> {
        self.hosts.iter().enumerate().map(|(index, host)| (HostId(index), host))
    }

    /// Every host, in the order of [`HostId`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Host> {
        self.hosts.iter()
    }
}

#[derive(Debug, Default)]
struct Names {
    exact: HashMap<Box<str>, HostId>,
    addresses: HashMap<IpAddr, HostId>,
    /// By what follows `*.`
    wildcards: HashMap<Box<str>, HostId>,
}

impl Names {
    fn find(&self, name: &str) -> Option<HostId> {
        if let Some(id) = self.exact.get(name) {
            return Some(*id);
        }
        if let Ok(address) = name.parse::<IpAddr>() {
            return self.addresses.get(&address).copied();
        }
        let (label, rest) = name.split_once('.')?;
        // A name in upper case would miss its exact entry and end up at the wildcard's host.
        if is_label(label) { self.wildcards.get(rest).copied() } else { None }
    }

    fn add_all(&mut self, names: &[Box<str>], id: HostId) -> Vec<String> {
        if names.is_empty() {
            return vec!["it has no names".to_owned()];
        }
        names.iter().filter_map(|name| self.add(name, id).err()).collect()
    }

    fn add(&mut self, name: &str, id: HostId) -> Result<(), String> {
        let before = if let Ok(address) = name.parse::<IpAddr>() {
            self.addresses.insert(address, id)
        } else if let Some(rest) = name.strip_prefix("*.") {
            check_name(name, rest)?;
            self.wildcards.insert(rest.into(), id)
        } else {
            check_name(name, name)?;
            self.exact.insert(name.into(), id)
        };
        before.map_or(Ok(()), |_| Err(format!("the name {name:?} stands twice")))
    }
}

/// Refuses what [`Names::find`] is never asked for, and names that end like an IPv4 address: a
/// wildcard over one would match addresses.
fn check_name(name: &str, without_wildcard: &str) -> Result<(), String> {
    let last = without_wildcard.rsplit('.').next().unwrap_or_default();
    if name.len() > NAME_BYTES || !without_wildcard.split('.').all(is_label) {
        return Err(format!("{name:?} is neither a host name in lower case, nor `*.` before one, nor an IP address"));
    }
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{name:?} ends like an IP address, but is none"));
    }
    Ok(())
}

/// One part of a host name in its normal form; the underscore is for names that are only used inside.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

/// RFC 1035 §2.3.4, without the root's dot.
const NAME_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{host, prefix, route};
    use super::super::spec::{Allow, ClientCertificateMode};
    use super::*;

    fn table(hosts: &[&[&str]]) -> Result<HostTable, Vec<String>> {
        HostTable::new(
            hosts
                .iter()
                .map(|names| {
                    let routes = vec![route("a", prefix("/a"), Allow::Anyone), route("b", prefix("/b"), Allow::Anyone)];
                    host(names, ClientCertificateMode::Optional, routes)
                })
                .collect(),
        )
    }

    #[test]
    fn names_are_found_exactly_then_by_one_label() {
        let table = table(&[
            &["api.example.com", "192.0.2.1", "2001:db8::1"],
            &["*.example.com"],
            &["*.api.example.com", "localhost"],
        ])
        .unwrap();
        for (name, expected) in [
            ("api.example.com", Some(0)),
            ("web.example.com", Some(1)),
            ("example.com", None),
            (".example.com", None),
            ("*.example.com", None),
            ("a.b.example.com", None),
            ("x.api.example.com", Some(2)),
            ("xexample.com", None),
            ("API.example.com", None),
            ("api.EXAMPLE.com", None),
            ("api.example.com.", None),
            ("localhost", Some(2)),
            ("x.localhost", None),
            ("192.0.2.1", Some(0)),
            ("192.0.2.2", None),
            ("2001:db8::1", Some(0)),
            ("2001:db8:0::1", Some(0)),
            ("::ffff:192.0.2.1", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(table.find(name).map(HostId::index), expected, "{name}");
        }
    }

    #[test]
    fn a_wildcard_never_matches_an_address() {
        for wildcard in ["*.0.2.1", "*.2.1", "*.1"] {
            assert!(table(&[&[wildcard]]).is_err(), "{wildcard}");
        }
        assert_eq!(table(&[&["*.0x1"]]).unwrap().find("192.0.2.1"), None);
    }

    #[test]
    fn names_that_no_request_can_have_or_that_stand_twice_are_errors() {
        for names in [
            &["a.example", "a.example"][..],
            &["2001:db8::1", "2001:db8:0::1"],
            &["*.example", "*.example"],
            &[],
            &[""],
            &["A.example"],
            &["a.example."],
            &["*"],
            &["*."],
            &["*.*.example"],
            &["a*.example"],
            &["a..example"],
            &["a example"],
            &["[2001:db8::1]"],
            &["1.2.3"],
            &["a.example:443"],
        ] {
            assert_eq!(table(&[names]).map_err(|problems| problems.len()).unwrap_err(), 1, "{names:?}");
        }
        let problems = table(&[&["a.example"], &["b.example", "a.example"]]).unwrap_err();
        assert_eq!(problems, [r#"host "b.example": the name "a.example" stands twice"#]);
    }

    #[test]
    fn ids_are_dense_over_all_hosts_in_the_order_of_the_file() {
        let table = table(&[&["a.example"], &["b.example"]]).unwrap();
        let ids: Vec<usize> =
            table.iter().flat_map(|host| host.routes().iter()).map(|route| route.id.index()).collect();
        assert_eq!(ids, [0, 1, 2, 3]);
        assert_eq!(table.iter().map(Host::name).collect::<Vec<_>>(), ["a.example", "b.example"]);
        assert_eq!(table.iter().len(), 2);
        assert_eq!(table.find("b.example").and_then(|id| table.get(id)).map(Host::name), Some("b.example"));
    }

    #[test]
    fn an_id_of_a_larger_table_finds_nothing_in_a_smaller_one() {
        let id = table(&[&["a.example"], &["b.example"]]).unwrap().find("b.example").unwrap();
        assert!(table(&[&["a.example"]]).unwrap().get(id).is_none());
    }

    /// Names as the documentation speaks of them, by trying every one.
    fn reference(hosts: &[Vec<String>], name: &str) -> Option<usize> {
        let exact = hosts.iter().position(|names| names.iter().any(|own| own == name));
        let below = |own: &String| {
            let label = own.strip_prefix('*').and_then(|rest| name.strip_suffix(rest));
            label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
        };
        exact.or_else(|| hosts.iter().position(|names| names.iter().any(below)))
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_the_documented_order(
            names in prop::collection::hash_set(r"(\*\.)?[ab]{1,2}(\.[ab]){0,2}", 1..8),
            each in 1_usize..3,
            asked in r"[ab]{1,2}(\.[ab]{1,2}){0,3}",
        ) {
            let names: Vec<_> = names.into_iter().collect();
            let hosts: Vec<Vec<String>> = names.chunks(each).map(<[String]>::to_vec).collect();
            let borrowed: Vec<Vec<&str>> = hosts.iter().map(|names| names.iter().map(String::as_str).collect()).collect();
            let table = table(&borrowed.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
            prop_assert_eq!(table.find(&asked).map(HostId::index), reference(&hosts, &asked), "{:?}", hosts);
        }

        #[test]
        fn no_name_panics_and_a_name_that_compiles_is_found(name in r"(\PC{0,20}|[a-c*.]{0,8}|[0-9.:]{0,12})") {
            if let Ok(table) = table(&[&[&name]]) {
                let found = table.find(&name).is_some();
                prop_assert_eq!(found, !name.starts_with('*'), "a wildcard is no name");
            }
            let _ = table(&[&["*.example"]]).unwrap().find(&name);
        }
    }
}
