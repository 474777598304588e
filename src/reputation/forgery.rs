//! What a handshake that failed says about who tried: a client that is set up wrong, or a certificate that somebody made.
//!
//! Nothing here is proven, so it is held against the address and never against the certificate's true holder.

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

use crate::identity::{Digest, Identity};
use crate::reject::Reason;

/// What was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forgery {
    /// Issuer and serial number of a certificate that was verified, with another key.
    CopiedSerial,
    /// A certificate that ended long ago.
    Expired,
    /// A certificate that ended lately: somebody forgot to renew.
    JustExpired,
    /// Signed by itself, with the subject of a certificate that was verified.
    LookAlike,
    /// A certificate that was revoked or is denied.
    Revoked,
    /// A certificate that verifies, by somebody who does not have its key.
    Stolen,
    /// A certificate of a CA that nobody here knows.
    UnknownCa,
    /// The name of a CA of ours, and a signature that is not its.
    WrongSignature,
}

impl Forgery {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::CopiedSerial,
        Self::Expired,
        Self::JustExpired,
        Self::LookAlike,
        Self::Revoked,
        Self::Stolen,
        Self::UnknownCa,
        Self::WrongSignature,
    ];

    /// The word for it in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::CopiedSerial => "copied_serial",
            Self::Expired => "expired",
            Self::JustExpired => "just_expired",
            Self::LookAlike => "look_alike",
            Self::Revoked => "revoked",
            Self::Stolen => "stolen",
            Self::UnknownCa => "unknown_ca",
            Self::WrongSignature => "wrong_signature",
        }
    }

    /// Whether nobody comes by such a certificate by accident.
    #[must_use]
    pub const fn is_attack(self) -> bool {
        matches!(self, Self::CopiedSerial | Self::LookAlike | Self::Stolen | Self::WrongSignature)
    }

    /// What it adds to the score of the address. One that cannot be an accident weighs as much as five failures.
    #[must_use]
    pub const fn weight(self) -> f32 {
        match self {
            Self::CopiedSerial | Self::LookAlike | Self::Stolen | Self::WrongSignature => 5.0,
            Self::Revoked => 2.0,
            Self::UnknownCa => 1.0,
            Self::Expired => 0.5,
            Self::JustExpired => 0.0,
        }
    }
}

/// Names a handshake that failed for `reason` with this certificate at `unix` seconds; `None` if it says nothing.
#[must_use]
pub fn classify(reason: Reason, presented: Option<&Identity>, known: &Known, unix: i64) -> Option<Forgery> {
    match reason {
        Reason::CertProofInvalid => Some(Forgery::Stolen),
        Reason::CertRevoked | Reason::CertDenied => Some(Forgery::Revoked),
        Reason::CertExpired => Some(match presented {
            Some(identity) if unix.saturating_sub(identity.not_after) > LATELY => Forgery::Expired,
            _ => Forgery::JustExpired,
        }),
        Reason::CertBadSignature | Reason::CertUnknownIssuer => Some(match presented {
            Some(identity) if known.has_copied(identity) => Forgery::CopiedSerial,
            _ if reason == Reason::CertBadSignature => Forgery::WrongSignature,
            Some(identity) if identity.issuer.text == identity.subject.text && known.has_subject(identity) => {
                Forgery::LookAlike
            }
            _ => Forgery::UnknownCa,
        }),
        _ => None,
    }
}

/// Serial numbers and subjects of certificates that were verified. A table of fixed size: 8 bytes for each, of which
/// half is the key's hash; what is old gives way to what is new, by chance. Only verified certificates are noted, so
/// strangers cannot push anything out.
#[derive(Debug)]
pub struct Known {
    hasher: RandomState,
    shards: Box<[Mutex<Vec<[u64; WAYS]>>]>,
    sets: u64,
}

impl Known {
    /// Room for so many certificates.
    #[must_use]
    pub fn new(certificates: usize) -> Self {
        let sets = certificates.saturating_mul(2).div_ceil(WAYS).div_ceil(SHARDS).max(1);
        Self {
            hasher: RandomState::new(),
            // `vec![0; n]` asks for zeroed pages, which cost nothing until they are written.
            shards: (0..SHARDS).map(|_| Mutex::new(vec![[0; WAYS]; sets])).collect(),
            sets: u64::try_from(sets).unwrap_or(1),
        }
    }

    /// Remembers a certificate that was verified and whose key was proven. Says whether another key was verified under
    /// the same issuer and serial number before: then the CA does what no CA may (RFC 5280 §4.1.2.2), or somebody else
    /// has its key.
    pub fn note(&self, identity: &Identity) -> bool {
        self.put(self.subject(identity), 1);
        let key = self.key(identity.spki);
        self.put(self.serial(identity), key).is_some_and(|before| before != key)
    }

    /// Whether its issuer and serial number are those of a certificate with another key.
    fn has_copied(&self, identity: &Identity) -> bool {
        self.find(self.serial(identity)).is_some_and(|key| key != self.key(identity.spki))
    }

    fn has_subject(&self, identity: &Identity) -> bool {
        self.find(self.subject(identity)).is_some()
    }

    fn serial(&self, identity: &Identity) -> u64 {
        self.hasher.hash_one((1u8, &*identity.issuer.text, &*identity.serial.0))
    }

    fn subject(&self, identity: &Identity) -> u64 {
        self.hasher.hash_one((2u8, &*identity.subject.text))
    }

    fn key(&self, spki: Digest) -> u64 {
        (self.hasher.hash_one((3u8, spki)) & LOW) | 1
    }

    fn find(&self, hash: u64) -> Option<u64> {
        let (shard, set) = self.place(hash);
        let shard = shard.lock();
        let cell = shard.get(set)?.iter().find(|cell| is(**cell, hash))?;
        Some(cell & LOW)
    }

    /// Puts it in; what was there before under the same hash.
    fn put(&self, hash: u64, value: u64) -> Option<u64> {
        let (shard, set) = self.place(hash);
        let mut shard = shard.lock();
        let ways = shard.get_mut(set)?;
        let known = ways.iter().position(|cell| is(*cell, hash));
        let free = ways.iter().position(|cell| *cell == 0);
        // The hash is random, and so is who gives way.
        let by_chance = usize::try_from(hash % WAYS_U64).unwrap_or(0);
        let cell = ways.get_mut(known.or(free).unwrap_or(by_chance))?;
        let before = known.map(|_| *cell & LOW);
        *cell = (hash & !LOW) | value;
        before
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().capacity() * size_of::<[u64; WAYS]>()).sum()
    }

    #[expect(clippy::indexing_slicing, reason = "the index is a remainder of the length, which is never zero")]
    fn place(&self, hash: u64) -> (&Mutex<Vec<[u64; WAYS]>>, usize) {
        let set = usize::try_from(hash % self.sets).unwrap_or(0);
        let shard = usize::try_from((hash >> 7) & LOW).unwrap_or(0);
        (&self.shards[shard % self.shards.len()], set)
    }
}

/// The high half of a cell is the high half of its hash: of a million look-ups that should find nothing one in 500
/// finds something.
fn is(cell: u64, hash: u64) -> bool {
    cell != 0 && (cell ^ hash) & !LOW == 0
}

/// Within a week somebody may not have noticed.
const LATELY: i64 = 7 * 24 * 3600;
const LOW: u64 = 0xffff_ffff;
const WAYS: usize = 8;
const WAYS_U64: u64 = 8;
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reputation::testing::identity;

    const NOW: i64 = 1_800_000_000;

    fn forged(reason: Reason, presented: &Identity, known: &Known) -> Option<&'static str> {
        classify(reason, Some(presented), known, NOW).map(Forgery::word)
    }

    #[test]
    fn what_was_presented_has_its_name() {
        let known = Known::new(1000);
        let ours = identity("CN=device-1", "CN=CA", 1, 10);
        assert!(!known.note(&ours) && !known.note(&ours));
        let (unknown, bad) = (Reason::CertUnknownIssuer, Reason::CertBadSignature);
        for (what, reason, presented, word) in [
            ("another key", bad, identity("CN=device-1", "CN=CA", 1, 11), "copied_serial"),
            ("another key, no path", unknown, identity("CN=x", "CN=CA", 1, 11), "copied_serial"),
            ("our CA's name", bad, identity("CN=device-2", "CN=CA", 2, 12), "wrong_signature"),
            ("our subject", unknown, identity("CN=device-1", "CN=device-1", 7, 13), "look_alike"),
            ("its own subject", unknown, identity("CN=test", "CN=test", 7, 13), "unknown_ca"),
            ("a stranger", unknown, identity("CN=device-1", "CN=Other CA", 1, 14), "unknown_ca"),
            ("without its chain", unknown, ours.clone(), "unknown_ca"),
            ("without its key", Reason::CertProofInvalid, ours.clone(), "stolen"),
            ("revoked", Reason::CertRevoked, ours.clone(), "revoked"),
        ] {
            assert_eq!(forged(reason, &presented, &known), Some(word), "{what}");
        }
        for (ago, word) in [(1, "just_expired"), (LATELY, "just_expired"), (LATELY + 1, "expired")] {
            let old = Identity { not_after: NOW - ago, ..ours.clone() };
            assert_eq!(forged(Reason::CertExpired, &old, &known), Some(word));
        }
        assert_eq!(classify(Reason::HandshakeAborted, None, &known, NOW), None);
        assert_eq!(classify(Reason::CertUnknownIssuer, None, &known, NOW), Some(Forgery::UnknownCa));
    }

    #[test]
    fn a_ca_that_gives_a_number_twice_is_told_of() {
        let known = Known::new(1000);
        assert!(!known.note(&identity("CN=a", "CN=CA", 1, 1)));
        assert!(known.note(&identity("CN=b", "CN=CA", 1, 2)));
        assert!(!known.note(&identity("CN=b", "CN=Other", 1, 3)));
    }

    #[test]
    fn nearly_all_of_as_many_as_there_is_room_for_are_remembered() {
        let known = Known::new(20_000);
        let all: Vec<_> = (0..20_000).map(|n| identity(&format!("CN={n}"), "CN=CA", n, n)).collect();
        assert!(!all.iter().any(|identity| known.note(identity)));
        let copy = |one: &&Identity| known.has_copied(&Identity { spki: Digest([9; 32]), ..(**one).clone() });
        // Sets of eight that are full on average: about one in seven gives way.
        let found = all.iter().filter(copy).count();
        assert!(found > 15_000, "{found}");
    }

    #[test]
    fn what_is_an_attack_weighs_and_what_is_an_accident_hardly() {
        for forgery in Forgery::ALL {
            assert_eq!(forgery.weight() >= 5.0, forgery.is_attack(), "{forgery:?}");
        }
    }
}
