//! The load: blocking threads over rustls, one for each connection, in a process of its own.
//!
//! It reads no header but the status and the length, and does not verify the proxy's certificate, because
//! what it does not spend is left for the proxy to be busy with.

pub mod client;
pub mod http1;
mod http2;
mod idle;
mod latency;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

use crate::{material, process};
use client::{Client, Tickets};

/// Before anything counts: caches fill, pools of connections grow, buffers find their size.
const WARM_UP: Duration = Duration::from_millis(400);

/// What to do, as it is written on the command line of the child.
#[derive(Clone)]
pub struct Job {
    /// `h1`, `h2`, `handshake`, `resumed`, `idle-h1`, `idle-h2`, `paced`.
    pub kind: String,
    pub address: String,
    /// The folder with the authority.
    pub dir: PathBuf,
    /// Whose CPU time is counted.
    pub proxy: Vec<u32>,
    pub origin: u32,
    pub connections: usize,
    /// HTTP/2 streams of a connection.
    pub streams: usize,
    pub seconds: f64,
    /// What is asked for; `POST` sends a megabyte.
    pub request: String,
    /// Client certificates to take turns with.
    pub identities: usize,
    /// Requests per second, where time sets the pace.
    pub rate: f64,
    /// Whether the proxy will reload meanwhile, so that connections may end.
    pub reloads: bool,
}

impl Job {
    pub fn to_json(&self) -> String {
        json!({
            "kind": self.kind, "address": self.address, "dir": self.dir, "proxy": self.proxy, "origin": self.origin,
            "connections": self.connections, "streams": self.streams, "seconds": self.seconds,
            "request": self.request, "identities": self.identities, "rate": self.rate,
            "reloads": self.reloads,
        })
        .to_string()
    }

    fn from_json(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap();
        let string = |key: &str| value[key].as_str().unwrap().to_owned();
        let number = |key: &str| value[key].as_u64().unwrap() as usize;
        let proxy = value["proxy"].as_array().unwrap();
        Self {
            kind: string("kind"),
            address: string("address"),
            dir: string("dir").into(),
            proxy: proxy.iter().map(|id| id.as_u64().unwrap() as u32).collect(),
            origin: number("origin") as u32,
            connections: number("connections"),
            streams: number("streams"),
            seconds: value["seconds"].as_f64().unwrap(),
            request: string("request"),
            identities: number("identities"),
            rate: value["rate"].as_f64().unwrap(),
            reloads: value["reloads"].as_bool().unwrap(),
        }
    }
}

/// The child: does the job and prints what it saw.
pub fn main(job: &str) {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let job = Job::from_json(job);
    let identities = material::clients(&job.dir, job.identities);
    let seen = match job.kind.as_str() {
        "idle-h1" | "idle-h2" => idle::hold(&job, &identities),
        _ => closed_loop(&job, &identities),
    };
    println!("{seen}");
}

/// What the threads of one measurement share.
pub struct Shared {
    ready: Barrier,
    /// Whether what happens counts.
    counts: AtomicBool,
    stop: AtomicBool,
    units: AtomicU64,
    /// Of the units that are handshakes, those that were resumed.
    resumed: AtomicU64,
    /// Requests without an answer.
    lost: AtomicU64,
    /// When the first slot of a schedule is.
    begin: OnceLock<Instant>,
}

/// What one thread does for it.
pub struct Meter {
    shared: Arc<Shared>,
    micros: Vec<u32>,
}

impl Meter {
    fn goes_on(&self) -> bool {
        !self.shared.stop.load(Ordering::Relaxed)
    }

    /// One unit is done that began (or was to begin) at `since`.
    fn unit(&mut self, since: Instant) {
        if self.shared.counts.load(Ordering::Relaxed) {
            self.shared.units.fetch_add(1, Ordering::Relaxed);
            self.micros.push(since.elapsed().as_micros() as u32);
        }
    }

    fn lost(&self) {
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
    }
}

fn closed_loop(job: &Job, identities: &[Arc<CertifiedKey>]) -> Value {
    let shared = Arc::new(Shared {
        ready: Barrier::new(job.connections + 1),
        counts: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        units: AtomicU64::new(0),
        resumed: AtomicU64::new(0),
        lost: AtomicU64::new(0),
        begin: OnceLock::new(),
    });
    let threads: Vec<_> = (0..job.connections)
        .map(|index| {
            let tickets = if job.kind == "resumed" { Tickets::Used } else { Tickets::Ignored };
            let protocol: &[u8] = if job.kind == "h2" { b"h2" } else { b"http/1.1" };
            // Each thread has identities of its own, so that none is fresh to one and known to another.
            let own = identities.iter().skip(index % identities.len()).step_by(job.connections).cloned().collect();
            let client = Client::new(&job.address, protocol, own, tickets);
            let mut meter = Meter { shared: Arc::clone(&shared), micros: Vec::new() };
            let job = job.clone();
            thread::spawn(move || {
                match job.kind.as_str() {
                    "h1" => http1::requests(&client, &job, &mut meter),
                    "h2" => http2::requests(&client, &job, &mut meter),
                    "paced" => latency::requests(&client, &job, index, &mut meter),
                    _ => http1::handshakes(&client, &job, &mut meter),
                }
                meter.micros
            })
        })
        .collect();
    shared.ready.wait();
    thread::sleep(WARM_UP);
    let by_ticks = process::cpu_micros_by_ticks;
    let usage = || [process::cpu_micros(&job.proxy), by_ticks(std::process::id()), by_ticks(job.origin)];
    let (before, start) = (usage(), Instant::now());
    shared.counts.store(true, Ordering::Relaxed);
    thread::sleep(Duration::from_secs_f64(job.seconds));
    let (units, after, took) = (shared.units.load(Ordering::Relaxed), usage(), start.elapsed());
    shared.counts.store(false, Ordering::Relaxed);
    shared.stop.store(true, Ordering::Relaxed);
    let mut micros: Vec<u32> = threads.into_iter().flat_map(|thread| thread.join().expect("no error")).collect();
    micros.sort_unstable();
    let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied().unwrap_or_default();
    let per_unit = |index: usize| (after[index] - before[index]) / units.max(1) as f64;
    let mut seen = json!({
        "units": units, "rate": units as f64 / took.as_secs_f64(),
        "load_cpu": per_unit(1), "origin_cpu": per_unit(2),
        "p50": at(0.5), "p99": at(0.99), "max": micros.last(),
        "lost": shared.lost.load(Ordering::Relaxed),
        "resumed": shared.resumed.load(Ordering::Relaxed) as f64 / units.max(1) as f64,
    });
    // A reload may end the workers that were counted.
    if !job.reloads {
        seen["cpu"] = per_unit(0).into();
        seen["busy"] = ((after[0] - before[0]) / took.as_secs_f64() / 1e6).into();
    }
    seen
}
