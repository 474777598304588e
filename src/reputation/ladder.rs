//! The ladder: which score leads to what, for how long.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::moment::{Moment, whole_secs};
use super::subject::Kind;

/// What a rung does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Log and count only.
    Observe,
    /// Tell the backend, in a header.
    Tag,
    /// Let requests wait.
    Slow(Duration),
    /// Count requests in one more limit, by its name.
    Limit(Box<str>),
    /// Answer with a status (401 or 403) that the app can react to.
    Challenge(u16),
    /// Send requests to another upstream, by its name.
    Quarantine(Box<str>),
    /// Refuse requests.
    Reject,
    /// Close connections, before the handshake where the subject is known by then.
    Drop,
    /// Refuse, and write the certificate into its trust store's deny list.
    Deny,
}

impl Action {
    /// The word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Tag => "tag",
            Self::Slow(_) => "slow",
            Self::Limit(_) => "limit",
            Self::Challenge(_) => "challenge",
            Self::Quarantine(_) => "quarantine",
            Self::Reject => "reject",
            Self::Drop => "drop",
            Self::Deny => "deny",
        }
    }

    /// Whether it keeps the client out altogether: what must survive a restart.
    #[must_use]
    pub const fn is_ban(&self) -> bool {
        matches!(self, Self::Reject | Self::Drop | Self::Deny)
    }

    /// A number for the kind of action, the same under every configuration.
    const fn code(&self) -> u8 {
        match self {
            Self::Observe => 1,
            Self::Tag => 2,
            Self::Slow(_) => 3,
            Self::Limit(_) => 4,
            Self::Challenge(_) => 5,
            Self::Quarantine(_) => 6,
            Self::Reject => 7,
            Self::Drop => 8,
            Self::Deny => 9,
        }
    }
}

/// A score and what it leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// From this score on.
    pub score: f32,
    /// What happens.
    pub action: Action,
    /// For how long at least; after that the score decides anew.
    pub hold: Duration,
    /// Whose scores lead here.
    pub by: Vec<Kind>,
    /// Count and log, but do not act.
    pub dry_run: bool,
    /// The operator's words for it.
    pub reason: Box<str>,
}

/// The rungs, lowest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ladder {
    rungs: Vec<Rung>,
    edition: u16,
}

impl Ladder {
    /// A ladder; of more than [`MOST_RUNGS`] the highest are left out (the configuration refuses them).
    #[must_use]
    pub fn new(mut rungs: Vec<Rung>) -> Self {
        rungs.sort_by(|a, b| a.score.total_cmp(&b.score));
        rungs.truncate(MOST_RUNGS);
        let mut hasher = DefaultHasher::new();
        for rung in &rungs {
            (rung.score.to_bits(), &rung.action, rung.hold, &rung.by, rung.dry_run).hash(&mut hasher);
        }
        // Never zero, which stands for no ladder yet.
        let [.., high, low] = hasher.finish().to_be_bytes();
        Self { rungs, edition: u16::from_be_bytes([high, low]) | 1 }
    }

    /// The rung of this index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Rung> {
        self.rungs.get(index)
    }

    /// The rungs, lowest first.
    pub fn rungs(&self) -> impl ExactSizeIterator<Item = &Rung> {
        self.rungs.iter()
    }

    /// Whether nobody's score leads anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rungs.is_empty()
    }

    /// Which ladder this is; another number after a change, but for one time in 32,768.
    pub(super) fn edition(&self) -> u16 {
        self.edition
    }

    fn reached(&self, kind: Kind, score: f32, dry_run: bool) -> Option<&Rung> {
        self.rungs.iter().rev().find(|rung| rung.score <= score + SHOWN && rung.serves(kind, dry_run))
    }

    /// The number of a rung: its index and one.
    fn number(&self, rung: &Rung) -> u8 {
        let index = self.rungs.iter().position(|other| std::ptr::eq(other, rung));
        index.and_then(|index| u8::try_from(index + 1).ok()).unwrap_or(0)
    }
}

impl Rung {
    fn serves(&self, kind: Kind, dry_run: bool) -> bool {
        self.dry_run == dry_run && self.by.contains(&kind)
    }
}

/// Where somebody stands on the ladder: one for the rungs that act, one for those that only say what they would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stand {
    /// The rung's index and one; zero: on the ground.
    rung: u8,
    /// The code of its action: how it is found on another ladder.
    action: u8,
    /// When the score decides anew, in seconds; on the ground it always does.
    until: u32,
}

/// A change of rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: Option<usize>,
    pub(super) to: Option<usize>,
}

impl Stand {
    /// Where a score leads: up at once, down when the rung's time is over.
    pub(super) fn advance(
        &mut self,
        ladder: &Ladder,
        (kind, dry_run): (Kind, bool),
        score: f32,
        now: Moment,
    ) -> Option<Move> {
        let reached = ladder.reached(kind, score, dry_run);
        let number = reached.map_or(0, |rung| ladder.number(rung));
        if number <= self.rung && (self.rung == 0 || now.secs() < self.until) {
            return None;
        }
        let from = self.index();
        *self = reached.map_or_else(Self::default, |rung| Self::on(ladder, rung, now));
        let to = self.index();
        (from != to).then_some(Move { from, to })
    }

    /// The same place on a ladder that has changed: the lowest rung with the same action, or else none.
    pub(super) fn moved(self, ladder: &Ladder, (kind, dry_run): (Kind, bool)) -> Self {
        let same = ladder.rungs.iter().find(|rung| rung.action.code() == self.action && rung.serves(kind, dry_run));
        same.filter(|_| self.rung > 0).map_or_else(Self::default, |rung| Self { rung: ladder.number(rung), ..self })
    }

    /// On the lowest rung that acts by this word, until then; `None` if the ladder has none.
    pub(super) fn restored(ladder: &Ladder, kind: Kind, word: &str, until: u32) -> Option<Self> {
        let rung = ladder.rungs.iter().find(|rung| rung.action.word() == word && rung.serves(kind, false))?;
        Some(Self { rung: ladder.number(rung), action: rung.action.code(), until })
    }

    pub(super) fn index(self) -> Option<usize> {
        usize::from(self.rung).checked_sub(1)
    }

    pub(super) fn until(self) -> u32 {
        self.until
    }

    /// All that a request must know, in one number: edition, rung, end.
    pub(super) fn pack(self, edition: u16) -> u64 {
        u64::from(edition) << 48 | u64::from(self.rung) << 32 | u64::from(self.until)
    }

    fn on(ladder: &Ladder, rung: &Rung, now: Moment) -> Self {
        let until = now.secs().saturating_add(whole_secs(rung.hold).max(1));
        Self { rung: ladder.number(rung), action: rung.action.code(), until }
    }
}

/// What [`Stand::pack`] packed, if it is of this ladder and still counts: the rung's index.
pub(super) fn unpack(packed: u64, edition: u16, now: impl FnOnce() -> Moment) -> Result<Option<usize>, Stale> {
    let [e1, e0, _, rung, until @ ..] = packed.to_be_bytes();
    if u16::from_be_bytes([e1, e0]) != edition {
        return Err(Stale);
    }
    match usize::from(rung).checked_sub(1) {
        None => Ok(None),
        Some(index) if now().secs() < u32::from_be_bytes(until) => Ok(Some(index)),
        Some(_) => Err(Stale),
    }
}

/// A standing that has to be worked out anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stale;

/// Scores are shown to a tenth, and ten failures within a second or two are ten.
const SHOWN: f32 = 0.05;

/// More rungs than there are actions have been of no use to anybody yet.
pub const MOST_RUNGS: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIVE: (Kind, bool) = (Kind::Identity, false);
    const DRY: (Kind, bool) = (Kind::Identity, true);

    fn rung(score: f32, action: Action, minutes: u64) -> Rung {
        Rung {
            score,
            action,
            hold: Duration::from_mins(minutes),
            by: vec![Kind::Identity],
            dry_run: false,
            reason: "".into(),
        }
    }

    fn ladder() -> Ladder {
        Ladder::new(vec![
            rung(50.0, Action::Reject, 60),
            rung(10.0, Action::Tag, 10),
            Rung { dry_run: true, ..rung(20.0, Action::Drop, 10) },
            Rung { by: vec![Kind::Network], ..rung(5.0, Action::Drop, 10) },
        ])
    }

    fn at(minutes: u64) -> Moment {
        Moment::after(Duration::from_mins(minutes))
    }

    fn word(ladder: &Ladder, stand: Stand) -> &'static str {
        stand.index().and_then(|index| ladder.get(index)).map_or("ground", |rung| rung.action.word())
    }

    #[test]
    fn one_goes_up_at_once_and_down_when_the_time_is_over() {
        let (ladder, mut stand) = (ladder(), Stand::default());
        for (minute, score, place) in [
            (0, 4.0, "ground"),
            (0, 9.9, "ground"), // a network's rung is none of an identity's
            (1, 10.0, "tag"),
            (2, 49.0, "tag"), // and a dry rung does not act
            (3, 50.0, "reject"),
            (20, 0.0, "reject"), // held for an hour
            (62, 0.0, "reject"),
            (63, 11.0, "tag"),
            (70, 0.0, "tag"),
            (74, 0.0, "ground"),
        ] {
            stand.advance(&ladder, LIVE, score, at(minute));
            assert_eq!(word(&ladder, stand), place, "minute {minute}, score {score}");
        }
    }

    #[test]
    fn a_move_is_told_once() {
        let (ladder, mut stand) = (ladder(), Stand::default());
        let up = stand.advance(&ladder, LIVE, 12.0, at(0)).unwrap();
        assert_eq!((up.from, up.to), (None, Some(1)));
        assert_eq!(stand.advance(&ladder, LIVE, 13.0, at(1)), None);
        // Its time is over and the score still leads here: it goes on, without a word.
        assert_eq!(stand.advance(&ladder, LIVE, 13.0, at(11)), None);
        assert_eq!(stand.advance(&ladder, LIVE, 0.0, at(15)), None, "held again");
        assert_eq!(stand.advance(&ladder, LIVE, 0.0, at(22)), Some(Move { from: Some(1), to: None }));
    }

    #[test]
    fn dry_rungs_are_climbed_apart() {
        let (ladder, mut dry) = (ladder(), Stand::default());
        assert_eq!(dry.advance(&ladder, DRY, 19.0, at(0)), None);
        assert!(dry.advance(&ladder, DRY, 99.0, at(0)).is_some());
        assert_eq!(word(&ladder, dry), "drop");
    }

    #[test]
    fn a_ban_is_kept_on_a_ladder_that_still_has_its_action() {
        let (old, mut stand) = (ladder(), Stand::default());
        stand.advance(&old, LIVE, 60.0, at(0));
        let new = Ladder::new(vec![rung(1.0, Action::Observe, 1), rung(80.0, Action::Reject, 5)]);
        assert_ne!(old.edition(), new.edition());
        let moved = stand.moved(&new, LIVE);
        assert_eq!((word(&new, moved), moved.until()), ("reject", stand.until()));
        let none = Ladder::new(vec![rung(1.0, Action::Tag, 1)]);
        assert_eq!(word(&none, stand.moved(&none, LIVE)), "ground");
        assert_eq!(word(&new, Stand::default().moved(&new, LIVE)), "ground");
    }

    #[test]
    fn a_ban_of_a_file_finds_its_rung_or_none() {
        let ladder = ladder();
        let stand = Stand::restored(&ladder, Kind::Identity, "reject", 77).unwrap();
        assert_eq!((word(&ladder, stand), stand.until()), ("reject", 77));
        assert_eq!(Stand::restored(&ladder, Kind::Identity, "drop", 77), None, "only dry or another kind's");
        assert_eq!(Stand::restored(&ladder, Kind::Identity, "\u{0}", 77), None);
    }

    #[test]
    fn what_was_packed_under_another_ladder_or_has_ended_is_stale() {
        let (ladder, mut stand) = (ladder(), Stand::default());
        stand.advance(&ladder, LIVE, 60.0, at(0));
        let packed = stand.pack(ladder.edition());
        assert_eq!(unpack(packed, ladder.edition(), || at(59)), Ok(Some(3)));
        assert_eq!(unpack(packed, ladder.edition(), || at(60)), Err(Stale));
        assert_eq!(unpack(packed, ladder.edition() ^ 2, || at(0)), Err(Stale));
        assert_eq!(unpack(Stand::default().pack(3), 3, || unreachable!("no clock is asked")), Ok(None));
    }

    proptest! {
        #[test]
        fn nobody_stands_lower_than_the_score_says_nor_leaves_a_rung_early(
            steps in prop::collection::vec((0u64..30, 0f32..100.0), 1..60),
        ) {
            let (ladder, mut stand, mut minute) = (ladder(), Stand::default(), 0);
            for (later, score) in steps {
                minute += later;
                let before = stand;
                stand.advance(&ladder, LIVE, score, at(minute));
                let due = if score >= 50.0 { 3 } else { usize::from(score >= 10.0) };
                prop_assert!(stand.index().unwrap_or(0) >= due);
                if stand.rung < before.rung {
                    prop_assert!(at(minute).secs() >= before.until);
                }
            }
        }
    }
}
