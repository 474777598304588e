//! Where things happen: a host, and the routes of it that honest clients and attackers use.

use http::{HeaderName, Method};

use super::imitate::{Wish, filled};
use crate::config::Config;
use crate::policy::Glob;
use crate::policy::spec::{ClientCertificateMode, HostSpec, PathPattern, RouteSpec};
use crate::reputation::OutcomeClass;

/// What an operator says about it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The host.
    pub host: Option<String>,
    /// A path that honest clients may ask for.
    pub path: Option<String>,
    /// The path of the login.
    pub login: Option<String>,
}

/// A route and what is asked of it.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) route: Box<str>,
    pub(super) method: Method,
    pub(super) upstream: Box<str>,
    path: PathPattern,
    /// How the backend says there that something failed, and what that weighs; `None`: nobody counts it.
    pub(super) failing: Option<Failing>,
}

/// How a backend says that a login failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failing {
    pub(super) status: u16,
    pub(super) field: Option<(HeaderName, Box<str>)>,
    pub(super) weight: f32,
}

/// The places of a rehearsal.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The server name.
    pub(super) host: String,
    pub(super) trust: Box<str>,
    /// What honest clients use; never empty.
    pub(super) app: Vec<Spot>,
    pub(super) login: Spot,
    /// Where the pace is looked at.
    pub(super) paced: Option<Spot>,
    pub(super) wish: Wish,
    /// Routes that nobody here can use, and why.
    pub(super) left_out: Vec<String>,
}

impl Spot {
    /// The path of the `number`th thing there.
    pub(super) fn at(&self, number: u64) -> String {
        match &self.path {
            PathPattern::Exact(path) => path.to_string(),
            PathPattern::Glob(glob) => filled(glob, &number.to_string()),
            PathPattern::Prefix(path) => format!("{}/{number}", path.trim_end_matches('/')),
        }
    }

    /// Its own path.
    pub(super) fn path(&self) -> String {
        match &self.path {
            PathPattern::Prefix(path) => path.to_string(),
            _ => self.at(1),
        }
    }

    fn new(route: &RouteSpec, config: &Config, methods: [Method; 2]) -> Self {
        let outcome = config.reputation.routes.get(&route.name).map_or(&[][..], |route| &route.outcome);
        let method = methods.into_iter().find(|method| takes(route, method));
        Self {
            route: route.name.clone(),
            method: method.or_else(|| route.methods.first().cloned()).unwrap_or(Method::GET),
            upstream: route.upstream.clone(),
            path: route.path.clone(),
            failing: outcome.iter().find_map(failing),
        }
    }

    /// The same, where nobody counts what fails.
    pub(super) fn uncounted(self) -> Self {
        Self { failing: None, ..self }
    }

    /// The same, asked for by this path.
    fn called(self, path: &str) -> Self {
        Self { path: PathPattern::Exact(path.into()), ..self }
    }
}

impl Places {
    /// What `config` has to offer.
    ///
    /// # Errors
    /// Why there is nothing to rehearse, and what to do about it.
    pub(super) fn find(config: &Config, wanted: &Wanted) -> Result<Self, String> {
        let asked = |host: &&HostSpec| match &wanted.host {
            Some(name) => host.names.iter().any(|other| **other == **name),
            None => host.client_certificate != ClientCertificateMode::None && host.trust.is_some(),
        };
        let host = config.hosts.iter().find(asked).ok_or_else(|| match &wanted.host {
            Some(name) => format!("no host has the name {name:?}: --host takes one of host.names as it is written"),
            None => "no host asks for client certificates: there is nobody to rehearse with".to_owned(),
        })?;
        let name = host.names.first().map_or("", |name| &**name);
        let trust = host.trust.clone().ok_or_else(|| format!("host {name} asks nobody for a certificate"))?;
        let (mut wish, mut routes, mut left_out) = (Wish::default(), Vec::new(), Vec::new());
        for route in &host.routes {
            match Wish::of(&route.allow).and_then(|more| wish.and(&more)) {
                Some(both) => {
                    wish = both;
                    routes.push(route);
                }
                None => left_out.push(format!(
                    "route {}: its allow wants what no certificate that is made for this can have",
                    route.name
                )),
            }
        }
        let spot = |route: &&RouteSpec| Spot::new(route, config, [Method::GET, Method::POST]);
        let sent = |route: &&RouteSpec| Spot::new(route, config, [Method::POST, Method::GET]);
        let by_path = |path: &str, what: &str| {
            let best = routes.iter().filter(|route| covers(&route.path, path)).max_by_key(|route| length(&route.path));
            let best = best.ok_or_else(|| format!("{what} {path}: no route of host {name} has it and can be used"));
            best.map(|route| if what == LOGIN { sent(route) } else { spot(route) }.called(path))
        };
        let of = |route: &RouteSpec| config.reputation.routes.get(&route.name);
        // Where nobody is held to what he has done, nothing would be felt of it.
        let exempt = |route: &RouteSpec| of(route).is_some_and(|it| it.exempt);
        let quiet = |route: &&&RouteSpec| route.upgrades.is_empty() && takes(route, &Method::GET) && !exempt(route);
        let named = wanted.path.as_deref().map(|path| by_path(path, "--path")).transpose()?;
        let mut app: Vec<_> = match named {
            Some(spot) => vec![spot],
            None => routes.iter().filter(quiet).map(spot).filter(|spot| spot.failing.is_none()).collect(),
        };
        if app.is_empty() {
            // Where every route counts failures, those who succeed do no harm there.
            app = routes.iter().filter(|route| !exempt(route)).map(spot).collect();
        }
        let first = app.first().cloned().ok_or_else(|| {
            format!(
                "host {name} has no route that a made up client could use: give --host another, or widen one's allow"
            )
        })?;
        let login = match wanted.login.as_deref() {
            Some(path) => by_path(path, LOGIN)?,
            None => login(routes.iter().map(sent).filter(|spot| spot.failing.is_some())).unwrap_or(first),
        };
        let looked_at = |route: &&&RouteSpec| of(route).is_some_and(|it| it.pacing && !it.exempt);
        let paced = routes.iter().filter(looked_at).map(spot).next();
        app.truncate(MOST_APP);
        Ok(Self { host: filled(name, "rehearsal"), trust, app, login, paced, wish, left_out })
    }
}

/// That which is called so, or else the first.
fn login(spots: impl Iterator<Item = Spot>) -> Option<Spot> {
    let spots: Vec<_> = spots.collect();
    let called = |spot: &&Spot| {
        let path = spot.path().to_ascii_lowercase();
        ["login", "auth", "token", "session", "signin"].iter().any(|word| path.contains(word))
    };
    spots.iter().find(called).or_else(|| spots.first()).cloned()
}

fn takes(route: &RouteSpec, method: &Method) -> bool {
    route.methods.is_empty() || route.methods.contains(method)
}

/// What a backend that is played here can say so that this class has it.
fn failing(class: &OutcomeClass) -> Option<Failing> {
    if class.weight <= 0.0 || class.slower_than.is_some() {
        return None;
    }
    let usual = class.statuses.iter().find(|status| **status == 401).or_else(|| class.statuses.first());
    Some(Failing { status: usual.copied().unwrap_or(401), field: class.header.clone(), weight: class.weight })
}

fn covers(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(own) => **own == *path,
        PathPattern::Glob(glob) => Glob::new(glob, b"/").is_ok_and(|glob| glob.matches(path)),
        PathPattern::Prefix(own) => {
            let own = own.trim_end_matches('/');
            path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}

/// Exact paths before long ones before short ones.
fn length(pattern: &PathPattern) -> (bool, usize) {
    match pattern {
        PathPattern::Exact(path) => (true, path.len()),
        PathPattern::Glob(path) | PathPattern::Prefix(path) => (false, path.len()),
    }
}

const LOGIN: &str = "--login-path";
/// Enough for a mix.
const MOST_APP: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const REST: &str = r#"
[[listener]]
address = "127.0.0.1:0"
[[host]]
names = ["open.test"]
certificate = { chain = "a.pem", key = "a.key" }
client_certificate = "none"
route = { path = "/", allow = "anyone", upstream = "u" }
[[host]]
names = ["*.api.test"]
certificate = { chain = "a.pem", key = "a.key" }
trust = "t"
ROUTES
[trust.t]
anchors = ["ca.pem"]
[upstream.u]
servers = ["http://127.0.0.1:1"]
"#;

    fn find(routes: &str, wanted: &Wanted) -> Result<Places, String> {
        Places::find(&parse("f.toml", &REST.replace("ROUTES", routes)).expect("no problem"), wanted)
    }

    fn route(path: &str, more: &str) -> String {
        format!("[[host.route]]\npath = {path}\nupstream = \"u\"\n{more}\n")
    }

    const ANY: &str = "allow = \"any-verified\"";

    #[test]
    fn the_routes_say_what_there_is_to_do() {
        let routes = [
            route(
                "\"/v1/login\"",
                "methods = [\"POST\"]\nallow = [{ uri = \"spiffe://x/*\" }]\noutcome = { statuses = [403, 401], weight = 2 }",
            ),
            route(
                "{ exact = \"/pay\" }",
                &format!("methods = [\"PUT\"]\n{ANY}\noutcome = {{ header = {{ name = \"x\", value = \"no\" }} }}"),
            ),
            route("{ glob = \"/items/*/view\" }", &format!("{ANY}\npacing = true")),
            route("\"/\"", ANY),
            route("\"/attest\"", &format!("{ANY}\nexempt = true")),
            route("\"/admin\"", "allow = [{ serial = \"01\" }]"),
        ];
        let places = find(&routes.concat(), &Wanted::default()).unwrap();
        assert_eq!((places.host.as_str(), &*places.trust), ("rehearsal.api.test", "t"));
        let paths: Vec<_> = places.app.iter().map(|spot| spot.at(7)).collect();
        assert_eq!(paths, ["/items/7/view", "/7"]);
        assert_eq!((places.login.path().as_str(), &places.login.method), ("/v1/login", &Method::POST));
        assert_eq!(places.login.failing, Some(Failing { status: 401, field: None, weight: 2.0 }));
        assert_eq!(places.paced.unwrap().at(3), "/items/3/view");
        assert!(places.left_out.len() == 1 && places.left_out[0].contains("allow wants"), "{:?}", places.left_out);
    }

    #[test]
    fn an_operator_may_name_the_paths() {
        let routes =
            [route("\"/\"", ANY), route("\"/v1\"", &format!("{ANY}\noutcome = {{ statuses = [429] }}"))].concat();
        let wanted = Wanted { path: Some("/a/b".to_owned()), login: Some("/v1/in".to_owned()), ..Wanted::default() };
        let places = find(&routes, &wanted).unwrap();
        assert_eq!((places.app[0].at(9).as_str(), places.login.at(9).as_str()), ("/a/b", "/v1/in"));
        assert_eq!(places.login.failing.unwrap().status, 429);
        assert!(places.paced.is_none());
        let told = find(&route("\"/v1\"", ANY), &Wanted { path: Some("/v10".to_owned()), ..Wanted::default() });
        assert!(told.unwrap_err().contains("--path /v10: no route of host *.api.test"));
        let told = find(&routes, &Wanted { host: Some("x".to_owned()), ..Wanted::default() });
        assert!(told.unwrap_err().contains("no host has the name"));
        let told = find(&routes, &Wanted { host: Some("open.test".to_owned()), ..Wanted::default() });
        assert!(told.unwrap_err().contains("asks nobody for a certificate"));
    }

    #[test]
    fn a_host_that_nobody_here_can_use_is_told() {
        let told = find(&route("\"/\"", "allow = [{ serial = \"01\" }]"), &Wanted::default()).unwrap_err();
        assert!(told.contains("no route that a made up client could use"), "{told}");
    }

    #[test]
    fn where_every_route_counts_failures_the_app_uses_them_too() {
        let places = find(&route("\"/\"", &format!("{ANY}\noutcome = {{ statuses = [401] }}")), &Wanted::default());
        let places = places.unwrap();
        assert_eq!((places.app[0].path().as_str(), places.login.path().as_str()), ("/", "/"));
        assert_eq!((&places.app[0].method, &places.login.method), (&Method::GET, &Method::POST));
    }
}
