//! `portcullis rehearse`: a stage, a gate on it, and a score card.

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::check::print_problems;
use super::run::{descriptors, fail};
use crate::app::{self, StartError};
use crate::clock::Clock;
use crate::runtime;
use crate::tools::rehearsal::{self, Actor, Card, Gate, MOST_HONEST, Plan, Running, Stage, StageError, Wanted};

/// The flags.
#[derive(Args, Debug)]
pub(super) struct Rehearse {
    /// The TOML file whose rules are rehearsed; nothing that it names is touched
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// How long, in minutes: 2, 0.5
    #[arg(long, value_name = "N", default_value = "2", value_parser = minutes)]
    minutes: Duration,
    /// How long, in seconds, instead
    #[arg(long, value_name = "N", conflicts_with = "minutes", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Honest clients
    #[arg(long, value_name = "N", default_value = "40", value_parser = clap::value_parser!(u16).range(1..=MOST))]
    identities: u16,
    /// Only these attack: extracted, stuffer, metronome, forger, thief, floods
    #[arg(long, value_name = "ACTOR", value_delimiter = ',', value_parser = actor)]
    only: Vec<Actor>,
    /// The host (the first that asks for client certificates unless given), as in host.names
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// What honest clients ask for (every route that they can use unless given)
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Where clients log in (the route with an outcome unless given)
    #[arg(long, value_name = "PATH")]
    login_path: Option<String>,
    /// Print the score card as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn rehearse(flags: &Rehearse) -> ExitCode {
    match played(flags) {
        Ok(card) => {
            let text = if flags.json { format!("{:#}\n", card.json()) } else { card.to_string() };
            // Whoever closed the output does not want to read it.
            let _ = io::stdout().write_all(text.as_bytes());
            if card.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(code) => code,
    }
}

fn played(flags: &Rehearse) -> Result<Card, ExitCode> {
    let clock = Clock::system();
    // First of all: who is interrupted has something to clean up from here on.
    let enough = enough().map_err(|error| fail(&format!("cannot listen to signals: {error}")))?;
    let wanted = Wanted { host: flags.host.clone(), path: flags.path.clone(), login: flags.login_path.clone() };
    let honest = usize::from(flags.identities).try_into().map_err(|_| fail("nobody is honest"))?;
    let stage = Stage::set(&flags.config, &wanted, honest, &clock).map_err(|error| match error {
        StageError::Config(problems) => {
            print_problems(&problems);
            ExitCode::FAILURE
        }
        error => fail(&error.to_string()),
    })?;
    descriptors();
    let gate = app::start(stage.file(), clock.clone()).map_err(|error| match error {
        StartError::Config(problems) => {
            print_problems(&problems);
            ExitCode::FAILURE
        }
        error @ StartError::System { .. } => fail(&error.to_string()),
    })?;
    let (Some(address), Some(admin)) = (gate.addresses.first().copied(), gate.admin) else {
        return Err(fail("the gate listens nowhere"));
    };
    let actors = if flags.only.is_empty() { Actor::ALL.to_vec() } else { flags.only.clone() };
    let plan = Plan { long: flags.seconds.unwrap_or(flags.minutes), actors };
    let card = rehearsal::start(stage, Gate { address, admin }, &plan, &clock).map_err(|error| fail(&error));
    let card = card
        .and_then(|running| watch(running, enough).map_err(|error| fail(&format!("cannot start a thread: {error}"))));
    gate.drain();
    gate.join();
    card
}

/// Becomes true when somebody has enough of it. Signals are listened to from the return of this on.
fn enough() -> io::Result<watch::Receiver<bool>> {
    let ((say, said), (report, reported)) = (watch::channel(false), mpsc::channel());
    runtime::aside("signals", move || async move {
        // A terminal that is closed leaves the folder to be cleaned up, too.
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals: io::Result<Vec<_>> = kinds.into_iter().map(signal).collect();
        let (outcome, signals) = match signals {
            Ok(signals) => (Ok(()), Some(signals)),
            Err(error) => (Err(error), None),
        };
        // Who waits for it is below.
        let _ = report.send(outcome);
        let Some(mut signals) = signals else { return };
        poll_fn(|cx| {
            let heard = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if heard { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        say.send_replace(true);
        // As long as somebody may ask.
        say.closed().await;
    })?;
    reported.recv().map_err(io::Error::other)??;
    Ok(said)
}

/// Waits for the end, with lines about how far everybody is if somebody looks, and for an early end.
fn watch(running: Running, mut enough: watch::Receiver<bool>) -> io::Result<Card> {
    let (give, take) = mpsc::channel();
    let watcher = runtime::aside("watch", move || async move {
        tokio::select! {
            () = look(&running) => {}
            Ok(_) = enough.wait_for(|enough| *enough) => running.stop(),
        }
        // Who waits for it is below.
        let _ = give.send(running);
    })?;
    let running = take.recv().map_err(io::Error::other)?;
    let _ = watcher.join();
    Ok(running.join())
}

/// Until all is done.
async fn look(running: &Running) {
    // Draws on a terminal only.
    let screen = MultiProgress::new();
    let long = u64::try_from(running.live().long.as_millis()).unwrap_or(u64::MAX);
    let whole = screen.add(ProgressBar::new(long));
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {msg}") {
        whole.set_style(style);
    }
    let mut lines: Vec<ProgressBar> = Vec::new();
    while !running.is_finished() {
        tokio::time::sleep(LOOK).await;
        let live = running.live();
        whole.set_position(u64::try_from(live.elapsed.as_millis()).unwrap_or(u64::MAX));
        whole.set_message(format!("{:.0} of {:.0} s", live.elapsed.as_secs_f64(), live.long.as_secs_f64()));
        for (number, text) in live.lines.into_iter().enumerate() {
            if lines.len() <= number {
                lines.push(screen.add(ProgressBar::new_spinner()));
            }
            if let Some(line) = lines.get(number) {
                line.set_message(text);
                line.tick();
            }
        }
    }
    lines.iter().chain([&whole]).for_each(ProgressBar::finish_and_clear);
}

fn minutes(text: &str) -> Result<Duration, String> {
    time(text, 60.0)
}

fn seconds(text: &str) -> Result<Duration, String> {
    time(text, 1.0)
}

fn time(text: &str, unit: f64) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().and_then(|number| Duration::try_from_secs_f64(number * unit).ok());
    number
        .filter(|time| (SHORTEST..=LONGEST).contains(time))
        .ok_or_else(|| format!("{text:?} is no time for this: a number, from 5 seconds to a day all together"))
}

fn actor(text: &str) -> Result<Actor, String> {
    Actor::ALL.into_iter().find(|actor| actor.word() == text).ok_or_else(|| {
        let all: Vec<_> = Actor::ALL.iter().map(|actor| actor.word()).collect();
        format!("nobody is called {text:?}: {}", all.join(", "))
    })
}

/// How often somebody who looks wants to see something new.
const LOOK: Duration = Duration::from_millis(200);
/// Nobody shows what he is in less.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_hours(24);
#[expect(clippy::as_conversions, clippy::cast_possible_wrap, reason = "a small constant")]
const MOST: i64 = MOST_HONEST as i64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_actors_are_read_or_told_to_be_wrong() {
        assert_eq!(minutes("0.5"), Ok(Duration::from_secs(30)));
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        for text in ["", "x", "-1", "NaN", "inf", "1e300", "0", "4.9"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(minutes("1441").is_err());
        assert_eq!(actor("forger"), Ok(Actor::Forger));
        assert!(actor("forgr").unwrap_err().contains("extracted, stuffer, metronome, forger, thief, floods"));
    }
}
