//! Everything that is remembered, of everybody. One for the process; configurations come and go.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::client::{Client, Watched};
use super::distinct::Pool;
use super::entry::{Step, View};
use super::forgery::{Forgery, Known};
use super::ladder::Action;
use super::moment::Moment;
use super::rules::Rules;
use super::score::Cause;
use super::spread::Class;
use super::subject::{Kind, Subject};
use super::table::Table;
use super::vouch::Vouched;
use crate::fingerprint::Ja4;
use crate::identity::Identity;

/// The reputations. Clones share them.
#[derive(Clone, Debug)]
pub struct Book(Arc<Pages>);

#[derive(Debug)]
pub(super) struct Pages {
    began: Instant,
    pub(super) identities: Table,
    pub(super) addresses: Table,
    pub(super) networks: Table,
    pub(super) prints: Table,
    known: Known,
    vouched: Vouched,
    pool: Pool,
    /// When each kind of forgery was last told of, seconds and one.
    alarms: [AtomicU32; Forgery::ALL.len()],
}

/// A client whose handshake is complete.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    /// What its certificate says, if it has one: verified, and the key proven.
    pub identity: Option<&'a Identity>,
    /// How many clients that certificate is meant for.
    pub class: Class,
    /// The peer's address.
    pub address: IpAddr,
    /// What software it is, if that is known: the stable JA4.
    pub print: Option<Ja4>,
}

/// What a client's arrival has brought about.
#[derive(Debug, Default)]
pub struct Arrived {
    /// Rungs that were got to or left.
    pub steps: Vec<Step>,
    /// Its issuer has given its serial number to another key as well.
    pub copied: bool,
}

/// What a failed handshake has brought about.
#[derive(Debug, Default)]
pub struct Failed {
    /// Rungs that were got to or left.
    pub steps: Vec<Step>,
    /// Whether to tell somebody at once: nobody has been told of this kind for a while.
    pub alarm: bool,
}

/// Somebody who is kept out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub subject: Subject,
    /// The word of the action.
    pub action: Box<str>,
    /// Until when, in seconds of the book.
    pub until: u32,
}

impl Book {
    /// An empty book for so many identities; of the others there is room for a fraction.
    #[must_use]
    pub fn new(identities: usize, began: Instant) -> Self {
        let part = |of: usize| (identities / of).max(LEAST_ROOM);
        Self(Arc::new(Pages {
            began,
            identities: Table::new(identities),
            addresses: Table::new(part(4)),
            networks: Table::new(part(8)),
            prints: Table::new(part(64)),
            known: Known::new(identities),
            vouched: Vouched::new(identities),
            pool: Pool::new(u32::try_from(part(32)).unwrap_or(u32::MAX)),
            alarms: Default::default(),
        }))
    }

    /// The room's time at `now`.
    #[must_use]
    pub fn moment(&self, now: Instant) -> Moment {
        Moment::after(now.saturating_duration_since(self.0.began))
    }

    /// Before a handshake: who keeps this address out, if anybody does. An address that is vouched for is not kept
    /// out for what strangers did there.
    #[must_use]
    pub fn door(&self, address: IpAddr, now: Moment, rules: &Rules) -> (Option<Subject>, Vec<Step>) {
        let mut steps = Vec::new();
        for (table, subject) in
            [(&self.0.addresses, Subject::address(address)), (&self.0.networks, Subject::network(address))]
        {
            let Some(entry) = table.find(&subject) else { continue };
            let (rung, more) = entry.standing(|| now, rules);
            steps.extend(more);
            let drops = rung.and_then(|rung| rules.ladder.get(rung)).is_some_and(|rung| rung.action == Action::Drop);
            if drops && !(subject.kind() == Kind::Address && self.is_vouched(subject, now)) {
                return (Some(subject), steps);
            }
        }
        (None, steps)
    }

    /// Before the answer to a ClientHello: whether this fingerprint is kept out.
    #[must_use]
    pub fn print_is_dropped(&self, print: Ja4, now: Moment, rules: &Rules) -> bool {
        let entry = self.0.prints.find(&Subject::Print(print));
        let rung = entry.and_then(|entry| entry.standing(|| now, rules).0);
        rung.and_then(|rung| rules.ladder.get(rung)).is_some_and(|rung| rung.action == Action::Drop)
    }

    /// A client has come in.
    #[must_use]
    pub fn admit(&self, who: &Arriving<'_>, now: Moment, rules: &Rules) -> (Client, Arrived) {
        let pages = &self.0;
        let mut arrived = Arrived::default();
        let network = Subject::network(who.address);
        let identity = who.identity.map(|identity| {
            let entry = pages.identities.enter(Subject::Identity(identity.fingerprint), 0.0, now, rules.half_life);
            let hashes = (pages.identities.hash(&network), who.print.map(|print| pages.identities.hash(&print)));
            arrived.steps = entry.admit(who.class, hashes, now, rules, &pages.pool);
            arrived.copied = pages.known.note(identity);
            let (rung, _) = entry.standing(|| now, rules);
            if !rung.and_then(|rung| rules.ladder.get(rung)).is_some_and(|rung| rung.action.is_ban()) {
                pages.vouched.add(pages.addresses.hash(&Subject::address(who.address)), now);
            }
            (entry, who.class)
        });
        let address = identity.is_none().then(|| Watched::new(Subject::address(who.address)));
        let print = who.print.map(|print| Watched::new(Subject::Print(print)));
        (Client::new(self.clone(), identity, address, Watched::new(network), print), arrived)
    }

    /// A handshake has failed, with a certificate that deserves a name: its address answers for it.
    #[must_use]
    pub fn forged(&self, address: IpAddr, forgery: Forgery, now: Moment, rules: &Rules) -> Failed {
        let steps = self.stranger(address, Cause::Forgery, forgery.weight(), now, rules);
        Failed { steps, alarm: forgery.is_attack() && self.may_tell(forgery, now) }
    }

    /// Somebody who has proven nothing has done something: the address answers for it. With an identity it is
    /// [`Client::abuse`].
    #[must_use]
    pub fn stranger(&self, address: IpAddr, cause: Cause, weight: f32, now: Moment, rules: &Rules) -> Vec<Step> {
        if weight <= 0.0 {
            return Vec::new();
        }
        let entry = self.0.addresses.enter(Subject::address(address), weight, now, rules.half_life);
        entry.score(cause, weight, now, rules)
    }

    /// What certificates have been verified.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.0.known
    }

    /// How many of a kind are remembered.
    #[must_use]
    pub fn entries(&self, kind: Kind) -> usize {
        self.table(kind).len()
    }

    /// How many found no room.
    #[must_use]
    pub fn crowded(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.table(kind).crowded()).sum()
    }

    /// Everybody who is kept out for longer than until now.
    #[must_use]
    pub fn bans(&self, now: Moment, rules: &Rules) -> Vec<Ban> {
        let mut bans = Vec::new();
        for kind in Kind::ALL {
            self.table(kind).each(|entry| {
                let view = entry.view(now, rules);
                let rung = view.rung.and_then(|(rung, until)| Some((rules.ladder.get(rung)?, until)));
                if let Some((rung, until)) = rung.filter(|(rung, _)| rung.action.is_ban()) {
                    bans.push(Ban { subject: entry.subject(), action: rung.action.word().into(), until });
                }
            });
        }
        bans
    }

    /// Keeps somebody out as before a restart; false if the ladder knows no such action any more.
    pub fn restore(&self, ban: &Ban, now: Moment, rules: &Rules) -> bool {
        let entry = self.table(ban.subject.kind()).enter(ban.subject, f32::INFINITY, now, rules.half_life);
        entry.restore(&ban.action, ban.until, rules)
    }

    /// What is known of somebody.
    #[must_use]
    pub fn view(&self, subject: &Subject, now: Moment, rules: &Rules) -> Option<View> {
        self.table(subject.kind()).find(subject).map(|entry| entry.view(now, rules))
    }

    /// Those with the highest scores or on a rung, `most` at most, the worst first.
    #[must_use]
    pub fn worst(&self, most: usize, now: Moment, rules: &Rules) -> Vec<View> {
        let mut worst: Vec<View> = Vec::new();
        let keep = |worst: &mut Vec<View>| {
            worst
                .sort_by(|a, b| (b.rung, b.total).partial_cmp(&(a.rung, a.total)).unwrap_or(std::cmp::Ordering::Equal));
            worst.truncate(most);
        };
        for kind in Kind::ALL {
            self.table(kind).each(|entry| {
                let view = entry.view(now, rules);
                if view.total > NOTEWORTHY || view.rung.is_some() {
                    worst.push(view);
                }
                if worst.len() >= most.saturating_mul(2).max(64) {
                    keep(&mut worst);
                }
            });
        }
        keep(&mut worst);
        worst
    }

    /// Forgets what somebody has done; false if nothing is known of it.
    pub fn clear(&self, subject: &Subject, rules: &Rules) -> bool {
        let entry = self.table(subject.kind()).find(subject);
        entry.inspect(|entry| entry.clear(rules)).is_some()
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let tables: usize = Kind::ALL.iter().map(|kind| self.table(*kind).heap()).sum();
        tables + self.0.known.heap() + self.0.vouched.heap()
    }

    pub(super) fn pages(&self) -> &Pages {
        &self.0
    }

    fn table(&self, kind: Kind) -> &Table {
        self.0.table(kind)
    }

    fn is_vouched(&self, address: Subject, now: Moment) -> bool {
        self.0.vouched.has(self.0.addresses.hash(&address), now)
    }

    fn may_tell(&self, forgery: Forgery, now: Moment) -> bool {
        let index = Forgery::ALL.iter().position(|other| *other == forgery);
        let Some(last) = index.and_then(|index| self.0.alarms.get(index)) else { return true };
        let now = now.secs().saturating_add(1);
        let told = last.load(Ordering::Relaxed);
        let due = told == 0 || now.saturating_sub(told) >= QUIET;
        due && last.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Pages {
    pub(super) fn table(&self, kind: Kind) -> &Table {
        match kind {
            Kind::Address => &self.addresses,
            Kind::Identity => &self.identities,
            Kind::Network => &self.networks,
            Kind::Print => &self.prints,
        }
    }
}

/// Room for addresses, networks and sketches in the smallest book.
const LEAST_ROOM: usize = 1_024;
/// What is less than half a failure interests nobody.
const NOTEWORTHY: f32 = 0.5;
/// Seconds between two alarms of one kind: the first is told at once, the metric counts all.
const QUIET: u32 = 10;
