//! Somebody who tries stolen passwords, slowly, from many addresses, with one certificate.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::backend::WRONG;
use super::cast::Person;
use super::client::{Client, Software};
use super::forecast::{Pace, Promise, goal};
use super::scene::{Part, Scene, shown, ticks, whole};
use crate::reputation::Kind;

pub(super) const NAME: &str = "stuffer";

pub(super) struct Stuffer {
    pub(super) part: Part,
    who: Person,
    client: Client,
    pace: Pace,
    networks: u8,
}

impl Stuffer {
    pub(super) fn new(scene: &Scene, who: &Person) -> Result<Self, String> {
        let rules = scene.rules();
        let weight = scene.places.login.failing.as_ref().map(|failing| failing.weight);
        let wanted = whole(goal(&rules.ladder, Kind::Identity) * 1.3 / weight.unwrap_or(1.0)).saturating_add(5);
        let pace = Pace::within(scene.attack, wanted, LEAST);
        let promise = match weight {
            Some(weight) => scene.promise(Kind::Identity, pace.climbs(weight, rules.half_life), |_| true),
            None => Promise::Nothing(
                "no route counts failures: give the login's route outcome = [{ statuses = [401] }]".to_owned(),
            ),
        };
        // In no more networks than a device may be in: its failures are to give it away, not its travels.
        let networks = u8::try_from(rules.spread.networks).unwrap_or(u8::MAX).clamp(1, MOST_NETWORKS);
        let does = format!(
            "one certificate, a wrong password for {} every {}, each from another address in {networks} networks",
            scene.places.login.path(),
            shown(pace.every)
        );
        let part = Part::new(NAME, does, promise, Some(&who.id));
        let client = Client::new(&scene.door, Some(Arc::clone(&who.key)), Software::Script)?;
        Ok(Self { part, who: who.clone(), client, pace, networks })
    }

    pub(super) async fn play(&self, scene: &Scene) {
        let mut ticks = ticks(self.pace.every);
        for n in (0..u16::MAX).cycle() {
            ticks.tick().await;
            let outcome = self.client.once(place(n, self.networks), &scene.login(&self.who, WRONG)).await;
            self.part.pen.write(scene.now(), scene.signs.read(&outcome));
        }
    }
}

fn place(n: u16, networks: u8) -> Ipv4Addr {
    let part = |n: u16| u8::try_from(n).unwrap_or(0);
    let network = n % u16::from(networks.max(1));
    Ipv4Addr::new(127, 120, part(network), part(n / u16::from(networks.max(1)) % 250 + 1))
}

const MOST_NETWORKS: u8 = 10;
const LEAST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_change_and_networks_stay_few() {
        let places: std::collections::BTreeSet<_> = (0..500).map(|n| place(n, 5)).collect();
        assert_eq!(places.len(), 500);
        let networks: std::collections::BTreeSet<_> = places.iter().map(|place| place.octets()[2]).collect();
        assert_eq!(networks.len(), 5);
    }
}
