//! Entries of a list by their handles: what a certificate meets is found by its own names, and not by
//! going through the list.

use std::collections::{BTreeMap, HashMap};

use crate::identity::Identity;
use crate::policy::{Handle, NameKind, Stands};

/// Which entries a certificate may meet.
#[derive(Debug, Default)]
pub(super) struct Index {
    kinds: HashMap<NameKind, Texts>,
    /// Entries without a handle, which every certificate may meet.
    loose: Vec<usize>,
}

/// Entries by texts of one kind of name.
#[derive(Debug, Default)]
struct Texts {
    whole: Table,
    /// By the length of the text.
    starts: BTreeMap<usize, Table>,
    ends: BTreeMap<usize, Table>,
}

type Table = HashMap<Box<[u8]>, Vec<usize>>;

impl Index {
    /// Files an entry. Returns how many entries now have to be compared one by one with whoever has
    /// the same text as this one.
    pub(super) fn add(&mut self, handle: Option<Handle>, entry: usize) -> usize {
        let Some(Handle { kind, texts }) = handle else {
            self.loose.push(entry);
            return self.loose.len();
        };
        let of_kind = self.kinds.entry(kind).or_default();
        let mut most = 0;
        for (stands, text) in texts {
            let table = match stands {
                Stands::Alone => &mut of_kind.whole,
                Stands::AtStart => of_kind.starts.entry(text.len()).or_default(),
                Stands::AtEnd => of_kind.ends.entry(text.len()).or_default(),
            };
            let entries = table.entry(text).or_default();
            entries.push(entry);
            most = most.max(entries.len());
        }
        most
    }

    /// Calls `meets` with the entries that this identity may meet, until it says yes; `None` if it never
    /// does. The same entry may come more than once.
    pub(super) fn find(&self, identity: &Identity, mut meets: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut found = self.loose.iter().copied().find(|entry| meets(*entry));
        for (kind, texts) in &self.kinds {
            kind.of(identity, |name| {
                if found.is_none() {
                    found = texts.find(name, &mut meets);
                }
            });
        }
        found
    }
}

impl Texts {
    fn find(&self, name: &[u8], mut meets: impl FnMut(usize) -> bool) -> Option<usize> {
        let ends = self
            .ends
            .iter()
            .map_while(|(length, table)| Some(table.get(name.get(name.len().checked_sub(*length)?..)?)));
        let starts = self.starts.iter().map_while(|(length, table)| Some(table.get(name.get(..*length)?)));
        let entries = std::iter::once(self.whole.get(name)).chain(starts).chain(ends).flatten();
        entries.flatten().copied().find(|entry| meets(*entry))
    }
}
