//! What the tests of this room share.

use std::time::Duration;

use super::ladder::{Action, Ladder, Rung};
use super::rules::Rules;
use super::subject::Kind;
use super::{pacing, spread};
use crate::identity::{AlternativeNames, Digest, DistinguishedName, Identity, PublicKey, Serial};

/// An identity with a key that this number stands for.
pub(super) fn identity(subject: &str, issuer: &str, serial: u32, key: u32) -> Identity {
    let name = |text: &str| DistinguishedName { text: text.into(), ..DistinguishedName::default() };
    let digest = |first: u8| {
        let mut digest = [first; 32];
        digest[..4].copy_from_slice(&key.to_be_bytes());
        Digest(digest)
    };
    Identity {
        subject: name(subject),
        issuer: name(issuer),
        serial: Serial(Box::from(serial.to_be_bytes())),
        names: AlternativeNames::default(),
        fingerprint: digest(1),
        spki: digest(2),
        not_before: 0,
        not_after: i64::MAX,
        key: PublicKey::Ed25519,
    }
}

/// Bytes that the allocator takes for so many: its size classes are four to a doubling, and multiples of 16 below 128.
pub(super) fn block(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
    }
}

/// A rung for identities, networks and addresses.
pub(super) fn rung(score: f32, action: Action, minutes: u64) -> Rung {
    Rung {
        score,
        action,
        hold: Duration::from_mins(minutes),
        by: vec![Kind::Address, Kind::Identity, Kind::Network],
        dry_run: false,
        reason: "".into(),
    }
}

/// Rules as they are by default, with a ladder that refuses at 50.
pub(super) fn rules() -> Rules {
    Rules {
        half_life: Duration::from_hours(1),
        tolerated: 0.25,
        spread: spread::tests::RULES,
        pacing: pacing::tests::RULES,
        ladder: Ladder::new(vec![rung(10.0, Action::Tag, 10), rung(50.0, Action::Drop, 60)]),
    }
}
