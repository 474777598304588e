//! Results as JSON: everything that was seen, and what it comes to.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::proxies::Proxy;
use crate::rows::{Goal, Row};

/// One row: each proxy's rounds, their median and range, and the gate beside the best peer.
pub fn row(row: &Row, seen: &[(&Proxy, Vec<Value>)]) -> Value {
    let (key, unit) = row.figure();
    let proxies: Vec<Value> = seen
        .iter()
        .map(|(proxy, rounds)| {
            let all = |key: &str| rounds.iter().filter_map(|round| round[key].as_f64()).collect::<Vec<_>>();
            let (median, least, most) = spread(all(key));
            let mut summary =
                json!({ "name": proxy.name(), "gate": proxy.is_gate(), "median": median, "least": least, "most": most });
            for also in ["rate", "busy", "p50", "p99", "max", "load_cpu", "origin_cpu", "resumed"] {
                if !all(also).is_empty() {
                    summary[also] = spread(all(also)).0.into();
                }
            }
            // Of all rounds together: the median of few events is none.
            summary["lost"] = all("lost").iter().sum::<f64>().into();
            summary["rounds"] = all(key).into();
            summary
        })
        .collect();
    let peers = proxies.iter().filter(|proxy| proxy["gate"] == false);
    let median = |proxy: &Value| proxy["median"].as_f64().unwrap_or(f64::MAX);
    let best = peers.min_by(|one, other| median(one).total_cmp(&median(other))).cloned();
    let ratio = best.as_ref().map(|best| {
        let pairs = rounds(&proxies[0]).into_iter().zip(rounds(best));
        spread(pairs.map(|(ours, theirs)| ours / theirs).collect()).0
    });
    let goal = match row.goal {
        Goal::Most(most) => json!({ "most": most }),
        Goal::None => Value::Null,
        Goal::Ratio(ratio) => json!({ "ratio": ratio }),
    };
    json!({
        "name": row.name, "title": row.title, "key": key, "unit": unit, "goal": goal,
        "best_peer": best.map(|best| best["name"].clone()), "ratio": ratio, "proxies": proxies,
    })
}

fn rounds(proxy: &Value) -> Vec<f64> {
    proxy["rounds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// Median, least and most.
fn spread(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    let (half, odd) = (figures.len() / 2, figures.len() % 2 == 1);
    let median = if odd { at(half) } else { f64::midpoint(at(half.wrapping_sub(1)), at(half)) };
    (median, at(0), at(figures.len().wrapping_sub(1)))
}

/// Where it was measured.
pub fn machine() -> Value {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(": "));
        line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let date = said("date", &["-u", "+%F"], "");
    json!({ "processor": field("/proc/cpuinfo", "model name"), "kernel": kernel.trim(), "cores": cores, "date": date })
}

/// Whom it was measured with.
pub fn versions() -> Value {
    json!({
        "portcullis": env!("CARGO_PKG_VERSION"),
        "nginx": said("nginx", &["-V"], "nginx version: "),
        "nginx_tls": said("nginx", &["-V"], "built with "),
        "haproxy": said("haproxy", &["-v"], "HAProxy version "),
        "haproxy_tls": said("haproxy", &["-vv"], "Running on OpenSSL version : "),
    })
}

/// The line of a program's output that begins so, without that beginning.
fn said(program: &str, arguments: &[&str], begin: &str) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_default().trim().to_owned()
}
