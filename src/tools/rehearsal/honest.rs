//! People with the app: they log in, look around at their own pace, travel, share addresses, and mistype at times.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::backend::{RIGHT, WRONG};
use super::cast::Person;
use super::chance::Chance;
use super::client::{Ask, Client, Link, Software};
use super::diary::Came;
use super::scene::Scene;

/// What they all have met.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) requests: u64,
    pub(super) served: u64,
    /// What took how long, before the attack and during it; microseconds.
    pub(super) latency: [Histogram<u64>; 2],
    /// By person and reason.
    pub(super) wronged: BTreeMap<(usize, String), Wronged>,
}

/// Somebody honest, and what was done to him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wronged {
    pub(super) first: Duration,
    pub(super) times: u64,
    pub(super) from: Ipv4Addr,
    pub(super) what: &'static str,
}

/// What everybody writes into.
pub(super) type Ledger = Arc<Mutex<Crowd>>;

impl Crowd {
    pub(super) fn new() -> Self {
        Self { requests: 0, served: 0, latency: [histogram(), histogram()], wronged: BTreeMap::new() }
    }

    /// Something that should not have been.
    pub(super) fn wrong(&mut self, who: usize, reason: String, wronged: &Wronged) {
        if self.wronged.len() < MOST_WRONGED || self.wronged.contains_key(&(who, reason.clone())) {
            let entry = self.wronged.entry((who, reason)).or_insert_with(|| Wronged { times: 0, ..wronged.clone() });
            entry.times += 1;
        }
    }
}

/// Up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constants that the crate accepts, as every test shows")]
    Histogram::new_with_bounds(1, MOST_MICROS, 3).expect("valid bounds")
}

/// All of them, until this is dropped. What happens after `attack` is during it.
pub(super) async fn play(scene: &Scene, people: &[Person], attack: Duration, ledger: &Ledger) -> Result<(), String> {
    let mut all = JoinSet::new();
    for (number, who) in people.iter().enumerate() {
        let human = Human::new(scene, number, who, attack, ledger)?;
        all.spawn(human.live());
    }
    while all.join_next().await.is_some() {}
    Ok(())
}

struct Human {
    number: usize,
    who: Person,
    scene: Scene,
    client: Client,
    attack: Duration,
    ledger: Ledger,
    chance: Chance,
    trips: u64,
}

impl Human {
    fn new(scene: &Scene, number: usize, who: &Person, attack: Duration, ledger: &Ledger) -> Result<Self, String> {
        let software = if number.is_multiple_of(3) { Software::App2 } else { Software::App1 };
        let client = Client::new(&scene.door, Some(Arc::clone(&who.key)), software)?;
        Ok(Self {
            number,
            who: who.clone(),
            scene: scene.clone(),
            client,
            attack,
            ledger: Arc::clone(ledger),
            chance: Chance::new(u64::try_from(number).unwrap_or(0)),
            trips: 0,
        })
    }

    async fn live(mut self) {
        // Not all at once.
        sleep(self.chance.pause()).await;
        let mut link = None;
        if self.number % 8 == 1 {
            let mistyped = self.scene.login(&self.who, WRONG);
            self.ask(&mut link, &mistyped, true).await;
            sleep(self.chance.pause()).await;
        }
        let login = self.scene.login(&self.who, RIGHT);
        self.ask(&mut link, &login, false).await;
        loop {
            // A session of a few looks, and then the phone sleeps.
            for _ in 0..4 + self.chance.below(12) {
                sleep(self.chance.pause()).await;
                if let Some(ask) = self.look() {
                    self.ask(&mut link, &ask, false).await;
                }
            }
            link = None;
            self.trips += 1;
        }
    }

    /// Something in the app.
    fn look(&mut self) -> Option<Ask> {
        let spots = u64::try_from(self.scene.places.app.len()).unwrap_or(1);
        let spot = usize::try_from(self.chance.below(spots)).ok()?;
        let number = self.chance.below(100_000);
        Some(self.scene.places.app.get(spot)?.ask(number, &self.who))
    }

    async fn ask(&mut self, link: &mut Option<Link>, ask: &Ask, mistyped: bool) {
        let from = place(self.number, self.trips);
        let begin = self.scene.now();
        let kept = match link.take() {
            Some(kept) => Ok(kept),
            None => self.client.link(from).await,
        };
        let outcome = match kept {
            Ok(mut kept) => {
                let outcome = self.client.ask(&mut kept, ask).await;
                *link = outcome.is_ok().then_some(kept);
                outcome
            }
            Err(failure) => Err(failure),
        };
        let now = self.scene.now();
        let took = u64::try_from((now.saturating_sub(begin)).as_micros()).unwrap_or(u64::MAX);
        let came = self.scene.signs.read(&outcome);
        let mut crowd = self.ledger.lock();
        crowd.requests += 1;
        let (what, reason) = match came {
            Came::Served => {
                crowd.served += 1;
                let [before, during] = &mut crowd.latency;
                // Beyond its bounds counts as its bound.
                if begin < self.attack { before } else { during }.saturating_record(took);
                return;
            }
            Came::Failed if mistyped => {
                crowd.served += 1;
                return;
            }
            Came::Failed => ("refuse", "the app said no".to_owned()),
            Came::Felt(effect, reason) if effect.serves() => {
                // What a tag says differs each time.
                (effect.word(), reason.split(';').skip(1).collect::<Vec<_>>().join(";"))
            }
            Came::Felt(effect, reason) => (effect.word(), reason),
            Came::Lost(reason) => ("lost", reason),
        };
        crowd.wrong(self.number, reason, &Wronged { first: now, times: 0, from, what });
    }
}

/// One in four is behind the address of a carrier; one in four travels between two networks; everybody else stays.
pub(super) fn place(number: usize, trips: u64) -> Ipv4Addr {
    let part = |number: usize| u8::try_from(number).unwrap_or(0);
    let travels = if number % 4 == 3 && trips % 2 == 1 { 16 } else { 0 };
    if number.is_multiple_of(4) {
        return CARRIER;
    }
    Ipv4Addr::new(127, 64 + travels + part(number / 250 % 13), part(number % 250), 1)
}

/// Whom many share.
pub(super) const CARRIER: Ipv4Addr = Ipv4Addr::new(127, 77, 77, 7);
/// So many have addresses of their own.
pub const MOST_HONEST: usize = 3_000;
/// A minute.
const MOST_MICROS: u64 = 60_000_000;
const MOST_WRONGED: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_where_no_attacker_is_and_travel_between_two_networks() {
        for number in 0..MOST_HONEST {
            let [_, second, ..] = place(number, 0).octets();
            assert!((64..96).contains(&second), "{number}");
            let places: std::collections::BTreeSet<_> = (0..9).map(|trip| place(number, trip)).collect();
            assert_eq!(places.len(), if number % 4 == 3 { 2 } else { 1 }, "{number}");
        }
        assert_eq!((place(0, 0), place(8, 1)), (CARRIER, CARRIER));
    }

    #[test]
    fn what_is_done_to_somebody_is_counted_once_for_each_reason_and_bounded() {
        let mut crowd = Crowd::new();
        let wronged = |secs| Wronged { first: Duration::from_secs(secs), times: 0, from: CARRIER, what: "reject" };
        for secs in 1..4 {
            crowd.wrong(7, "reputation_rejected".to_owned(), &wronged(secs));
        }
        let kept = crowd.wronged.values().next().unwrap();
        assert_eq!((kept.first, kept.times), (Duration::from_secs(1), 3));
        for who in 0..5_000 {
            crowd.wrong(who, "x".to_owned(), &wronged(1));
        }
        assert_eq!(crowd.wronged.len(), MOST_WRONGED);
    }
}
