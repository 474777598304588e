//! The operator's deny list: certificates that verify and are not let in all the same.

use std::collections::HashMap;

use crate::fingerprint::{Stack, TlsPrint};
use crate::identity::{Digest, Identity, Serial};
use crate::policy::Matcher;
use crate::policy::spec;

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

/// The entries of one trust store. A look-up costs a few hashes, and the patterns one by one.
#[derive(Debug, Default)]
pub struct DenyList {
    entries: Vec<(Matcher, DenySpec)>,
    by_fingerprint: HashMap<Digest, Vec<usize>>,
    by_spki: HashMap<Digest, Vec<usize>>,
    by_serial: HashMap<Serial, Vec<usize>>,
    /// Entries that no index finds: looked at one by one.
    patterns: Vec<usize>,
}

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
                Ok(matcher) => list.add(matcher, spec),
                Err(wrong) => errors.extend(wrong.into_iter().map(|what| (index, what))),
            }
        }
        if errors.is_empty() { Ok(list) } else { Err(errors) }
    }

    fn add(&mut self, matcher: Matcher, spec: DenySpec) {
        let index = self.entries.len();
        let conditions = &spec.matcher;
        // The most selective condition that the entry has; the matcher checks all of them.
        if !conditions.fingerprint.is_empty() {
            file(&mut self.by_fingerprint, &conditions.fingerprint, index);
        } else if !conditions.spki.is_empty() {
            file(&mut self.by_spki, &conditions.spki, index);
        } else if !conditions.serial.is_empty() {
            file(&mut self.by_serial, &conditions.serial, index);
        } else {
            self.patterns.push(index);
        }
        self.entries.push((matcher, spec));
    }

    /// The entry that keeps this identity out at `unix` seconds, with a ClientHello like `print`.
    #[must_use]
    pub fn find(&self, identity: &Identity, print: Option<TlsPrint>, unix: i64) -> Option<&DenySpec> {
        let stack = Stack { tls: print, http2: None };
        let indexed = [
            self.by_fingerprint.get(&identity.fingerprint),
            self.by_spki.get(&identity.spki),
            self.by_serial.get(&identity.serial),
            Some(&self.patterns),
        ];
        let candidates = indexed.into_iter().flatten().flatten().filter_map(|index| self.entries.get(*index));
        let mut denying = candidates
            .filter(|(_, spec)| spec.expires.is_none_or(|expires| unix < expires))
            .filter(|(matcher, _)| matcher.matches(Some(identity), stack));
        denying.next().map(|(_, spec)| spec)
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

fn file<K: Clone + Eq + std::hash::Hash>(index: &mut HashMap<K, Vec<usize>>, keys: &[K], entry: usize) {
    for key in keys {
        index.entry(key.clone()).or_default().push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{AlternativeNames, DistinguishedName, PublicKey};

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
}
