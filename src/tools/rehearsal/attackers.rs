//! Everybody who attacks, all at once.

use super::Actor;
use super::diary::Pen;
use super::extracted::Extracted;
use super::floods::Floods;
use super::forger::Forger;
use super::metronome::Metronome;
use super::scene::{Part, Scene};
use super::stage::Cast;
use super::stuffer::Stuffer;
use super::thief::Thief;
use super::watch::watch as look;

/// Everybody who attacks.
#[derive(Default)]
pub(super) struct Attackers {
    extracted: Option<Extracted>,
    stuffer: Option<Stuffer>,
    metronome: Option<Metronome>,
    forger: Option<Forger>,
    thief: Option<Thief>,
    floods: Option<Floods>,
}

impl Attackers {
    pub(super) fn new(scene: &Scene, cast: &Cast, wanted: &[Actor]) -> Result<Self, String> {
        let victim = cast.honest.first().ok_or("nobody honest to steal from")?;
        let mut all = Self::default();
        for actor in wanted {
            match actor {
                Actor::Extracted => all.extracted = Some(Extracted::new(scene, &cast.extracted)?),
                Actor::Stuffer => all.stuffer = Some(Stuffer::new(scene, &cast.stuffer)?),
                Actor::Metronome => all.metronome = Some(Metronome::new(scene, &cast.metronome)?),
                Actor::Forger => all.forger = Some(Forger::new(scene, &cast.forged)?),
                Actor::Thief => all.thief = Some(Thief::new(scene, &cast.thief, victim)?),
                Actor::Floods => all.floods = Some(Floods::new(scene, &cast.flooders)?),
            }
        }
        Ok(all)
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        let one = self.extracted.iter().map(|it| &it.part);
        let one = one.chain(self.stuffer.iter().map(|it| &it.part));
        let one = one.chain(self.metronome.iter().map(|it| &it.part));
        let one = one.chain(self.forger.iter().map(|it| &it.part));
        let one = one.chain(self.thief.iter().flat_map(|it| [&it.keyless, &it.session]));
        one.chain(self.floods.iter().flat_map(Floods::parts))
    }

    pub(super) fn watched(&self) -> Vec<(String, Pen)> {
        self.parts().filter_map(|part| Some((part.id.clone()?, part.pen.clone()))).collect()
    }

    /// All at once, for ever.
    pub(super) async fn play(&self, scene: &Scene) {
        let watched = self.watched();
        tokio::join!(
            look(scene, &watched),
            maybe(self.extracted.as_ref().map(|it| it.play(scene))),
            maybe(self.stuffer.as_ref().map(|it| it.play(scene))),
            maybe(self.metronome.as_ref().map(|it| it.play(scene))),
            maybe(self.forger.as_ref().map(|it| it.play(scene))),
            maybe(self.thief.as_ref().map(|it| it.play(scene))),
            maybe(self.floods.as_ref().map(|it| it.play(scene))),
        );
    }
}

async fn maybe(play: Option<impl Future<Output = ()>>) {
    if let Some(play) = play {
        play.await;
    }
}
