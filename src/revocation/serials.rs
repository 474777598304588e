//! A million serial numbers in the memory that they take, found in a few steps.

use std::fmt;

/// The longest serial number (RFC 5280 §4.1.2.2).
pub(super) const MAX_OCTETS: usize = 20;

/// A set of serial numbers: for each length one run of bytes, sorted. Sixteen-octet serials, which
/// most CAs use, take sixteen bytes each and nothing else.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SerialSet {
    /// By length in octets.
    runs: [Box<[u8]>; MAX_OCTETS + 1],
}

/// Collects serial numbers in any order.
#[derive(Debug, Default)]
pub(super) struct Collector {
    /// By length, padded to the longest so that sorting compares whole arrays.
    runs: [Vec<[u8; MAX_OCTETS]>; MAX_OCTETS + 1],
}

impl Collector {
    /// Room for exactly so many of each length, so that a million never exist twice while they grow.
    pub(super) fn reserve(&mut self, counts: &[usize; MAX_OCTETS + 1]) {
        for (run, count) in self.runs.iter_mut().zip(counts) {
            run.reserve_exact(*count);
        }
    }

    /// Adds a serial number without leading zero octets.
    ///
    /// # Errors
    /// The number itself, if it is longer than a serial number may be.
    pub(super) fn add<'a>(&mut self, serial: &'a [u8]) -> Result<(), &'a [u8]> {
        let mut padded = [0; MAX_OCTETS];
        padded.get_mut(..serial.len()).ok_or(serial)?.copy_from_slice(serial);
        self.runs.get_mut(serial.len()).ok_or(serial)?.push(padded);
        Ok(())
    }

    /// The set of what was added.
    #[must_use]
    pub(super) fn finish(self) -> SerialSet {
        let mut length = 0;
        let runs = self.runs.map(|mut run| {
            run.sort_unstable();
            run.dedup();
            let mut packed = Vec::with_capacity(run.len().saturating_mul(length));
            for padded in &run {
                packed.extend_from_slice(padded.get(..length).unwrap_or_default());
            }
            length += 1;
            packed.into()
        });
        SerialSet { runs }
    }
}

impl SerialSet {
    /// Whether the set has this serial number (without leading zero octets).
    #[must_use]
    pub fn contains(&self, serial: &[u8]) -> bool {
        let Some(run) = self.runs.get(serial.len()) else { return false };
        let (mut low, mut high) = (0, run.len().checked_div(serial.len()).unwrap_or(0));
        while low < high {
            let middle = low + (high - low) / 2;
            let start = middle * serial.len();
            match run.get(start..start + serial.len()).map(|found| found.cmp(serial)) {
                Some(std::cmp::Ordering::Less) => low = middle + 1,
                Some(std::cmp::Ordering::Greater) => high = middle,
                Some(std::cmp::Ordering::Equal) => return true,
                None => return false,
            }
        }
        false
    }

    /// How many serial numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.iter().enumerate().map(|(length, run)| run.len().checked_div(length).unwrap_or(0)).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.iter().all(|run| run.is_empty())
    }

    /// Bytes that the numbers take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(|run| run.len()).sum()
    }
}

impl fmt::Debug for SerialSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialSet({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn set<'a>(serials: impl IntoIterator<Item = &'a [u8]>) -> SerialSet {
        let mut collector = Collector::default();
        for serial in serials {
            collector.add(serial).unwrap();
        }
        collector.finish()
    }

    #[test]
    fn numbers_of_different_lengths_do_not_meet() {
        let set = set([&[1][..], &[1, 0], &[0xff; 20]]);
        for (serial, there) in [
            (&[1][..], true),
            (&[1, 0], true),
            (&[0xff; 20], true),
            (&[0], false),
            (&[1, 0, 0], false),
            (&[], false),
            (&[0xff; 21], false),
        ] {
            assert_eq!(set.contains(serial), there, "{serial:?}");
        }
        assert_eq!((set.len(), set.bytes()), (3, 23));
    }

    #[test]
    fn a_number_that_is_too_long_is_given_back() {
        assert!(Collector::default().add(&[1; 21]).is_err());
    }

    proptest! {
        #[test]
        fn it_is_a_set(serials in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=20), 0..300), others in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=22), 0..100)) {
            let model: HashSet<_> = serials.iter().cloned().collect();
            let set = set(serials.iter().map(Vec::as_slice));
            prop_assert_eq!(set.len(), model.len());
            for serial in serials.iter().chain(&others) {
                prop_assert_eq!(set.contains(serial), model.contains(serial));
            }
        }
    }
}
