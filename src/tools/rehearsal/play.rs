//! The play: everybody on the stage at once, for as long as it was asked for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::Actor;
use super::attackers::Attackers;
use super::backend;
use super::card::{Card, FalsePositive, Row, judge};
use super::cast::Folder;
use super::client::Door;
use super::diary::Signs;
use super::honest::{self, Crowd, Ledger};
use super::probe::probe;
use super::scene::{Part, Scene};
use super::stage::{Cast, Stage};
use super::watch::Admin;
use crate::clock::Clock;
use crate::reputation::{Action, Subject};
use crate::runtime;

/// How it is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For how long, all together.
    pub long: Duration,
    /// Who attacks.
    pub actors: Vec<Actor>,
}

/// Where the gate is that was started with [`Stage::file`].
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Its first listener.
    pub address: SocketAddr,
    /// Its admin listener.
    pub admin: SocketAddr,
}

/// A rehearsal that goes on.
#[derive(Debug)]
pub struct Running {
    ledger: Ledger,
    parts: Vec<Part>,
    scene: Facts,
    false_positives: Arc<Mutex<Vec<FalsePositive>>>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    /// Who serves, until this is dropped.
    _backend: oneshot::Sender<()>,
    _folder: Folder,
}

/// What a card says of the rehearsal as such.
#[derive(Clone, Debug)]
struct Facts {
    config: String,
    host: String,
    replaced: Vec<String>,
    left_out: Vec<String>,
    identities: usize,
    clock: Clock,
    begun: std::time::Instant,
    long: Duration,
}

/// How far it is.
#[derive(Clone, Debug)]
pub struct Live {
    /// Since its begin.
    pub elapsed: Duration,
    /// All together.
    pub long: Duration,
    /// A line for each of them.
    pub lines: Vec<String>,
}

/// Starts a rehearsal, once it is sure that somebody honest is let in.
///
/// # Errors
/// When nobody is, or the system has no thread.
pub fn start(stage: Stage, gate: Gate, plan: &Plan, clock: &Clock) -> Result<Running, String> {
    let Stage { source, config, has_ladder, replaced, places, name, roots, doors, cast, folder, .. } = stage;
    let (serving, served) = oneshot::channel::<()>();
    let thread = |error: io::Error| format!("cannot start a thread: {error}");
    runtime::aside("backend", move || async move {
        tokio::select! {
            () = backend::serve(doors) => {}
            _ = served => {}
        }
    })
    .map_err(thread)?;
    // One part of five belongs to the honest alone.
    let quiet = (plan.long / 5).min(MOST_QUIET);
    let host = places.host.clone();
    let mut scene = Scene {
        door: Door { address: gate.address, name, host: host.clone(), roots, clock: clock.clone() },
        admin: Admin(gate.admin),
        signs: Arc::new(signs(&config, &places)),
        places: Arc::new(places),
        config: Arc::new(config),
        has_ladder,
        begun: clock.now(),
        attack: plan.long.saturating_sub(quiet).saturating_sub(END),
    };
    let mut left_out = probe(&mut scene, &cast)?;
    left_out.extend(scene.places.left_out.iter().cloned());
    scene.begun = clock.now();

    let attackers = Attackers::new(&scene, &cast, &plan.actors)?;
    let parts: Vec<_> = attackers.parts().cloned().collect();
    let facts = Facts {
        config: source.display().to_string(),
        host,
        replaced,
        left_out,
        identities: cast.honest.len(),
        clock: clock.clone(),
        begun: scene.begun,
        long: plan.long,
    };
    let (ledger, false_positives) = (Arc::new(Mutex::new(Crowd::new())), Arc::default());
    let (stop, stopped) = watch::channel(false);
    let shared = Shared { scene, cast: Arc::new(cast), long: plan.long, quiet, stopped };
    let (mut threads, other, book) = (Vec::new(), shared.clone(), Arc::clone(&ledger));
    threads.push(runtime::aside("honest", move || other.honest(book)).map_err(thread)?);
    let found = Arc::clone(&false_positives);
    threads.push(runtime::aside("attack", move || shared.attack(attackers, found)).map_err(thread)?);
    Ok(Running { ledger, parts, scene: facts, false_positives, stop, threads, _backend: serving, _folder: folder })
}

impl Running {
    /// How far it is.
    #[must_use]
    pub fn live(&self) -> Live {
        let elapsed = self.scene.clock.now().saturating_duration_since(self.scene.begun);
        let crowd = self.ledger.lock();
        let wronged: u64 = crowd.wronged.values().map(|wronged| wronged.times).sum();
        let honest = format!("honest: {} requests, {} served, {wronged} wronged", crowd.requests, crowd.served);
        drop(crowd);
        let line = |part: &Part| {
            let diary = part.pen.read();
            let felt = diary.felt.keys().next_back().map_or("", |effect| effect.word());
            let score = diary.standing.score;
            format!("{}: {} attempts, {} through, score {score:.1} {felt}", part.actor, diary.attempts, diary.through)
        };
        let lines = std::iter::once(honest).chain(self.parts.iter().map(line)).collect();
        Live { elapsed: elapsed.min(self.scene.long), long: self.scene.long, lines }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Ends it now.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for its end.
    #[must_use]
    pub fn join(self) -> Card {
        for thread in self.threads {
            // What one that is gone has written is in its diaries all the same.
            let _ = thread.join();
        }
        let took = self.scene.clock.now().saturating_duration_since(self.scene.begun);
        let row = |part: Part| {
            let diary = part.pen.read();
            let judgement = judge(&part.promise, part.is_stranger, &diary);
            Row { actor: part.actor, does: part.does, promise: part.promise, diary, judgement }
        };
        let crowd = self.ledger.lock();
        let wronged = crowd.wronged.iter().map(|((who, reason), wronged)| FalsePositive {
            who: format!("rehearsal-{:04} from {}", who + 1, wronged.from),
            what: wronged.what.to_owned(),
            reason: reason.clone(),
            times: wronged.times,
            at: Some(wronged.first),
        });
        Card {
            ended_early: *self.stop.borrow(),
            config: self.scene.config,
            host: self.scene.host,
            took,
            replaced: self.scene.replaced,
            left_out: self.scene.left_out,
            rows: self.parts.into_iter().map(row).collect(),
            identities: self.scene.identities,
            requests: crowd.requests,
            served: crowd.served,
            latency: crowd.latency.clone(),
            false_positives: wronged.chain(self.false_positives.lock().drain(..)).collect(),
        }
    }
}

/// What both threads have.
#[derive(Clone)]
struct Shared {
    scene: Scene,
    cast: Arc<Cast>,
    long: Duration,
    /// Before the attack.
    quiet: Duration,
    stopped: watch::Receiver<bool>,
}

impl Shared {
    async fn honest(mut self, ledger: Ledger) {
        let (long, scene, cast) = (self.long, self.scene.clone(), Arc::clone(&self.cast));
        tokio::select! {
            // Whoever cannot be a client here could not have been one when the first was tried.
            _ = honest::play(&scene, &cast.honest, self.quiet, &ledger) => {}
            () = self.over(long) => {}
        }
    }

    async fn attack(mut self, attackers: Attackers, found: Arc<Mutex<Vec<FalsePositive>>>) {
        let scene = self.scene.clone();
        let quiet = self.quiet;
        let (long, mut other) = (self.long.saturating_sub(END), self.clone());
        let all = async {
            sleep(quiet).await;
            Box::pin(attackers.play(&scene)).await;
        };
        tokio::select! {
            () = all => {}
            () = self.over(long) => {}
        }
        let watched = attackers.watched();
        for (id, pen) in &watched {
            if let Some(standing) = scene.admin.standing(id).await {
                pen.stands(scene.now(), standing);
            }
        }
        tokio::select! {
            all = suspects(&scene, &self.cast) => found.lock().extend(all),
            () = other.stopped() => {}
        }
    }

    /// Until then, or until somebody has enough.
    async fn over(&mut self, at: Duration) {
        let left = at.saturating_sub(self.scene.now());
        let _ = timeout(left, self.stopped()).await;
    }

    async fn stopped(&mut self) {
        if self.stopped.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Everybody honest who stands on a rung, whether or not he has felt it, and every address and network of theirs.
async fn suspects(scene: &Scene, cast: &Cast) -> Vec<FalsePositive> {
    let mut ids: Vec<(String, String)> = Vec::new();
    for (number, who) in cast.honest.iter().enumerate() {
        ids.push((who.id.clone(), who.label.clone()));
        for trip in 0..2 {
            let address = IpAddr::V4(honest::place(number, trip));
            for subject in [Subject::address(address), Subject::network(address)] {
                let id = subject.to_string();
                if !ids.iter().any(|(known, _)| *known == id) {
                    ids.push((id, format!("{subject}, where {} is", who.label)));
                }
            }
        }
    }
    let mut found = Vec::new();
    for (id, who) in ids {
        let Some(standing) = scene.admin.standing(&id).await else { continue };
        let what = match (standing.rung, standing.dry_run) {
            (Some(rung), _) => format!("stands on the rung {rung}"),
            (None, Some(rung)) => format!("would have been on the rung {rung}"),
            (None, None) => continue,
        };
        let reason = format!("{}, score {:.1}", standing.cause.unwrap_or_default(), standing.score);
        found.push(FalsePositive { who, what, reason, times: 1, at: None });
    }
    found
}

/// What the ladder's rungs show themselves by.
fn signs(config: &crate::config::Config, places: &super::places::Places) -> Signs {
    let rungs = || config.reputation.rules.ladder.rungs().filter(|rung| !rung.dry_run);
    let slow = rungs().filter_map(|rung| if let Action::Slow(delay) = rung.action { Some(delay) } else { None });
    let away = rungs().filter_map(|rung| match &rung.action {
        Action::Quarantine(upstream) => Some(upstream.clone()),
        _ => None,
    });
    let own = |upstream: &str| places.app.iter().chain([&places.login]).any(|spot| *spot.upstream == *upstream);
    Signs {
        slow: slow.min(),
        quarantine: away.filter(|upstream| !own(upstream)).collect(),
        failing: vec![places.login.failing.as_ref().map_or(401, |failing| failing.status)],
    }
}

/// Everything else belongs to the attack.
const MOST_QUIET: Duration = Duration::from_secs(20);
/// For a last look.
const END: Duration = Duration::from_millis(300);
