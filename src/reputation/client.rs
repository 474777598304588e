//! A client's side of the book: found once at its handshake, asked by each of its requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::book::Book;
use super::entry::{Entry, Step};
use super::moment::Moment;
use super::outcome::Outcome;
use super::rules::Rules;
use super::score::Cause;
use super::spread::Class;
use super::subject::{Kind, Subject};

/// A connection in the book, as long as this lives.
#[derive(Debug)]
pub struct Client {
    book: Book,
    identity: Option<(Arc<Entry>, Class)>,
    /// Of a client without an identity.
    address: Option<Watched>,
    network: Watched,
    print: Option<Watched>,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The highest rung of all that it is judged by.
    pub rung: usize,
    /// Who got it there.
    pub by: Kind,
}

impl Client {
    pub(super) fn new(
        book: Book,
        identity: Option<(Arc<Entry>, Class)>,
        address: Option<Watched>,
        network: Watched,
        print: Option<Watched>,
    ) -> Self {
        Self { book, identity, address, network, print }
    }

    /// Where it stands. A few atomic loads, and no clock while it stands on the ground.
    pub fn standing(&self, now: impl Fn() -> Moment, rules: &Rules) -> (Option<Standing>, Vec<Step>) {
        let (mut highest, mut steps) = (None, Vec::new());
        if rules.ladder.is_empty() {
            return (highest, steps);
        }
        let mut look = |entry: &Entry| {
            let (rung, more) = entry.standing(&now, rules);
            if !more.is_empty() {
                steps.extend(more);
            }
            let standing = rung.map(|rung| Standing { rung, by: entry.subject().kind() });
            if standing.map(|standing| standing.rung) > highest.map(|highest: Standing| highest.rung) {
                highest = standing;
            }
        };
        self.identity.iter().for_each(|(entry, _)| look(entry));
        self.watched().filter_map(|watched| watched.find(&self.book)).for_each(&mut look);
        (highest, steps)
    }

    /// What the backend said. A client's identity, its network and its fingerprint answer for its failures; one
    /// without an identity has proven nothing, and only its address does.
    pub fn outcome(&self, outcome: Outcome, now: Moment, rules: &Rules) -> Vec<Step> {
        let weight = match outcome {
            Outcome::Counted(weight) => weight,
            Outcome::Good(weight) => rules.relief(weight),
            Outcome::Neutral => return Vec::new(),
        };
        let mut steps = Vec::new();
        self.identity.iter().for_each(|(entry, _)| steps.extend(entry.score(Cause::Outcome, weight, now, rules)));
        let answering =
            self.watched().filter(|watched| self.identity.is_some() || watched.subject.kind() == Kind::Address);
        for watched in answering {
            // Who has no failures needs no entry.
            let entry = if weight > 0.0 {
                Some(watched.enter(&self.book, weight, now, rules))
            } else {
                watched.find(&self.book)
            };
            steps.extend(entry.into_iter().flat_map(|entry| entry.score(Cause::Outcome, weight, now, rules)));
        }
        steps
    }

    /// One request for `path`, where the pace is looked at. Of a certificate that many share nothing can be said: their
    /// requests are mixed.
    pub fn request(&self, path: &str, now: Moment, rules: &Rules) -> Vec<Step> {
        let Some((entry, Class::Device)) = &self.identity else { return Vec::new() };
        let [.., b3, b2, b1, b0] = self.book.pages().identities.hash(&path).to_be_bytes();
        entry.request(u32::from_be_bytes([b3, b2, b1, b0]), now, rules)
    }

    /// It has broken a protocol or its bounds: its identity answers for that, or without one its address.
    pub fn abuse(&self, weight: f32, now: Moment, rules: &Rules) -> Vec<Step> {
        match (&self.identity, &self.address) {
            (Some((entry, _)), _) => entry.score(Cause::Abuse, weight, now, rules),
            (None, Some(address)) => {
                address.enter(&self.book, weight, now, rules).score(Cause::Abuse, weight, now, rules)
            }
            (None, None) => Vec::new(),
        }
    }

    /// The score that it has, and what most of it is for: of the subject of this kind.
    pub fn total(&self, kind: Kind, now: Moment, rules: &Rules) -> Option<(f32, Cause)> {
        if kind == Kind::Identity {
            return self.identity.as_ref().map(|(entry, _)| entry.total(now, rules.half_life));
        }
        let entry = self.watched().find(|watched| watched.subject.kind() == kind)?.find(&self.book)?;
        Some(entry.total(now, rules.half_life))
    }

    /// Whose score that is.
    pub fn subject(&self, kind: Kind) -> Option<Subject> {
        match kind {
            Kind::Identity => self.identity.as_ref().map(|(entry, _)| entry.subject()),
            _ => self.watched().map(|watched| watched.subject).find(|subject| subject.kind() == kind),
        }
    }

    fn watched(&self) -> impl Iterator<Item = &Watched> {
        self.address.iter().chain(std::iter::once(&self.network)).chain(&self.print)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some((entry, _)) = &self.identity {
            entry.left();
        }
    }
}

/// A subject that has an entry only if it has done something, and perhaps only later.
#[derive(Debug)]
pub(super) struct Watched {
    subject: Subject,
    entry: OnceLock<Arc<Entry>>,
    /// [`Table::arrivals`](super::table::Table::arrivals) when it was last looked for in vain.
    looked: AtomicU64,
}

impl Watched {
    pub(super) fn new(subject: Subject) -> Self {
        Self { subject, entry: OnceLock::new(), looked: AtomicU64::new(u64::MAX) }
    }

    fn find(&self, book: &Book) -> Option<&Entry> {
        if let Some(entry) = self.entry.get() {
            return Some(entry);
        }
        let table = book.pages().table(self.subject.kind());
        let arrivals = table.arrivals();
        if self.looked.load(Ordering::Relaxed) == arrivals {
            return None;
        }
        let Some(found) = table.find(&self.subject) else {
            self.looked.store(arrivals, Ordering::Relaxed);
            return None;
        };
        Some(self.entry.get_or_init(|| found))
    }

    fn enter(&self, book: &Book, worth: f32, now: Moment, rules: &Rules) -> &Entry {
        let table = book.pages().table(self.subject.kind());
        self.entry.get_or_init(|| table.enter(self.subject, worth, now, rules.half_life))
    }
}
