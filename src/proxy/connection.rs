//! The life of a connection, top to bottom.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::arrival::{self, Arrival};
use super::peer::Peer;
use super::reputation::{self, Behaviour};
use super::request::Exchange;
use super::rounds::Place;
use super::{Worker, stack, tunnel};
use crate::clock::Clock;
use crate::codec::{Beside, First};
use crate::drain::{Busy, Drain};
use crate::http1::{self, Ended};
use crate::http2;
use crate::limits::ConnectionPermit;
use crate::reject::{Reason, Reject};
use crate::snapshot::Snapshot;
use crate::telemetry::{ConnectionRecord, HandshakeFacts};
use crate::tls::{self, Attempt, Doors, Ends, Greeted, Handshaken, Protocol, Refused, TlsStream};

/// How long before its certificate's end a connection is asked to finish, at the least. What is in
/// flight then has this long; nothing is served past notAfter.
const EXPIRY_NOTICE: Duration = Duration::from_secs(5);

/// How much earlier it may be asked: a tenth of what is left, and a minute at the most. A fleet whose
/// certificates were issued in the same second must not come back in the same second.
const MOST_SPREAD: Duration = Duration::from_mins(1);
const SPREAD_PART: u32 = 10;

/// How long a connection that is cut off may take to say so: well within the second that is promised.
const FAREWELL: Duration = Duration::from_millis(250);

type Plain = TlsStream<TcpStream>;

/// Carries one accepted connection to its end, and records it. Not an `async fn`: those keep their arguments twice.
pub(super) fn run(
    stream: TcpStream,
    socket_peer: SocketAddr,
    (index, listener): (usize, SocketAddr),
    worker: Worker,
) -> impl Future<Output = ()> + Send {
    let busy = worker.shared.drain.busy();
    let mut record = worker.shared.telemetry.connection(socket_peer, listener);
    async move {
        // Not boxed: whoever has said nothing costs no more than its socket and a timer. What follows is, each for itself:
        // an idle connection keeps nothing of what came before, for hours.
        let talk = match arrival::first_byte(&stream, index, &worker, &record).await {
            Ok(arrival) => Box::pin(establish(stream, arrival, index, worker, busy, &mut record)).await,
            Err(reject) => Err(reject.into()),
        };
        match talk {
            Ok(talk) => match talk.await {
                Ok(()) => record.served(),
                Err(reject) => record.refused(reject),
            },
            Err(Turned { reject, farewell }) => {
                record.refused(reject);
                if let Some((stream, _permit)) = farewell {
                    Box::pin(tls::linger(stream)).await;
                }
            }
        }
    }
}

/// A connection that was turned away.
struct Turned {
    reject: Reject,
    /// To be closed gently, while it still counts.
    farewell: Option<(TcpStream, ConnectionPermit)>,
}

impl From<Reject> for Turned {
    fn from(reject: Reject) -> Self {
        Self { reject, farewell: None }
    }
}

/// A connection whose client is known.
struct Admitted {
    stream: Plain,
    protocol: Protocol,
    peer: Peer,
    behaviour: Behaviour,
    snapshot: Arc<Snapshot>,
    permit: ConnectionPermit,
    place: Place,
}

async fn establish(
    stream: TcpStream,
    arrival: Arrival,
    index: usize,
    worker: Worker,
    busy: Busy,
    record: &mut ConnectionRecord,
) -> Result<Talk, Turned> {
    let admitted = admit(stream, arrival, index, &worker, record).await?;
    Ok(converse(admitted, &worker, busy))
}

async fn admit(
    stream: TcpStream,
    arrival: Arrival,
    index: usize,
    worker: &Worker,
    record: &mut ConnectionRecord,
) -> Result<Admitted, Turned> {
    // Before the snapshot is taken: a change of trust between now and the first request is heard.
    let place = worker.own.rounds.join();
    let snapshot = worker.shared.published.current();
    let listener = snapshot.listener(index).ok_or_else(|| Reject::new(Reason::Abandoned, "no such listener"))?;
    let Arrival { deadline, mut silent, permit } = arrival;
    let stream = arrival::announced(stream, &listener.spec, deadline, record).await?;
    let permits = &worker.shared.permits;
    let permit = if let Some(permit) = permit {
        permit
    } else {
        reputation::door(worker, &snapshot, record.peer.ip())?;
        permits.connection(record.peer.ip())?
    };
    permits.start(record.peer.ip())?;
    let doors = Doors {
        hosts: &snapshot.hosts,
        configs: &snapshot.tls,
        default_host: listener.default_host,
        client_hello_bytes: snapshot.connection.client_hello_bytes,
        first_look: &|look| reputation::first_look(worker, &snapshot, look),
    };
    let mut attempt = Attempt::default();
    let done = async {
        let greeted = tokio::select! {
            greeted = tls::greet(stream, &doors, &mut attempt) => greeted?,
            reject = silent.revoked() => return Err(Refused { reject, io: None }),
        };
        drop(silent);
        let refused = |reject| Refused { reject, io: None };
        let mut handshake = permits.handshake(record.peer.ip()).map_err(refused)?;
        tokio::select! {
            done = in_turn(greeted, &doors, worker, &snapshot, &mut attempt) => done,
            reject = handshake.revoked() => Err(refused(reject)),
        }
    };
    let done = match timeout_at(deadline, done).await {
        Ok(done) => done,
        Err(_) => Err(Refused { reject: arrival::late(&snapshot), io: None }),
    };
    record.identity = attempt.presented.take().and_then(|presented| presented.identity);
    record.server_name.clone_from(&attempt.server_name);
    record.print = attempt.print;
    let done: Handshaken<_> = match done {
        Ok(done) => done,
        Err(Refused { reject, io }) => {
            reputation::failed(worker, &snapshot, record.peer.ip(), &reject, record.identity.as_deref());
            return Err(Turned { reject, farewell: io.map(|io| (io, permit)) });
        }
    };
    let (peer, behaviour) = introduce(&done, &attempt, worker, &snapshot, record)?;
    Ok(Admitted { stream: done.stream, protocol: done.protocol, peer, behaviour, snapshot, permit, place })
}

/// What becomes known of a client by its handshake, to everybody who keeps count.
fn introduce(
    done: &Handshaken<TcpStream>,
    attempt: &Attempt,
    worker: &Worker,
    snapshot: &Snapshot,
    record: &ConnectionRecord,
) -> Result<(Peer, Behaviour), Reject> {
    let peer = Peer::establish(done, attempt, record.peer, snapshot, &worker.shared.clock)?;
    peer.tell_stack(&attempt.client_hello);
    stack::observe(&peer, snapshot, done.host, &worker.shared.telemetry.metrics);
    let behaviour = reputation::admit(worker, snapshot, &peer, done.host)?;
    peer.count_anchor(snapshot, done.host, &worker.shared.telemetry.metrics);
    let kind = if done.resumed { "resumed" } else { "full" };
    record.established(&peer.who.host, HandshakeFacts { version: done.version, protocol: peer.who.protocol, kind });
    Ok((peer, behaviour))
}

/// The rest of a handshake, when it is its turn to cost something.
async fn in_turn(
    greeted: Greeted<TcpStream>,
    doors: &Doors<'_>,
    worker: &Worker,
    snapshot: &Snapshot,
    attempt: &mut Attempt,
) -> Result<Handshaken<TcpStream>, Refused<TcpStream>> {
    let waiting = worker.shared.telemetry.metrics.handshake_waits();
    let turn = worker.own.turns.take(snapshot.connection.turns).await;
    turn.map_err(|reject| Refused { reject, io: None })?;
    drop(waiting);
    tls::conclude(greeted, doors, attempt).await
}

/// Speaks HTTP until the client, the certificate, the drain or a bound ends it. What is only needed to begin is gone when
/// this returns: the future is what an idle connection keeps.
fn converse(admitted: Admitted, worker: &Worker, busy: Busy) -> Talk {
    let Admitted { stream, protocol, peer, behaviour, snapshot, permit, place } = admitted;
    let ages = Ages::of(&snapshot);
    let (clock, drain) = (worker.shared.clock.clone(), worker.shared.drain.clone());
    let http2_print = Arc::clone(&peer.who.http2);
    let exchange = Arc::new(Exchange::new(peer, behaviour, place));
    let ((stop, stopped), (cut, is_cut)) = (watch::channel(false), watch::channel(false));
    let mut talk: Talk = match protocol {
        Protocol::Http2 => {
            let (clock, exchange) = (clock.clone(), Arc::clone(&exchange));
            Box::pin(http2::serve(stream, snapshot.http2, clock, (stopped, is_cut), http2_print, exchange))
        }
        Protocol::Http1 => speak_http1(stream, snapshot.http1, stopped, is_cut, Arc::clone(&exchange)),
    };
    // The connection outlives snapshots; holding this one would keep old configurations alive.
    drop(snapshot);
    Box::pin(async move {
        let ended = match Beside::new(&mut talk, age(&exchange, ages, &clock, drain, &stop)).await {
            First::Main(ended) => ended,
            First::Aside(Over::Life) => Ok(()),
            First::Aside(Over::Trust { reject, since }) => {
                cut.send_replace(true);
                // Resets, GOAWAY or a close frame, if the client takes them; then nothing more.
                let _ = timeout(FAREWELL, talk).await;
                exchange.enforced(since);
                Err(reject)
            }
        };
        if let Err(reject) = &ended {
            exchange.misbehaved(reject.reason);
        }
        drop((permit, busy));
        ended
    })
}

/// Boxed by itself: what one async function hands to another is kept twice.
type Talk = Pin<Box<dyn Future<Output = Result<(), Reject>> + Send>>;

fn speak_http1(
    stream: Plain,
    settings: http1::Settings,
    stop: watch::Receiver<bool>,
    cut: watch::Receiver<bool>,
    exchange: Arc<Exchange>,
) -> Talk {
    let mut is_cut = cut.clone();
    let is_cut = async move { drop(is_cut.wait_for(|cut| *cut).await) };
    let served = Box::pin(Beside::new(http1::serve(stream, settings, stop, Arc::clone(&exchange)), is_cut));
    Box::pin(async move {
        match served.await {
            // A client that leaves is no refusal of ours; its request's record says so. And HTTP/1.1 has no word for a cut:
            // the connection just ends, in the middle of whatever it is in.
            First::Main(Ended::Closed | Ended::ClientGone) | First::Aside(()) => Ok(()),
            First::Main(Ended::Failed(reject)) => Err(reject),
            First::Main(Ended::Upgraded { io, tunnel }) => {
                Box::pin(tunnel::run(io, tunnel, &exchange, cut)).await;
                Ok(())
            }
        }
    })
}

/// Why a connection is cut.
enum Over {
    /// Its time is up, or its certificate's.
    Life,
    /// What has been in force since `since` does not want it: a configuration, or the same one
    /// after a revocation list has ended.
    Trust { reject: Reject, since: std::time::Instant },
}

/// Asks the connection to finish when it is time to, and resolves when it must end. No configuration is missed, and
/// each may move the end. Who asks for something before it is this connection's turn to hear of one, is judged then.
async fn age(exchange: &Exchange, ages: Ages, clock: &Clock, drain: Drain, stop: &watch::Sender<bool>) -> Over {
    let mut news = exchange.news();
    let (mut asked, mut timed) = (false, false);
    loop {
        let life = match exchange.welcome() {
            Ok(ends) => Life::of(ages, ends, clock),
            // Known in advance, and no change of trust.
            Err(reject) if timed && reject.reason == Reason::CertExpired => return Over::Life,
            Err(reject) => return Over::Trust { reject, since: exchange.unwelcome_since() },
        };
        timed = false;
        // One timer for all three: an idle connection keeps it.
        let next = if asked { life.end } else { life.end.min(life.notice) };
        tokio::select! {
            () = drain.started(), if !asked => asked = true,
            () = sleep_until(next) => {
                let now = Instant::now();
                if now >= ages.end {
                    return Over::Life;
                }
                asked |= now >= life.notice;
                // A certificate has ended, or a list: `welcome` says so, or knows better by now.
                timed = now >= life.end;
            }
            () = news.changed() => {}
        }
        if asked {
            stop.send_replace(true);
        }
    }
}

/// When a connection has lived long enough, whoever it is.
#[derive(Clone, Copy)]
struct Ages {
    aged: Instant,
    end: Instant,
    /// This connection's share of the spread, in 256ths.
    lot: u8,
}

impl Ages {
    fn of(snapshot: &Snapshot) -> Self {
        let mut lot = [0; 1];
        // Without randomness all are asked at the last moment, which is no worse than that.
        let [lot] = aws_lc_rs::rand::fill(&mut lot).map_or([0], |()| lot);
        let max_age = snapshot.connection.max_age;
        let now = Instant::now();
        Self { aged: now + max_age - spread(max_age, lot), end: now + max_age + snapshot.config.drain_timeout, lot }
    }
}

/// How much before the last moment a connection with this lot is asked, of which `left` is left.
fn spread(left: Duration, lot: u8) -> Duration {
    (left / SPREAD_PART).min(MOST_SPREAD) * u32::from(lot) / 256
}

/// When a connection is asked to finish, and when it is cut or judged anew.
#[derive(Clone, Copy, Debug)]
struct Life {
    notice: Instant,
    end: Instant,
}

impl Life {
    fn of(ages: Ages, ends: Option<Ends>, clock: &Clock) -> Self {
        let Some(ends) = ends else {
            return Self { notice: ages.aged, end: ages.end };
        };
        let (now, unix) = (Instant::now(), clock.unix());
        let left = |last: i64| {
            // The last second counts (RFC 5280 §4.1.2.5 of notAfter), so it is over a second later.
            let over = u64::try_from(last).unwrap_or(0).saturating_add(1);
            // A certificate without an end (RFC 5280's 9999) must not overflow the timer.
            Duration::from_secs(over).saturating_sub(unix).min(Duration::from_hours(24 * 365))
        };
        let certificate = left(ends.certificate);
        // A list has no notice: the next one may come at the last moment, and nobody is to notice that.
        let end = now + certificate.min(left(ends.lists));
        let notice = now + certificate.saturating_sub(EXPIRY_NOTICE + spread(certificate, ages.lot));
        Self { notice: notice.min(ages.aged), end: end.min(ages.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(lot: u8, certificate: u64, lists: u64) -> (Duration, Duration) {
        let clock = Clock::system();
        let now = Instant::now();
        let day = now + Duration::from_hours(24);
        let at = |seconds: u64| i64::try_from(clock.unix().as_secs() + seconds).unwrap();
        let ends = Ends { certificate: at(certificate), lists: at(lists) };
        let life = Life::of(Ages { aged: day, end: day, lot }, Some(ends), &clock);
        (life.notice.saturating_duration_since(now), life.end.saturating_duration_since(now))
    }

    #[test]
    fn connections_whose_certificates_end_together_are_asked_one_after_the_other() {
        let seconds = |lot| life(lot, 3600, 7200).0.as_secs();
        let mut asked: Vec<_> = (0..=255).map(seconds).collect();
        assert!(asked.iter().all(|at| (3600 - 5 - 61..=3600 - 4).contains(at)), "{asked:?}");
        asked.dedup();
        assert!(asked.len() >= 55, "{asked:?}");
        assert!(life(0, 3600, 7200).1 >= Duration::from_secs(3599));
    }

    #[test]
    fn a_short_certificate_is_asked_for_a_tenth_of_its_time_sooner_at_most() {
        let (notice, end) = life(255, 100, 7200);
        assert!(notice >= Duration::from_secs(100 - 5 - 11) && end >= Duration::from_secs(99), "{notice:?} {end:?}");
        assert!(life(255, 3, 7200).0 < Duration::from_millis(100), "at once");
    }

    #[test]
    fn a_list_that_ends_first_ends_the_connection_and_asks_nobody_to_leave_before() {
        let (notice, end) = life(255, 3600, 60);
        assert!(end <= Duration::from_secs(61) && notice > Duration::from_mins(50), "{notice:?} {end:?}");
    }
}
