//! What a run has shown: as JSON with names that stay, and as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::pace::Pace;
use super::plan::{Plan, Protocol, Work};
use super::tally::Tally;

/// What a run has shown.
#[derive(Clone, Debug)]
pub struct Outcome {
    plan: Arc<Plan>,
    /// From the start to the end of the last unit that ended well.
    pub elapsed: Duration,
    /// Units that ended well.
    pub done: u64,
    /// Units that did not.
    pub failed: u64,
    /// Open loop: units that were due, and for which there was no time.
    pub missed: u64,
    /// From when a unit was due to its end.
    pub latency: Quantiles,
    /// From the first byte of a request to the last one of its response.
    pub service: Quantiles,
    /// TCP connects.
    pub connect: Quantiles,
    /// Full TLS handshakes, without the connect.
    pub full_handshake: Quantiles,
    /// Resumed TLS handshakes, without the connect.
    pub resumed_handshake: Quantiles,
    /// Connects and handshakes that failed.
    pub refused_handshakes: u64,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Failed units by the name of their failure.
    pub errors: BTreeMap<String, u64>,
    /// Bytes on the wire: received, sent. Handshakes too.
    pub wire: (u64, u64),
    /// Bytes of bodies: received, sent.
    pub bodies: (u64, u64),
    /// Idle connections that were held, and that still answered at the end.
    pub held: (u64, u64),
    /// CPU time of the run's own threads from the start on, user and system; `None` where the system does not say.
    pub cpu: Option<Duration>,
    /// Units by the second they ended in.
    pub seconds: Vec<Second>,
}

/// Units that ended in one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// Well.
    pub done: u64,
    /// Not well.
    pub failed: u64,
}

/// How a time is distributed.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantiles {
    histogram: Histogram<u64>,
}

/// What is known of a run beside its tallies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) elapsed: Duration,
    pub(super) missed: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) cpu: Option<Duration>,
}

impl Quantiles {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// What this share (0 to 1) of all does not exceed.
    #[must_use]
    pub fn at(&self, share: f64) -> Duration {
        Duration::from_nanos(if self.count() == 0 { 0 } else { self.histogram.value_at_quantile(share) })
    }

    /// The arithmetic mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::try_from_secs_f64(self.histogram.mean() / 1e9).unwrap_or_default()
    }

    /// Microseconds, by name.
    fn json(&self) -> Value {
        let mut out = Map::new();
        out.insert("count".to_owned(), self.count().into());
        out.insert("mean".to_owned(), micros(self.mean()));
        for (name, share) in SHARES {
            out.insert(name.to_owned(), micros(self.at(share)));
        }
        out.into()
    }
}

impl Outcome {
    pub(super) fn new(plan: Arc<Plan>, all: &Tally, frame: Frame) -> Self {
        let quantiles = |histogram: &Histogram<u64>| Quantiles { histogram: histogram.clone() };
        Self {
            plan,
            elapsed: frame.elapsed,
            done: all.done,
            failed: all.failed,
            missed: frame.missed,
            latency: quantiles(&all.latency),
            service: quantiles(&all.service),
            connect: quantiles(&all.connect),
            full_handshake: quantiles(&all.full),
            resumed_handshake: quantiles(&all.resumed),
            refused_handshakes: all.refused_handshakes,
            statuses: all.statuses.clone(),
            errors: all.errors.iter().map(|(failure, count)| (failure.to_string(), *count)).collect(),
            wire: (frame.received, frame.sent),
            bodies: (all.body_received, all.body_sent),
            held: (all.held, all.alive),
            cpu: frame.cpu,
            seconds: all.seconds.iter().map(|(done, failed)| Second { done: *done, failed: *failed }).collect(),
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Units that ended well in a second, on average.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.per_second(self.done)
    }

    /// The share of units that failed or were missed, 0 to 1; 1 if there were none at all.
    #[must_use]
    pub fn failure_share(&self) -> f64 {
        let bad = self.failed + self.missed;
        let all = self.done + bad;
        if all == 0 { 1.0 } else { float(bad) / float(all) }
    }

    /// CPU time of the run's own threads for each unit.
    #[must_use]
    pub fn cpu_per_unit(&self) -> Option<Duration> {
        let units = self.done + self.failed;
        (units > 0).then(|| Duration::try_from_secs_f64(self.cpu?.as_secs_f64() / float(units)).ok()).flatten()
    }

    /// All of it, with names that stay.
    #[must_use]
    pub fn json(&self) -> Value {
        let plan = &self.plan;
        let rate = match plan.pace {
            Pace::Closed => Value::Null,
            Pace::Open(rate) => rate.into(),
        };
        json!({
            "version": 1,
            "target": { "address": plan.target.address.to_string(), "authority": plan.target.authority, "path": plan.target.path },
            "mode": mode(plan.work),
            "protocol": protocol(plan.protocol),
            "loop": if plan.pace == Pace::Closed { "closed" } else { "open" },
            "rate_wanted": rate,
            "connections": plan.connections.get(),
            "streams": plan.streams.get(),
            "threads": plan.threads.get(),
            "identities": plan.identities.len(),
            "elapsed_s": self.elapsed.as_secs_f64(),
            "requests": {
                "done": self.done,
                "failed": self.failed,
                "missed": self.missed,
                "per_second": self.rate(),
                "failure_share": self.failure_share(),
            },
            "latency_us": self.latency.json(),
            "service_us": self.service.json(),
            "connect_us": self.connect.json(),
            "handshake_full_us": self.full_handshake.json(),
            "handshake_resumed_us": self.resumed_handshake.json(),
            "handshakes": {
                "full": self.full_handshake.count(),
                "resumed": self.resumed_handshake.count(),
                "failed": self.refused_handshakes,
            },
            "statuses": self.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect::<Map<_, _>>(),
            "errors": self.errors,
            "bytes": {
                "wire_received": self.wire.0,
                "wire_sent": self.wire.1,
                "body_received": self.bodies.0,
                "body_sent": self.bodies.1,
            },
            "idle": { "held": self.held.0, "alive": self.held.1 },
            "cpu": {
                "user_and_system_us": self.cpu.map(micros),
                "us_per_request": self.cpu_per_unit().map(micros),
            },
            "seconds": self.seconds.iter().map(|second| json!({ "done": second.done, "failed": second.failed })).collect::<Vec<_>>(),
        })
    }

    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { float(count) / seconds } else { 0.0 }
    }
}

/// The table.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        writeln!(
            f,
            "{} over {} to {} ({}): {} connections, {} threads, {} identities",
            mode(plan.work),
            protocol(plan.protocol),
            plan.target.authority,
            plan.target.address,
            plan.connections,
            plan.threads,
            plan.identities.len()
        )?;
        writeln!(f, "\n  {:>12} done      {:>12.1} /s in {:.2} s", self.done, self.rate(), self.elapsed.as_secs_f64())?;
        writeln!(f, "  {:>12} failed    {:>12} missed", self.failed, self.missed)?;
        if let Work::Idle(wanted) = plan.work {
            writeln!(f, "  {:>12} held      {:>12} alive at the end, of {wanted}", self.held.0, self.held.1)?;
        }
        writeln!(
            f,
            "\n  {:<16}{:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "", "count", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for (name, quantiles) in [
            ("latency", &self.latency),
            ("request", &self.service),
            ("connect", &self.connect),
            ("full handshake", &self.full_handshake),
            ("resumed", &self.resumed_handshake),
        ] {
            row(f, name, quantiles)?;
        }
        let (bodies, wire) = (self.bodies, self.wire);
        writeln!(
            f,
            "\n  bodies  {} received ({}/s), {} sent ({}/s)",
            bytes(float(bodies.0)),
            bytes(self.per_second(bodies.0)),
            bytes(float(bodies.1)),
            bytes(self.per_second(bodies.1))
        )?;
        writeln!(f, "  wire    {} received, {} sent", bytes(float(wire.0)), bytes(float(wire.1)))?;
        if let (Some(cpu), Some(each)) = (self.cpu, self.cpu_per_unit()) {
            writeln!(
                f,
                "  cpu     {:.2} s of this load tester's own, {:.1} µs for each",
                cpu.as_secs_f64(),
                each.as_secs_f64() * 1e6
            )?;
        }
        let statuses = self.statuses.iter().map(|(status, count)| format!("{status}: {count}"));
        let errors = self.errors.iter().map(|(name, count)| format!("{name}: {count}"));
        for (title, items) in [("status", statuses.collect::<Vec<_>>()), ("errors", errors.collect())] {
            if !items.is_empty() {
                writeln!(f, "  {title}  {}", items.join(", "))?;
            }
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, quantiles: &Quantiles) -> fmt::Result {
    if quantiles.count() == 0 {
        return Ok(());
    }
    let at = |share| time(quantiles.at(share));
    writeln!(
        f,
        "  {name:<16}{:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        quantiles.count(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    )
}

fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e6 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

fn bytes(count: f64) -> String {
    match count {
        ..1e3 => format!("{count:.0} B"),
        ..1e6 => format!("{:.1} kB", count / 1e3),
        ..1e9 => format!("{:.1} MB", count / 1e6),
        _ => format!("{:.1} GB", count / 1e9),
    }
}

/// To the nanosecond.
fn micros(time: Duration) -> Value {
    ((time.as_secs_f64() * 1e9).round() / 1e3).into()
}

const fn mode(work: Work) -> &'static str {
    match work {
        Work::Idle(_) => "idle",
        Work::NewConnection => "new-connection",
        Work::Requests => "requests",
        Work::Resume => "resume",
    }
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http/1.1",
        Protocol::Http2 => "h2",
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "for people to read")]
const fn float(number: u64) -> f64 {
    number as f64
}

const SHARES: [(&str, f64); 8] = [
    ("min", 0.0),
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p999", 0.999),
    ("p9999", 0.9999),
    ("max", 1.0),
];
