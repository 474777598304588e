//! A certificate that was taken out of an app, on many machines at once.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::cast::Person;
use super::client::{Client, Software};
use super::forecast::{Pace, Promise, goal};
use super::scene::{Part, Scene, shown, ticks, whole};
use crate::reputation::{Class, Kind};

pub(super) const NAME: &str = "extracted";

pub(super) struct Extracted {
    pub(super) part: Part,
    who: Person,
    client: Client,
    pace: Pace,
}

impl Extracted {
    pub(super) fn new(scene: &Scene, who: &Person) -> Result<Self, String> {
        let (spread, half_life) = (&scene.rules().spread, scene.rules().half_life);
        let own = u32::from(spread.networks);
        let wanted = own.saturating_add(whole(goal(&scene.rules().ladder, Kind::Identity) * 1.3)).saturating_add(3);
        let pace = Pace::within(scene.attack, wanted.min(MOST_NETWORKS), LEAST);
        let in_window = spread.window.as_micros() / pace.every.as_micros().max(1);
        let seen = pace.times.min(u32::try_from(in_window).unwrap_or(u32::MAX));
        let expected = Pace { times: seen.saturating_sub(own), ..pace }.climbs(1.0, half_life);
        let promise = if scene.class() == Class::Shared {
            Promise::Nothing(format!(
                "trust.{} has identity = \"shared\": what is usual is learned for {} s first",
                scene.places.trust,
                spread.learn.as_secs()
            ))
        } else if seen <= own && scene.has_ladder {
            Promise::Nothing(format!(
                "reputation.spread.networks = {own} in {} s is more than it can visit in this time",
                spread.window.as_secs()
            ))
        } else {
            scene.promise(Kind::Identity, expected, |_| true)
        };
        let does = format!("one certificate in {} networks, another one every {}", pace.times, shown(pace.every));
        let part = Part::new(NAME, does, promise, Some(&who.id));
        let client = Client::new(&scene.door, Some(Arc::clone(&who.key)), Software::Script)?;
        Ok(Self { part, who: who.clone(), client, pace })
    }

    pub(super) async fn play(&self, scene: &Scene) {
        let (mut ticks, spot) = (ticks(self.pace.every), scene.places.app.first());
        let Some(spot) = spot else { return };
        for n in (0..self.pace.times.max(1)).cycle() {
            ticks.tick().await;
            let outcome = self.client.once(place(n), &spot.ask(n.into(), &self.who)).await;
            self.part.pen.write(scene.now(), scene.signs.read(&outcome));
        }
    }
}

/// An address in a /24 of its own.
fn place(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from_be_bytes([127, 128, 0, 9]) + (n << 8))
}

/// There are 32,768 between 127.128.0.0 and 127.255.255.255.
const MOST_NETWORKS: u32 = 30_000;
const LEAST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_is_another_one_and_all_are_this_machines() {
        assert_eq!(place(0), Ipv4Addr::new(127, 128, 0, 9));
        assert_eq!(place(257), Ipv4Addr::new(127, 129, 1, 9));
        assert!(place(MOST_NETWORKS).is_loopback());
    }
}
