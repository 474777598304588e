//! Conditions on one identity and the software that shows it, compiled.

use ipnet::IpNet;

use crate::fingerprint::{Ja4Pattern, Stack};
use crate::identity::{Digest, Identity, Serial};

use super::glob::Glob;
use super::spec;

/// Conditions that must all hold; each holds if any of its values meets any of the identity's names
/// of that type. There is always at least one condition.
#[derive(Debug)]
pub struct Matcher {
    conditions: Box<[Condition]>,
}

#[derive(Debug)]
enum Condition {
    Fingerprint(Box<[Digest]>),
    /// All names of one type, so that a certificate cannot hide behind its first one.
    Globs(fn(&Identity) -> &[Box<str>], Box<[Glob]>),
    Http2(Box<[Box<str>]>),
    Ip(Box<[IpNet]>),
    Ja4(Box<[Ja4Pattern]>),
    Serial(Box<[Serial]>),
    Spki(Box<[Digest]>),
    Text(fn(&Identity) -> &str, Box<[Box<str>]>),
}

impl Matcher {
    /// Compiles `spec`.
    ///
    /// # Errors
    ///
    /// Every pattern that does not compile or that no identity could ever meet (a deny rule with one
    /// would deny nobody), and a matcher without conditions: it would match everybody.
    pub fn new(spec: &spec::Matcher) -> Result<Self, Vec<String>> {
        // No `..`: a condition added to the spec and forgotten here would let too many in.
        let spec::Matcher {
            subject_cn,
            subject_o,
            subject_ou,
            subject,
            issuer_cn,
            issuer_o,
            issuer_ou,
            issuer,
            serial,
            dns,
            uri,
            email,
            ip,
            fingerprint,
            spki,
            ja4,
            h2,
        } = spec;
        let mut draft = Draft::default();
        draft.globs("subject_cn", subject_cn, free_text, |identity| &identity.subject.common_names);
        draft.globs("subject_o", subject_o, free_text, |identity| &identity.subject.organizations);
        draft.globs("subject_ou", subject_ou, free_text, |identity| &identity.subject.organizational_units);
        draft.text("subject", subject, |identity| &identity.subject.text);
        draft.globs("issuer_cn", issuer_cn, free_text, |identity| &identity.issuer.common_names);
        draft.globs("issuer_o", issuer_o, free_text, |identity| &identity.issuer.organizations);
        draft.globs("issuer_ou", issuer_ou, free_text, |identity| &identity.issuer.organizational_units);
        draft.text("issuer", issuer, |identity| &identity.issuer.text);
        draft.list(serial, Condition::Serial);
        draft.globs("dns", dns, dns_name, |identity| &identity.names.dns);
        draft.globs("uri", uri, absolute_uri, |identity| &identity.names.uri);
        draft.globs("email", email, email_address, |identity| &identity.names.email);
        draft.list(ip, Condition::Ip);
        draft.list(fingerprint, Condition::Fingerprint);
        draft.list(spki, Condition::Spki);
        draft.list(ja4, Condition::Ja4);
        draft.list(h2, Condition::Http2);
        draft.finish()
    }

    /// Whether all conditions hold for `identity`, shown by a client with this `stack`. Without an identity no
    /// condition on one holds, and of a stack that is not known none holds either.
    pub fn matches(&self, identity: Option<&Identity>, stack: Stack<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(identity, stack))
    }
}

impl Condition {
    fn holds(&self, identity: Option<&Identity>, stack: Stack<'_>) -> bool {
        match (self, identity) {
            (Self::Http2(prints), _) => prints.iter().any(|print| stack.http2 == Some(&**print)),
            (Self::Ja4(patterns), _) => {
                stack.tls.is_some_and(|print| patterns.iter().any(|pattern| pattern.matches(&print)))
            }
            (condition, Some(identity)) => condition.holds_for(identity),
            (_, None) => false,
        }
    }

    fn holds_for(&self, identity: &Identity) -> bool {
        match self {
            Self::Fingerprint(digests) => digests.contains(&identity.fingerprint),
            Self::Globs(names, globs) => names(identity).iter().any(|name| globs.iter().any(|glob| glob.matches(name))),
            // `::ffff:192.0.2.1` is 192.0.2.1 (RFC 4291 §2.5.5.2): otherwise a deny of the network could be walked around.
            Self::Ip(nets) => identity
                .names
                .ip
                .iter()
                .any(|ip| nets.iter().any(|net| net.contains(ip) || net.contains(&ip.to_canonical()))),
            // Nothing that an identity says.
            Self::Http2(_) | Self::Ja4(_) => false,
            Self::Serial(serials) => serials.contains(&identity.serial),
            Self::Spki(digests) => digests.contains(&identity.spki),
            Self::Text(text, texts) => texts.iter().any(|expected| **expected == *text(identity)),
        }
    }
}

/// The conditions so far, and everything that is wrong with them.
#[derive(Default)]
struct Draft {
    conditions: Vec<Condition>,
    problems: Vec<String>,
}

impl Draft {
    fn globs(
        &mut self,
        field: &str,
        patterns: &[Box<str>],
        compile: fn(&str) -> Result<Glob, String>,
        names: fn(&Identity) -> &[Box<str>],
    ) {
        let mut globs = Vec::with_capacity(patterns.len());
        for (index, pattern) in patterns.iter().enumerate() {
            match not_empty(pattern).and_then(compile) {
                Ok(glob) => globs.push(glob),
                Err(problem) => self.problems.push(format!("{field}[{index}]: {problem}")),
            }
        }
        self.list(&globs, |globs| Condition::Globs(names, globs));
    }

    fn text(&mut self, field: &str, texts: &[Box<str>], text: fn(&Identity) -> &str) {
        for (index, expected) in texts.iter().enumerate() {
            if let Err(problem) = not_empty(expected) {
                self.problems.push(format!("{field}[{index}]: {problem}"));
            }
        }
        self.list(texts, |texts| Condition::Text(text, texts));
    }

    fn list<T: Clone>(&mut self, values: &[T], condition: impl FnOnce(Box<[T]>) -> Condition) {
        if !values.is_empty() {
            self.conditions.push(condition(values.into()));
        }
    }

    fn finish(mut self) -> Result<Matcher, Vec<String>> {
        if self.conditions.is_empty() && self.problems.is_empty() {
            self.problems.push("a matcher without conditions would match everybody".to_owned());
        }
        if self.problems.is_empty() { Ok(Matcher { conditions: self.conditions.into() }) } else { Err(self.problems) }
    }
}

fn not_empty(pattern: &str) -> Result<&str, String> {
    if pattern.is_empty() { Err("an empty pattern".to_owned()) } else { Ok(pattern) }
}

pub(super) fn free_text(pattern: &str) -> Result<Glob, String> {
    Glob::new(pattern, b"")
}

pub(super) fn dns_name(pattern: &str) -> Result<Glob, String> {
    if pattern.ends_with('.') {
        return Err(format!("a DNS name is written without the dot at its end: {pattern:?}"));
    }
    Glob::new(&ascii(pattern)?.to_ascii_lowercase(), b".")
}

pub(super) fn absolute_uri(pattern: &str) -> Result<Glob, String> {
    Glob::new(ascii(pattern)?, b"/")
}

/// The domain of an identity's address is in lower case, the local part as the issuer wrote it
/// (RFC 5280 §7.5); without an `@` nobody could say which is which.
pub(super) fn email_address(pattern: &str) -> Result<Glob, String> {
    let Some((local, domain)) = ascii(pattern)?.rsplit_once('@') else {
        return Err(format!("an email pattern has an `@` (`**@**` is any address): {pattern:?}"));
    };
    Glob::new(&format!("{local}@{}", domain.to_ascii_lowercase()), b"@.")
}

/// DNS names, URIs and email addresses are IA5String (RFC 5280 §4.2.1.6).
fn ascii(pattern: &str) -> Result<&str, String> {
    if pattern.is_ascii() { Ok(pattern) } else { Err(format!("names of this type are ASCII: {pattern:?}")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{cn, dns, dns_identity, identity, texts};
    use super::*;

    fn matches(spec: &spec::Matcher, identity: &Identity) -> bool {
        Matcher::new(spec).unwrap().matches(Some(identity), Stack::default())
    }

    /// An identity with something in every name.
    fn rich() -> Identity {
        let mut identity = identity("Ann Lee");
        identity.subject.common_names.push("second".into());
        identity.subject.organizational_units = texts(&["Ops", "Payments"]);
        identity.issuer.organizational_units = texts(&["PKI"]);
        identity.names.dns = texts(&["a.example.com", "b.example.org"]);
        identity.names.uri = texts(&["https://x.example/a", "spiffe://corp/ns/pay/sa/api"]);
        identity.names.email = texts(&["x@example.net", "Ann.Lee@example.com"]);
        identity.names.ip = vec!["192.0.2.7".parse().unwrap(), "::ffff:10.1.2.3".parse().unwrap()];
        identity
    }

    macro_rules! conditions {
        ($($field:ident [$($value:expr),*] $expected:literal;)+) => {
            vec![$((
                spec::Matcher { $field: vec![$($value.into()),*], ..spec::Matcher::default() },
                $expected,
                concat!(stringify!($field), " ", stringify!($($value),*)),
            )),+]
        };
    }

    #[test]
    fn each_condition_looks_at_all_names_of_its_type_and_no_other() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        for (spec, expected, row) in conditions! {
            subject_cn ["Ann*"] true;
            subject_cn ["second"] true;
            subject_cn ["ann*"] false;
            subject_cn ["Acme"] false;
            subject_cn ["nobody", "second"] true;
            subject_o ["Ac*"] true;
            subject_o ["Trust Ltd"] false;
            subject_ou ["Payments"] true;
            subject_ou ["PKI"] false;
            subject ["CN=Ann Lee,O=Acme"] true;
            subject ["CN=Ann*"] false;
            subject ["cn=Ann Lee,O=Acme"] false;
            issuer_cn ["Test CA"] true;
            issuer_cn ["Ann Lee"] false;
            issuer_o ["Trust*"] true;
            issuer_ou ["PKI"] true;
            issuer ["CN=Test CA,O=Trust Ltd"] true;
            issuer ["CN=Ann Lee,O=Acme"] false;
            serial [Serial(Box::new([0x0a, 0xff]))] true;
            serial [Serial(Box::new([0x0a]))] false;
            dns ["*.example.org"] true;
            dns ["*.EXAMPLE.org"] true;
            dns ["*.org"] false;
            dns ["**.org"] true;
            dns ["example.org"] false;
            dns ["x@example.net"] false;
            dns ["**example.net"] false;
            uri ["spiffe://corp/ns/*/sa/api"] true;
            uri ["spiffe://corp/*"] false;
            uri ["spiffe://corp/**"] true;
            uri ["spiffe://CORP/**"] false;
            uri ["a.example.com"] false;
            email ["*@example.com"] false;
            email ["**@example.com"] true;
            email ["*.*@EXAMPLE.com"] true;
            email ["ann.lee@example.com"] false;
            email ["**@*"] false;
            email ["**@**"] true;
            ip [net("192.0.2.0/24")] true;
            ip [net("192.0.3.0/24")] false;
            ip [net("10.0.0.0/8")] true;
            ip [net("::ffff:0:0/96")] true;
            fingerprint [Digest([1; 32])] true;
            fingerprint [Digest([2; 32])] false;
            spki [Digest([2; 32])] true;
            spki [Digest([1; 32])] false;
        } {
            assert_eq!(matches(&spec, &rich()), expected, "{row}");
        }
    }

    #[test]
    fn names_of_one_type_are_never_taken_for_another() {
        let mut email = identity("x");
        email.names.email = texts(&["a.example.com@a.example.com"]);
        assert!(!matches(&dns(&["**"]), &email));
        assert!(!matches(&dns(&["**"]), &identity("a.example.com")));
        assert!(!matches(&cn(&["a.example.com"]), &dns_identity(&["a.example.com"])));
    }

    #[test]
    fn all_conditions_must_hold() {
        let both = spec::Matcher { subject_o: texts(&["Acme"]), ..dns(&["*.example.org"]) };
        assert!(matches(&both, &rich()));
        assert!(!matches(&both, &identity("x")));
        assert!(!matches(&spec::Matcher { issuer_cn: texts(&["Other"]), ..both }, &rich()));
    }

    #[test]
    fn an_identity_without_the_name_meets_no_pattern_not_even_two_stars() {
        let mut bare = identity("");
        bare.subject.common_names.clear();
        assert!(!matches(&cn(&["**"]), &bare));
        assert!(!matches(&dns(&["**"]), &bare));
    }

    #[test]
    fn matchers_for_everybody_or_nobody_do_not_compile() {
        assert!(Matcher::new(&spec::Matcher::default()).is_err());
        for (spec, _, row) in conditions! {
            subject_cn [""] false;
            subject [""] false;
            dns ["a.example."] false;
            dns ["bücher.example"] false;
            uri ["spiffe://ü"] false;
            email ["example.com"] false;
            email ["*"] false;
            issuer_o ["a***"] false;
        } {
            assert_eq!(Matcher::new(&spec).map_err(|problems| problems.len()).unwrap_err(), 1, "{row}");
        }
        let problems = Matcher::new(&spec::Matcher { dns: texts(&["ok", "", "x."]), ..cn(&["\\"]) }).unwrap_err();
        assert_eq!(problems.len(), 3);
        assert!(problems[1].starts_with("dns[1]: "), "{problems:?}");
    }

    fn some_matcher() -> impl Strategy<Value = spec::Matcher> {
        let list = |pattern: &'static str| prop::collection::vec(pattern.prop_map(Box::from), 0..3);
        let numbers = prop::collection::vec(0_u8..3, 0..2);
        (list(r"[ab]|\*|\*\*"), list(r"[ab](\.[ab])?|\*\.[ab]"), list(r"a://([ab]|\*)"), numbers).prop_map(
            |(subject_cn, dns, uri, prints)| spec::Matcher {
                subject_cn,
                dns,
                uri,
                fingerprint: prints.into_iter().map(|byte| Digest([byte; 32])).collect(),
                ..spec::Matcher::default()
            },
        )
    }

    fn some_identity() -> impl Strategy<Value = Identity> {
        let list = |pattern: &'static str| prop::collection::vec(pattern.prop_map(Box::from), 0..3);
        (list("[ab]{0,2}"), list(r"[ab](\.[ab])?"), list("a://[ab]"), 0_u8..3).prop_map(|(cns, dns, uri, print)| {
            let mut identity = identity("");
            identity.subject.common_names = cns;
            identity.names.dns = dns;
            identity.names.uri = uri;
            identity.fingerprint = Digest([print; 32]);
            identity
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn a_matcher_is_the_conjunction_of_its_conditions(spec in some_matcher(), who in some_identity()) {
            let none = spec::Matcher::default;
            let parts = [
                spec::Matcher { subject_cn: spec.subject_cn.clone(), ..none() },
                spec::Matcher { dns: spec.dns.clone(), ..none() },
                spec::Matcher { uri: spec.uri.clone(), ..none() },
                spec::Matcher { fingerprint: spec.fingerprint.clone(), ..none() },
            ];
            let parts: Vec<_> = parts.iter().filter_map(|part| Matcher::new(part).ok()).collect();
            match Matcher::new(&spec) {
                Ok(whole) => prop_assert_eq!(whole.matches(Some(&who), Stack::default()), parts.iter().all(|part| part.matches(Some(&who), Stack::default()))),
                Err(_) => prop_assert!(parts.is_empty(), "only a matcher without conditions does not compile"),
            }
        }

        #[test]
        fn one_more_pattern_never_matches_less_and_one_more_name_neither(
            spec in some_matcher(), who in some_identity(), pattern in r"[ab]|\*", name in "[ab]",
        ) {
            let Ok(before) = Matcher::new(&spec) else { return Ok(()) };
            if before.matches(Some(&who), Stack::default()) {
                if !spec.subject_cn.is_empty() {
                    let mut wider = spec.clone();
                    wider.subject_cn.push(pattern.into());
                    prop_assert!(matches(&wider, &who));
                }
                let mut richer = who;
                richer.subject.common_names.push(name.into());
                prop_assert!(before.matches(Some(&richer), Stack::default()), "a deny rule cannot be walked around with one more name");
            }
        }

        #[test]
        fn no_pattern_panics(pattern in r"\PC{0,20}", name in r"\PC{0,20}") {
            for spec in [dns(&[&pattern]), cn(&[&pattern]), spec::Matcher { email: texts(&[&pattern]), ..dns(&[]) }] {
                if let Ok(matcher) = Matcher::new(&spec) {
                    let _ = matcher.matches(Some(&identity(&name)), Stack::default());
                }
            }
        }
    }
}
