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

/// All rows as Markdown.
#[allow(dead_code, reason = "the benchmark leaves it to the test of the documents")]
pub fn markdown(results: &Value) -> String {
    let names: Vec<&str> = results["rows"][0]["proxies"]
        .as_array()
        .map_or(Vec::new(), |proxies| proxies.iter().map(|proxy| string(&proxy["name"])).collect());
    let (machine, versions) = (&results["machine"], &results["versions"]);
    let mut text = format!(
        "{} on {} cores of {}, Linux {}. portcullis {}{}; nginx {} ({}); HAProxy {} ({}). Median (least–most) of {} \
         rounds of {} s.\n\n",
        string(&machine["date"]),
        machine["cores"],
        string(&machine["processor"]),
        string(&machine["kernel"]),
        string(&versions["portcullis"]),
        string(&results["note"]),
        string(&versions["nginx"]),
        string(&versions["nginx_tls"]),
        string(&versions["haproxy"]),
        string(&versions["haproxy_tls"]),
        results["rounds"],
        results["seconds"],
    );
    let _ = writeln!(text, "| | Unit | {} | Gate ÷ best peer | Goal |", names.join(" | "));
    let _ = writeln!(text, "| --- | --- |{} ---: | --- |", " ---: |".repeat(names.len()));
    for row in list(&results["rows"]) {
        let cells: Vec<String> = list(&row["proxies"]).map(|proxy| cell(row, proxy)).collect();
        let (title, unit) = (string(&row["title"]), string(&row["unit"]));
        let _ = writeln!(
            text,
            "| {title} | {unit} | {} | {:.2} | {} |",
            cells.join(" | "),
            number(&row["ratio"]),
            goal(row)
        );
    }
    text
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
