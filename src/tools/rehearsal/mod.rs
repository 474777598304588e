//! `portcullis rehearse`: an operator's own configuration, played against honest clients and attackers.
//!
//! [`Stage::set`] makes a copy of the configuration in which nothing leads to the installation, and everybody who plays.
//! Somebody starts a gate with it, and [`start`] plays; [`Running::join`] has the [`Card`]. All of it happens on
//! 127.0.0.0/8. A promise is computed from the configuration before anything is played (`forecast`), what was felt is
//! written down by each actor (`diary`), and the card holds one against the other (`card`).

mod attackers;
mod backend;
mod card;
mod cast;
mod chance;
mod client;
mod diary;
mod extracted;
mod floods;
mod forecast;
mod forger;
mod frames;
mod honest;
mod imitate;
mod metronome;
mod places;
mod play;
mod probe;
mod scene;
mod stage;
mod stuffer;
mod thief;
mod watch;

pub use self::card::Card;
pub use self::honest::MOST_HONEST;
pub use self::places::Wanted;
pub use self::play::{Gate, Live, Plan, Running, start};
pub use self::stage::{Stage, StageError};

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A certificate that was taken out of an app, from many networks.
    Extracted,
    /// Clients that break the protocols.
    Floods,
    /// Somebody who makes certificates himself.
    Forger,
    /// A script with an even pace.
    Metronome,
    /// Somebody who tries passwords.
    Stuffer,
    /// Somebody with a certificate without its key, and with a session of somebody else.
    Thief,
}

impl Actor {
    /// Everybody.
    pub const ALL: [Self; 6] =
        [Self::Extracted, Self::Stuffer, Self::Metronome, Self::Forger, Self::Thief, Self::Floods];

    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Extracted => extracted::NAME,
            Self::Floods => floods::NAME,
            Self::Forger => forger::NAME,
            Self::Metronome => metronome::NAME,
            Self::Stuffer => stuffer::NAME,
            Self::Thief => thief::NAME,
        }
    }
}
