//! Results as a picture: each row's proxies as bars, in parts of the best peer's figure.

use std::fmt::Write as _;

use serde_json::Value;

const WIDTH: f64 = 900.0;
const LABELS: f64 = 120.0;
/// A ratio of one.
const UNIT: f64 = 280.0;
/// Bars end here and say what they would have been.
const LONGEST: f64 = 2.2;
const BAR: f64 = 16.0;
/// The gate first; told apart in grey too.
const COLORS: [&str; 5] = ["#1b6e53", "#d98e04", "#3b6fb6", "#8fb3dd", "#777777"];

pub fn draw(results: &Value) -> String {
    let rows: Vec<&Value> = results["rows"].as_array().into_iter().flatten().collect();
    let (mut body, mut y) = (String::new(), 40.0);
    for row in rows {
        let proxies: Vec<&Value> = row["proxies"].as_array().into_iter().flatten().collect();
        let best = proxies.iter().find(|proxy| proxy["name"] == row["best_peer"]).or(proxies.first());
        let best = best.and_then(|best| best["median"].as_f64()).unwrap_or(1.0);
        let (title, unit) = (text(&row["title"]), text(&row["unit"]));
        let _ = writeln!(body, r#"<text x="10" y="{y}" font-weight="bold">{title}, {unit}</text>"#);
        for (proxy, color) in proxies.iter().zip(COLORS) {
            y += BAR + 4.0;
            let median = proxy["median"].as_f64().unwrap_or_default();
            let length = (median / best).min(LONGEST) * UNIT;
            let (bar, end, name) = (y - 12.0, LABELS + length + 6.0, text(&proxy["name"]));
            let cut = if median / best > LONGEST { " ▸" } else { "" };
            let _ = writeln!(
                body,
                r#"<text x="10" y="{y}">{name}</text><rect x="{LABELS}" y="{bar}" width="{length:.1}" height="{BAR}" fill="{color}"/><text x="{end:.1}" y="{y}">{median:.1}{cut}</text>"#
            );
        }
        y += 34.0;
    }
    let line = LABELS + UNIT;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="13" fill="#222">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="10" y="18">Less is better. The line is the best peer of each row.</text>
<line x1="{line}" y1="26" x2="{line}" y2="{y}" stroke="#bbbbbb" stroke-dasharray="4 4"/>
{body}</svg>
"##
    )
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().replace('&', "&amp;").replace('<', "&lt;")
}
