//! What a certificate must say to be let in: names that matchers mean, made up.

use ipnet::IpNet;

use super::super::pki::{LeafSpec, Name, Validity};
use crate::policy::spec::{Allow, Matcher};

/// Patterns that a certificate must match to be let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    cn: Option<Box<str>>,
    organization: Option<Box<str>>,
    issuer: Option<Box<str>>,
    dns: Vec<Box<str>>,
    uri: Vec<Box<str>>,
    email: Vec<Box<str>>,
    ip: Vec<IpNet>,
}

impl Wish {
    /// What `allow` wants; `None` if it lets in nobody whose certificate could be made up here.
    pub(super) fn of(allow: &Allow) -> Option<Self> {
        match allow {
            Allow::Anyone | Allow::AnyVerified => Some(Self::default()),
            Allow::Matching(matchers) => matchers.iter().find_map(Self::matching),
            Allow::Nobody => None,
        }
    }

    fn matching(matcher: &Matcher) -> Option<Self> {
        let Matcher { subject_ou, subject, issuer_o, issuer_ou, issuer, serial, fingerprint, spki, ja4, h2, .. } =
            matcher;
        let texts = [subject_ou, subject, issuer_o, issuer_ou, issuer, h2];
        let exact = fingerprint.is_empty() && spki.is_empty() && serial.is_empty() && ja4.is_empty();
        if !exact || texts.iter().any(|texts| !texts.is_empty()) {
            return None;
        }
        let first = |texts: &[Box<str>]| texts.first().cloned();
        let list = |texts: &[Box<str>]| texts.first().cloned().into_iter().collect();
        Some(Self {
            cn: first(&matcher.subject_cn),
            organization: first(&matcher.subject_o),
            issuer: first(&matcher.issuer_cn),
            dns: list(&matcher.dns),
            uri: list(&matcher.uri),
            email: list(&matcher.email),
            ip: matcher.ip.first().copied().into_iter().collect(),
        })
    }

    /// One that meets both; `None` if no certificate can.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let one = |a: &Option<Box<str>>, b: &Option<Box<str>>| match (a, b) {
            (Some(a), Some(b)) if a != b => None,
            (Some(a), _) => Some(Some(a.clone())),
            (None, b) => Some(b.clone()),
        };
        Some(Self {
            cn: one(&self.cn, &other.cn)?,
            organization: one(&self.organization, &other.organization)?,
            issuer: one(&self.issuer, &other.issuer)?,
            dns: both(&self.dns, &other.dns),
            uri: both(&self.uri, &other.uri),
            email: both(&self.email, &other.email),
            ip: both(&self.ip, &other.ip),
        })
    }

    /// The name of a CA whose clients are meant.
    pub(super) fn issuer(&self, otherwise: &str) -> String {
        self.issuer.as_deref().map_or_else(|| otherwise.to_owned(), |pattern| filled(pattern, "rehearsal"))
    }

    /// A certificate of somebody who is called `label`.
    pub(super) fn certificate(&self, label: &str, validity: Validity) -> LeafSpec {
        let text = |pattern: &str| filled(pattern, label);
        let cn = self.cn.as_deref().map_or_else(|| label.to_owned(), text);
        let names = self.dns.iter().map(|dns| Name::Dns(text(dns)));
        let names = names.chain(self.uri.iter().map(|uri| Name::Uri(text(uri))));
        let names = names.chain(self.email.iter().map(|email| Name::Email(text(email))));
        let names = names.chain(self.ip.iter().map(|network| Name::Ip(network.addr())));
        LeafSpec {
            names: names.collect(),
            organization: self.organization.as_deref().map(text),
            ..LeafSpec::client(&cn, validity)
        }
    }
}

fn both<T: Clone + PartialEq>(a: &[T], b: &[T]) -> Vec<T> {
    let more = b.iter().filter(|one| !a.contains(one));
    a.iter().chain(more).cloned().collect()
}

/// A text that `pattern` means: `word` for every run of stars, and what is escaped for itself.
pub(super) fn filled(pattern: &str, word: &str) -> String {
    let (mut out, mut chars) = (String::new(), pattern.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                out.push_str(word);
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Digest;

    fn matching(change: impl FnOnce(&mut Matcher)) -> Allow {
        let mut matcher = Matcher::default();
        change(&mut matcher);
        Allow::Matching(vec![Matcher { spki: vec![Digest([0; 32])], ..Matcher::default() }, matcher])
    }

    #[test]
    fn patterns_are_filled_with_a_word() {
        for (pattern, text) in [
            ("spiffe://a/app/**", "spiffe://a/app/x"),
            ("*.devices.test", "x.devices.test"),
            ("a-*-*", "a-x-x"),
            (r"\*\\", r"*\"),
            ("plain", "plain"),
        ] {
            assert_eq!(filled(pattern, "x"), text);
        }
    }

    #[test]
    fn a_certificate_says_what_the_first_matcher_that_can_be_met_wants() {
        let allow = matching(|matcher| {
            matcher.subject_cn = vec!["device-*".into()];
            matcher.subject_o = vec!["Example".into()];
            matcher.issuer_cn = vec!["Mobile CA *".into()];
            matcher.uri = vec!["spiffe://example/app/*".into()];
            matcher.email = vec!["*@example.com".into()];
            matcher.ip = vec!["10.0.0.0/8".parse().unwrap()];
        });
        let wish = Wish::of(&allow).unwrap();
        let spec = wish.certificate("r-1", Validity::LONG);
        assert_eq!((spec.cn.as_str(), spec.organization.as_deref()), ("device-r-1", Some("Example")));
        let names = [
            Name::Uri("spiffe://example/app/r-1".to_owned()),
            Name::Email("r-1@example.com".to_owned()),
            Name::Ip("10.0.0.0".parse().unwrap()),
        ];
        assert_eq!(spec.names, names);
        assert_eq!((wish.issuer("x"), Wish::default().issuer("x")), ("Mobile CA rehearsal".to_owned(), "x".to_owned()));
    }

    #[test]
    fn one_certificate_may_have_names_for_two_routes_but_not_two_subjects() {
        let of = |change: fn(&mut Matcher)| Wish::of(&matching(change)).unwrap();
        let (a, b) = (of(|m| m.uri = vec!["a".into()]), of(|m| m.uri = vec!["b".into()]));
        assert_eq!(a.and(&b).unwrap().certificate("x", Validity::LONG).names.len(), 2);
        assert_eq!(a.and(&a).unwrap(), a);
        let (a, b) = (of(|m| m.subject_cn = vec!["a".into()]), of(|m| m.subject_cn = vec!["b".into()]));
        assert_eq!(a.and(&b), None);
        assert_eq!(a.and(&Wish::default()), Some(a));
    }

    #[test]
    fn who_is_known_by_key_number_or_software_cannot_be_made_up() {
        for allow in [
            Allow::Nobody,
            Allow::Matching(Vec::new()),
            Allow::Matching(vec![Matcher { fingerprint: vec![Digest([0; 32])], ..Matcher::default() }]),
            Allow::Matching(vec![Matcher { subject_ou: vec!["x".into()], ..Matcher::default() }]),
        ] {
            assert_eq!(Wish::of(&allow), None, "{allow:?}");
        }
        assert_eq!(Wish::of(&Allow::AnyVerified), Some(Wish::default()));
    }
}
