//! What a run has shown, for people: a table.

use std::fmt;
use std::time::Duration;

use super::outcome::{Outcome, Quantiles, float, mode, protocol};
use super::plan::Work;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_bytes_are_told_in_their_own_unit() {
        for (nanos, text) in [(0, "0 µs"), (999_400, "999 µs"), (1_234_000, "1.23 ms"), (2_500_000_000, "2.50 s")] {
            assert_eq!(time(Duration::from_nanos(nanos)), text);
        }
        for (count, text) in [(0.0, "0 B"), (1500.0, "1.5 kB"), (2e6, "2.0 MB"), (3.25e9, "3.2 GB")] {
            assert_eq!(bytes(count), text);
        }
    }
}
