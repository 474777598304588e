//! Results as tables, from their JSON: for the terminal, and for docs/performance.md (tests/docs.rs holds it to that).

use std::fmt::Write as _;

use serde_json::Value;

/// A row for the terminal, with what says whether it was measured well.
#[allow(dead_code, reason = "the test of the documents has no terminal")]
pub fn text(row: &Value) -> String {
    let mut text = format!("\n{} ({}), {}\n", string(&row["title"]), string(&row["name"]), string(&row["unit"]));
    for proxy in list(&row["proxies"]) {
        let _ = write!(text, "  {:14} {:>24}", string(&proxy["name"]), spread(proxy));
        if proxy["name"] == row["best_peer"] {
            let _ = write!(text, "  best peer: gate / it = {:.2}", number(&row["ratio"]));
        }
        if proxy["rate"].is_number() {
            let busy = proxy["busy"].as_f64().unwrap_or_default();
            let of = |key: &str| number(&proxy[key]);
            let _ = write!(
                text,
                "\n  {:14} {:.0}/s, core busy {:.2}, p50 {:.0} p99 {:.0} max {:.0} µs, lost {}, resumed {:.2}; \
                 load {:.1} and origin {:.1} CPU-µs",
                "",
                of("rate"),
                busy,
                of("p50"),
                of("p99"),
                of("max"),
                of("lost"),
                of("resumed"),
                of("load_cpu"),
                of("origin_cpu")
            );
        }
        text.push('\n');
    }
    text
}

/// Everything that a document tells of a run, as Markdown.
#[allow(dead_code, reason = "the benchmark leaves it to the test of the documents")]
pub fn markdown(results: &Value) -> String {
    [conditions(results), rows(results), behind(results), one_core(results)].join("\n")
}

fn conditions(results: &Value) -> String {
    let (machine, versions) = (&results["machine"], &results["versions"]);
    let note = match string(&results["note"]) {
        "" => String::new(),
        note => format!(" ({note})"),
    };
    format!(
        "{}, {} cores of {}, Linux {}. portcullis {}{note}; {} ({}); HAProxy {} ({}). Median (least–most) of {} rounds \
         of {} s; the best peer of a row is bold. Less is better.\n",
        string(&machine["date"]),
        machine["cores"],
        string(&machine["processor"]),
        string(&machine["kernel"]),
        string(&versions["portcullis"]),
        string(&versions["nginx"]),
        string(&versions["nginx_tls"]),
        string(&versions["haproxy"]).split([' ', '-']).next().unwrap_or_default(),
        string(&versions["haproxy_tls"]),
        results["rounds"],
        number(&results["seconds"]),
    )
}

fn rows(results: &Value) -> String {
    let first = list(&results["rows"]).next().map_or(&Value::Null, |row| &row["proxies"]);
    let names: Vec<&str> = list(first).map(|proxy| string(&proxy["name"])).collect();
    let mut text = format!("| | Unit | {} | Gate ÷ best peer | Goal |\n", names.join(" | "));
    let _ = writeln!(text, "| --- | --- |{} ---: | --- |", " ---: |".repeat(names.len()));
    for row in list(&results["rows"]) {
        let cells: Vec<String> = list(&row["proxies"]).map(|proxy| cell(row, proxy)).collect();
        let (title, unit, ratio) = (string(&row["title"]), string(&row["unit"]), ratio(row));
        let _ = writeln!(text, "| {title} | {unit} | {} | {ratio} | {} |", cells.join(" | "), goal(row));
    }
    text
}

/// Where somebody else is better: first what a reader wants to know.
fn behind(results: &Value) -> String {
    let lost = list(&results["rows"]).filter(|row| number(&row["ratio"]) > 1.0);
    let lost: Vec<String> =
        lost.map(|row| format!("{} ({}, {})", string(&row["title"]), string(&row["best_peer"]), ratio(row))).collect();
    if lost.is_empty() {
        return "No peer is ahead in any row.\n".to_owned();
    }
    format!("**Where a peer is ahead**: {}.\n", lost.join("; "))
}

/// What the figures of the gate come to for one core that does nothing else.
fn one_core(results: &Value) -> String {
    let gate = |name: &str| {
        let row = list(&results["rows"]).find(|row| row["name"] == name)?;
        row["proxies"].get(0)?["median"].as_f64()
    };
    let mut text = "| One core does | |\n| --- | ---: |\n".to_owned();
    for (name, what) in [
        ("h1", "HTTP/1.1 requests per second"),
        ("h2", "HTTP/2 requests per second"),
        ("handshake", "full handshakes per second, each with a request, clients known"),
        ("handshake-cold", "the same, every client new"),
        ("resumed", "resumed handshakes per second, each with a request"),
        ("download", "MiB per second to clients"),
        ("upload", "MiB per second from clients"),
    ] {
        if let Some(cost) = gate(name) {
            let _ = writeln!(text, "| {what} | {} |", grouped((1e6 / cost / 10.0).floor() * 10.0));
        }
    }
    for (name, what) in [("idle-h1", "HTTP/1.1"), ("idle-h2", "HTTP/2")] {
        if let Some(kib) = gate(name) {
            let gib = kib * 100_000.0 / 1024.0 / 1024.0;
            let _ = writeln!(text, "| memory of the gate for 100,000 idle {what} connections, GiB | {gib:.1} |");
        }
    }
    text
}

fn ratio(row: &Value) -> String {
    match row["ratio"].as_f64() {
        None => String::new(),
        Some(ratio) if ratio < 0.095 => format!("{ratio:.4}"),
        Some(ratio) => format!("{ratio:.2}"),
    }
}

fn cell(row: &Value, proxy: &Value) -> String {
    let mut cell = spread(proxy);
    if proxy["name"] == row["best_peer"] {
        cell = format!("**{cell}**");
    }
    if row["name"] == "reload" {
        let _ = write!(cell, ", {} lost", proxy["lost"]);
    }
    cell
}

/// What was to be reached, and whether it was.
fn goal(row: &Value) -> String {
    let (wanted, met) = match (row["goal"]["ratio"].as_f64(), row["goal"]["most"].as_f64()) {
        (Some(ratio), _) => (format!("≤ {ratio:.2}"), number(&row["ratio"]) <= ratio),
        (None, Some(most)) => {
            (format!("≤ {most} {}", string(&row["unit"])), number(&row["proxies"][0]["median"]) <= most)
        }
        (None, None) => return String::new(),
    };
    format!("{wanted}, {}", if met { "met" } else { "**missed**" })
}

fn spread(proxy: &Value) -> String {
    let figure = |key: &str| figure(number(&proxy[key]));
    format!("{} ({}–{})", figure("median"), figure("least"), figure("most"))
}

/// Three digits that say something.
fn figure(value: f64) -> String {
    if value.abs() < 99.95 { format!("{value:.1}") } else { grouped(value) }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
