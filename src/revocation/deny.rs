//! The operator's deny list: certificates that verify and are not let in all the same.

use super::index::Index;
use crate::fingerprint::{Stack, TlsPrint};
use crate::identity::Identity;
use crate::policy::spec;
use crate::policy::{Handle, Matcher};

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenySpec {
    /// Which certificates.
    pub matcher: spec::Matcher,
    /// Why, for logs.
    pub reason: Box<str>,
    /// Who wrote it.
    pub author: Box<str>,
    /// When it ends, Unix seconds; `None`: never.
    pub expires: Option<i64>,
    /// Where it was written.
    pub source: Source,
}

/// Where an entry was written, and so who may take it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// In the operator's file.
    #[default]
    File,
    /// Through the admin listener.
    Admin,
}

/// The entries of one trust store. A look-up costs a few hashes for each name of the certificate, and the
/// entries that have the same text in the same place.
#[derive(Debug, Default)]
pub struct DenyList {
    entries: Vec<(Matcher, DenySpec)>,
    index: Index,
}

/// Most entries that may have to be compared one by one with one certificate. The dearest patterns take 4 µs each
/// (`benches/deny.rs`), so all of them less than the signatures of two handshakes; every connection pays it at every change.
const MOST_ALIKE: usize = 100;

impl DenyList {
    /// Compiles the entries.
    ///
    /// # Errors
    /// The index of an entry and what is wrong with it, for each that cannot be: one that
    /// matches everybody, or a bad pattern.
    pub fn new(specs: Vec<DenySpec>) -> Result<Self, Vec<(usize, String)>> {
        Self::default().and(specs)
    }

    /// This list and these entries too.
    ///
    /// # Errors
    /// As [`DenyList::new`].
    pub fn and(self, specs: Vec<DenySpec>) -> Result<Self, Vec<(usize, String)>> {
        let (mut list, mut errors) = (self, Vec::new());
        for (index, spec) in specs.into_iter().enumerate() {
            match Matcher::new(&spec.matcher) {
                Ok(matcher) => {
                    if list.add(matcher, spec) > MOST_ALIKE {
                        errors.push((index, too_many_alike()));
                    }
                }
                Err(wrong) => errors.extend(wrong.into_iter().map(|what| (index, what))),
            }
        }
        if errors.is_empty() { Ok(list) } else { Err(errors) }
    }

    /// Returns how many entries have to be compared with whoever has the same text as this one.
    fn add(&mut self, matcher: Matcher, spec: DenySpec) -> usize {
        let alike = self.index.add(Handle::of(&spec.matcher), self.entries.len());
        self.entries.push((matcher, spec));
        alike
    }

    /// An entry that keeps this identity out at `unix` seconds, with a ClientHello like `print`.
    #[must_use]
    pub fn find(&self, identity: &Identity, print: Option<TlsPrint>, unix: i64) -> Option<&DenySpec> {
        let stack = Stack { tls: print, http2: None };
        let denies = |index: usize| {
            self.entries.get(index).is_some_and(|(matcher, spec)| {
                spec.expires.is_none_or(|expires| unix < expires) && matcher.matches(Some(identity), stack)
            })
        };
        self.index.find(identity, denies).and_then(|index| self.entries.get(index)).map(|(_, spec)| spec)
    }

    /// The entries, also those that have ended.
    pub fn specs(&self) -> impl Iterator<Item = &DenySpec> {
        self.entries.iter().map(|(_, spec)| spec)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn too_many_alike() -> String {
    format!(
        "more than {MOST_ALIKE} entries that begin and end with a wildcard, or share the text that they could be found by: \
         deny by serial, fingerprint, spki or a whole name, or revoke in a CRL"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::identity::{AlternativeNames, Digest, DistinguishedName, PublicKey, Serial};

    fn identity() -> Identity {
        Identity {
            subject: DistinguishedName {
                text: "CN=phone".into(),
                common_names: vec!["phone".into()],
                ..DistinguishedName::default()
            },
            issuer: DistinguishedName {
                text: "CN=CA 1".into(),
                common_names: vec!["CA 1".into()],
                ..DistinguishedName::default()
            },
            serial: Serial([7, 8].into()),
            names: AlternativeNames {
                uri: vec!["spiffe://x/one".into(), "spiffe://x/two".into()],
                ..AlternativeNames::default()
            },
            fingerprint: Digest([1; 32]),
            spki: Digest([2; 32]),
            not_before: 0,
            not_after: 1000,
            key: PublicKey::Ec(256),
        }
    }

    fn deny(change: impl FnOnce(&mut DenySpec)) -> DenyList {
        let mut spec = DenySpec { reason: "stolen".into(), ..DenySpec::default() };
        change(&mut spec);
        DenyList::new(vec![spec]).unwrap()
    }

    #[test]
    fn an_entry_denies_by_each_kind_of_condition_and_by_all_of_them_together() {
        type Change = fn(&mut DenySpec);
        let table: [(&str, Change, bool); 9] = [
            ("fingerprint", |s| s.matcher.fingerprint = vec![Digest([1; 32])], true),
            ("other fingerprint", |s| s.matcher.fingerprint = vec![Digest([9; 32])], false),
            ("spki", |s| s.matcher.spki = vec![Digest([2; 32])], true),
            ("serial", |s| s.matcher.serial = vec![Serial([7, 8].into())], true),
            (
                "serial of this issuer",
                |s| {
                    s.matcher.serial = vec![Serial([7, 8].into())];
                    s.matcher.issuer = vec!["CN=CA 1".into()];
                },
                true,
            ),
            (
                "the same serial of another issuer",
                |s| {
                    s.matcher.serial = vec![Serial([7, 8].into())];
                    s.matcher.issuer = vec!["CN=CA 2".into()];
                },
                false,
            ),
            ("issuer", |s| s.matcher.issuer_cn = vec!["CA *".into()], true),
            ("second SAN", |s| s.matcher.uri = vec!["spiffe://x/two".into()], true),
            ("other SAN", |s| s.matcher.uri = vec!["spiffe://y/**".into()], false),
        ];
        for (what, change, denied) in table {
            assert_eq!(deny(change).find(&identity(), None, 0).is_some(), denied, "{what}");
        }
    }

    #[test]
    fn an_entry_ends_when_it_says() {
        let list = deny(|spec| {
            spec.matcher.fingerprint = vec![Digest([1; 32])];
            spec.expires = Some(100);
        });
        assert!(list.find(&identity(), None, 99).is_some());
        assert!(list.find(&identity(), None, 100).is_none());
    }

    #[test]
    fn an_entry_without_a_condition_is_refused_rather_than_deny_everybody() {
        assert_eq!(DenyList::new(vec![DenySpec::default()]).unwrap_err().len(), 1);
    }

    #[test]
    fn as_many_entries_as_one_likes_may_be_found_by_their_text_and_few_may_be_alike() {
        let entry = |cn: String| DenySpec {
            matcher: spec::Matcher { subject_cn: vec![cn.into()], ..spec::Matcher::default() },
            ..DenySpec::default()
        };
        let many = |cn: fn(usize) -> String, count: usize| DenyList::new((0..count).map(|n| entry(cn(n))).collect());
        assert_eq!(many(|n| format!("phone-{n}"), 20_000).unwrap().len(), 20_000);
        assert_eq!(many(|n| format!("phone-{n}-*"), 20_000).unwrap().len(), 20_000);
        assert_eq!(many(|n| format!("*-{n}-phone"), 20_000).unwrap().len(), 20_000);
        for alike in [|n| format!("*{n}*"), |n| format!("phone*{n}*"), |_| "phone".to_owned()] {
            assert!(many(alike, MOST_ALIKE).is_ok());
            let errors = many(alike, MOST_ALIKE + 1).unwrap_err();
            assert!(
                matches!(&errors[..], [(MOST_ALIKE, what)] if what.contains("more than 100 entries")),
                "{errors:?}"
            );
        }
    }

    fn some_entry() -> impl Strategy<Value = DenySpec> {
        let list = |pattern: &'static str| prop::collection::vec(pattern.prop_map(Box::from), 0..2);
        (list(r"[ab]{0,2}\*{0,2}[ab]{0,2}"), list(r"a://[ab]{0,2}\*{0,2}[ab]?"), list(r"CN=[AB]"), any::<bool>())
            .prop_map(|(subject_cn, uri, issuer, over)| DenySpec {
                matcher: spec::Matcher { subject_cn, issuer, uri, ..spec::Matcher::default() },
                expires: over.then_some(0),
                ..DenySpec::default()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn the_index_finds_whom_going_through_the_list_finds(
            specs in prop::collection::vec(some_entry(), 0..12), cn in "[ab]{0,4}", uri in "a://[ab]{0,3}", issuer in "CN=[AB]",
        ) {
            let specs: Vec<_> = specs.into_iter().filter(|spec| Matcher::new(&spec.matcher).is_ok()).collect();
            let mut who = identity();
            who.subject.common_names = vec![cn.into()];
            who.names.uri = vec![uri.into()];
            who.issuer.text = issuer.into();
            let denies = |spec: &DenySpec| spec.expires.is_none() && Matcher::new(&spec.matcher).unwrap().matches(Some(&who), Stack::default());
            let walked = specs.iter().any(denies);
            let list = DenyList::new(specs).unwrap();
            prop_assert_eq!(list.find(&who, None, 5).is_some(), walked);
            prop_assert!(list.find(&who, None, 5).is_none_or(denies));
        }
    }
}
