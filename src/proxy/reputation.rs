//! Where behaviour meets traffic: what is told to the book, and what the book's answer does to a connection or a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use tokio::time::sleep;

use super::Worker;
use super::peer::Peer;
use crate::config::DenyRequest;
use crate::identity::Identity;
use crate::limits::Limit;
use crate::policy::HostId;
use crate::policy::spec::Matcher;
use crate::reject::{Reason, Reject};
use crate::reputation::{
    Action, Arriving, Cause, Class, Client, Rules, Rung, Standing, Step, abuse, classify, outcome,
};
use crate::revocation::{DenySpec, Source};
use crate::snapshot::{RouteParts, Snapshot};
use crate::tls::{FirstLook, IdentityClass};
use crate::upstream::Upstream;

/// What the backend is told of a client on a rung: its score, what most of it is for, and whose score it is
/// (RFC 9651, a decimal with parameters).
pub(super) const CLIENT_REPUTATION: HeaderName = HeaderName::from_static("x-client-reputation");

/// A client with its place in the book.
#[derive(Debug)]
pub(super) struct Behaviour {
    client: Client,
    /// The seat's share of the gate, also for the requests.
    pub(super) worker: Worker,
    /// Where its certificate would be denied.
    trust: Option<Box<str>>,
    identity: Option<Arc<Identity>>,
}

/// What becomes of a request.
#[derive(Debug, Default)]
pub(super) struct Treatment<'s> {
    /// What the backend is told.
    pub(super) tag: Option<HeaderValue>,
    /// How long it waits.
    pub(super) delay: Option<Duration>,
    /// What counts it besides.
    pub(super) limit: Option<&'s Arc<Limit>>,
    /// Where it goes instead.
    pub(super) upstream: Option<&'s (Arc<str>, Arc<Upstream>)>,
}

/// Before a handshake: whether this address may have one.
///
/// # Errors
/// [`Reason::ReputationDropped`].
pub(super) fn door(worker: &Worker, snapshot: &Snapshot, address: IpAddr) -> Result<(), Reject> {
    let (reputation, rules) = (&worker.shared.reputation, rules(snapshot));
    let (dropped, steps) = reputation.book.door(address, reputation.now(), rules);
    tell(worker, rules, &steps, None);
    match dropped {
        None => Ok(()),
        Some(subject) => {
            worker.shared.telemetry.metrics.reputation.applied("drop");
            Err(Reject::new(Reason::ReputationDropped, format!("{} {subject}", subject.kind().word())))
        }
    }
}

/// Right behind the ClientHello, before anything is signed: whether this software may go on.
///
/// # Errors
/// [`Reason::ReputationDropped`].
pub(super) fn first_look(worker: &Worker, snapshot: &Snapshot, look: &FirstLook<'_>) -> Result<(), Reject> {
    let (reputation, rules) = (&worker.shared.reputation, rules(snapshot));
    match look.print {
        Some(print) if reputation.book.print_is_dropped(print.stable, reputation.now(), rules) => {
            worker.shared.telemetry.metrics.reputation.applied("drop");
            Err(Reject::new(Reason::ReputationDropped, format!("fingerprint {}", print.stable)))
        }
        _ => Ok(()),
    }
}

/// A handshake has failed: its address answers for what was presented, and for how.
pub(super) fn failed(
    worker: &Worker,
    snapshot: &Snapshot,
    address: IpAddr,
    reject: &Reject,
    presented: Option<&Identity>,
) {
    let (reputation, rules, metrics) =
        (&worker.shared.reputation, rules(snapshot), &worker.shared.telemetry.metrics.reputation);
    let now = reputation.now();
    let unix = i64::try_from(worker.shared.clock.unix().as_secs()).unwrap_or(i64::MAX);
    let Some(forgery) = classify(reject.reason, presented, reputation.book.known(), unix) else {
        let steps = reputation.book.stranger(address, Cause::Abuse, abuse(reject.reason), now, rules);
        return tell(worker, rules, &steps, None);
    };
    metrics.forgery(forgery.word());
    let failed = reputation.book.forged(address, forgery, now, rules);
    if failed.alarm {
        let certificate = presented.map(Identity::summary);
        let fingerprint = presented.map(|identity| identity.fingerprint.to_string());
        tracing::warn!(target: "portcullis::reputation", kind = forgery.word(), peer = %address.to_canonical(), certificate, fingerprint, detail = &*reject.detail, "FORGED CERTIFICATE");
    }
    tell(worker, rules, &failed.steps, None);
}

/// A handshake is complete: the client has its place in the book from here.
///
/// # Errors
/// [`Reason::ReputationDropped`].
pub(super) fn admit(worker: &Worker, snapshot: &Snapshot, peer: &Peer, host: HostId) -> Result<Behaviour, Reject> {
    let (reputation, rules) = (&worker.shared.reputation, rules(snapshot));
    let trust = snapshot.host(host).and_then(|parts| parts.trust.as_deref());
    let class = match trust.map(|trust| trust.spec().identity) {
        Some(IdentityClass::Shared) => Class::Shared,
        Some(IdentityClass::Device) | None => Class::Device,
    };
    let print = peer.who.print.map(|print| print.stable);
    let arriving = Arriving { identity: peer.identity(), class, address: peer.who.peer.ip(), print };
    let (client, arrived) = reputation.book.admit(&arriving, reputation.now(), rules);
    let behaviour = Behaviour {
        client,
        worker: worker.clone(),
        trust: trust.map(|trust| trust.spec().name.clone()),
        identity: peer.who.identity.clone(),
    };
    if arrived.copied {
        worker.shared.telemetry.metrics.reputation.forgery("number_given_twice");
        let certificate = peer.identity().map(Identity::summary);
        tracing::warn!(target: "portcullis::reputation", certificate, "its CA has given its serial number to another key as well: a bad CA, or a forged certificate that verifies");
    }
    behaviour.tell(rules, &arrived.steps);
    match behaviour.rung(rules) {
        Some((standing, rung)) if rung.action == Action::Drop => Err(behaviour.refusal(rules, standing, rung)),
        _ => Ok(behaviour),
    }
}

impl Behaviour {
    /// What becomes of a request of this client on `route`.
    ///
    /// # Errors
    /// Why nothing does.
    pub(super) fn treat<'s>(&self, snapshot: &'s Snapshot, route: &RouteParts) -> Result<Treatment<'s>, Reject> {
        let rules = rules(snapshot);
        let Some((standing, rung)) = self.rung(rules).filter(|_| !route.reputation.exempt) else {
            return Ok(Treatment::default());
        };
        let parts = snapshot.rungs.get(standing.rung);
        let tag = || Some(self.tag(rules, standing));
        let treatment = match &rung.action {
            Action::Observe => Treatment::default(),
            Action::Tag => Treatment { tag: tag(), ..Treatment::default() },
            Action::Slow(delay) => Treatment { tag: tag(), delay: Some(*delay), ..Treatment::default() },
            Action::Limit(_) => {
                Treatment { tag: tag(), limit: parts.and_then(|parts| parts.limit.as_ref()), ..Treatment::default() }
            }
            Action::Quarantine(_) => Treatment {
                tag: tag(),
                // A quarantine that is nowhere must not be the backend.
                upstream: Some(parts.and_then(|parts| parts.upstream.as_ref()).ok_or(Reason::ReputationRejected)?),
                ..Treatment::default()
            },
            Action::Challenge(_) | Action::Reject | Action::Drop | Action::Deny => {
                return Err(self.refusal(rules, standing, rung));
            }
        };
        self.worker.shared.telemetry.metrics.reputation.applied(rung.action.word());
        Ok(treatment)
    }

    /// Lets a request wait, if it must and there is room to.
    ///
    /// # Errors
    /// [`Reason::ReputationSlowed`] if as many wait as may.
    pub(super) async fn wait(&self, treatment: &Treatment<'_>, snapshot: &Snapshot) -> Result<(), Reject> {
        let Some(delay) = treatment.delay else { return Ok(()) };
        let full = || Reject::from(Reason::ReputationSlowed).retry_after(delay);
        let place = self.worker.shared.reputation.sleeper(snapshot.config.reputation.sleepers).ok_or_else(full)?;
        sleep(delay).await;
        drop(place);
        Ok(())
    }

    /// A request goes to its route: its pace is looked at where the route wants that.
    pub(super) fn request(&self, snapshot: &Snapshot, route: &RouteParts, path: &str) {
        if route.reputation.pacing {
            let rules = rules(snapshot);
            self.tell(rules, &self.client.request(path, self.worker.shared.reputation.now(), rules));
        }
    }

    /// The backend has answered after so long.
    pub(super) fn answered(
        &self,
        snapshot: &Snapshot,
        route: &RouteParts,
        (status, headers): (u16, &HeaderMap),
        took: Duration,
    ) {
        if !route.reputation.outcome.is_empty() {
            let (verdict, rules) = (outcome(&route.reputation.outcome, status, headers, took), rules(snapshot));
            self.tell(rules, &self.client.outcome(verdict, self.worker.shared.reputation.now(), rules));
        }
    }

    /// Something of it was refused: if it is an abuse of the protocol, it answers for that.
    pub(super) fn refused(&self, reason: Reason) {
        let weight = abuse(reason);
        if weight > 0.0 {
            let snapshot = self.worker.shared.published.current();
            let rules = rules(&snapshot);
            self.tell(rules, &self.client.abuse(weight, self.worker.shared.reputation.now(), rules));
        }
    }

    fn rung<'r>(&self, rules: &'r Rules) -> Option<(Standing, &'r Rung)> {
        let (standing, steps) = self.client.standing(|| self.worker.shared.reputation.now(), rules);
        self.tell(rules, &steps);
        let standing = standing?;
        Some((standing, rules.ladder.get(standing.rung)?))
    }

    fn refusal(&self, rules: &Rules, standing: Standing, rung: &Rung) -> Reject {
        let (score, cause) = self.total(rules, standing);
        let detail = format!("{} score {score:.1}, mostly {}: {}", standing.by.word(), cause.word(), rung.reason);
        let detail = detail.trim_end_matches(": ");
        self.worker.shared.telemetry.metrics.reputation.applied(rung.action.word());
        match rung.action {
            // RFC 9110 §15.5.2: a 401 names a scheme; this one says that the app knows what to do.
            Action::Challenge(401) => Reject::new(Reason::ReputationUnauthorized, detail)
                .field(WWW_AUTHENTICATE, HeaderValue::from_static("Reputation")),
            Action::Challenge(_) => Reject::new(Reason::ReputationChallenge, detail),
            Action::Drop => Reject::new(Reason::ReputationDropped, detail),
            _ => Reject::new(Reason::ReputationRejected, detail),
        }
    }

    fn tag(&self, rules: &Rules, standing: Standing) -> HeaderValue {
        let (score, cause) = self.total(rules, standing);
        let value = format!("{score:.1};cause={};by={}", cause.word(), standing.by.word());
        HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("0.0"))
    }

    fn total(&self, rules: &Rules, standing: Standing) -> (f32, Cause) {
        let now = self.worker.shared.reputation.now();
        self.client.total(standing.by, now, rules).unwrap_or((0.0, Cause::Outcome))
    }

    fn tell(&self, rules: &Rules, steps: &[Step]) {
        tell(&self.worker, rules, steps, Some(self));
    }
}

fn rules(snapshot: &Snapshot) -> &Rules {
    &snapshot.config.reputation.rules
}

/// Counts and logs who has got to a rung or left one, and has it written down where it must be.
fn tell(worker: &Worker, rules: &Rules, steps: &[Step], of: Option<&Behaviour>) {
    for step in steps {
        let rung = |index: Option<usize>| index.and_then(|index| rules.ladder.get(index));
        let (from, to) = (rung(step.from), rung(step.to));
        let (action, by) = (to.map_or("none", |rung| rung.action.word()), step.subject.kind().word());
        worker.shared.telemetry.metrics.reputation.step(action, by, step.dry_run);
        let certificate = of
            .and_then(|of| of.identity.as_deref())
            .filter(|_| by == "identity")
            .map(|identity| &*identity.subject.text);
        let (reason, before) = (to.map(|rung| &*rung.reason), from.map_or("none", |rung| rung.action.word()));
        let (subject, score, cause, dry_run) =
            (step.subject.to_string(), f64::from(step.score), step.cause.word(), step.dry_run);
        if step.to > step.from {
            tracing::warn!(target: "portcullis::reputation", by, subject, certificate, action, before, score, cause, reason, dry_run, "climbed");
        } else {
            tracing::info!(target: "portcullis::reputation", by, subject, certificate, action, before, score, cause, dry_run, "came down");
        }
        if step.dry_run {
            continue;
        }
        if from.is_some_and(|rung| rung.action.is_ban()) || to.is_some_and(|rung| rung.action.is_ban()) {
            worker.shared.reputation.bans_changed();
        }
        if let (Some(rung), Some(of)) = (to.filter(|rung| rung.action == Action::Deny), of) {
            of.deny(rung, step);
        }
    }
}

impl Behaviour {
    /// By its key, so that a certificate that is renewed for the same key is denied too.
    fn deny(&self, rung: &Rung, step: &Step) {
        let (Some(identity), Some(trust)) = (&self.identity, &self.trust) else { return };
        let lasts = rung.hold.as_secs();
        let expires = self.worker.shared.clock.unix().as_secs().saturating_add(lasts);
        let reason = format!("{} score {:.1}: {}", step.cause.word(), step.score, rung.reason);
        self.worker.shared.reputation.deny(DenyRequest {
            trust: trust.clone(),
            spec: DenySpec {
                matcher: Matcher { spki: vec![identity.spki], ..Matcher::default() },
                reason: reason.trim_end_matches(": ").into(),
                author: "reputation".into(),
                expires: i64::try_from(expires).ok(),
                source: Source::Admin,
            },
        });
    }
}
