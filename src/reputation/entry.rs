//! What is remembered of one subject.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::distinct::Pool;
use super::ladder::{Move, Stand, unpack};
use super::moment::Moment;
use super::pacing::{Pacing, Row};
use super::rules::Rules;
use super::score::{Cause, Tally};
use super::spread::{Arrival, Class, Spread};
use super::subject::Subject;
#[cfg(test)]
use super::testing::block;

/// What is remembered of one subject. A request reads one number of it; what changes it takes a lock for a few
/// additions.
#[derive(Debug)]
pub(super) struct Entry {
    subject: Subject,
    /// [`Stand::pack`] of the rung that acts.
    standing: AtomicU64,
    seen: AtomicU32,
    open: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    live: Stand,
    dry: Stand,
    edition: u16,
    spread: Option<Box<Spread>>,
    pacing: Option<Box<Pacing>>,
}

/// A rung that somebody has got to, or left.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Who.
    pub subject: Subject,
    /// Its rung before; `None`: the ground.
    pub from: Option<usize>,
    /// Its rung now.
    pub to: Option<usize>,
    /// Whether the rungs only say what they would do.
    pub dry_run: bool,
    /// The score.
    pub score: f32,
    /// What most of the score is for.
    pub cause: Cause,
}

/// What is known of a subject, for operators.
#[derive(Clone, Debug)]
pub struct View {
    /// Who.
    pub subject: Subject,
    /// The score by cause, in the order of [`Cause::ALL`].
    pub scores: [f32; Cause::ALL.len()],
    /// All together.
    pub total: f32,
    /// The rung that acts, and until when it does at least.
    pub rung: Option<(usize, u32)>,
    /// The rung that says what it would do.
    pub dry_rung: Option<usize>,
    /// When it was last seen.
    pub seen: u32,
    /// Its connections.
    pub open: u32,
    /// Networks, TLS fingerprints and connections, within the window.
    pub spread: Option<[f32; 3]>,
    /// What is usual of these for a shared certificate.
    pub usual: Option<[f32; 3]>,
}

impl Entry {
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            subject,
            standing: AtomicU64::new(0),
            seen: AtomicU32::new(0),
            open: AtomicU32::new(0),
            state: Mutex::default(),
        }
    }

    /// Adds to a score, or takes back.
    pub(super) fn score(&self, cause: Cause, weight: f32, now: Moment, rules: &Rules) -> Vec<Step> {
        let mut state = self.state.lock();
        if weight < 0.0 && state.tally.of(cause) == 0.0 {
            return Vec::new();
        }
        state.tally.add(cause, weight, now, rules.half_life);
        self.settle(&mut state, now, rules)
    }

    /// Counts a connection, which [`Entry::left`] ends.
    pub(super) fn admit(
        &self,
        class: Class,
        (network, print): (u64, Option<u64>),
        now: Moment,
        rules: &Rules,
        pool: &Pool,
    ) -> Vec<Step> {
        let open = self.open.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let arrival = Arrival { network, print, open };
        let mut state = self.state.lock();
        let weight = state.spread.get_or_insert_default().admit(class, arrival, now, &rules.spread, pool);
        if weight == 0.0 {
            return Vec::new();
        }
        state.tally.add(Cause::Spread, weight, now, rules.half_life);
        self.settle(&mut state, now, rules)
    }

    /// A connection that [`Entry::admit`] counted has ended.
    pub(super) fn left(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Looks at the pace of a request.
    pub(super) fn request(&self, path: u32, now: Moment, rules: &Rules) -> Vec<Step> {
        let mut state = self.state.lock();
        let Some(Row { metronomic, repeated }) = state.pacing.get_or_insert_default().request(path, now, &rules.pacing)
        else {
            return Vec::new();
        };
        let signs = f32::from(u8::from(metronomic) + u8::from(repeated));
        if signs == 0.0 {
            return Vec::new();
        }
        state.tally.add(Cause::Pacing, signs * rules.pacing.weight, now, rules.half_life);
        self.settle(&mut state, now, rules)
    }

    /// The rung it stands on. One atomic load, as long as the ladder is the same and the rung's time is not over.
    pub(super) fn standing(&self, now: impl Fn() -> Moment, rules: &Rules) -> (Option<usize>, Vec<Step>) {
        let ladder = &rules.ladder;
        if let Ok(rung) = unpack(self.standing.load(Ordering::Relaxed), ladder.edition(), &now) {
            return (rung, Vec::new());
        }
        let mut state = self.state.lock();
        let steps = self.settle(&mut state, now(), rules);
        (state.live.index(), steps)
    }

    /// Puts it on the lowest rung that acts by this word until then, as before a restart.
    pub(super) fn restore(&self, word: &str, until: u32, rules: &Rules) -> bool {
        let Some(stand) = Stand::restored(&rules.ladder, self.subject.kind(), word, until) else { return false };
        let mut state = self.state.lock();
        state.live = stand;
        state.edition = rules.ladder.edition();
        self.standing.store(stand.pack(state.edition), Ordering::Relaxed);
        true
    }

    /// Forgets what it has done.
    pub(super) fn clear(&self, rules: &Rules) {
        let mut state = self.state.lock();
        *state = State { edition: rules.ladder.edition(), ..State::default() };
        self.standing.store(state.live.pack(state.edition), Ordering::Relaxed);
    }

    pub(super) fn total(&self, now: Moment, half_life: Duration) -> (f32, Cause) {
        self.state.lock().tally.total(now, half_life)
    }

    /// Whether nobody gains by its being forgotten.
    pub(super) fn is_forgettable(&self, worth: f32, now: Moment, half_life: Duration) -> bool {
        // One that is being changed is in use.
        let Some(state) = self.state.try_lock() else { return false };
        let on_a_rung = state.live.index().is_some() && now.secs() < state.live.until();
        !on_a_rung && self.open.load(Ordering::Relaxed) == 0 && state.tally.total(now, half_life).0 <= worth
    }

    pub(super) fn view(&self, now: Moment, rules: &Rules) -> View {
        let mut state = self.state.lock();
        let (total, _) = state.tally.total(now, rules.half_life);
        let mut tally = state.tally;
        tally.add(Cause::Abuse, 0.0, now, rules.half_life);
        let open = self.open.load(Ordering::Relaxed);
        let live = state.live;
        let edition = state.edition == rules.ladder.edition();
        View {
            subject: self.subject,
            scores: Cause::ALL.map(|cause| tally.of(cause)),
            total,
            rung: live.index().filter(|_| edition && now.secs() < live.until()).map(|index| (index, live.until())),
            dry_rung: state.dry.index().filter(|_| edition && now.secs() < state.dry.until()),
            seen: self.seen(),
            open,
            usual: state.spread.as_ref().and_then(|spread| spread.usual()),
            spread: state.spread.as_mut().map(|spread| spread.counts(open, now, &rules.spread)),
        }
    }

    /// Bytes of it behind an `Arc`, and of what it points to.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let state = self.state.lock();
        let spread = state.spread.as_ref().map_or(0, |spread| block(size_of::<Spread>()) + spread.heap());
        let pacing = state.pacing.as_ref().map_or(0, |_| block(size_of::<Pacing>()));
        // Two counts stand before what an `Arc` has.
        block(size_of::<Self>() + 2 * size_of::<usize>()) + spread + pacing
    }

    pub(super) fn subject(&self) -> Subject {
        self.subject
    }

    pub(super) fn saw(&self, now: Moment) {
        self.seen.store(now.secs(), Ordering::Relaxed);
    }

    pub(super) fn seen(&self) -> u32 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Takes the score to the ladder.
    fn settle(&self, state: &mut State, now: Moment, rules: &Rules) -> Vec<Step> {
        let (ladder, kind) = (&rules.ladder, self.subject.kind());
        if state.edition != ladder.edition() {
            state.edition = ladder.edition();
            state.live = state.live.moved(ladder, (kind, false));
            state.dry = state.dry.moved(ladder, (kind, true));
        }
        let (score, cause) = state.tally.total(now, rules.half_life);
        let live = state.live.advance(ladder, (kind, false), score, now);
        let dry = state.dry.advance(ladder, (kind, true), score, now);
        self.standing.store(state.live.pack(state.edition), Ordering::Relaxed);
        let step =
            |dry_run| move |Move { from, to }: Move| Step { subject: self.subject, from, to, dry_run, score, cause };
        live.map(step(false)).into_iter().chain(dry.map(step(true))).collect()
    }
}
