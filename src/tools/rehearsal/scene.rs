//! What every actor sees: the door, the places, the rules, the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::backend::{self, RIGHT};
use super::cast::Person;
use super::client::{Ask, Client, Door, Software};
use super::diary::{Pen, Signs};
use super::forecast::{Promise, promise};
use super::places::{Places, Spot};
use super::watch::Admin;
use crate::config::Config;
use crate::reputation::{Action, Class, Kind, Rules};
use crate::tls::IdentityClass;

/// What every actor sees.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) door: Door,
    pub(super) admin: Admin,
    pub(super) places: Arc<Places>,
    pub(super) config: Arc<Config>,
    pub(super) has_ladder: bool,
    pub(super) signs: Arc<Signs>,
    pub(super) begun: Instant,
    /// How long attackers have.
    pub(super) attack: Duration,
}

/// One actor's row of the score card.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) actor: &'static str,
    /// What it does, in words.
    pub(super) does: String,
    pub(super) promise: Promise,
    /// Whether its handshakes fail whatever it is known for: then only a closed door says that it is known.
    pub(super) is_stranger: bool,
    pub(super) pen: Pen,
    /// What the admin listener calls it.
    pub(super) id: Option<String>,
}

impl Part {
    pub(super) fn new(actor: &'static str, does: String, promise: Promise, id: Option<&str>) -> Self {
        Self { actor, does, promise, is_stranger: false, pen: Pen::default(), id: id.map(str::to_owned) }
    }

    pub(super) fn by_a_stranger(self) -> Self {
        Self { is_stranger: true, ..self }
    }
}

impl Scene {
    /// Since the begin.
    pub(super) fn now(&self) -> Duration {
        self.door.clock.now().saturating_duration_since(self.begun)
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.config.reputation.rules
    }

    /// What certificates of the host's trust store are meant for.
    pub(super) fn class(&self) -> Class {
        let store = self.config.trust.iter().find(|store| store.name == self.places.trust);
        match store.map(|store| store.identity) {
            Some(IdentityClass::Shared) => Class::Shared,
            Some(IdentityClass::Device) | None => Class::Device,
        }
    }

    /// What must become of somebody with such a score.
    pub(super) fn promise(&self, kind: Kind, expected: f32, acts: impl Fn(&Action) -> bool) -> Promise {
        if self.has_ladder {
            return promise(&self.rules().ladder, kind, expected, acts);
        }
        Promise::Nothing(NOBODY_WATCHES.to_owned())
    }

    /// A login.
    pub(super) fn login(&self, who: &Person, credentials: HeaderValue) -> Ask {
        let spot = &self.places.login;
        let mut fields = session(who);
        fields.push((AUTHORIZATION, credentials));
        Ask { method: spot.method.clone(), path: spot.path(), fields }
    }

    /// The first request of a client that can be let in: whether each place is one.
    pub(super) async fn probe(&self, who: &Person) -> Vec<(String, Result<(), String>)> {
        let mut all = Vec::new();
        let client = Client::new(&self.door, Some(Arc::clone(&who.key)), Software::App1);
        for (spot, ask) in self
            .places
            .app
            .iter()
            .map(|spot| (spot, spot.ask(0, who)))
            .chain(std::iter::once((&self.places.login, self.login(who, RIGHT))))
        {
            let answer = match &client {
                Ok(client) => client.once([127, 0, 0, 1].into(), &ask).await.map_err(|failure| failure.to_string()),
                Err(error) => Err(error.clone()),
            };
            let verdict = answer.and_then(|answer| match answer.code {
                _ if answer.status < 400 => Ok(()),
                Some(code) => Err(format!("{} {code}", answer.status)),
                None => Err(answer.status.to_string()),
            });
            all.push((format!("{} {} (route {})", ask.method, ask.path, spot.route), verdict));
        }
        all
    }
}

impl Spot {
    /// A request for the `number`th thing, of somebody who is logged in.
    pub(super) fn ask(&self, number: u64, who: &Person) -> Ask {
        Ask { method: self.method.clone(), path: self.at(number), fields: session(who) }
    }
}

fn session(who: &Person) -> Vec<(HeaderName, HeaderValue)> {
    let cookie = HeaderValue::from_str(&backend::session(&who.id));
    cookie.map(|cookie| (COOKIE, cookie)).into_iter().collect()
}

/// Ticks; what is late is not made up for.
pub(super) fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A time as people read it.
pub(super) fn shown(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// A whole number of things for a score.
pub(super) fn whole(number: f32) -> u32 {
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, which is what is wanted"
    )]
    let whole = number.ceil() as u32;
    whole
}

const NOBODY_WATCHES: &str = "nothing acts on what it does: the file has no [[reputation.ladder]]; add one, like score = 20, action = \"reject\"";
