//! Somebody who has stolen what he could: a certificate without its key, and a session.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::cast::Person;
use super::client::{Ask, Client, Software};
use super::diary::{Came, Effect};
use super::forecast::{Pace, Promise, goal};
use super::scene::{Part, Scene, shown, ticks, whole};
use crate::reputation::{Action, Forgery, Kind};

pub(super) const NAME: &str = "thief";

pub(super) struct Thief {
    /// With the victim's certificate, and without its key.
    pub(super) keyless: Part,
    /// With the victim's session, behind a certificate of his own.
    pub(super) session: Part,
    victim: Person,
    clients: [Client; 2],
    pace: Pace,
}

impl Thief {
    pub(super) fn new(scene: &Scene, who: &Person, victim: &Person) -> Result<Self, String> {
        let rules = scene.rules();
        let login = &scene.places.login;
        let weight = login.failing.as_ref().map_or(0.0, |failing| failing.weight);
        let highest = if weight > 0.0 { goal(&rules.ladder, Kind::Identity) / weight } else { 0.0 };
        let highest = highest.max(goal(&rules.ladder, Kind::Address) / Forgery::Stolen.weight()).min(MOST_ATTEMPTS);
        let pace = Pace::within(scene.attack, whole(highest * 1.3).saturating_add(5), LEAST);
        let stolen = pace.climbs(Forgery::Stolen.weight(), rules.half_life);
        let without = match scene.promise(Kind::Address, stolen, |action| *action == Action::Drop) {
            Promise::Nothing(_) => Promise::Refusal,
            promise => promise,
        };
        let told = scene.config.upstreams.iter().find(|upstream| upstream.name == login.upstream);
        let behind = if told.is_some_and(|upstream| upstream.forward.plain) {
            match scene.promise(Kind::Identity, pace.climbs(weight, rules.half_life), |_| true) {
                Promise::Nothing(_) => Promise::Refusal,
                promise => promise,
            }
        } else {
            Promise::Nothing(format!(
                "the servers of upstream.{} are not told who calls, and cannot bind a session to a certificate: add \"plain\" to its forward",
                login.upstream
            ))
        };
        let new = |key, software| Client::new(&scene.door, Some(key), software);
        let clients =
            [new(victim.without_its_key(who), Software::Script)?, new(Arc::clone(&who.key), Software::Script)?];
        let does = format!("somebody's certificate without its key, every {}", shown(pace.every));
        let keyless = Part::new("thief, certificate", does, without, Some(&KEYLESS.to_string())).by_a_stranger();
        let does = format!("somebody's session behind a certificate of his own, every {}", shown(pace.every));
        let session = Part::new("thief, session", does, behind, Some(&who.id));
        Ok(Self { keyless, session, victim: victim.clone(), clients, pace })
    }

    pub(super) async fn play(&self, scene: &Scene) {
        let mut ticks = ticks(self.pace.every);
        let spot = &scene.places.login;
        // The login's path, where the app says no, and without credentials.
        let ask: Ask = spot.ask(1, &self.victim);
        let ask = Ask { path: spot.path(), ..ask };
        let [keyless, other] = &self.clients;
        loop {
            ticks.tick().await;
            let outcome = keyless.once(KEYLESS, &ask).await;
            self.keyless.pen.write(scene.now(), scene.signs.read(&outcome));
            let outcome = other.once(SESSION, &ask).await;
            let said_no = outcome.as_ref().is_ok_and(|answer| scene.signs.failing.contains(&answer.status));
            match scene.signs.read(&outcome) {
                Came::Failed => {
                    self.session.pen.turned_down(scene.now(), Came::Felt(Effect::Refuse, APP.to_owned()));
                }
                came if said_no => self.session.pen.turned_down(scene.now(), came),
                came => self.session.pen.write(scene.now(), came),
            }
        }
    }
}

const APP: &str = "the app refused the session";
const KEYLESS: Ipv4Addr = Ipv4Addr::new(127, 118, 0, 1);
const SESSION: Ipv4Addr = Ipv4Addr::new(127, 118, 1, 1);
const LEAST: Duration = Duration::from_millis(50);
const MOST_ATTEMPTS: f32 = 1_000.0;
