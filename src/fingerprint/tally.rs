//! Which software has been seen, and how often: for an operator who wants to know what to allow.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::ja4::Ja4;

/// Kinds that are kept apart. A fleet has dozens: each release of each operating system, times the libraries.
const MAX_KINDS: usize = 256;

/// Counts by JA4. When it is full, a newcomer takes the place of what has been seen least (the first step of
/// Space-Saving, Metwally 2005, without its credit): what is common stays, whatever else somebody shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: HashMap<Ja4, u64>,
    /// Counts of those that lost their place.
    displaced: u64,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, ja4: Ja4) {
        if let Some(count) = self.counts.get_mut(&ja4) {
            *count = count.saturating_add(1);
            return;
        }
        if self.counts.len() >= MAX_KINDS {
            // Of several, the one that sorts last, so that the outcome does not hang on a hash.
            let least = self.counts.iter().map(|(ja4, count)| (*count, std::cmp::Reverse(*ja4))).min();
            if let Some((count, std::cmp::Reverse(least))) = least {
                self.counts.remove(&least);
                self.displaced = self.displaced.saturating_add(count);
            }
        }
        self.counts.insert(ja4, 1);
    }

    /// Kinds, with how often each has been seen, the most common first.
    #[must_use]
    pub fn kinds(&self) -> Vec<(Ja4, u64)> {
        let mut kinds: Vec<_> = self.counts.iter().map(|(ja4, count)| (*ja4, *count)).collect();
        kinds.sort_by_key(|(ja4, count)| (std::cmp::Reverse(*count), *ja4));
        kinds
    }

    /// As a file: TOML whose `allow` can be copied into a configuration.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let kinds = self.kinds();
        let total = kinds.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let mut text = format!(
            "{HEAD}\n# {} kinds of client software in {total} handshakes, the most common first. Take out what is not yours.\n\
             {DISPLACED}{}\nallow = [\n",
            kinds.len(),
            self.displaced
        );
        for (ja4, count) in kinds {
            // Writing to a string does not fail.
            let _ = writeln!(text, "    \"{ja4}\",{COUNT}{count}");
        }
        text.push_str("]\n");
        text
    }

    /// Reads what [`to_toml`](Self::to_toml) wrote; `None` if that is not what it is.
    #[must_use]
    pub fn of_toml(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let mut tally = Self::default();
        for line in lines.map(str::trim) {
            if let Some(displaced) = line.strip_prefix(DISPLACED) {
                tally.displaced = displaced.parse().ok()?;
            } else if let Some(entry) = line.strip_prefix('"') {
                let (ja4, count) = entry.split_once("\",")?;
                let count = count.strip_prefix(COUNT)?.parse().ok()?;
                tally.counts.insert(ja4.parse().ok()?, count);
            }
        }
        (tally.counts.len() <= MAX_KINDS).then_some(tally)
    }
}

const HEAD: &str = "# Written by the gate, which learns: copy `allow` into [trust.NAME.stack] of the configuration.";
const DISPLACED: &str = "# Handshakes of software that was rare and had to make room: ";
const COUNT: &str = " # handshakes: ";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ja4(number: u32) -> Ja4 {
        format!("t13d1516h2_8daaf6152771_{number:012x}").parse().unwrap()
    }

    #[test]
    fn what_is_common_stays_whatever_else_comes() {
        let mut tally = Tally::default();
        for _ in 0..10 {
            tally.add(ja4(1));
        }
        for number in 100..10_000 {
            tally.add(ja4(number));
        }
        for _ in 0..10 {
            tally.add(ja4(2));
        }
        let kinds = tally.kinds();
        assert_eq!(kinds[..2], [(ja4(1), 10), (ja4(2), 10)]);
        assert_eq!(kinds.len(), MAX_KINDS);
        let counted: u64 = kinds.iter().map(|(_, count)| count).sum();
        assert_eq!(counted + tally.displaced, 10 + 9_900 + 10);
    }

    #[test]
    fn a_file_of_somebody_else_is_not_taken_for_ours() {
        for text in ["", "allow = []\n", "[[listener]]\n", &format!("{HEAD}\n    \"t13\", # handshakes: 1\n")] {
            assert_eq!(Tally::of_toml(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_tally_reads_as_it_was_written_and_its_list_is_toml(seen in prop::collection::vec(0u32..300, 0..600)) {
            let mut tally = Tally::default();
            for number in &seen {
                tally.add(ja4(*number));
            }
            let text = tally.to_toml();
            prop_assert_eq!(Tally::of_toml(&text), Some(tally.clone()));
            let table: toml::Table = text.parse().unwrap();
            prop_assert_eq!(table["allow"].as_array().unwrap().len(), tally.kinds().len());
        }
    }
}
