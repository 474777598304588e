//! What an entry of a long list can be found by: a piece of text that every identity which meets it has.

use ipnet::IpNet;

use super::glob::Glob;
use super::matcher::{absolute_uri, dns_name, email_address, free_text};
use super::spec;
use crate::identity::Identity;

/// Where a text stands in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stands {
    /// It is the name.
    Alone,
    /// The name begins with it.
    AtStart,
    /// The name ends with it.
    AtEnd,
}

/// Texts of one kind of name, one of which every identity has that meets the matcher. Who has one need
/// not meet it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The kind of name.
    pub kind: NameKind,
    /// The texts.
    pub texts: Vec<(Stands, Box<[u8]>)>,
}

/// A kind of name, by what it is called in a matcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are the conditions of a matcher")]
pub enum NameKind {
    Dns,
    Email,
    Fingerprint,
    Ip,
    Issuer,
    IssuerCn,
    IssuerO,
    IssuerOu,
    Serial,
    Spki,
    Subject,
    SubjectCn,
    SubjectO,
    SubjectOu,
    Uri,
}

impl NameKind {
    /// Calls `each` with every name of this kind.
    pub fn of(self, identity: &Identity, mut each: impl FnMut(&[u8])) {
        let (subject, issuer, names) = (&identity.subject, &identity.issuer, &identity.names);
        let texts = match self {
            Self::Fingerprint => return each(&identity.fingerprint.0),
            Self::Spki => return each(&identity.spki.0),
            Self::Serial => return each(&identity.serial.0),
            Self::Subject => return each(subject.text.as_bytes()),
            Self::Issuer => return each(issuer.text.as_bytes()),
            // An IPv4 address in IPv6's clothes is met by networks of both.
            Self::Ip => {
                return names.ip.iter().flat_map(|ip| [*ip, ip.to_canonical()]).for_each(|ip| match ip {
                    std::net::IpAddr::V4(ip) => each(&ip.octets()),
                    std::net::IpAddr::V6(ip) => each(&ip.octets()),
                });
            }
            Self::Dns => &names.dns,
            Self::Email => &names.email,
            Self::Uri => &names.uri,
            Self::SubjectCn => &subject.common_names,
            Self::SubjectO => &subject.organizations,
            Self::SubjectOu => &subject.organizational_units,
            Self::IssuerCn => &issuer.common_names,
            Self::IssuerO => &issuer.organizations,
            Self::IssuerOu => &issuer.organizational_units,
        };
        for text in texts {
            each(text.as_bytes());
        }
    }

    /// Whether many certificates share a name of this kind as a rule.
    fn is_shared(self) -> bool {
        matches!(
            self,
            Self::Issuer | Self::IssuerCn | Self::IssuerO | Self::IssuerOu | Self::SubjectO | Self::SubjectOu
        )
    }
}

impl Handle {
    /// The handle that finds the fewest others, of what `matcher` asks for; `None` if it asks for
    /// nothing of this sort, but for patterns that begin and end with a wildcard.
    #[must_use]
    pub fn of(matcher: &spec::Matcher) -> Option<Self> {
        let bytes = |kind, values: Vec<&[u8]>| {
            let texts = values.into_iter().map(|value| (Stands::Alone, value.into())).collect::<Vec<_>>();
            (!texts.is_empty()).then_some(Self { kind, texts })
        };
        let exact = |kind, values: &[Box<str>]| bytes(kind, values.iter().map(|value| value.as_bytes()).collect());
        let all = [
            bytes(NameKind::Fingerprint, matcher.fingerprint.iter().map(|digest| &digest.0[..]).collect()),
            bytes(NameKind::Spki, matcher.spki.iter().map(|digest| &digest.0[..]).collect()),
            bytes(NameKind::Serial, matcher.serial.iter().map(|serial| &*serial.0).collect()),
            exact(NameKind::Subject, &matcher.subject),
            Self::globs(NameKind::Uri, &matcher.uri, absolute_uri),
            Self::globs(NameKind::Dns, &matcher.dns, dns_name),
            Self::globs(NameKind::Email, &matcher.email, email_address),
            Self::networks(&matcher.ip),
            Self::globs(NameKind::SubjectCn, &matcher.subject_cn, free_text),
            exact(NameKind::Issuer, &matcher.issuer),
            Self::globs(NameKind::IssuerCn, &matcher.issuer_cn, free_text),
            Self::globs(NameKind::SubjectOu, &matcher.subject_ou, free_text),
            Self::globs(NameKind::SubjectO, &matcher.subject_o, free_text),
            Self::globs(NameKind::IssuerOu, &matcher.issuer_ou, free_text),
            Self::globs(NameKind::IssuerO, &matcher.issuer_o, free_text),
        ];
        // The first of the best.
        all.into_iter().flatten().rev().max_by_key(Self::worth)
    }

    /// A whole name of one's own before a piece of one, the longer piece before the shorter, and what
    /// many share last.
    fn worth(&self) -> (bool, bool, usize) {
        let whole = self.texts.iter().all(|(stands, _)| *stands == Stands::Alone);
        let shortest = self.texts.iter().map(|(_, text)| text.len()).min().unwrap_or(0);
        (!self.kind.is_shared(), whole, if whole { 0 } else { shortest })
    }

    fn globs(kind: NameKind, patterns: &[Box<str>], compile: fn(&str) -> Result<Glob, String>) -> Option<Self> {
        let texts = patterns.iter().map(|pattern| piece(&compile(pattern).ok()?)).collect::<Option<Vec<_>>>()?;
        (!texts.is_empty()).then_some(Self { kind, texts })
    }

    fn networks(networks: &[IpNet]) -> Option<Self> {
        let texts = networks.iter().map(|network| {
            let (octets, bits) = match network {
                IpNet::V4(net) => (net.network().octets().to_vec(), 32),
                IpNet::V6(net) => (net.network().octets().to_vec(), 128),
            };
            let whole = usize::from(network.prefix_len() / 8);
            let stands = if network.prefix_len() == bits { Stands::Alone } else { Stands::AtStart };
            octets.get(..whole).filter(|start| !start.is_empty()).map(|start| (stands, start.into()))
        });
        let texts = texts.collect::<Option<Vec<_>>>()?;
        (!texts.is_empty()).then_some(Self { kind: NameKind::Ip, texts })
    }
}

/// The longer one of the texts that a pattern begins and ends with.
fn piece(glob: &Glob) -> Option<(Stands, Box<[u8]>)> {
    let (start, end) = (glob.literal_prefix(), glob.literal_suffix());
    let (stands, text) = if glob.is_literal() {
        (Stands::Alone, start.as_bytes())
    } else if end.len() > start.len() {
        (Stands::AtEnd, end.as_bytes().get(end.len().saturating_sub(LONGEST)..).unwrap_or_default())
    } else {
        (Stands::AtStart, start.as_bytes().get(..start.len().min(LONGEST)).unwrap_or_default())
    };
    (!text.is_empty()).then(|| (stands, text.into()))
}

/// So many lengths there are at most: each costs a look-up for every name.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Matcher;
    use super::super::fixture::{identity, texts};
    use super::*;
    use crate::fingerprint::Stack;
    use crate::identity::Digest;

    /// Whether the identity has one of the texts of the handle.
    fn holds(handle: &Handle, who: &Identity) -> bool {
        let mut found = false;
        handle.kind.of(who, |name| {
            found |= handle.texts.iter().any(|(stands, text)| match stands {
                Stands::Alone => name == &**text,
                Stands::AtStart => name.starts_with(text),
                Stands::AtEnd => name.ends_with(text),
            });
        });
        found
    }

    #[test]
    fn the_handle_is_what_finds_the_fewest_others() {
        let none = spec::Matcher::default;
        let fingerprint = vec![Digest([1; 32])];
        for (matcher, kind, stands, text) in [
            (
                spec::Matcher { dns: texts(&["**.Evil.example"]), ..none() },
                NameKind::Dns,
                Stands::AtEnd,
                ".evil.example",
            ),
            (
                spec::Matcher { uri: texts(&["spiffe://x/a/**"]), ..none() },
                NameKind::Uri,
                Stands::AtStart,
                "spiffe://x/a/",
            ),
            (
                spec::Matcher { email: texts(&["**@EVIL.example"]), ..none() },
                NameKind::Email,
                Stands::AtEnd,
                "@evil.example",
            ),
            (spec::Matcher { subject_cn: texts(&["ab*xyz"]), ..none() }, NameKind::SubjectCn, Stands::AtEnd, "xyz"),
            (spec::Matcher { subject_cn: texts(&["a\\*b"]), ..none() }, NameKind::SubjectCn, Stands::Alone, "a*b"),
            (
                spec::Matcher { issuer: texts(&["CN=CA"]), subject_cn: texts(&["one"]), ..none() },
                NameKind::SubjectCn,
                Stands::Alone,
                "one",
            ),
            (
                spec::Matcher { issuer: texts(&["CN=CA"]), subject_cn: texts(&["*one*"]), ..none() },
                NameKind::Issuer,
                Stands::Alone,
                "CN=CA",
            ),
            (
                spec::Matcher { ip: vec!["10.1.0.0/20".parse().unwrap()], ..none() },
                NameKind::Ip,
                Stands::AtStart,
                "\n\u{1}",
            ),
        ] {
            let handle = Handle::of(&matcher).expect("a handle");
            assert_eq!(handle, Handle { kind, texts: vec![(stands, text.as_bytes().into())] });
        }
        let both = spec::Matcher { fingerprint, dns: texts(&["a.example"]), ..none() };
        assert_eq!(Handle::of(&both).map(|handle| handle.kind), Some(NameKind::Fingerprint));
        for nothing in [
            spec::Matcher { subject_cn: texts(&["*x*"]), ..none() },
            spec::Matcher { subject_cn: texts(&["x*", "**"]), ..none() },
            spec::Matcher { ip: vec!["0.0.0.0/4".parse().unwrap()], ..none() },
        ] {
            assert_eq!(Handle::of(&nothing), None);
        }
    }

    fn list(pattern: &'static str) -> impl Strategy<Value = Vec<Box<str>>> {
        prop::collection::vec(pattern.prop_map(Box::from), 0..3)
    }

    prop_compose! {
        fn some_matcher()(
            subject_cn in list(r"[abé]{0,2}\*{0,2}[abé]{0,2}"), issuer_o in list(r"[AB]|\*"), dns in list(r"(\*{1,2}\.)?[abAB](\.[ab])?"),
            uri in list(r"a://[ab]\*{0,2}[ab]?"), email in list(r"[ab]{0,2}\*{0,2}@[abAB]"),
            ip in prop::collection::vec((any::<[u8; 4]>(), 0_u8..=32), 0..2), print in prop::collection::vec(0_u8..2, 0..2),
        ) -> spec::Matcher {
            let net = |(octets, bits): ([u8; 4], u8)| IpNet::new(octets.map(|octet| octet & 1).into(), bits).unwrap();
            spec::Matcher {
                subject_cn, issuer_o, dns, uri, email, ip: ip.into_iter().map(net).collect(),
                fingerprint: print.into_iter().map(|byte| Digest([byte; 32])).collect(), ..spec::Matcher::default()
            }
        }
    }

    prop_compose! {
        fn some_identity()(
            cns in list("[abé]{0,4}"), os in list("[AB]"), dns in list(r"[ab](\.[ab]){0,2}"), uri in list("a://[ab]{0,3}"),
            email in list("[ab]{0,3}@[ab]"), ip in prop::collection::vec(any::<[u8; 4]>(), 0..2), mapped in any::<bool>(), print in 0_u8..2,
        ) -> Identity {
            let mut identity = identity("");
            identity.subject.common_names = cns;
            identity.issuer.organizations = os;
            identity.names.dns = dns;
            identity.names.uri = uri;
            identity.names.email = email;
            let address = |octets: [u8; 4]| {
                let v4 = std::net::Ipv4Addr::from(octets.map(|octet| octet & 1));
                if mapped { v4.to_ipv6_mapped().into() } else { v4.into() }
            };
            identity.names.ip = ip.into_iter().map(address).collect();
            identity.fingerprint = Digest([print; 32]);
            identity
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whoever_meets_a_matcher_has_its_handle(spec in some_matcher(), who in some_identity()) {
            let (Ok(matcher), Some(handle)) = (Matcher::new(&spec), Handle::of(&spec)) else { return Ok(()) };
            if matcher.matches(Some(&who), Stack::default()) {
                prop_assert!(holds(&handle, &who), "{handle:?}");
            }
        }
    }
}
