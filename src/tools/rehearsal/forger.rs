//! Somebody who makes certificates himself: with the name of our CA and a signature that is not its, and with a CA of
//! his own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::cast::Person;
use super::client::{Client, Software};
use super::forecast::{Pace, Promise, goal};
use super::scene::{Part, Scene, shown, ticks, whole};
use crate::reputation::{Action, Forgery, Kind};

pub(super) const NAME: &str = "forger";

pub(super) struct Forger {
    pub(super) part: Part,
    clients: Vec<(Person, Client)>,
    pace: Pace,
}

impl Forger {
    pub(super) fn new(scene: &Scene, forged: &[Person]) -> Result<Self, String> {
        let rules = scene.rules();
        // They take turns.
        let weight = f32::midpoint(Forgery::WrongSignature.weight(), Forgery::UnknownCa.weight());
        let wanted = whole(goal(&rules.ladder, Kind::Address) * 1.3 / weight).saturating_add(5);
        let pace = Pace::within(scene.attack, wanted, LEAST);
        let expected = pace.climbs(weight, rules.half_life);
        // Nothing else is done to a stranger, whose handshakes fail anyhow.
        let promise = match scene.promise(Kind::Address, expected, |action| *action == Action::Drop) {
            Promise::Nothing(_) => Promise::Refusal,
            promise => promise,
        };
        let does =
            format!("a forged certificate every {}, by turns of our CA's name and of an unknown CA", shown(pace.every));
        let part = Part::new(NAME, does, promise, Some(&HERE.to_string())).by_a_stranger();
        let client =
            |who: &Person| Ok((who.clone(), Client::new(&scene.door, Some(Arc::clone(&who.key)), Software::Script)?));
        let clients = forged.iter().map(client).collect::<Result<_, String>>()?;
        Ok(Self { part, clients, pace })
    }

    pub(super) async fn play(&self, scene: &Scene) {
        let mut ticks = ticks(self.pace.every);
        let Some(spot) = scene.places.app.first() else { return };
        for (who, client) in self.clients.iter().cycle() {
            ticks.tick().await;
            let outcome = client.once(HERE, &spot.ask(1, who)).await;
            self.part.pen.write(scene.now(), scene.signs.read(&outcome));
        }
    }
}

const HERE: Ipv4Addr = Ipv4Addr::new(127, 116, 0, 1);
const LEAST: Duration = Duration::from_millis(50);
