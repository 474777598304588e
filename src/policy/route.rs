//! Which route has a request: the most specific path decides, and only then the method.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use crate::reject::{Reason, Reject};

use super::glob::Glob;
use super::rule::Rule;
use super::spec::{PathPattern, RouteSpec};

/// A part of a host with its own rule, compiled.
#[derive(Debug)]
pub struct Route {
    /// Its name in logs, metrics and limits.
    pub name: Arc<str>,
    /// Its place among the routes of all hosts.
    pub id: RouteId,
    /// Names of the limits that count its requests, in the order they are checked.
    pub limits: Vec<Box<str>>,
    /// Name of the upstream.
    pub upstream: Box<str>,
    /// Protocols a client may upgrade to.
    pub upgrades: Vec<Box<str>>,
    /// Longest request body in bytes; `None`: the gate's `http.body_bytes`.
    pub body_bytes: Option<u64>,
    /// Which paths it has; a more specific route takes some of them.
    pub path: PathPattern,
    /// Which methods it has; empty: all but CONNECT.
    pub methods: Vec<Method>,
    pub(super) rule: Rule,
}

/// The number of a route: dense from 0 over the routes of all hosts, in the order of hosts and then
/// of the file. Belongs to the table it came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RouteId(usize);

impl RouteId {
    /// The number.
    pub fn index(self) -> usize {
        self.0
    }
}

/// The routes of one host.
///
/// A path belongs to exactly one pattern, the most specific one that matches:
/// 1. an exact path, or a glob without wildcards, which is the same;
/// 2. globs and prefixes, the longest literal text before the first wildcard first. At equal length
///    the glob, because it says something about what follows and a prefix does not; among globs of
///    equal length the first in the file. (Two prefixes of equal length never match the same path.)
///
/// Of the routes with that very pattern the first that has the method is taken. A request never
/// falls through to a less specific pattern because of its method: the rule of `/` is not what the
/// author of `/admin` had in mind for DELETE.
#[derive(Debug)]
pub struct RouteTable {
    routes: Box<[Route]>,
    exact: HashMap<Box<str>, Group>,
    /// By prefix without the slash at its end, so that `/` is the empty text.
    prefixes: HashMap<Box<str>, Group>,
    /// Bytes of the longest key of `prefixes`: nothing longer is hashed, so that a long path of many
    /// segments costs no more than the rules do.
    longest_prefix: usize,
    /// Most specific first.
    globs: Vec<(Glob, Group)>,
}

/// The routes that share a pattern.
#[derive(Debug, Default)]
struct Group {
    /// Indices of `RouteTable::routes`, in the order of the file.
    members: Vec<usize>,
}

impl RouteTable {
    /// Compiles `specs`; their ids begin at `first_id`.
    pub(super) fn new(specs: Vec<RouteSpec>, first_id: usize) -> Result<Self, Vec<String>> {
        let mut draft = Draft::default();
        for (index, spec) in specs.into_iter().enumerate() {
            draft.add(spec, index, RouteId(first_id + index));
        }
        draft.finish()
    }

    /// The route for `path`, which is canonical ([`crate::message::target`]), and `method`.
    ///
    /// # Errors
    ///
    /// [`Reason::RouteUnknown`] if no pattern has the path; [`Reason::MethodNotAllowed`] if one has,
    /// but none of its routes has the method.
    pub fn find(&self, path: &str, method: &Method) -> Result<&Route, Reject> {
        let group = self.group(path).ok_or_else(|| Reject::new(Reason::RouteUnknown, "no route has this path"))?;
        self.members(group)
            .find(|route| route.takes(method))
            .ok_or_else(|| Reject::new(Reason::MethodNotAllowed, self.method_detail(group)))
    }

    /// The value of the `Allow` field (RFC 9110 §10.2.1) for `path`; `None` if no route has it.
    pub fn allowed_methods(&self, path: &str) -> Option<String> {
        self.group(path).map(|group| self.methods(group))
    }

    /// Every route, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Route> {
        self.routes.iter()
    }

    fn group(&self, path: &str) -> Option<&Group> {
        if !path.starts_with('/') {
            return None;
        }
        self.exact.get(path).or_else(|| match self.prefix(path) {
            Some((length, prefix)) => self.glob(path, length).or(Some(prefix)),
            None => self.glob(path, 0),
        })
    }

    /// The longest prefix of `path` and its length.
    fn prefix(&self, path: &str) -> Option<(usize, &Group)> {
        let window = path.get(..path.floor_char_boundary(self.longest_prefix + 1)).unwrap_or(path);
        let mut candidate = if window.len() < path.len() { parent(window)? } else { path };
        loop {
            if let Some(group) = self.prefixes.get(candidate) {
                return Some((candidate.len(), group));
            }
            candidate = parent(candidate)?;
        }
    }

    /// The most specific glob that matches, if its literal text has at least `length` bytes.
    fn glob(&self, path: &str, length: usize) -> Option<&Group> {
        self.globs
            .iter()
            .take_while(|(glob, _)| glob.literal_prefix().len() >= length)
            .find(|(glob, _)| glob.matches(path))
            .map(|(_, group)| group)
    }

    fn members<'t>(&'t self, group: &'t Group) -> impl Iterator<Item = &'t Route> {
        group.members.iter().filter_map(|index| self.routes.get(*index))
    }

    fn methods(&self, group: &Group) -> String {
        if self.members(group).any(|route| route.methods.is_empty()) {
            return EVERY_METHOD.to_owned();
        }
        let mut methods: Vec<&str> = Vec::new();
        for method in self.members(group).flat_map(|route| &route.methods) {
            if !methods.contains(&method.as_str()) {
                methods.push(method.as_str());
            }
        }
        methods.join(", ")
    }

    fn method_detail(&self, group: &Group) -> String {
        let name = self.members(group).next().map_or("", |route| &route.name);
        format!("route {name:?}: its path has {}", self.methods(group))
    }
}

impl Route {
    /// Whether its methods include `method`. CONNECT is never one.
    fn takes(&self, method: &Method) -> bool {
        if self.methods.is_empty() { *method != Method::CONNECT } else { self.methods.contains(method) }
    }

    /// A path that its pattern has, and a method; a more specific route may have them too.
    pub(super) fn sample(&self) -> (String, Method) {
        let path = match &self.path {
            PathPattern::Exact(path) | PathPattern::Prefix(path) => path.to_string(),
            PathPattern::Glob(pattern) => pattern.replace("**", "*").replace('*', "x"),
        };
        (path, self.methods.first().cloned().unwrap_or(Method::GET))
    }

    /// Whether a client may upgrade to `protocol` (names of protocols are case-insensitive, RFC 9110 §7.8).
    pub(super) fn permits_upgrade(&self, protocol: &str) -> bool {
        self.upgrades.iter().any(|permitted| permitted.eq_ignore_ascii_case(protocol))
    }
}

/// `path` without its last segment.
fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// The table so far, and everything that is wrong with it.
#[derive(Default)]
struct Draft {
    routes: Vec<Route>,
    exact: HashMap<Box<str>, Group>,
    prefixes: HashMap<Box<str>, Group>,
    globs: Vec<(Box<str>, Glob, Group)>,
    problems: Vec<String>,
}

impl Draft {
    fn add(&mut self, spec: RouteSpec, index: usize, id: RouteId) {
        let rule = Rule::new(&spec.allow, &spec.deny);
        let group = self.group(&spec.path);
        let mut problems = Vec::new();
        match group {
            Ok(group) => group.members.push(index),
            Err(problem) => problems.push(problem),
        }
        if spec.methods.contains(&Method::CONNECT) {
            problems.push("CONNECT is never forwarded".to_owned());
        }
        match rule {
            Ok(rule) => self.routes.push(Route {
                name: spec.name.as_ref().into(),
                id,
                limits: spec.limits,
                upstream: spec.upstream,
                upgrades: spec.upgrades,
                body_bytes: spec.body_bytes,
                path: spec.path,
                methods: spec.methods,
                rule,
            }),
            Err(wrong) => problems.extend(wrong),
        }
        self.problems.extend(problems.iter().map(|problem| format!("route {:?}: {problem}", spec.name)));
    }

    fn group(&mut self, pattern: &PathPattern) -> Result<&mut Group, String> {
        match pattern {
            PathPattern::Exact(path) => Ok(self.exact.entry(absolute(path)?.into()).or_default()),
            PathPattern::Prefix(path) => {
                let path = absolute(path)?;
                Ok(self.prefixes.entry(path.strip_suffix('/').unwrap_or(path).into()).or_default())
            }
            PathPattern::Glob(pattern) => self.glob_group(absolute(pattern)?),
        }
    }

    fn glob_group(&mut self, pattern: &str) -> Result<&mut Group, String> {
        let glob = Glob::new(pattern, b"/")?;
        if glob.is_literal() {
            return Ok(self.exact.entry(glob.literal_prefix().into()).or_default());
        }
        let known = self.globs.iter().position(|(text, ..)| **text == *pattern);
        let index = known.unwrap_or_else(|| {
            self.globs.push((pattern.into(), glob, Group::default()));
            self.globs.len() - 1
        });
        self.globs.get_mut(index).map(|(.., group)| group).ok_or_else(String::new)
    }

    fn finish(mut self) -> Result<RouteTable, Vec<String>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        // Stable: globs of equal length stay in the order of the file.
        self.globs.sort_by_key(|(_, glob, _)| std::cmp::Reverse(glob.literal_prefix().len()));
        Ok(RouteTable {
            routes: self.routes.into(),
            longest_prefix: self.prefixes.keys().map(|prefix| prefix.len()).max().unwrap_or_default(),
            exact: self.exact,
            prefixes: self.prefixes,
            globs: self.globs.into_iter().map(|(_, glob, group)| (glob, group)).collect(),
        })
    }
}

fn absolute(path: &str) -> Result<&str, String> {
    if path.starts_with('/') { Ok(path) } else { Err(format!("a path begins with `/`: {path:?}")) }
}

/// `Allow` where every method is taken: those of RFC 9110 §9.3 and PATCH (RFC 5789), but CONNECT.
const EVERY_METHOD: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{exact, glob, prefix, route};
    use super::super::spec::{Allow, Matcher};
    use super::*;

    fn table(patterns: Vec<PathPattern>) -> RouteTable {
        let named = patterns.into_iter().enumerate().map(|(i, path)| route(&i.to_string(), path, Allow::Anyone));
        RouteTable::new(named.collect(), 0).unwrap()
    }

    fn with_methods(path: PathPattern, methods: &[Method]) -> RouteSpec {
        RouteSpec { methods: methods.to_vec(), ..route("r", path, Allow::Anyone) }
    }

    fn found(table: &RouteTable, path: &str) -> Option<usize> {
        table.find(path, &Method::GET).ok().map(|route| route.id.index())
    }

    #[test]
    fn the_most_specific_path_decides() {
        let table = table(vec![
            prefix("/"),             // 0
            prefix("/v1"),           // 1
            glob("/v1/*/edit"),      // 2
            exact("/v1/users/edit"), // 3
            prefix("/v1/users"),     // 4
            glob("/v1*"),            // 5: as long as 1, so before it
            glob("/v1/**/edit"),     // 6: as long as 2, but later
            glob("/plain"),          // 7: exact in disguise
            prefix("/plain"),        // 8
        ]);
        for (path, expected) in [
            ("/", 0),
            ("/x", 0),
            ("/v1", 5),
            ("/v10", 5),
            ("/v10/x", 0),
            ("/v1/", 1),
            ("/v1/x", 1),
            ("/v1/x/edit", 2),
            ("/v1/x/y/edit", 6),
            ("/v1/users/edit", 3),
            ("/v1/users/x/edit", 4),
            ("/v1/users", 4),
            ("/v1/usersx", 1),
            ("/plain", 7),
            ("/plain/x", 8),
            ("/V1", 0),
        ] {
            assert_eq!(found(&table, path), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let table = table(vec![prefix("/v1/"), prefix("/deep/er")]);
        for path in ["/v1", "/v1/", "/v1/x", "/v1/x/y/z"] {
            assert_eq!(found(&table, path), Some(0), "{path}");
        }
        for path in ["/v10", "/v", "/", "", "v1", "*", "/V1", "/deep", "/deep/e", "/deep/ery", "/é/v1", "/deep/éé"] {
            assert_eq!(found(&table, path), None, "{path}");
        }
    }

    #[test]
    fn a_method_never_falls_through_to_a_less_specific_path() {
        let specs = vec![
            with_methods(prefix("/"), &[]),
            with_methods(prefix("/admin"), &[Method::GET]),
            with_methods(exact("/admin/x"), &[Method::POST]),
            with_methods(prefix("/admin/"), &[Method::PUT, Method::GET]),
        ];
        let table = RouteTable::new(specs, 0).unwrap();
        let find = |path, method| table.find(path, &method).map(|route| route.id.index()).map_err(|no| no.reason);
        assert_eq!(find("/admin", Method::GET), Ok(1));
        assert_eq!(find("/admin", Method::PUT), Ok(3));
        assert_eq!(find("/admin", Method::DELETE), Err(Reason::MethodNotAllowed));
        assert_eq!(find("/admin/x", Method::GET), Err(Reason::MethodNotAllowed));
        assert_eq!(find("/x", Method::DELETE), Ok(0));
        assert_eq!(find("/x", Method::CONNECT), Err(Reason::MethodNotAllowed));
        assert_eq!(table.allowed_methods("/admin/y").as_deref(), Some("GET, PUT"));
        assert_eq!(table.allowed_methods("/x").as_deref(), Some(EVERY_METHOD));
        assert_eq!(table.allowed_methods("x"), None);
    }

    #[test]
    fn methods_are_case_sensitive_and_head_is_not_get() {
        let table = RouteTable::new(vec![with_methods(prefix("/"), &[Method::GET])], 0).unwrap();
        for method in [Method::HEAD, Method::from_bytes(b"get").unwrap()] {
            assert_eq!(table.find("/", &method).unwrap_err().reason, Reason::MethodNotAllowed);
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once_and_by_name() {
        let wrong = vec![
            route("a", exact("x"), Allow::Anyone),
            route("b", glob("/***"), Allow::Anyone),
            RouteSpec { deny: vec![Matcher::default()], ..with_methods(prefix("/"), &[Method::CONNECT]) },
            route("d", prefix("/"), Allow::Matching(vec![Matcher::default()])),
        ];
        let problems = RouteTable::new(wrong, 0).unwrap_err();
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert!(problems[3].starts_with(r#"route "r": deny[0]: "#) && problems[4].contains("allow[0]"), "{problems:?}");
    }

    #[test]
    fn a_long_path_of_many_segments_is_cut_before_it_is_hashed() {
        let table = table(vec![prefix("/a/a/a")]);
        assert_eq!(found(&table, &"/a".repeat(500_000)), Some(0));
        assert_eq!(found(&table, &"/b".repeat(500_000)), None);
    }

    /// The order as the documentation states it, by trying every pattern.
    fn reference(patterns: &[PathPattern], path: &str) -> Option<usize> {
        let rank = |pattern: &PathPattern| match pattern {
            PathPattern::Exact(p) => (**p == *path).then_some((usize::MAX, true)),
            PathPattern::Glob(p) => {
                let glob = Glob::new(p, b"/").unwrap();
                let length = if glob.is_literal() { usize::MAX } else { glob.literal_prefix().len() };
                glob.matches(path).then_some((length, true))
            }
            PathPattern::Prefix(p) => {
                let p = p.strip_suffix('/').unwrap_or(p);
                let below = path.strip_prefix(p).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                below.then_some((p.len(), false))
            }
        };
        let ranked = patterns.iter().enumerate().filter_map(|(i, pattern)| rank(pattern).map(|rank| (rank, i)));
        ranked.max_by_key(|(rank, i)| (*rank, std::cmp::Reverse(*i))).map(|(_, i)| i)
    }

    fn any_pattern() -> impl Strategy<Value = PathPattern> {
        prop_oneof![
            "(/[ab]{1,2}){0,3}/?".prop_map(|p| exact(&format!("/{p}").replace("//", "/"))),
            "(/[ab]{1,2}){0,3}/?".prop_map(|p| prefix(&format!("/{p}").replace("//", "/"))),
            r"/([ab/]|\*[ab/]|\*\*[ab/]){0,4}(\*|\*\*)?"
                .prop_filter_map("three stars", |p| { Glob::new(&p, b"/").is_ok().then(|| glob(&p)) }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn the_table_agrees_with_the_documented_order(
            patterns in prop::collection::vec(any_pattern(), 0..12),
            path in "/([ab]{1,2}/){0,3}[ab]{0,2}",
        ) {
            prop_assert_eq!(found(&table(patterns.clone()), &path), reference(&patterns, &path), "{} {:?}", path, patterns);
        }

        #[test]
        fn no_path_panics(path in r"\PC{0,40}") {
            let table = table(vec![prefix("/a"), glob("/*/é"), exact("/é")]);
            let _ = table.find(&path, &Method::GET);
            let _ = table.allowed_methods(&path);
        }
    }
}
