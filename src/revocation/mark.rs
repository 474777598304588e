//! How far an issuer's lists have come: what an older list is told by, in this process and the next.

use super::crl::Crl;
use crate::identity::Digest;

/// The newest list of one issuer that was ever in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// SHA-256 of the issuer's DER Name.
    pub issuer: Digest,
    /// The issuer, RFC 4514.
    pub issuer_text: Box<str>,
    /// Its cRLNumber, big-endian without leading zero octets; `None` if it has none.
    pub number: Option<Box<[u8]>>,
    /// When it was issued, Unix seconds.
    pub this_update: i64,
}

impl Mark {
    /// The mark that this list sets.
    #[must_use]
    pub fn of(crl: &Crl) -> Self {
        let Crl { issuer, issuer_text, number, this_update, .. } = crl;
        Self {
            issuer: Digest::of(issuer),
            issuer_text: issuer_text.clone(),
            number: number.clone(),
            this_update: *this_update,
        }
    }

    /// Whether this mark is no older than `other`, of the same issuer.
    #[must_use]
    pub fn reaches(&self, other: &Self) -> bool {
        match (&self.number, &other.number) {
            // RFC 5280 §5.2.3: the numbers increase. Of two lists with one number the later one counts.
            (Some(ours), Some(theirs)) => {
                (ours.len(), ours, self.this_update) >= (theirs.len(), theirs, other.this_update)
            }
            // A list without a number after one with: somebody replays the past.
            (None, Some(_)) => false,
            (_, None) => self.this_update >= other.this_update,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_reached_by_numbers_then_by_time() {
        let mark = |number: Option<&[u8]>, this_update| Mark {
            issuer: Digest([0; 32]),
            issuer_text: "CN=CA".into(),
            number: number.map(Box::from),
            this_update,
        };
        for (ours, theirs, reached) in [
            ((Some(&[2][..]), 0), (Some(&[1][..]), 9), true),
            ((Some(&[1]), 9), (Some(&[2]), 0), false),
            ((Some(&[1, 0]), 0), (Some(&[0xff]), 0), true),
            ((Some(&[0xff]), 0), (Some(&[1, 0]), 0), false),
            ((Some(&[1]), 5), (Some(&[1]), 5), true),
            ((Some(&[1]), 4), (Some(&[1]), 5), false),
            ((None, 9), (Some(&[1]), 0), false),
            ((Some(&[1]), 5), (None, 5), true),
            ((None, 4), (None, 5), false),
        ] {
            assert_eq!(mark(ours.0, ours.1).reaches(&mark(theirs.0, theirs.1)), reached, "{ours:?} {theirs:?}");
        }
    }
}
