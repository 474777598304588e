//! Every metric: its name, its labels, its help. Nothing else in the gate names one.

use std::fmt::{self, Write as _};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::record::HandshakeFacts;
use super::reputation::ReputationMetrics;
use super::scraped::Scraped;
use crate::reject::Reason;

/// Seconds; from the floor of a loopback exchange to the longest default timeout.
const REQUEST_BUCKETS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Seconds; a full handshake costs about 0.3 ms of CPU and two round trips.
const HANDSHAKE_BUCKETS: [f64; 9] = [0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.1, 0.5, 2.0, 10.0];

/// Seconds; the promise is one.
const ENFORCED_BUCKETS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Requests are counted by status class: `1xx` to `5xx`, and `none` when no response was sent.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.code())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    host: String,
    version: &'static str,
    protocol: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    host: String,
    route: String,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabel {
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnchorLabels {
    trust: String,
    anchor: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrustLabel {
    trust: String,
}

/// Counters of one route, looked up once per snapshot.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    classes: [Counter; CLASSES.len()],
    seconds: Histogram,
}

impl RouteMetrics {
    pub(super) fn count(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100);
        if let Some(counter) = self.classes.get(class).or(self.classes.first()) {
            counter.inc();
        }
        self.seconds.observe(took.as_secs_f64());
    }
}

/// Something that waits.
#[derive(Debug)]
pub struct Waits(Gauge);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) connections: Counter,
    pub(super) connections_open: Gauge,
    handshakes: Family<HandshakeLabels, Counter>,
    handshake_seconds: Histogram,
    handshakes_waiting: Gauge,
    rejects: Family<ReasonLabel, Counter>,
    requests: Family<RouteLabels, Counter>,
    request_seconds: Family<HostLabel, Histogram>,
    pub(super) requests_in_flight: Gauge,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    spoofed_headers: Counter,
    enforced: Histogram,
    reloads: Family<ResultLabel, Counter>,
    generation: Gauge,
    loaded: Gauge,
    certificate_expiry: Family<HostLabel, Gauge>,
    handshakes_by_anchor: Family<AnchorLabels, Counter>,
    stack_shadowed: Family<TrustLabel, Counter>,
    /// What becomes of behaviour.
    pub reputation: ReputationMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers everything; every reject reason starts at 0, so that a rate over it is defined.
    #[must_use]
    pub fn new() -> Self {
        let bytes = Family::<DirectionLabel, Counter>::default();
        let metrics = Self {
            registry: Registry::with_prefix("portcullis"),
            connections: Counter::default(),
            connections_open: Gauge::default(),
            handshakes: Family::default(),
            handshake_seconds: Histogram::new(HANDSHAKE_BUCKETS),
            handshakes_waiting: Gauge::default(),
            rejects: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
            requests_in_flight: Gauge::default(),
            bytes_in: bytes.get_or_create_owned(&DirectionLabel { direction: "in" }),
            bytes_out: bytes.get_or_create_owned(&DirectionLabel { direction: "out" }),
            spoofed_headers: Counter::default(),
            enforced: Histogram::new(ENFORCED_BUCKETS),
            reloads: Family::default(),
            generation: Gauge::default(),
            loaded: Gauge::default(),
            certificate_expiry: Family::default(),
            handshakes_by_anchor: Family::default(),
            stack_shadowed: Family::default(),
            reputation: ReputationMetrics::default(),
        };
        for reason in Reason::ALL {
            drop(metrics.rejects.get_or_create(&ReasonLabel { reason: *reason }));
        }
        for result in ["ok", "refused", "unchanged"] {
            drop(metrics.reloads.get_or_create(&ResultLabel { result }));
        }
        metrics.registered(bytes)
    }

    fn registered(mut self, bytes: Family<DirectionLabel, Counter>) -> Self {
        let mut registry = std::mem::take(&mut self.registry);
        let r = &mut registry;
        r.register("connections", "Connections accepted", self.connections.clone());
        r.register("connections_open", "Connections open now", self.connections_open.clone());
        r.register("handshakes", "Handshakes completed", self.handshakes.clone());
        r.register("handshake_seconds", "Accept to end of handshake", self.handshake_seconds.clone());
        r.register("handshakes_waiting", "Handshakes that wait for their turn now", self.handshakes_waiting.clone());
        r.register("rejects", "Refusals by reason (docs/rejections.md)", self.rejects.clone());
        r.register("requests", "Requests ended, by status class", self.requests.clone());
        r.register("request_seconds", "Request head to end of response", self.request_seconds.clone());
        r.register("requests_in_flight", "Requests being worked on now", self.requests_in_flight.clone());
        r.register("body_bytes", "Body bytes passed, by direction seen from the client", bytes);
        r.register(
            "spoofed_headers",
            "Identity headers that clients sent and we removed",
            self.spoofed_headers.clone(),
        );
        r.register(
            "revocation_enforced_seconds",
            "From a change of trust to the end of each live connection that lost by it",
            self.enforced.clone(),
        );
        r.register("config_reloads", "Configuration reloads by result", self.reloads.clone());
        r.register("config_generation", "Number of the running configuration", self.generation.clone());
        r.register("config_loaded_timestamp_seconds", "When the running configuration was loaded", self.loaded.clone());
        r.register(
            "certificate_expiry_timestamp_seconds",
            "First notAfter of a host's own certificates",
            self.certificate_expiry.clone(),
        );
        r.register(
            "handshakes_by_anchor",
            "Handshakes completed, by the anchor of the client's certificate",
            self.handshakes_by_anchor.clone(),
        );
        r.register(
            "stack_shadowed",
            "Handshakes of client software that its trust store would refuse if it enforced",
            self.stack_shadowed.clone(),
        );
        self.reputation.register(r);
        Self { registry, ..self }
    }

    /// Counters of a route of a host.
    #[must_use]
    pub fn route(&self, host: &str, route: &str) -> RouteMetrics {
        let classes = CLASSES.map(|class| {
            self.requests.get_or_create_owned(&RouteLabels { host: host.into(), route: route.into(), class })
        });
        let seconds = self.request_seconds.get_or_create_owned(&HostLabel { host: host.into() });
        RouteMetrics { classes, seconds }
    }

    pub(super) fn reject(&self, reason: Reason) {
        self.rejects.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn handshake(&self, host: &str, done: HandshakeFacts, took: Duration) {
        let HandshakeFacts { version, protocol, kind } = done;
        self.handshakes.get_or_create(&HandshakeLabels { host: host.into(), version, protocol, kind }).inc();
        self.handshake_seconds.observe(took.as_secs_f64());
    }

    /// A handshake waits for its turn, as long as this lives.
    #[must_use]
    pub fn handshake_waits(&self) -> Waits {
        self.handshakes_waiting.inc();
        Waits(self.handshakes_waiting.clone())
    }

    /// A client has shown a certificate that leads to this anchor: who still uses an old one.
    pub fn anchored(&self, trust: &str, anchor: &str) {
        self.handshakes_by_anchor.get_or_create(&AnchorLabels { trust: trust.into(), anchor: anchor.into() }).inc();
    }

    /// A client has shown a certificate from software that would be refused if this trust store enforced.
    pub fn stack_shadowed(&self, trust: &str) {
        self.stack_shadowed.get_or_create(&TrustLabel { trust: trust.into() }).inc();
    }

    /// Identity headers that a client sent and that were removed: somebody is trying.
    pub fn spoofed(&self, headers: usize) {
        self.spoofed_headers.inc_by(u64::try_from(headers).unwrap_or(u64::MAX));
    }

    /// From a change of trust to the end of a connection that it took the ground from.
    pub fn enforced(&self, took: Duration) {
        self.enforced.observe(took.as_secs_f64());
    }

    pub(super) fn reload(&self, result: &'static str) {
        self.reloads.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn running(&self, generation: u64, unix: Duration) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.loaded.set(i64::try_from(unix.as_secs()).unwrap_or(i64::MAX));
    }

    /// When a host's own certificates end, Unix seconds.
    pub fn certificate_expiry(&self, host: &str, not_after: i64) {
        self.certificate_expiry.get_or_create(&HostLabel { host: host.into() }).set(not_after);
    }

    /// A host is no longer served: nobody should be woken because its certificate ends.
    pub fn certificate_gone(&self, host: &str) {
        self.certificate_expiry.remove(&HostLabel { host: host.into() });
    }

    /// The Prometheus text of everything, with what is as it is now.
    ///
    /// # Errors
    /// Never in practice: formatting into a string does not fail.
    pub fn render(&self, now: Scraped) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode_registry(&mut text, &self.registry)?;
        let mut scraped = Registry::with_prefix("portcullis");
        scraped.register_collector(Box::new(now));
        prometheus_client::encoding::text::encode_registry(&mut text, &scraped)?;
        prometheus_client::encoding::text::encode_eof(&mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scraped::ServerSample;
    use super::*;

    #[test]
    fn every_reason_is_there_before_it_happens() {
        let text = Metrics::new().render(Scraped::default()).unwrap();
        for reason in Reason::ALL {
            assert!(text.contains(&format!("portcullis_rejects_total{{reason=\"{reason}\"}} 0")), "{reason}");
        }
    }

    #[test]
    fn requests_are_counted_by_class_of_status() {
        let metrics = Metrics::new();
        let route = metrics.route("api", "root");
        route.count(204, Duration::from_millis(1));
        route.count(0, Duration::from_millis(1));
        let text = metrics.render(Scraped::default()).unwrap();
        assert!(text.contains("portcullis_requests_total{host=\"api\",route=\"root\",class=\"2xx\"} 1"), "{text}");
        assert!(text.contains("portcullis_requests_total{host=\"api\",route=\"root\",class=\"none\"} 1"), "{text}");
    }

    #[test]
    fn upstream_servers_are_scraped_as_they_are() {
        let sample = ServerSample { upstream: "api".into(), server: "http://h:1".into(), ejected: true, in_flight: 3 };
        let text = Metrics::new().render(Scraped { servers: vec![sample], ..Scraped::default() }).unwrap();
        assert!(text.contains("portcullis_upstream_ejected{upstream=\"api\",server=\"http://h:1\"} 1"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
