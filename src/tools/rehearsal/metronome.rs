//! A script that clicks at even intervals, on the same few things.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::cast::Person;
use super::client::{Client, Link, Software};
use super::forecast::{Pace, Promise, goal};
use super::places::Spot;
use super::scene::{Part, Scene, shown, ticks, whole};
use crate::reputation::{Class, Kind, LEAST_REQUESTS};

pub(super) const NAME: &str = "metronome";

pub(super) struct Metronome {
    pub(super) part: Part,
    who: Person,
    client: Client,
    spot: Spot,
    every: Duration,
}

impl Metronome {
    pub(super) fn new(scene: &Scene, who: &Person) -> Result<Self, String> {
        let (rules, paced) = (scene.rules(), scene.places.paced.as_ref());
        let Some(spot) = paced.or_else(|| scene.places.app.first()).cloned() else {
            return Err("there is no place to click on".to_owned());
        };
        let pacing = &rules.pacing;
        let row = pacing.requests.max(LEAST_REQUESTS);
        // All but the first few paths in a row were there before.
        let repeated = 1.0 - f32::from(THINGS + 1) / f32::from(row);
        let signs = u8::from(pacing.regularity > 0.0) + u8::from(repeated >= pacing.repetition);
        let (weight, row) = (pacing.weight * f32::from(signs), u32::from(row));
        let rows = whole(goal(&rules.ladder, Kind::Identity) * 1.2 / weight.max(0.1)).max(1);
        // Anything faster is what one action loads.
        let least = (pacing.least * 5 / 4).max(LEAST);
        let pace = Pace::within(scene.attack, rows.saturating_mul(row).saturating_add(2), least);
        let every = pace.every.min(MOST);
        let full = pace.times.saturating_sub(1) / row;
        let expected = Pace { times: full, every: every * row }.climbs(weight, rules.half_life);
        let promise = if scene.class() == Class::Shared {
            Promise::Nothing("of a certificate that many share no pace can be told".to_owned())
        } else if paced.is_none() {
            Promise::Nothing("no route looks at the pace: give one where people act pacing = true".to_owned())
        } else {
            scene.promise(Kind::Identity, expected, |_| true)
        };
        let does = format!("one certificate, three things below {} in turn, every {}", spot.path(), shown(every));
        let part = Part::new(NAME, does, promise, Some(&who.id));
        let client = Client::new(&scene.door, Some(Arc::clone(&who.key)), Software::Script)?;
        Ok(Self { part, who: who.clone(), client, spot, every })
    }

    pub(super) async fn play(&self, scene: &Scene) {
        let mut ticks = ticks(self.every);
        let mut link: Option<Link> = None;
        for n in (0..u64::from(THINGS)).cycle() {
            ticks.tick().await;
            let kept = match link.take() {
                Some(kept) => Ok(kept),
                None => self.client.link(HERE).await,
            };
            let outcome = match kept {
                Ok(mut kept) => {
                    let outcome = self.client.ask(&mut kept, &self.spot.ask(n, &self.who)).await;
                    link = outcome.is_ok().then_some(kept);
                    outcome
                }
                Err(failure) => Err(failure),
            };
            self.part.pen.write(scene.now(), scene.signs.read(&outcome));
        }
    }
}

const HERE: Ipv4Addr = Ipv4Addr::new(127, 117, 0, 1);
const THINGS: u8 = 3;
const LEAST: Duration = Duration::from_millis(20);
/// A clicker that is slower than this earns nothing.
const MOST: Duration = Duration::from_secs(5);
