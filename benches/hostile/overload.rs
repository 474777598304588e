//! New handshakes and requests at one, two and ten times the gate's capacity.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::gate::{Client, Gate, Outcome, ask, backend, certificates};

/// How long each load lasts.
const LONG: Duration = Duration::from_secs(8);
/// Requests that the gate lets the backend have at once.
const IN_FLIGHT: usize = 64;
const TOP: &str = "[connection]\nhandshakes_per_address = \"1000000/s\"\nper_address = 1000000\nmax_requests = 1000000000\n[http]\nrequests_in_flight = 64\n";

pub(crate) async fn run(wants: impl Fn(&str) -> bool) {
    let backend = backend();
    if wants("handshakes") {
        // Both sides pay about the same: the clients run out of breath behind twice.
        handshakes("P-256", &[1.0, 2.0], backend).await;
    }
    if wants("dear-handshakes") {
        handshakes("RSA 4096", &[1.0, 2.0, 10.0], backend).await;
    }
    if wants("requests") {
        requests("a backend of 10 ms, 64 at once", "/slow", IN_FLIGHT, backend).await;
    }
    if wants("busy-requests") {
        requests("the gate itself", "/", 32, backend).await;
    }
}

/// One load and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    refused: u64,
    late: u64,
    times: Vec<Duration>,
}

impl Tally {
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done(took) => {
                self.done += 1;
                self.times.push(*took);
            }
            Outcome::Refused => self.refused += 1,
            Outcome::Late => self.late += 1,
        }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.refused + self.late
    }

    pub(crate) fn quantile(&mut self, q: f64) -> f64 {
        self.times.sort_unstable();
        let at = (self.times.len() as f64 * q) as usize;
        self.times.get(at.min(self.times.len().saturating_sub(1))).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

fn head(what: &str) {
    println!("\n### {what}\n");
    println!(
        "| Offered | Offered/s | Done/s | Of peak | Refused/s | Late/s | p50 ms | p99 ms | RSS MiB | Refusals by reason |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
}

async fn row(name: &str, offered: f64, peak: f64, mut tally: Tally, gate: &Gate, before: &BTreeMap<String, f64>) {
    let per = |count: u64| count as f64 / LONG.as_secs_f64();
    let reasons: Vec<_> = gate
        .rejects()
        .await
        .into_iter()
        .filter_map(|(reason, count)| {
            let more = count - before.get(&reason).copied().unwrap_or(0.0);
            (more > 0.0).then(|| format!("`{reason}` {more}"))
        })
        .collect();
    println!(
        "| {name} | {offered:.0} | {:.0} | {:.0} % | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {} |",
        per(tally.done),
        100.0 * per(tally.done) / peak,
        per(tally.refused),
        per(tally.late),
        tally.quantile(0.5),
        tally.quantile(0.99),
        gate.resident_mib(),
        reasons.join(", "),
    );
}

/// New connections, each with a full handshake and one request.
async fn handshakes(key: &str, loads: &[f64], backend: SocketAddr) {
    let dir = tempfile::tempdir().unwrap();
    let client = Arc::new(certificates(dir.path(), key));
    let gate = Gate::start(dir.path(), backend, TOP);
    head(&format!("New handshakes, server key {key}"));
    let before = gate.rejects().await;
    let (crowd, address) = (Arc::clone(&client), gate.address);
    let closed = closed(16, move |_| {
        let client = Arc::clone(&crowd);
        async move { client.once(address).await }
    })
    .await;
    let peak = closed.done as f64 / LONG.as_secs_f64();
    row("peak (16 clients, closed loop)", peak, peak, closed, &gate, &before).await;
    for &times in loads {
        let before = gate.rejects().await;
        let (tally, offered) = open(peak * times, &client, gate.address).await;
        row(&format!("{times} x"), offered, peak, tally, &gate, &before).await;
    }
}

/// Arrivals at a fixed rate. Also gives the rate that there really was.
async fn open(rate: f64, client: &Arc<Client>, address: SocketAddr) -> (Tally, f64) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (started, mut sent) = (tokio::time::Instant::now(), 0_u64);
    while started.elapsed() < LONG {
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        while sent < due {
            sent += 1;
            let (client, tell) = (Arc::clone(client), tell.clone());
            // From when it was meant to begin: what waits for the client itself counts, too.
            let meant = started + Duration::from_secs_f64(sent as f64 / rate);
            tokio::spawn(async move {
                let outcome = client.once(address).await;
                let outcome = if let Outcome::Done(_) = outcome { Outcome::Done(meant.elapsed()) } else { outcome };
                let _ = tell.send(outcome);
            });
        }
        sleep_until(tokio::time::Instant::now() + Duration::from_millis(1)).await;
    }
    let offered = sent as f64 / LONG.as_secs_f64();
    drop(tell);
    let mut tally = Tally::default();
    while let Some(outcome) = told.recv().await {
        tally.count(&outcome);
    }
    (tally, offered)
}

/// So many clients that ask again as soon as they are answered.
pub(crate) async fn closed<F: Future<Output = Outcome> + Send + 'static>(
    clients: usize,
    work: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
) -> Tally {
    let (tell, mut told) = mpsc::unbounded_channel();
    let until = Instant::now() + LONG;
    for n in 0..clients {
        let (tell, work) = (tell.clone(), work.clone());
        tokio::spawn(async move {
            while Instant::now() < until {
                let _ = tell.send(work(n).await);
            }
        });
    }
    drop(tell);
    let mut tally = Tally::default();
    while let Some(outcome) = told.recv().await {
        tally.count(&outcome);
    }
    tally
}

/// Requests on connections that are there: each client has one, and asks again as soon as it is answered.
async fn requests(what: &str, path: &'static str, peak_clients: usize, backend: SocketAddr) {
    let dir = tempfile::tempdir().unwrap();
    let client = Arc::new(certificates(dir.path(), "P-256"));
    let gate = Gate::start(dir.path(), backend, TOP);
    head(&format!("Requests, bound by {what}"));
    let mut peak = f64::NAN;
    for (name, clients) in [("1 x", peak_clients), ("2 x", peak_clients * 2), ("10 x", peak_clients * 10)] {
        let mut streams = Vec::new();
        for _ in 0..clients {
            streams.push(Arc::new(tokio::sync::Mutex::new(client.connect(gate.address).await.unwrap())));
        }
        let streams = Arc::new(streams);
        let before = gate.rejects().await;
        let tally = closed(clients, move |n| {
            let stream = Arc::clone(&streams[n]);
            async move { ask(&mut *stream.lock().await, path).await }
        })
        .await;
        let done = tally.done as f64 / LONG.as_secs_f64();
        if peak.is_nan() {
            peak = done;
        }
        let offered = (tally.done + tally.refused) as f64 / LONG.as_secs_f64();
        row(&format!("{name} ({clients} clients)"), offered, peak, tally, &gate, &before).await;
    }
}
