//! What the gate says of the actors, on its admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::diary::{Pen, Standing};
use super::scene::{Scene, ticks};

/// The admin listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admin(pub(super) SocketAddr);

impl Admin {
    /// A document; `None` if there is none.
    pub(super) async fn get(self, path: &str) -> Option<String> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.0).await.ok()?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.take(MOST).read_to_string(&mut answer).await.ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
        };
        timeout(PATIENCE, exchange).await.ok().flatten()
    }

    /// Where somebody stands; `None` if nothing is known of it.
    pub(super) async fn standing(self, id: &str) -> Option<Standing> {
        standing(&serde_json::from_str(&self.get(&format!("/reputation/{}", id.replace('/', "%2F"))).await?).ok()?)
    }

    /// How often the gate has refused for each of these reasons.
    pub(super) async fn refusals(self, codes: &[&str]) -> Vec<f64> {
        let text = self.get("/metrics").await.unwrap_or_default();
        codes.iter().map(|code| count(&text, code)).collect()
    }
}

/// Looks again and again, as long as it is polled.
pub(super) async fn watch(scene: &Scene, watched: &[(String, Pen)]) {
    let mut ticks = ticks(OFTEN);
    loop {
        ticks.tick().await;
        for (id, pen) in watched {
            if let Some(standing) = scene.admin.standing(id).await {
                pen.stands(scene.now(), standing);
            }
        }
    }
}

fn standing(told: &Value) -> Option<Standing> {
    let text = |key: &str| told.get(key).and_then(Value::as_str).map(str::to_owned);
    let causes = told.get("causes").and_then(Value::as_object).into_iter().flatten();
    let causes = causes.filter_map(|(cause, score)| Some((cause.clone(), score.as_f64()?)));
    let cause = causes.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(cause, _)| cause);
    Some(Standing { score: told.get("score")?.as_f64()?, cause, rung: text("rung"), dry_run: text("dry_run") })
}

fn count(metrics: &str, code: &str) -> f64 {
    let name = format!("portcullis_rejects_total{{reason=\"{code}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name.as_str()));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

/// A rung that is held for the shortest time there is is not overlooked.
const OFTEN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(5);
/// Metrics of a gate with thousands of routes.
const MOST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_read_with_its_greatest_cause() {
        let told = serde_json::json!({ "score": 12.5, "causes": { "spread": 9.0, "abuse": 3.5 }, "rung": "tag", "dry_run": null });
        let expected =
            Standing { score: 12.5, cause: Some("spread".to_owned()), rung: Some("tag".to_owned()), dry_run: None };
        assert_eq!(standing(&told), Some(expected));
        assert_eq!(standing(&serde_json::json!({ "error": "nothing is known" })), None);
    }

    #[test]
    fn refusals_are_counted_by_their_reason() {
        let text =
            "portcullis_rejects_total{reason=\"http2_pings\"} 3\nportcullis_rejects_total{reason=\"http2_p\"} 7\n";
        assert!((count(text, "http2_pings") - 3.0).abs() < 0.1);
        assert!(count(text, "none").abs() < 0.1);
    }
}
